//! An experiment goes on in another process, or with another budget.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::experiment::{End, TrialState};

use super::state::{Counts, Course};
use super::trial::{Class, Phase, Told, Trial};
use super::{Action, Experiment, Settings};
use crate::stopping::{Decision, StoppingRule, Verdict};

impl Experiment {
    /// Goes on after a replay of the journal: no slot is there, programs and initial weights are gone, finished
    /// trials are kept. Trials that ran go on from their checkpoints, which costs them no retry. `stopping` is
    /// there if the rule is another one now: it is told what has been reported. Else the rule learns how many trials
    /// there will be.
    pub fn restart(&mut self, settings: Settings, stopping: Option<Box<dyn StoppingRule>>) -> Vec<Action> {
        let mut actions = Vec::new();
        let out = &mut actions;
        self.settings = settings;
        self.state.course = Course::Searching;
        self.state.exhausted = false;
        self.state.slots.clear();
        self.state.by_number.clear();
        self.state.free.clear();
        self.state.gathering = None;
        self.state.lacking.clear();
        self.state.ready.clear();
        self.state.promoted = 0;
        self.state.counts = Counts::default();
        let borrowers = std::mem::take(&mut self.state.borrowers);
        let waiting: BTreeSet<u32> = borrowers.values().flatten().copied().collect();
        let verdicts = match stopping {
            Some(stopping) => self.replace_rule(stopping, &waiting),
            None => BTreeMap::new(),
        };
        self.stopping.expects(self.settings.budget.trials);
        for number in 0..self.asked() {
            let Some(trial) = self.state.trial_mut(number) else { continue };
            trial.program = None;
            trial.others.clear();
            let early = trial.promoted_early.take();
            match trial.phase {
                Phase::Ended(state) => self.state.counts.end(state),
                Phase::Paused => {
                    self.state.counts.paused += 1;
                    self.obey(number, verdicts.get(&number), out);
                }
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

    /// Tells the rule all that was reported: of paused trials last, so that they are judged beside all others.
    /// What it says of each paused trial now, but of those that `wait` for a donor, which have been promoted.
    fn replace_rule(
        &mut self,
        mut rule: Box<dyn StoppingRule>,
        wait: &BTreeSet<u32>,
    ) -> BTreeMap<u32, Decision> {
        let objective = &self.settings.objective;
        rule.expects(self.settings.budget.trials);
        let suggested = |trial: &&mut Trial| !matches!(trial.phase, Phase::Suggesting | Phase::Checking);
        for trial in self.state.trials.iter_mut().filter(suggested) {
            let hparams = trial.hparams.to_map();
            trial.epochs = self.settings.epochs(&hparams);
            trial.rungs = rule.rungs(trial.number, trial.epochs);
            rule.began(trial.number, &hparams);
        }
        let mut verdicts = BTreeMap::new();
        for paused in [false, true] {
            let of_this_round = |trial: &&mut Trial| (trial.phase == Phase::Paused) == paused;
            for trial in self.state.trials.iter_mut().filter(suggested).filter(of_this_round) {
                let mut last = Decision::go_on();
                for report in &trial.history {
                    last = match trial.rungs.contains(report.epoch) {
                        true => rule.decide(trial.number, report.epoch, report.value(objective)),
                        false => Decision::go_on(),
                    };
                }
                match trial.phase {
                    Phase::Ended(state) => {
                        trial.settle();
                        if state == TrialState::Failed {
                            rule.failed(trial.number);
                        }
                        rule.ended(trial.number);
                    }
                    Phase::Paused if wait.contains(&trial.number) => rule.again(trial.number),
                    Phase::Paused => _ = verdicts.insert(trial.number, last),
                    _ => {}
                }
            }
        }
        self.stopping = rule;
        verdicts
    }

    /// A paused trial does what the new rule says of its last report. Where that lets it go on, the rule takes it
    /// for running, and would never promote it.
    fn obey(&mut self, number: u32, decision: Option<&Decision>, out: &mut Vec<Action>) {
        match decision.map(|decision| decision.verdict) {
            None | Some(Verdict::Pause) => {}
            Some(Verdict::Stop) => {
                if let Some(trial) = self.state.trial_mut(number) {
                    trial.halted = decision.and_then(|decision| decision.why.clone());
                }
                self.end_trial(number, TrialState::Stopped, None, out);
            }
            Some(Verdict::GoOn) => {
                out.push(Action::Promoted { trial: number, why: "the rule is another one now".into() });
                self.go_on(number, None, out);
            }
        }
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
