//! What a training function sees of its trial.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lethe_flight::message::Hparams;
use lethe_flight::message::training::{Metrics, Timing, TrialSpec};
use lethe_flight::message::worker::Run;
use lethe_flight::tensors::{self, NamedTensor};
use tch::Device;

use super::Interrupter;
use crate::data::{MappedView, ViewCache};
use crate::error::{Error, Result};

/// Whether a trial goes on after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Stop,
}

/// Where reports go: the executor, or a test. Arguments: epoch and metrics.
pub type Sink<'a> = dyn FnMut(u32, &Metrics) -> Result<()> + 'a;

/// One attempt at one trial, as its function sees it.
pub struct TrialContext<'a> {
    run: &'a Run,
    device: Device,
    views: &'a mut ViewCache,
    interrupter: Interrupter,
    sink: &'a mut Sink<'a>,
    arrived: Instant,
    previous_end: Option<Instant>,
    first_step: Option<Instant>,
    last_report: Option<Instant>,
    best: Option<f64>,
    kept: bool,
    last_epoch: u32,
}

impl<'a> TrialContext<'a> {
    pub(super) fn new(
        run: &'a Run,
        device: Device,
        views: &'a mut ViewCache,
        interrupter: Interrupter,
        sink: &'a mut Sink<'a>,
        arrived: Instant,
        previous_end: Option<Instant>,
    ) -> Self {
        Self {
            run,
            device,
            views,
            interrupter,
            sink,
            arrived,
            previous_end,
            first_step: None,
            last_report: None,
            best: None,
            kept: false,
            last_epoch: 0,
        }
    }

    /// Values chosen for this trial, by name.
    pub fn hparams(&self) -> &Hparams {
        &self.run.spec.hparams
    }

    pub fn spec(&self) -> &TrialSpec {
        &self.run.spec
    }

    /// The function's budget, before any hyperparameter overrides it.
    pub fn epochs(&self) -> u32 {
        self.run.spec.function.epochs()
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The file of the trial's program.
    ///
    /// # Errors
    /// If the trial has none.
    pub fn program(&self) -> Result<&'a Path> {
        self.run.program.as_deref().map(Path::new).ok_or_else(|| {
            Error::Worker(
                "the trial has no program: the executor must fetch it before it runs the trial".into(),
            )
        })
    }

    /// The file of the initial weights, see [`lethe_flight::tensors`].
    ///
    /// # Errors
    /// If the trial has none.
    pub fn initial(&self) -> Result<&'a Path> {
        self.run.initial.as_deref().map(Path::new).ok_or_else(|| {
            Error::Worker(
                "the trial has no initial weights: the executor must fetch them before it runs it".into(),
            )
        })
    }

    /// The trial's data, mapped.
    ///
    /// # Errors
    /// If it has none, or the file cannot be mapped.
    pub fn view(&mut self) -> Result<Arc<MappedView>> {
        match &self.run.view {
            Some(view) => self.views.open(view),
            None => Err(Error::trial("the trial has no dataset: give lagom a lethe.Dataset")),
        }
    }

    /// To be looked at in each step: whether the trial is to end now.
    pub fn is_stopped(&self) -> bool {
        self.interrupter.is_stopped()
    }

    /// Sleeps until then, or until the trial is to end.
    pub fn sleep_until(&self, end: Instant) -> Flow {
        if self.interrupter.sleep_until(end) { Flow::Stop } else { Flow::Continue }
    }

    /// Says that preparing is over and training begins.
    pub fn first_step(&mut self) {
        self.first_step.get_or_insert_with(Instant::now);
    }

    /// Sends an epoch's metrics (epochs count from 1). At one of the trial's rungs it waits for the decision.
    ///
    /// # Errors
    /// If the epoch is not above the last one reported, the experiment's metric is not among them, or the
    /// executor has gone.
    pub fn report(&mut self, epoch: u32, metrics: Metrics) -> Result<Flow> {
        if epoch <= self.last_epoch {
            return Err(Error::trial(format!(
                "epoch {epoch} was reported after epoch {}: epochs must rise, from 1",
                self.last_epoch
            )));
        }
        self.last_epoch = epoch;
        let objective = &self.run.spec.objective;
        if !metrics.contains_key(&objective.metric) {
            let known: Vec<_> = metrics.keys().map(String::as_str).collect();
            return Err(Error::trial(format!(
                "the experiment's metric {:?} is not reported; name one of: {}",
                objective.metric,
                known.join(", ")
            )));
        }
        let decides = self.run.spec.rungs.binary_search(&epoch).is_ok();
        if decides {
            self.interrupter.ask();
        }
        (self.sink)(epoch, &metrics)?;
        self.last_report = Some(Instant::now());
        let stop = if decides { self.interrupter.wait_for_decision() } else { self.is_stopped() };
        if decides {
            self.last_report = Some(Instant::now());
        }
        Ok(if stop { Flow::Stop } else { Flow::Continue })
    }

    /// Whether the weights of the moment of a report with this value are worth keeping: no worse than the
    /// experiment's best so far and, where the best report counts, better than this trial's reports before.
    pub fn is_worth_keeping(&mut self, value: f64) -> bool {
        use lethe_flight::message::training::Select;
        let objective = &self.run.spec.objective;
        if objective.select == Select::Best && self.best.is_some_and(|best| !objective.better(value, best)) {
            return false;
        }
        self.best = Some(value);
        !self.run.spec.best_so_far.is_some_and(|best| objective.better(best, value))
    }

    /// Writes the trial's weights, for the executor to take over with its end. The last call counts. Blocks.
    pub fn keep_weights(&mut self, weights: &[NamedTensor]) -> Result<()> {
        tensors::write_file(Path::new(&self.run.weights), weights)?;
        self.kept = true;
        Ok(())
    }

    /// The file of kept weights.
    pub(super) fn kept(&self) -> Option<String> {
        self.kept.then(|| self.run.weights.clone())
    }

    pub(super) fn timing(&self) -> Timing {
        let Some(first) = self.first_step else {
            return Timing { setup_s: self.arrived.elapsed().as_secs_f64(), ..Timing::default() };
        };
        let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        Timing {
            idle_s: self.previous_end.map_or(0.0, |end| seconds(end, first)),
            setup_s: seconds(self.arrived, first),
            train_s: self.last_report.map_or(0.0, |last| seconds(first, last)),
        }
    }
}
