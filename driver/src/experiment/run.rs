//! An attempt: handed out, reported, decided, ended.

use lethe_flight::message::experiment::TrialState;
use lethe_flight::message::training::{Metrics, Outcome, Rank, Timing, TrialSpec, Verdict};

use super::row::Row;
use super::state::Course;
use super::trial::{Class, Phase, Reported, Told};
use super::{Action, Experiment, SlotKey};
use crate::stopping::Decision;

impl Experiment {
    /// Begins the next attempt, from the trial's checkpoint where it has one. What was reported after that no
    /// longer counts. One slot for each rank, that of rank 0 first.
    pub(super) fn assign(&mut self, keys: &[SlotKey], number: u32, out: &mut Vec<Action>) {
        let best_so_far = self.state.best.map(|(_, value)| value);
        let Some((&key, others)) = keys.split_first() else { return };
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        trial.attempts += 1;
        for key in keys {
            if let Some(slot) = self.state.slots.get_mut(key) {
                slot.running = Some(number);
                slot.attempt = trial.attempts;
            }
        }
        trial.phase = Phase::Running { slot: key, told: Told::Nothing };
        trial.others = others.to_vec();
        match trial.checkpoint {
            Some(checkpoint) => trial.history.retain(|report| report.epoch <= checkpoint.epoch),
            None => trial.history.clear(),
        }
        trial.slot = self.state.slots.get(&key).map(|slot| slot.number);
        if trial.class == Class::Promoted {
            self.state.promoted -= 1;
        }
        self.state.counts.ahead -= 1;
        self.state.counts.running += 1;
        let spec = TrialSpec {
            experiment: self.settings.experiment.clone(),
            trial: number,
            attempt: trial.attempts,
            seed: trial.seed,
            hparams: trial.hparams.to_map(),
            function: self.settings.function.clone(),
            program: trial.program.clone(),
            data: self.settings.data(number),
            objective: self.settings.objective.clone(),
            rungs: trial.rungs.at.clone(),
            decide_every: trial.rungs.every,
            checkpoint: trial.checkpoint,
            checkpoint_every_s: self.settings.checkpoint_every_s,
            gang: None,
            best_so_far,
        };
        let world = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        if world == 1 {
            out.push(Action::Assign { slot: key, spec: Box::new(spec) });
        } else {
            for (&slot, rank) in keys.iter().zip(0..) {
                let gang = Some(Rank { rank, world });
                out.push(Action::Assign { slot, spec: Box::new(TrialSpec { gang, ..spec.clone() }) });
            }
        }
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
        if !self.is_news(slot, number, attempt, epoch) {
            return;
        }
        if !self.counts(slot, number, attempt, epoch) {
            return self.beyond_budget(slot, number, attempt, epoch, out);
        }
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        let trained = u64::from(trial.trains(epoch));
        let metrics = Row::new(self.state.shapes.of(metrics.keys()), metrics.into_values());
        let report = Reported { epoch, metrics };
        let value = report.value(&self.settings.objective);
        trial.history.push(report);
        self.state.epochs += trained;
        self.look_at_budget(value, out);
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if !trial.rungs.contains(epoch) {
            return;
        }
        let Decision { mut verdict, mut why } = if self.state.course == Course::Searching {
            self.stopping.decide(number, epoch, value)
        } else {
            Decision { verdict: Verdict::Stop, why: None }
        };
        if self.state.course == Course::Searching && epoch >= trial.epochs && verdict != Verdict::GoOn {
            // It has done all that it was to do.
            (verdict, why) = (Verdict::GoOn, None);
        }
        if self.state.course == Course::Searching {
            let told = match verdict {
                Verdict::GoOn => Told::Nothing,
                Verdict::Stop => Told::Stop,
                Verdict::Pause => Told::Pause,
            };
            trial.phase = Phase::Running { slot, told };
            trial.halted.clone_from(&why);
        }
        out.push(Action::Decide { slot, trial: number, attempt, verdict, why });
    }

