//! An experiment goes on in another process, or with another budget.

use std::collections::BTreeSet;

use lethe_flight::message::experiment::{End, TrialState};

use super::state::{Counts, Course};
use super::trial::{Class, Phase, Told};
use super::{Action, Experiment, Settings};
use crate::stopping::StoppingRule;

impl Experiment {
    /// Goes on after a replay of the journal: no slot is there, programs and initial weights are gone, finished
    /// trials are kept. Trials that ran go on from their checkpoints, which costs them no retry. `stopping` is
    /// there if the rule is another one now: it is told what has been reported.
    pub fn restart(&mut self, settings: Settings, stopping: Option<Box<dyn StoppingRule>>) -> Vec<Action> {
        let mut actions = Vec::new();
        let out = &mut actions;
        self.settings = settings;
        self.state.course = Course::Searching;
        self.state.exhausted = false;
        self.state.slots.clear();
        self.state.by_number.clear();
        self.state.free.clear();
        self.state.ready.clear();
        self.state.promoted = 0;
        self.state.counts = Counts::default();
        if let Some(stopping) = stopping {
            self.replace_rule(stopping);
        }
        let borrowers = std::mem::take(&mut self.state.borrowers);
        for number in 0..self.asked() {
            let Some(trial) = self.state.trial_mut(number) else { continue };
            trial.program = None;
            let early = trial.promoted_early.take();
            match trial.phase {
                Phase::Ended(state) => self.state.counts.end(state),
                Phase::Paused => self.state.counts.paused += 1,
                // What it was told is done all the same.
                Phase::Running { told: Told::Stop, .. } => {
                    self.state.counts.running += 1;
                    self.end_trial(number, TrialState::Stopped, None, out);
                }
                Phase::Suggesting => {
                    self.state.counts.ahead += 1;
                    let draw = self.state.trial(number).map_or(0, |trial| trial.draws);
                    out.push(Action::Suggest { trial: number, draw });
                }
                Phase::Checking => {
                    self.state.counts.ahead += 1;
                    let hparams =
                        self.state.trial(number).map(|trial| trial.hparams.to_map()).unwrap_or_default();
                    out.push(Action::Check { trial: number, hparams });
                }
                Phase::Preparing | Phase::Ready | Phase::Running { .. } => {
                    let begun = trial.attempts > 0;
                    self.state.counts.ahead += 1;
                    if begun {
                        self.stopping.again(number);
                    }
                    if let Some(donor) = early.flatten() {
                        self.borrow_from(number, donor, out);
                    }
                    self.make_ready(number, if begun { Class::Again } else { Class::New }, out);
                }
            }
        }
        self.find_best();
        for (donor, borrowers) in borrowers {
            borrowers.into_iter().for_each(|number| self.go_on(number, Some(donor), out));
        }
        self.look_at_budget(self.best_reported(), out);
        self.schedule(out);
        actions
    }

    /// The best of the trials that have ended for good: those that go on are no longer counted.
    fn find_best(&mut self) {
        self.state.best = None;
        for number in 0..self.asked() {
            let ended = self.state.trial(number).is_some_and(|trial| {
                matches!(trial.phase, Phase::Ended(TrialState::Finished | TrialState::Stopped))
            });
            if ended {
                self.look_at_best(number, &mut Vec::new());
            }
        }
    }

    /// Of all trials, ended or not; NaN without.
    fn best_reported(&self) -> f64 {
        let objective = &self.settings.objective;
        let reports = self.state.trials.iter().flat_map(|trial| &trial.history);
        reports
            .map(|report| report.value(objective))
            .fold(f64::NAN, |best, value| if objective.better(value, best) { value } else { best })
    }

    fn replace_rule(&mut self, mut rule: Box<dyn StoppingRule>) {
        let objective = &self.settings.objective;
        for trial in &mut self.state.trials {
            if matches!(trial.phase, Phase::Suggesting | Phase::Checking) {
                continue;
            }
            let hparams = trial.hparams.to_map();
            trial.epochs = self.settings.epochs(&hparams);
            trial.rungs = rule.rungs(trial.number, trial.epochs);
            rule.began(trial.number, &hparams);
            for report in trial.history.iter().filter(|report| trial.rungs.contains(report.epoch)) {
                _ = rule.decide(trial.number, report.epoch, report.value(objective));
            }
            if matches!(trial.phase, Phase::Ended(_)) {
                rule.ended(trial.number);
            }
        }
        self.stopping = rule;
    }

    /// Trials whose attempts begin from these checkpoints, after a replay: all others can go.
    pub fn checkpoints(&self) -> BTreeSet<lethe_flight::message::training::CheckpointRef> {
        self.state.checkpoints.keys().copied().collect()
    }

    /// Whether the experiment had ended by itself when its journal did.
    pub fn has_completed(&self) -> bool {
        self.state.course == Course::Over(End::Completed)
    }
}
