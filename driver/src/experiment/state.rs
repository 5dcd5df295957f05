//! Plain data: trials and slots, and what can be read off them.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{End, Report, TrialResult, TrialState};
use lethe_flight::message::training::{Objective, ProgramRef, Select, Timing};

use super::event::SlotKey;

/// Where a trial stands. It only ever moves down this list, but for `Running` back to `Ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Suggesting,
    Preparing,
    Ready,
    Running {
        slot: SlotKey,
        /// A stopping rule has decided that it ends.
        told_to_stop: bool,
    },
    Ended(TrialState),
}

#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub number: u32,
    pub seed: u64,
    pub phase: Phase,
    pub hparams: Hparams,
    pub rungs: Vec<u32>,
    pub program: Option<ProgramRef>,
    /// Attempts handed out; the number of the current one.
    pub attempts: u32,
    /// Of the current attempt, epochs ascending.
    pub history: Vec<Report>,
    pub timing: Timing,
    /// Number of the slot of the last attempt.
    pub slot: Option<u32>,
    pub error: Option<String>,
}

impl Trial {
    pub fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            seed,
            phase: Phase::Suggesting,
            hparams: Hparams::new(),
            rungs: Vec::new(),
            program: None,
            attempts: 0,
            history: Vec::new(),
            timing: Timing::default(),
            slot: None,
            error: None,
        }
    }

    /// Whether a message belongs to the attempt that runs now.
    pub fn runs(&self, slot: SlotKey, attempt: u32) -> bool {
        self.attempts == attempt && matches!(self.phase, Phase::Running { slot: s, .. } if s == slot)
    }

    /// Adds a report of the current attempt; false if it is a repetition.
    pub fn add(&mut self, report: Report) -> bool {
        let new = self.history.last().is_none_or(|last| last.epoch < report.epoch);
        if new {
            self.history.push(report);
        }
        new
    }

    /// The report that makes the trial's value: the last, or the first of the best.
    fn chosen(&self, objective: &Objective) -> Option<&Report> {
        match objective.select {
            Select::Last => self.history.last(),
            Select::Best => self.history.iter().reduce(|best, report| {
                if objective.better(value_of(report, objective), value_of(best, objective)) {
                    report
                } else {
                    best
                }
            }),
        }
    }

    /// None without a report; NaN where the metric is no number.
    pub fn value(&self, objective: &Objective) -> Option<f64> {
        self.chosen(objective).map(|report| value_of(report, objective))
    }

    pub fn result(&self, objective: &Objective) -> TrialResult {
        let chosen = self.chosen(objective);
        TrialResult {
            trial: self.number,
            state: match self.phase {
                Phase::Suggesting | Phase::Preparing | Phase::Ready => TrialState::Waiting,
                Phase::Running { .. } => TrialState::Running,
                Phase::Ended(state) => state,
            },
            attempts: self.attempts,
            hparams: self.hparams.clone(),
            value: chosen.map(|report| value_of(report, objective)).filter(|value| value.is_finite()),
            metrics: chosen.map(|report| report.metrics.clone()).unwrap_or_default(),
            epochs: self.history.last().map_or(0, |report| report.epoch),
            error: self.error.clone(),
            timing: self.timing,
            slot: self.slot,
            history: self.history.clone(),
        }
    }
}

/// The objective's metric in a report; NaN where it is absent.
pub(super) fn value_of(report: &Report, objective: &Objective) -> f64 {
    report.metrics.get(&objective.metric).copied().unwrap_or(f64::NAN)
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub number: u32,
    pub ready: bool,
    pub running: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Course {
    Searching,
    /// No trial is handed out any more; running ones have been told to stop.
    Draining(End),
    Over(End),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Asked for, being prepared, or ready.
    pub ahead: u32,
    pub running: u32,
    pub finished: u32,
    pub stopped: u32,
    pub failed: u32,
    pub cancelled: u32,
}

impl Counts {
    pub fn ended(&self) -> u32 {
        self.finished + self.stopped + self.failed + self.cancelled
    }

    pub fn end(&mut self, state: TrialState) {
        match state {
            TrialState::Finished => self.finished += 1,
            TrialState::Stopped => self.stopped += 1,
            TrialState::Failed => self.failed += 1,
            TrialState::Waiting | TrialState::Running | TrialState::Cancelled => self.cancelled += 1,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    /// By number.
    pub trials: Vec<Trial>,
    /// Connected and not released.
    pub slots: BTreeMap<SlotKey, Slot>,
    pub free: BTreeSet<SlotKey>,
    /// Ready trials: first those to be run again (false sorts first), then by number.
    pub ready: BTreeSet<(bool, u32)>,
    pub counts: Counts,
    pub best: Option<(u32, f64)>,
    /// Trials whose loss was no number.
    pub numeric_failures: u32,
    /// The first trial that failed otherwise, and its error.
    pub first_failure: Option<(u32, String)>,
    pub course: Course,
}

impl State {
    pub fn new() -> Self {
        Self {
            trials: Vec::new(),
            slots: BTreeMap::new(),
            free: BTreeSet::new(),
            ready: BTreeSet::new(),
            counts: Counts::default(),
            best: None,
            numeric_failures: 0,
            first_failure: None,
            course: Course::Searching,
        }
    }

    pub fn trial_mut(&mut self, number: u32) -> Option<&mut Trial> {
        self.trials.get_mut(number as usize)
    }
}
