//! How an experiment ends: all trials have, the user cancels, or it cannot go on.

use lethe_flight::message::experiment::{End, TrialState};

use super::state::{Course, Phase};
use super::{Action, Experiment};

/// So many trials that end first, all by failing, end the experiment: the fault is not the hyperparameters'.
const HOPELESS: u32 = 5;

impl Experiment {
    pub(super) fn cancel(&mut self, reason: String, out: &mut Vec<Action>) {
        self.drain(End::Cancelled { reason }, out);
    }

    pub(super) fn abort(&mut self, error: String, out: &mut Vec<Action>) {
        self.drain(End::Aborted { error }, out);
    }

    /// Stops what runs, and waits for it, so that the results have the last of it; bounded by a timer.
    fn drain(&mut self, end: End, out: &mut Vec<Action>) {
        if self.state.course != Course::Searching {
            return;
        }
        self.state.course = Course::Draining(end);
        for (&slot, held) in &self.state.slots {
            if let Some(trial) = held.running {
                let attempt = self.state.trials.get(trial as usize).map_or(0, |trial| trial.attempts);
                out.push(Action::Stop { slot, trial, attempt });
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
            Course::Searching if self.state.counts.ended() == self.settings.trials => self.finish(out),
            Course::Draining(_) => {
                // A slot that runs nothing is of no more use.
                self.state.free.clear();
                self.state.slots.retain(|&slot, held| {
                    if held.running.is_none() {
                        out.push(Action::Release { slot });
                    }
                    held.running.is_some()
                });
                if self.state.counts.running == 0 {
                    self.finish(out);
                }
            }
            Course::Searching | Course::Over(_) => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        let end = match &self.state.course {
            Course::Draining(end) => end.clone(),
            Course::Searching | Course::Over(_) => End::Completed,
        };
        self.state.course = Course::Over(end.clone());
        self.state.free.clear();
        for (slot, _) in std::mem::take(&mut self.state.slots) {
            out.push(Action::Release { slot });
        }
        for number in 0..self.asked() {
            if !matches!(self.state.trials[number as usize].phase, Phase::Ended(_)) {
                self.end_trial(number, TrialState::Cancelled, None, out);
            }
        }
        out.push(Action::Over { end });
    }

    /// Ends the search where nothing but failures has come of it. A loss that is no number is an ordinary
    /// result of bad hyperparameters and does not count.
    pub(super) fn look_at_failure(&mut self, trial: u32, error: String, out: &mut Vec<Action>) {
        if error.starts_with("the loss is NaN") || error.starts_with("the loss is not finite") {
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
