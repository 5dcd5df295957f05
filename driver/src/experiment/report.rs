//! What an experiment shows of itself.

use lethe_flight::message::experiment::{End, Progress, TrialResult, TrialState};
use lethe_flight::message::training::Direction;

use super::state::Course;
use super::trial::{Reported, Trial};
use super::{Experiment, SlotKey};

impl Experiment {
    pub fn progress(&self) -> Progress {
        let counts = &self.state.counts;
        Progress {
            total: self.settings.budget.trials,
            finished: counts.finished,
            stopped: counts.stopped,
            failed: counts.failed,
            paused: counts.paused,
            running: counts.running,
            slots: u32::try_from(self.state.slots.len()).unwrap_or(u32::MAX),
            epochs: self.state.epochs,
            best: self.state.best.map(|(_, value)| value),
            best_trial: self.best(),
        }
    }

    /// The trial with the best value of the first objective among those that finished or were stopped.
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

    /// Whether it is over, and if so whether it completed.
    fn over(&self) -> Option<bool> {
        self.end().map(|end| *end == End::Completed)
    }

    /// All trials that were suggested so far, by number.
    pub fn results(&self) -> Vec<TrialResult> {
        (0..self.asked()).filter_map(|number| self.result(number)).collect()
    }

    /// The same without their histories.
    pub fn summaries(&self) -> Vec<TrialResult> {
        (0..self.asked()).filter_map(|number| self.summary(number)).collect()
    }

    /// None for a trial that the optimizer had no point for.
    pub fn result(&self, number: u32) -> Option<TrialResult> {
        let history = self.state.trial(number)?.history.iter().map(Reported::to_report).collect();
        Some(TrialResult { history, ..self.summary(number)? })
    }

    /// The same without its history.
    pub fn summary(&self, number: u32) -> Option<TrialResult> {
        let objective = &self.settings.objective;
        let trial = self.state.trial(number)?;
        let chosen = trial.chosen(objective);
        let mut values = trial.values(objective).into_iter().map(|value| value.is_finite().then_some(value));
        let state = trial.state(self.over());
        if state == TrialState::Cancelled && trial.suggested.is_empty() && trial.hparams.is_empty() {
            return None;
        }
        Some(TrialResult {
            trial: trial.number,
            state,
            attempts: trial.attempts,
            hparams: trial.hparams.to_map(),
            value: values.next().flatten(),
            further: values.collect(),
            metrics: chosen.map(|report| report.metrics.to_map()).unwrap_or_default(),
            epochs: trial.last_epoch(),
            error: trial.error.clone(),
            why: trial.why(),
            timing: trial.timing,
            slot: trial.slot,
            history: Vec::new(),
        })
    }

    /// None for a number that was not asked for.
    pub fn trial_state(&self, number: u32) -> Option<TrialState> {
        self.state.trial(number).map(|trial| trial.state(self.over()))
    }

    /// Reported of a trial so far.
    pub fn epochs(&self, number: u32) -> u32 {
        self.state.trial(number).map_or(0, Trial::last_epoch)
    }

    /// Of a trial's objectives, as costs: the smaller the better, NaN where it is no number.
    pub fn costs(&self, number: u32) -> Vec<f64> {
        self.state.trial(number).map(|trial| self.costs_of(trial)).unwrap_or_default()
    }

    fn costs_of(&self, trial: &Trial) -> Vec<f64> {
        let objective = &self.settings.objective;
        let directions =
            std::iter::once(objective.direction).chain(objective.further.iter().map(|o| o.direction));
        let cost = |(value, direction): (f64, Direction)| match direction {
            Direction::Min => value,
            Direction::Max => -value,
        };
        trial.values(objective).into_iter().zip(directions).map(cost).collect()
    }

    /// Of several objectives: the trials that finished or were stopped and that no other dominates, that is, is
    /// at least as good in all objectives and better in one. By number; empty with one objective.
    pub fn pareto(&self) -> Vec<u32> {
        if self.settings.objective.further.is_empty() {
            return Vec::new();
        }
        let over = self.over();
        let mut candidates: Vec<(u32, Vec<f64>)> = self
            .state
            .trials
            .iter()
            .filter(|trial| matches!(trial.state(over), TrialState::Finished | TrialState::Stopped))
            .map(|trial| (trial.number, self.costs_of(trial)))
            .filter(|(_, costs)| !costs.is_empty() && costs.iter().all(|cost| !cost.is_nan()))
            .collect();
        // One that dominates another comes before it.
        candidates.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal));
        let mut front: Vec<(u32, Vec<f64>)> = Vec::new();
        for (number, costs) in candidates {
            if !front.iter().any(|(_, other)| dominates(other, &costs)) {
                front.push((number, costs));
            }
        }
        let mut numbers: Vec<u32> = front.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether a report is of the attempt that runs now, and not a repetition, which is as stale as another's.
    pub(super) fn is_news(&self, slot: SlotKey, trial: u32, attempt: u32, epoch: u32) -> bool {
        self.state.trial(trial).is_some_and(|trial| trial.runs(slot, attempt) && epoch > trial.last_epoch())
    }

    /// Whether a report becomes part of its trial: it is news, and the budget of epochs has room for it.
    pub fn counts(&self, slot: SlotKey, trial: u32, attempt: u32, epoch: u32) -> bool {
        let room = |epochs| {
            let trained = self.state.trial(trial).map_or(0, |trial| trial.trains(epoch));
            self.state.epochs.saturating_add(trained.into()) <= epochs
        };
        self.is_news(slot, trial, attempt, epoch) && self.settings.budget.epochs.is_none_or(room)
    }

    /// Whether this is the attempt that runs now on that slot; all others are stale.
    pub fn is_current(&self, slot: SlotKey, trial: u32, attempt: u32) -> bool {
        self.state.trial(trial).is_some_and(|trial| trial.runs(slot, attempt))
    }

    /// Whether the slot is at work on this attempt, as whichever rank.
    pub fn holds(&self, slot: SlotKey, trial: u32, attempt: u32) -> bool {
        self.state.slots.get(&slot).is_some_and(|held| held.running == Some(trial) && held.attempt == attempt)
    }

    /// Whether this attempt runs now, on any slot.
    pub fn is_running(&self, trial: u32, attempt: u32) -> bool {
        self.state.trial(trial).is_some_and(|trial| trial.is_running(attempt))
    }
}

fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}
