//! How an experiment ends: its trials have ended, its budget is used up, the user cancels, or it cannot go on.

use lethe_flight::message::experiment::{End, TrialState};

use super::run::is_numeric;
use super::state::Course;
use super::trial::Phase;
use super::{Action, Experiment};

/// So many trials that end first, all by failing, end the experiment: the fault is not the hyperparameters'.
const HOPELESS: u32 = 5;

impl Experiment {
    pub(super) fn cancel(&mut self, reason: String, out: &mut Vec<Action>) {
        let why = format!("the experiment was cancelled: {reason}");
        self.drain(End::Cancelled { reason }, &why, out);
    }

    pub(super) fn abort(&mut self, error: String, out: &mut Vec<Action>) {
        let why = format!("the experiment cannot go on: {}", error.lines().next().unwrap_or_default());
        self.drain(End::Aborted { error }, &why, out);
    }

    /// The budget is used up.
    pub(super) fn complete(&mut self, why: &str, out: &mut Vec<Action>) {
        if self.state.searching() {
            let why = format!("the search ends: {why}");
            out.push(Action::Notice { text: why.clone() });
            self.drain(End::Completed, &why, out);
        }
    }

    /// Looks at a reported value and at the epochs spent.
    pub(super) fn look_at_budget(&mut self, value: f64, out: &mut Vec<Action>) {
        let budget = &self.settings.budget;
        if let Some(target) = budget.target
            && !value.is_nan()
            && !self.settings.objective.better(target, value)
        {
            let text =
                format!("{} has reached {value}, its target is {target}", self.settings.objective.metric);
            self.complete(&text, out);
        } else if let Some(epochs) = budget.epochs
            && self.state.epochs >= epochs
        {
            self.complete(&format!("all {epochs} epochs are spent"), out);
        }
    }

    /// Stops what runs, and waits for it, so that the results have the last of it; bounded by a timer.
    fn drain(&mut self, end: End, why: &str, out: &mut Vec<Action>) {
        if !self.state.searching() {
            return;
        }
        self.state.course = Course::Draining(end);
        for (&slot, held) in &self.state.slots {
            if let Some(trial) = held.running {
                let attempt = held.attempt;
                out.push(Action::Stop { slot, trial, attempt, why: why.to_owned() });
            }
        }
        if self.state.counts.running > 0 {
            out.push(Action::StartDrainTimer);
        }
    }

    pub(super) fn drain_expired(&mut self, out: &mut Vec<Action>) {
        if matches!(self.state.course, Course::Draining(_)) {
            self.finish(out);
        }
    }

    pub(super) fn end_if_done(&mut self, out: &mut Vec<Action>) {
        match self.state.course {
            Course::Searching => {
                // Ranks of a gang that has ended are still to say so; their executors see to it that they do.
                let idle = |experiment: &Self| {
                    experiment.state.counts.running == 0
                        && experiment.state.counts.ahead == 0
                        && experiment.state.slots.values().all(|slot| slot.running.is_none())
                };
                // Nothing runs and nothing will begin, but a paused trial may be worth going on.
                if idle(self) && !self.has_more() {
                    while self.state.counts.paused > 0 && idle(self) && self.promote_next(out) {}
                    if idle(self) {
                        self.finish(out);
                    } else {
                        self.fill_slots(out);
                    }
                }
            }
            Course::Draining(_) => {
                // A slot that runs nothing is of no more use.
                self.state.free.clear();
                let by_number = &mut self.state.by_number;
                self.state.slots.retain(|&slot, held| {
                    if held.running.is_none() {
                        by_number.remove(&held.number);
                        out.push(Action::Release { slot });
                    }
                    held.running.is_some()
                });
                if self.state.counts.running == 0 {
                    self.finish(out);
                }
            }
            Course::Over(_) => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        let end = match &self.state.course {
            Course::Draining(end) => end.clone(),
            Course::Searching | Course::Over(_) => End::Completed,
        };
        self.state.course = Course::Over(end.clone());
        self.state.free.clear();
        self.state.by_number.clear();
        for (slot, held) in std::mem::take(&mut self.state.slots) {
            if let Some(trial) = held.running {
                self.interrupt(trial);
            }
            out.push(Action::Release { slot });
        }
        // Those that have not ended keep their place: the experiment can be extended. Here they count as they are.
        let completed = end == End::Completed;
        for number in 0..self.asked() {
            let Some(trial) = self.state.trial(number) else { continue };
            if matches!(trial.phase, Phase::Ended(_)) {
                continue;
            }
            let state = trial.state(Some(completed));
            if state == TrialState::Stopped {
                self.look_at_best(number, out);
            }
            self.state.counts.end(state);
            out.push(Action::TrialEnded { trial: number, state, error: None });
        }
        self.state.counts.paused = 0;
        out.push(Action::Over { end });
    }

    /// Ends the search where nothing but failures has come of it.
    pub(super) fn look_at_failure(&mut self, trial: u32, error: String, out: &mut Vec<Action>) {
        if is_numeric(&error) {
            // A trial that ended so is not one of `HOPELESS` failures: the search goes on.
            self.state.numeric_failures += 1;
            return;
        }
        let (first, error) = self.state.first_failure.get_or_insert((trial, error)).clone();
        let counts = &self.state.counts;
        if counts.failed == HOPELESS && counts.ended() == HOPELESS && self.state.numeric_failures == 0 {
            let line = error.lines().next().unwrap_or_default();
            self.abort(
                format!(
                    "the first {HOPELESS} trials all failed, so the experiment ends; trial {first}: {line}\n{error}"
                ),
                out,
            );
        }
    }
}
