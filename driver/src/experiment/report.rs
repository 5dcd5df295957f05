//! What an experiment shows of itself.

use lethe_flight::message::experiment::{End, Progress, TrialResult};

use super::state::Course;
use super::{Experiment, SlotKey};

impl Experiment {
    pub fn progress(&self) -> Progress {
        let counts = &self.state.counts;
        Progress {
            total: self.settings.trials,
            finished: counts.finished,
            stopped: counts.stopped,
            failed: counts.failed,
            running: counts.running,
            slots: u32::try_from(self.state.slots.len()).unwrap_or(u32::MAX),
            best: self.state.best.map(|(_, value)| value),
            best_trial: self.best(),
        }
    }

    /// The trial with the best value among those that finished or were stopped.
    pub fn best(&self) -> Option<u32> {
        self.state.best.map(|(trial, _)| trial)
    }

    /// None while it runs.
    pub fn end(&self) -> Option<&End> {
        match &self.state.course {
            Course::Over(end) => Some(end),
            Course::Searching | Course::Draining(_) => None,
        }
    }

    /// All trials asked for so far, by number.
    pub fn results(&self) -> Vec<TrialResult> {
        self.state.trials.iter().map(|trial| trial.result(&self.settings.objective)).collect()
    }

    /// Whether this is the attempt that runs now on that slot; all others are stale.
    pub fn is_current(&self, slot: SlotKey, trial: u32, attempt: u32) -> bool {
        self.state.trials.get(trial as usize).is_some_and(|trial| trial.runs(slot, attempt))
    }
}
