//! The native loop: a generated module trained on a view.

mod gradients;
mod keeper;
mod model;
mod objective;
mod programs;
mod resume;
mod schedule;
mod settings;
mod shares;
mod train_loss;
mod validate;

pub use model::{Model, Origin};
pub use schedule::{Rate, Rates};
pub use settings::Settings;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lethe_flight::message::training::{Function, Metrics, Precision};
use lethe_flight::tensors;
use tch::Tensor;

use crate::data::{Batches, EpochOrder, Paging};
use crate::error::{Error, Result};
use crate::function::{Completion, Flow, TrainingFunction, TrialContext};
use crate::gang::Gang;
use crate::torch::{self, Optimizer, OptimizerOptions, SharedBatchNorm};
use gradients::Gradients;
use keeper::Keeper;
use objective::Objective;
use programs::Programs;
use resume::Resumed;
use shares::Shares;
use train_loss::TrainLoss;
use validate::Validation;

/// Rows of one validation batch at least: no gradients are kept, so that larger ones cost little memory.
const VALIDATION_ROWS: usize = 1024;

/// How long a rank whose gang has broken waits to be told what became of it.
const TOLD: Duration = Duration::from_secs(10);

const INITIAL: Origin =
    Origin { what: "initial weights", remedy: "send each entry of the module's state_dict" };

/// `lethe.Supervised`. Each epoch it reports `train_loss`, and with a validation split `loss` and the metrics
/// asked for. Everything random is a function of the trial's seed.
#[derive(Default)]
pub struct Supervised {
    programs: Mutex<Programs>,
}

impl TrainingFunction for Supervised {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion> {
        let Function::Supervised(defaults) = &trial.spec().function else {
            return Err(Error::Worker("the trial's function is not Supervised".into()));
        };
        let settings = Settings::resolve(defaults, trial.hparams())?;
        let gang = trial.gang();
        let mut keeper = Keeper::default();
        let done = gang.and_then(|gang| self.run(trial, &settings, gang.as_ref(), &mut keeper));
        // In whichever pass it came out.
        let done = done.map_err(|error| if trial.rank().world > 1 { error.of_gang() } else { error });
        match done {
            // Where all are told to stop, one of them is the first to leave.
            Err(Error::Gang(_)) if trial.is_stopped_within(TOLD) => keeper.end(trial, Completion::Stopped),
            Err(error) => Err(error),
            Ok(Completion::Paused) => Ok(Completion::Paused),
            Ok(completion) => keeper.end(trial, completion),
        }
    }
}

