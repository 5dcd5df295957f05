//! One trial's plain data.

use lethe_flight::message::experiment::{Report, TrialState};
use lethe_flight::message::training::{CheckpointRef, Objective, ProgramRef, Select, Timing};
use serde_json::Value;

use super::event::SlotKey;
use super::row::Row;
use crate::stopping::Rungs;

/// Where a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Suggesting,
    /// The user's predicate has been asked about it.
    Checking,
    Preparing,
    Ready,
    Running {
        /// That of rank 0, which speaks for all.
        slot: SlotKey,
        told: Told,
    },
    /// With a checkpoint, off its slot.
    Paused,
    Ended(TrialState),
}

/// What a running attempt has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Stop,
    Pause,
}

/// Which ready trial is handed out first; of one class the one with the lowest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It was lost, or interrupted.
    Again,
    Promoted,
    New,
}

/// A [`Report`] as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Reported {
    pub epoch: u32,
    pub metrics: Row<f64>,
}

impl Reported {
    /// NaN where it is absent.
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(f64::NAN)
    }

    pub fn value(&self, objective: &Objective) -> f64 {
        self.metric(&objective.metric)
    }

    pub fn to_report(&self) -> Report {
        Report { epoch: self.epoch, metrics: self.metrics.to_map() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub number: u32,
    pub seed: u64,
    pub phase: Phase,
    pub class: Class,
    pub hparams: Row<Value>,
    /// Its last epoch, by its hyperparameters.
    pub epochs: u32,
    pub rungs: Rungs,
    pub program: Option<ProgramRef>,
    /// Suggestions that were refused.
    pub draws: u32,
    /// Attempts handed out; the number of the current one.
    pub attempts: u32,
    /// The slots of the running attempt's other ranks.
    pub others: Vec<SlotKey>,
    /// Attempts that the infrastructure has lost.
    pub losses: u32,
    /// Attempts that ended by an exception of the user's code.
    pub exceptions: u32,
    /// Where the next attempt begins.
    pub checkpoint: Option<CheckpointRef>,
    /// It was promoted before its pause was complete, to go on from its own checkpoint or a donor's.
    pub promoted_early: Option<Option<u32>>,
    /// Epochs ascending.
    pub history: Vec<Reported>,
    pub timing: Timing,
    /// Number of the slot of the last attempt.
    pub slot: Option<u32>,
    pub error: Option<String>,
    /// Why these hyperparameters.
    pub suggested: String,
    /// Why it did not run to its end.
    pub halted: Option<String>,
}

impl Trial {
    pub fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            seed,
            phase: Phase::Suggesting,
            class: Class::New,
            hparams: Row::default(),
            epochs: 0,
            rungs: Rungs::default(),
            program: None,
            draws: 0,
            attempts: 0,
            others: Vec::new(),
            losses: 0,
            exceptions: 0,
            checkpoint: None,
            promoted_early: None,
            history: Vec::new(),
            timing: Timing::default(),
            slot: None,
            error: None,
            suggested: String::new(),
            halted: None,
        }
    }

    /// Whether a message belongs to the attempt that runs now.
    pub fn runs(&self, slot: SlotKey, attempt: u32) -> bool {
        self.attempts == attempt && matches!(self.phase, Phase::Running { slot: s, .. } if s == slot)
    }

    pub fn is_running(&self, attempt: u32) -> bool {
        self.attempts == attempt && matches!(self.phase, Phase::Running { .. })
    }

    pub fn told(&self) -> Told {
        match self.phase {
            Phase::Running { told, .. } => told,
            _ => Told::Nothing,
        }
    }

    /// Epochs since its report before, or the checkpoint it began from: where a donor's was ahead of the trial's own
    /// reports, its epochs are not this trial's.
    pub fn trains(&self, epoch: u32) -> u32 {
        let begun = self.last_epoch().max(self.checkpoint.map_or(0, |checkpoint| checkpoint.epoch));
        epoch.saturating_sub(begun).max(1)
    }

    pub fn last_epoch(&self) -> u32 {
        self.history.last().map_or(0, |report| report.epoch)
    }

    /// It runs no more: there may be very many such trials.
    pub fn settle(&mut self) {
        self.rungs = Rungs::default();
        self.program = None;
        self.others = Vec::new();
        self.history.shrink_to_fit();
    }

    pub fn spend(&mut self, timing: Timing) {
        self.timing.idle_s += timing.idle_s;
        self.timing.setup_s += timing.setup_s;
        self.timing.train_s += timing.train_s;
    }

    /// The report that makes the trial's value: the last, or the first of the best.
    pub fn chosen(&self, objective: &Objective) -> Option<&Reported> {
        match objective.select {
            Select::Last => self.history.last(),
            Select::Best => self.history.iter().reduce(|best, report| {
                if objective.better(report.value(objective), best.value(objective)) { report } else { best }
            }),
        }
    }

    /// None without a report; NaN where the metric is no number.
    pub fn value(&self, objective: &Objective) -> Option<f64> {
        self.chosen(objective).map(|report| report.value(objective))
    }

    /// Of all objectives, in their order; empty without a report.
    pub fn values(&self, objective: &Objective) -> Vec<f64> {
        let Some(report) = self.chosen(objective) else { return Vec::new() };
        let names = std::iter::once(&objective.metric).chain(objective.further.iter().map(|o| &o.metric));
        names.map(|name| report.metric(name)).collect()
    }

    /// Where it stands, in an experiment that is over or not.
    pub fn state(&self, over: Option<bool>) -> TrialState {
        match (self.phase, over) {
            (Phase::Ended(state), _) => state,
            // It has a value and may go on when the experiment is extended.
            (Phase::Paused, Some(_)) => TrialState::Stopped,
            (Phase::Paused, None) => TrialState::Paused,
            (_, Some(true)) if !self.history.is_empty() => TrialState::Stopped,
            (_, Some(_)) => TrialState::Cancelled,
            (Phase::Running { .. }, None) => TrialState::Running,
            (_, None) => TrialState::Waiting,
        }
    }

    pub fn why(&self) -> Option<String> {
        let parts: Vec<&str> = [self.suggested.as_str(), self.halted.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
