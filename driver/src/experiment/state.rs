//! Plain data of the whole: trials, slots, counts.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::experiment::{End, TrialState};
use lethe_flight::message::training::CheckpointRef;

use super::event::SlotKey;
use super::row::Shapes;
use super::trial::{Class, Trial};

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub number: u32,
    pub ready: bool,
    pub running: Option<u32>,
    /// Of the trial that it runs, or has run.
    pub attempt: u32,
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
    /// Asked for, being checked or prepared, or ready.
    pub ahead: u32,
    pub running: u32,
    pub paused: u32,
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
            TrialState::Waiting | TrialState::Running | TrialState::Paused | TrialState::Cancelled => {
                self.cancelled += 1;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gathering {
    pub trial: u32,
    /// Whether it takes as few slots as it can by now.
    pub settles: bool,
    /// How often it has been given more time, since data are put again.
    pub renewed: u32,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    /// By number.
    pub trials: Vec<Trial>,
    /// Of the trials' rows.
    pub shapes: Shapes,
    /// Connected and not released.
    pub slots: BTreeMap<SlotKey, Slot>,
    /// The connection of each slot number.
    pub by_number: BTreeMap<u32, SlotKey>,
    pub free: BTreeSet<SlotKey>,
    /// Numbers of slots that have left because their data were lost, until they join again.
    pub lacking: BTreeSet<u32>,
    /// The trial for which free slots are kept, until there are as many as it takes at once.
    pub gathering: Option<Gathering>,
    pub ready: BTreeSet<(Class, u32)>,
    /// Promoted trials that have not been handed out.
    pub promoted: usize,
    pub counts: Counts,
    /// By trial that is pausing: the promoted ones that go on from the checkpoint it is saving.
    pub borrowers: BTreeMap<u32, Vec<u32>>,
    /// How many trials would begin from a checkpoint: where none would, it is dropped.
    pub checkpoints: BTreeMap<CheckpointRef, u32>,
    /// Reported by all trials together.
    pub epochs: u64,
    /// The optimizer has no further points.
    pub exhausted: bool,
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
            shapes: Shapes::default(),
            slots: BTreeMap::new(),
            by_number: BTreeMap::new(),
            free: BTreeSet::new(),
            lacking: BTreeSet::new(),
            gathering: None,
            ready: BTreeSet::new(),
            promoted: 0,
            counts: Counts::default(),
            borrowers: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            epochs: 0,
            exhausted: false,
            best: None,
            numeric_failures: 0,
            first_failure: None,
            course: Course::Searching,
        }
    }

    pub fn trial(&self, number: u32) -> Option<&Trial> {
        self.trials.get(number as usize)
    }

    pub fn trial_mut(&mut self, number: u32) -> Option<&mut Trial> {
        self.trials.get_mut(number as usize)
    }

    pub fn searching(&self) -> bool {
        self.course == Course::Searching
    }
}
