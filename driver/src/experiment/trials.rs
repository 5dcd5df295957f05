//! A trial's way: suggested, prepared, handed out, reported, ended.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Report, TrialState};
use lethe_flight::message::training::{Metrics, Outcome, ProgramRef, Timing, TrialSpec};

use super::state::{Course, Phase, Trial, value_of};
use super::{Action, Experiment, SlotKey, trial_seed};
use crate::stopping::Verdict;

impl Experiment {
    pub(super) fn suggest(&mut self, out: &mut Vec<Action>) {
        let number = self.asked();
        self.state.trials.push(Trial::new(number, trial_seed(self.settings.seed, number)));
        self.state.counts.ahead += 1;
        out.push(Action::Suggest { trial: number });
    }

    pub(super) fn suggested(&mut self, number: u32, hparams: Hparams, out: &mut Vec<Action>) {
        let rungs = self.stopping.rungs(self.settings.epochs(&hparams));
        let needs_model = self.settings.function.needs_model();
        let Some(trial) = self.state.trial_mut(number) else { return };
        if trial.phase != Phase::Suggesting {
            return;
        }
        trial.rungs = rungs;
        trial.hparams = hparams;
        if needs_model {
            trial.phase = Phase::Preparing;
            let (seed, hparams) = (trial.seed, trial.hparams.clone());
            if self.state.course == Course::Searching {
                out.push(Action::Prepare { trial: number, seed, hparams });
            }
        } else {
            trial.phase = Phase::Ready;
            self.state.ready.insert((true, number));
        }
    }

    pub(super) fn prepared(&mut self, number: u32, program: ProgramRef) {
        let Some(trial) = self.state.trial_mut(number) else { return };
        if trial.phase == Phase::Preparing {
            trial.program = Some(program);
            trial.phase = Phase::Ready;
            self.state.ready.insert((true, number));
        }
    }

    pub(super) fn preparation_failed(&mut self, number: u32, error: String, out: &mut Vec<Action>) {
        if self.state.trials.get(number as usize).is_some_and(|trial| trial.phase == Phase::Preparing) {
            self.end_trial(number, TrialState::Failed, Some(error), out);
        }
    }

    /// Begins the next attempt. Its history starts anew: the attempt trains from the beginning.
    pub(super) fn assign(&mut self, key: SlotKey, number: u32, out: &mut Vec<Action>) {
        let best_so_far = self.state.best.map(|(_, value)| value);
        let Some(slot) = self.state.slots.get_mut(&key) else { return };
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        slot.running = Some(number);
        trial.attempts += 1;
        trial.phase = Phase::Running { slot: key, told_to_stop: false };
        trial.history.clear();
        trial.slot = Some(slot.number);
        self.state.counts.ahead -= 1;
        self.state.counts.running += 1;
        let spec = TrialSpec {
            experiment: self.settings.experiment.clone(),
            trial: number,
            attempt: trial.attempts,
            seed: trial.seed,
            hparams: trial.hparams.clone(),
            function: self.settings.function.clone(),
            program: trial.program.clone(),
            data: self.settings.data.clone(),
            objective: self.settings.objective.clone(),
            rungs: trial.rungs.clone(),
            best_so_far,
        };
        out.push(Action::Assign { slot: key, spec: Box::new(spec) });
    }

    pub(super) fn report(
        &mut self,
        slot: SlotKey,
        number: u32,
        attempt: u32,
        epoch: u32,
        metrics: Metrics,
        out: &mut Vec<Action>,
    ) {
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        let report = Report { epoch, metrics };
        let value = value_of(&report, &self.settings.objective);
        if !trial.runs(slot, attempt) || !trial.add(report) || !trial.rungs.contains(&epoch) {
            return;
        }
        let searching = self.state.course == Course::Searching;
        let stop = !searching || self.stopping.decide(number, epoch, value) == Verdict::Stop;
        if stop && searching {
            trial.phase = Phase::Running { slot, told_to_stop: true };
        }
        out.push(Action::Decide { slot, trial: number, attempt, stop });
    }

    pub(super) fn attempt_ended(
        &mut self,
        key: SlotKey,
        number: u32,
        attempt: u32,
        outcome: Outcome,
        timing: Timing,
        out: &mut Vec<Action>,
    ) {
        let searching = self.state.course == Course::Searching;
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if !trial.runs(key, attempt) {
            return;
        }
        trial.timing = timing;
        let by_rule = matches!(trial.phase, Phase::Running { told_to_stop: true, .. });
        self.free(key);
        match outcome {
            Outcome::Finished => self.end_trial(number, TrialState::Finished, None, out),
            Outcome::Stopped if searching || by_rule => {
                self.end_trial(number, TrialState::Stopped, None, out)
            }
            Outcome::Stopped => self.end_trial(number, TrialState::Cancelled, None, out),
            Outcome::Failed { error } => self.end_trial(number, TrialState::Failed, Some(error), out),
            Outcome::Lost { error } => self.lose(number, &error, out),
        }
    }

    /// The attempt is lost by no fault of the trial: it is run again, within the limit.
    pub(super) fn lose(&mut self, number: u32, reason: &str, out: &mut Vec<Action>) {
        let retries = self.settings.retries;
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if self.state.course != Course::Searching {
            self.end_trial(number, TrialState::Cancelled, None, out);
        } else if trial.attempts > retries {
            let error = format!(
                "trial {number} was lost {} times, the limit; the last time: {reason}",
                trial.attempts
            );
            self.end_trial(number, TrialState::Failed, Some(error), out);
        } else {
            let text = format!("trial {number} is run again (attempt {}): {reason}", trial.attempts + 1);
            trial.phase = Phase::Ready;
            self.state.counts.running -= 1;
            self.state.counts.ahead += 1;
            self.state.ready.insert((false, number));
            out.push(Action::Notice { text });
        }
    }

    /// Ends a trial that has not ended. The only place where one does.
    pub(super) fn end_trial(
        &mut self,
        number: u32,
        state: TrialState,
        error: Option<String>,
        out: &mut Vec<Action>,
    ) {
        let objective = &self.settings.objective;
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        match trial.phase {
            Phase::Ended(_) => return,
            Phase::Running { .. } => self.state.counts.running -= 1,
            Phase::Suggesting | Phase::Preparing | Phase::Ready => self.state.counts.ahead -= 1,
        }
        self.state.ready.remove(&(false, number));
        self.state.ready.remove(&(true, number));
        trial.phase = Phase::Ended(state);
        trial.error.clone_from(&error);
        self.state.counts.end(state);
        let value = trial.value(objective).filter(|value| !value.is_nan());
        if let (TrialState::Finished | TrialState::Stopped, Some(value)) = (state, value) {
            let better = self.state.best.is_none_or(|(best, best_value)| {
                objective.better(value, best_value) || (value == best_value && number < best)
            });
            if better {
                let superseded = self.state.best.replace((number, value)).map(|(best, _)| best);
                out.push(Action::NewBest { trial: number, superseded });
            }
        }
        out.push(Action::TrialEnded { trial: number, state, error: error.clone() });
        if let (TrialState::Failed, Some(error)) = (state, error) {
            self.look_at_failure(number, error, out);
        }
    }
}