    /// The budget had no room for what was trained: on several slots epochs are under way when the last is spent.
    fn beyond_budget(&mut self, slot: SlotKey, number: u32, attempt: u32, epoch: u32, out: &mut Vec<Action>) {
        let epochs = self.settings.budget.epochs.unwrap_or_default();
        self.complete(&format!("all {epochs} epochs are spent"), out);
        if self.state.trial(number).is_some_and(|trial| trial.rungs.contains(epoch)) {
            out.push(Action::Decide { slot, trial: number, attempt, verdict: Verdict::Stop, why: None });
        }
    }

    pub(super) fn trial_time_up(&mut self, number: u32, attempt: u32, out: &mut Vec<Action>) {
        let limit = self.settings.budget.trial_seconds.unwrap_or_default();
        let Some(trial) = self.state.trial_mut(number) else { return };
        if let Phase::Running { slot, .. } = trial.phase
            && trial.attempts == attempt
        {
            trial.phase = Phase::Running { slot, told: Told::Stop };
            let why = format!("it had its {limit} s");
            trial.halted = Some(why.clone());
            for &slot in std::iter::once(&slot).chain(&trial.others) {
                out.push(Action::Stop { slot, trial: number, attempt, why: why.clone() });
            }
        }
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
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if !trial.runs(key, attempt) {
            return self.rank_ended(key, number, attempt, outcome, out);
        }
        trial.spend(timing);
        let told = trial.told();
        let saved = trial_has_saved(trial);
        self.free(key);
        self.dismiss(number, out);
        match outcome {
            Outcome::Finished => self.end_trial(number, TrialState::Finished, None, out),
            Outcome::Paused if told == Told::Stop => self.end_trial(number, TrialState::Stopped, None, out),
            Outcome::Paused if told == Told::Pause && saved => self.paused(number, out),
            Outcome::Paused => self.lose(number, "it paused unasked or without a checkpoint", out),
            // A function that cannot save itself takes a pause as its end.
            Outcome::Stopped if told != Told::Nothing || self.state.searching() => {
                self.end_trial(number, TrialState::Stopped, None, out);
            }
            Outcome::Stopped => self.interrupt(number),
            Outcome::Failed { error } => self.fail(number, error, out),
            // What it was told is done all the same.
            Outcome::Lost { .. } if told == Told::Stop => {
                self.end_trial(number, TrialState::Stopped, None, out);
            }
            Outcome::Lost { error } => self.lose(number, &error, out),
        }
    }

    /// An exception of the user's code: the trial's own result, unless it is to be tried again.
    pub(super) fn fail(&mut self, number: u32, error: String, out: &mut Vec<Action>) {
        let retries = self.settings.retries.exceptions;
        let searching = self.state.searching();
        let Some(trial) = self.state.trial_mut(number) else { return };
        trial.exceptions += 1;
        if searching && trial.exceptions <= retries && !is_numeric(&error) {
            let line = error.lines().next().unwrap_or_default();
            let text = format!(
                "trial {number} is run again (exception {} of {retries} allowed): {line}",
                trial.exceptions
            );
            self.run_again(number, text, out);
        } else {
            self.end_trial(number, TrialState::Failed, Some(error), out);
        }
    }

    /// The attempt is lost by no fault of the trial: it goes on from its last checkpoint, within the limit.
    pub(super) fn lose(&mut self, number: u32, reason: &str, out: &mut Vec<Action>) {
        let retries = self.settings.retries.infrastructure;
        if !self.state.searching() {
            return self.interrupt(number);
        }
        let Some(trial) = self.state.trial_mut(number) else { return };
        trial.losses += 1;
        if trial.losses > retries {
            let error =
                format!("trial {number} was lost {} times, the limit; the last time: {reason}", trial.losses);
            self.end_trial(number, TrialState::Failed, Some(error), out);
        } else {
            self.repeat(number, reason, out);
        }
    }

