//! A trial's way until a slot can take it: suggested, checked, prepared.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::TrialState;
use lethe_flight::message::training::ProgramRef;

use super::row::Row;
use super::trial::{Class, Phase, Trial};
use super::{Action, Ahead, Experiment};

impl Experiment {
    /// Asks for as many trials as will be needed soon.
    pub(super) fn suggest_ahead(&mut self, out: &mut Vec<Action>) {
        let present = u32::try_from(self.state.slots.len()).unwrap_or(u32::MAX);
        // Trials that run at once.
        let slots = (self.settings.slots.max(present) / self.settings.workers.least.max(1)).max(1);
        while self.has_more() {
            let counts = &self.state.counts;
            let enough = match self.settings.ahead {
                Ahead::Spare(spare) => counts.ahead >= slots.saturating_add(spare),
                Ahead::Late(early) => {
                    counts.ahead.saturating_add(counts.running) >= slots.saturating_add(early)
                }
            };
            if enough {
                return;
            }
            let number = self.asked();
            self.state.trials.push(Trial::new(number, self.settings.seed_of(number)));
            self.state.counts.ahead += 1;
            out.push(Action::Suggest { trial: number, draw: 0 });
        }
    }

    pub(super) fn suggested(&mut self, number: u32, hparams: Hparams, why: String, out: &mut Vec<Action>) {
        let checked = self.settings.checked;
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if trial.phase != Phase::Suggesting {
            return;
        }
        trial.suggested = why;
        trial.hparams = Row::new(self.state.shapes.of(hparams.keys()), hparams.values().cloned());
        if !checked {
            return self.admit(number, &hparams, out);
        }
        trial.phase = Phase::Checking;
        if self.state.searching() {
            out.push(Action::Check { trial: number, hparams });
        }
    }

    pub(super) fn checked(&mut self, number: u32, refused: Option<String>, out: &mut Vec<Action>) {
        let Some(trial) = self.state.trial(number).filter(|trial| trial.phase == Phase::Checking) else {
            return;
        };
        match refused {
            Some(by) => self.refused(number, &by, Phase::Checking, out),
            None => {
                let hparams = trial.hparams.to_map();
                self.admit(number, &hparams, out);
            }
        }
    }

    /// The suggestion does not stand: another one is asked for. `phase` is that of a trial whose suggestion this
    /// can be.
    pub(super) fn refused(&mut self, number: u32, by: &str, phase: Phase, out: &mut Vec<Action>) {
        let (searching, most) = (self.state.searching(), self.settings.draws);
        let Some(trial) = self.state.trial_mut(number).filter(|trial| trial.phase == phase) else { return };
        trial.suggested.clear();
        trial.hparams = Row::default();
        trial.draws += 1;
        trial.phase = Phase::Suggesting;
        let draw = trial.draws;
        if draw >= most {
            self.abort(
                format!(
                    "{most} suggestions for trial {number} were refused, the last by: {by}; widen the space or relax the constraint"
                ),
                out,
            );
        } else if searching {
            out.push(Action::Suggest { trial: number, draw });
        }
    }

    /// The suggestion stands.
    fn admit(&mut self, number: u32, hparams: &Hparams, out: &mut Vec<Action>) {
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        trial.epochs = self.settings.epochs(hparams);
        trial.rungs = self.stopping.rungs(number, trial.epochs);
        self.stopping.began(number, hparams);
        self.make_ready(number, Class::New, out);
    }

    /// The trial waits for a slot, once its program is there.
    pub(super) fn make_ready(&mut self, number: u32, class: Class, out: &mut Vec<Action>) {
        let needs_model = self.settings.function.needs_model();
        let searching = self.state.searching();
        let Some(trial) = self.state.trial_mut(number) else { return };
        trial.class = class;
        if needs_model && trial.program.is_none() {
            trial.phase = Phase::Preparing;
            if searching {
                let (seed, hparams) = (trial.seed, trial.hparams.to_map());
                out.push(Action::Prepare { trial: number, seed, hparams });
            }
        } else {
            trial.phase = Phase::Ready;
            self.state.ready.insert((class, number));
        }
    }

    pub(super) fn prepared(&mut self, number: u32, program: ProgramRef) {
        let Some(trial) = self.state.trial_mut(number) else { return };
        if trial.phase == Phase::Preparing {
            trial.program = Some(program);
            trial.phase = Phase::Ready;
            let class = trial.class;
            self.state.ready.insert((class, number));
        }
    }

    pub(super) fn preparation_failed(&mut self, number: u32, error: String, out: &mut Vec<Action>) {
        if self.state.trial(number).is_some_and(|trial| trial.phase == Phase::Preparing) {
            self.end_trial(number, TrialState::Failed, Some(error), out);
        }
    }

    /// The optimizer has no point for this trial: it never was one. Trials asked for after it end likewise.
    pub(super) fn exhausted(&mut self, number: u32, out: &mut Vec<Action>) {
        if self.state.trial(number).is_some_and(|trial| trial.phase == Phase::Suggesting) {
            if !self.state.exhausted {
                self.state.exhausted = true;
                // No further ones are asked for. Of those that were, some may end as this one; the rule hears of it.
                self.stopping.expects(Some(self.asked()));
                out.push(Action::Notice {
                    text: format!("the search has no further points after {number} trials"),
                });
            }
            self.end_trial(number, TrialState::Cancelled, None, out);
        }
    }
}
