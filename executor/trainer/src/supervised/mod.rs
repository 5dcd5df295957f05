//! The native loop: a generated module trained on a view.

mod keeper;
mod model;
mod objective;
mod programs;
mod resume;
mod schedule;
mod settings;
mod train_loss;
mod validate;

pub use model::{Model, Origin};
pub use schedule::{Rate, Rates};
pub use settings::Settings;

use std::sync::{Mutex, PoisonError};

use lethe_flight::message::training::{Function, Metrics};
use lethe_flight::tensors;

use crate::data::{Batches, EpochOrder, Paging, Step, Steps};
use crate::error::{Error, Result};
use crate::function::{Completion, Flow, TrainingFunction, TrialContext};
use crate::torch::{self, Optimizer, OptimizerOptions};
use keeper::Keeper;
use objective::Objective;
use programs::Programs;
use resume::Resumed;
use train_loss::TrainLoss;

/// Rows of one validation batch at least: no gradients are kept, so that larger ones cost little memory.
const VALIDATION_ROWS: usize = 1024;

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
        let device = trial.device();
        let seed = trial.spec().seed;
        torch::seed(seed)?;
        let view = trial.view()?;
        if view.train().is_empty() {
            return Err(Error::trial(
                "the training split has no rows: give the dataset more rows, or validate fewer",
            ));
        }
        let program = {
            let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
            programs.load(trial.program()?, device)?
        };
        let objective = Objective::new(settings.loss, &program, &view)?;
        let resumed = trial.checkpoint()?.map(Resumed::new).transpose()?;
        let mut model = match &resumed {
            Some(resumed) => resumed.model(program, device)?,
            None => Model::new(program, &tensors::read_file(trial.initial()?)?, INITIAL, device)?,
        };
        if model.parameters().is_empty() {
            return Err(Error::trial("the module has no trainable parameters"));
        }
        let steps = Steps::new(view.train().len(), settings.batch_size, settings.drop_last)?;
        let epochs = EpochOrder::new(view.clone(), seed)?;
        let steps_per_epoch = steps.count() as u64;
        let rates = Rates::new(&settings, steps_per_epoch);
        let mut optimizer = Optimizer::new(
            model.parameters(),
            &OptimizerOptions {
                kind: settings.optimizer,
                weight_decay: settings.weight_decay,
                grad_clip: settings.grad_clip,
                keeps_momentum: rates.keeps_momentum(),
            },
        )?;
        let mut batches = Batches::new(view.clone(), steps.capacity(), device)?;
        let validation_size = VALIDATION_ROWS.max(steps.capacity()).min(view.validation().len().max(1));
        let mut validation = Batches::new(view.clone(), validation_size, device)?;
        let mut keeper = Keeper::default();
        let mut order = Vec::new();
        let mut trained = 0;
        if let Some(resumed) = resumed {
            resumed.restore_optimizer(&optimizer, settings.optimizer, &model)?;
            resumed.restore_random(device)?;
            keeper = Keeper::restore(trial, &resumed);
            trained = resumed.epoch;
        }
        let mut step = u64::from(trained) * steps_per_epoch;
        trial.first_step();
        for epoch in trained + 1..=settings.epochs {
            let mut paging = Paging::new(view.clone(), epochs.fill(epoch, &mut order));
            model.program.train(true)?;
            let mut train_loss = TrainLoss::new(epoch);
            for Step { places, .. } in steps.iter() {
                if trial.is_stopped() {
                    return keeper.end(trial, Completion::Stopped);
                }
                paging.reach(places.clone());
                let batch = batches.gather(&order[places])?;
                let loss = objective.loss(&mut model.program, &batch)?;
                loss.f_backward()?;
                train_loss.add(&loss, objective.counts(&batch), step + 1)?;
                let rate = rates.at(step);
                optimizer.step(rate.lr, rate.momentum)?;
                step += 1;
            }
            drop(paging);
            let mut report = Metrics::from([("train_loss".into(), train_loss.finish()?)]);
            if !view.validation().is_empty() {
                model.program.train(false)?;
                validate::validate(
                    &mut model.program,
                    &objective,
                    &settings.metrics,
                    &mut validation,
                    validation_size,
                    &mut report,
                )?;
            }
            let value = report.get(&trial.spec().objective.metric).copied();
            let flow = trial.report(epoch, report)?;
            keeper.look(trial, &model, value.unwrap_or(f64::NAN))?;
            if epoch == settings.epochs {
                break;
            }
            if flow == Flow::Pause || flow == Flow::Continue && trial.is_checkpoint_due() {
                let best = keeper.earlier(trial, epoch);
                trial.save(resume::collect(&model, &optimizer, settings.optimizer, device, step, best)?)?;
            }
            match flow {
                Flow::Continue => {}
                Flow::Stop => return keeper.end(trial, Completion::Stopped),
                Flow::Pause => return Ok(Completion::Paused),
            }
        }
        keeper.end(trial, Completion::Finished)
    }
}