    /// The attempt is broken off: the trial goes on from its last checkpoint.
    pub(super) fn repeat(&mut self, number: u32, reason: &str, out: &mut Vec<Action>) {
        if !self.state.searching() {
            return self.interrupt(number);
        }
        let Some(trial) = self.state.trial(number) else { return };
        let from = trial.checkpoint.map_or(String::new(), |c| format!(" from epoch {}", c.epoch));
        let text = format!("trial {number} is run again{from} (attempt {}): {reason}", trial.attempts + 1);
        self.run_again(number, text, out);
    }

    fn run_again(&mut self, number: u32, text: String, out: &mut Vec<Action>) {
        self.state.counts.running -= 1;
        self.state.counts.ahead += 1;
        out.push(Action::Notice { text });
        self.stopping.again(number);
        // Its own checkpoint, which is lost, was not what it would have gone on from.
        let early = self.state.trial_mut(number).and_then(|trial| trial.promoted_early.take());
        if let Some(donor) = early.flatten() {
            self.borrow_from(number, donor, out);
        }
        self.make_ready(number, Class::Again, out);
        self.lend(number, out);
    }

    /// The attempt was broken off because the experiment ends. The trial could go on if that is resumed.
    pub(super) fn interrupt(&mut self, number: u32) {
        let Some(trial) = self.state.trial_mut(number) else { return };
        if matches!(trial.phase, Phase::Running { .. }) {
            trial.phase = Phase::Ready;
            trial.class = Class::Again;
            trial.promoted_early = None;
            self.state.counts.running -= 1;
            self.state.counts.ahead += 1;
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
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        match trial.phase {
            Phase::Ended(_) => return,
            Phase::Running { .. } => self.state.counts.running -= 1,
            Phase::Paused => self.state.counts.paused -= 1,
            Phase::Suggesting | Phase::Checking | Phase::Preparing | Phase::Ready => {
                self.state.counts.ahead -= 1;
                if trial.class == Class::Promoted {
                    self.state.promoted -= 1;
                }
            }
        }
        self.state.ready.remove(&(trial.class, number));
        trial.phase = Phase::Ended(state);
        trial.error.clone_from(&error);
        trial.settle();
        self.state.counts.end(state);
        if state == TrialState::Failed {
            self.stopping.failed(number);
        }
        self.stopping.ended(number);
        if matches!(state, TrialState::Finished | TrialState::Stopped) {
            self.look_at_best(number, out);
        }
        out.push(Action::TrialEnded { trial: number, state, error: error.clone() });
        self.lend(number, out);
        self.begin_from(number, None, out);
        if let (TrialState::Failed, Some(error)) = (state, error) {
            self.look_at_failure(number, error, out);
        }
    }

    /// Compares a trial that has ended with the best so far.
    pub(super) fn look_at_best(&mut self, number: u32, out: &mut Vec<Action>) {
        let objective = &self.settings.objective;
        let value = self.state.trial(number).and_then(|trial| trial.value(objective));
        let Some(value) = value.filter(|value| !value.is_nan()) else { return };
        let better = self.state.best.is_none_or(|(best, best_value)| {
            objective.better(value, best_value) || (value == best_value && number < best)
        });
        if better {
            let superseded = self.state.best.replace((number, value)).map(|(best, _)| best);
            out.push(Action::NewBest { trial: number, superseded });
        }
    }
}

fn trial_has_saved(trial: &super::trial::Trial) -> bool {
    trial.checkpoint.is_some_and(|c| (c.trial, c.attempt) == (trial.number, trial.attempts))
}

/// A loss that is no number is an ordinary result of bad hyperparameters.
pub(super) fn is_numeric(error: &str) -> bool {
    error.starts_with("the loss is NaN") || error.starts_with("the loss is not finite")
}