impl Supervised {
    fn run(
        &self,
        trial: &mut TrialContext,
        settings: &Settings,
        gang: Option<&Gang>,
        keeper: &mut Keeper,
    ) -> Result<Completion> {
        let device = trial.device();
        let seed = trial.spec().seed;
        let own_seed = gang.map_or(seed, |gang| gang.seed(seed));
        torch::seed(own_seed)?;
        let view = trial.view()?;
        if !view.trains() {
            return Err(Error::trial(
                "the training split has no rows: give the dataset more rows, or validate fewer",
            ));
        }
        let mut program = {
            let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
            programs.load(trial.program()?, device)?
        };
        program.set_mixed((settings.precision == Precision::Bfloat16).then_some(device));
        let objective = Objective::new(settings.loss, &program, &view)?;
        let resumed = trial.checkpoint()?.map(Resumed::new).transpose()?;
        let mut model = match &resumed {
            Some(resumed) => resumed.model(program, device)?,
            None => Model::new(program, &tensors::read_file(trial.initial()?)?, INITIAL, device)?,
        };
        if model.parameters().is_empty() {
            return Err(Error::trial("the module has no trainable parameters"));
        }
        let shares = Shares::new(view.clone(), settings.batch_size, settings.drop_last, gang)?;
        let steps = shares.steps();
        let epochs = EpochOrder::new(view.clone(), seed)?;
        let steps_per_epoch = steps.count() as u64;
        let rates = Rates::new(settings, steps_per_epoch);
        let parameters: Vec<Tensor> = model.parameters().iter().map(Tensor::shallow_clone).collect();
        let mut optimizer = Optimizer::new(
            &parameters,
            &OptimizerOptions {
                kind: settings.optimizer,
                weight_decay: settings.weight_decay,
                grad_clip: settings.grad_clip,
                keeps_momentum: rates.keeps_momentum(),
            },
        )?;
        let part = Gradients::part_rows(&shares, gang, settings.accumulate);
        let mut batches = Batches::new(view.clone(), part, device)?;
        // The same on all ranks.
        let world = trial.rank().world as usize;
        let validation_size = VALIDATION_ROWS
            .max(settings.batch_size.div_ceil(world).div_ceil(settings.accumulate))
            .min(shares.most_validation().max(2));
        let mut validation = Validation::new(
            &objective,
            &settings.metrics,
            Batches::new(view.clone(), validation_size, device)?,
            validation_size,
            gang,
        );
        let mut order = Vec::new();
        let mut trained = 0;
        if let Some(resumed) = resumed {
            resumed.restore_optimizer(&optimizer, settings.optimizer, &model)?;
            resumed.restore_random(device, gang, own_seed)?;
            *keeper = Keeper::restore(trial, &resumed);
            trained = resumed.epoch;
        }
        if let Some(gang) = gang {
            model.share(gang)?;
        }
        let _batch_norm = match gang.filter(|_| settings.sync_batch_norm) {
            Some(gang) => Some(SharedBatchNorm::new(gang.group())?),
            None => None,
        };
        let mut gradients = Gradients::new(&objective, &parameters, gang, settings.accumulate);
        let mut step = u64::from(trained) * steps_per_epoch;
        trial.first_step();
        for epoch in trained + 1..=settings.epochs {
            let mut paging = Paging::new(view.clone(), epochs.fill(epoch, &mut order));
            model.program.train(true)?;
            let mut train_loss = TrainLoss::new(epoch);
            for part in steps.iter() {
                if trial.is_stopped() {
                    return Ok(Completion::Stopped);
                }
                paging.reach(part.places.clone());
                let share = shares.of(&part, &order);
                gradients.add(&mut model.program, &mut batches, &share, step + 1, &mut train_loss)?;
                let rate = rates.at(step);
                optimizer.step(rate.lr, rate.momentum)?;
                step += 1;
            }
            drop(paging);
            let mut report = Metrics::from([("train_loss".into(), train_loss.finish(gang)?)]);
            if let Some(gang) = gang {
                model.share_buffers(gang)?;
            }
            if view.validates() {
                model.program.train(false)?;
                validation.run(&mut model.program, &mut report)?;
            }
            let value = report.get(&trial.spec().objective.metric).copied();
            let mut flow = trial.report(epoch, report)?;
            if gang.is_none_or(Gang::is_first) {
                keeper.look(trial, &model, value.unwrap_or(f64::NAN))?;
            }
            let is_last = epoch == settings.epochs;
            let mut saves =
                !is_last && (flow == Flow::Pause || flow == Flow::Continue && trial.is_checkpoint_due());
            if let Some(gang) = gang {
                (flow, saves) = gang.agree(flow, saves, model.fingerprint()?)?;
            }
            if saves {
                let best = keeper.earlier(trial, epoch);
                let saved =
                    resume::collect(&model, &optimizer, settings.optimizer, device, step, best, gang)?;
                trial.save(saved)?;
            }
            let end = match flow {
                _ if is_last => Completion::Finished,
                Flow::Continue => continue,
                Flow::Stop => Completion::Stopped,
                Flow::Pause => Completion::Paused,
            };
            gang.into_iter().for_each(Gang::leave);
            return Ok(end);
        }
        // It went on from its last epoch.
        Ok(Completion::Finished)
    }
}
