//! Trials pause and are promoted; checkpoints are kept as long as an attempt could begin from them.

use lethe_flight::message::training::{CheckpointRef, Select};

use super::event::SlotKey;
use super::row::Row;
use super::trial::{Class, Phase, Told, Trial};
use super::{Action, Experiment};
use crate::stopping::Promotion;

impl Experiment {
    pub(super) fn checkpointed(
        &mut self,
        slot: SlotKey,
        number: u32,
        attempt: u32,
        epoch: u32,
        out: &mut Vec<Action>,
    ) {
        let checkpoint = CheckpointRef { trial: number, attempt, epoch };
        // Of one attempt a later one is there where it comes late.
        let wanted = |trial: &Trial| {
            let newer = trial
                .checkpoint
                .is_some_and(|c| (c.trial, c.attempt) == (number, attempt) && c.epoch >= epoch);
            trial.runs(slot, attempt) && !newer
        };
        if self.state.trial(number).is_some_and(wanted) {
            self.begin_from(number, Some(checkpoint), out);
        } else if !self.state.checkpoints.contains_key(&checkpoint) {
            // Of an attempt that was given up meanwhile.
            out.push(Action::DropCheckpoint { checkpoint });
        }
    }

    /// Trials that would go on from them begin anew.
    pub(super) fn checkpoints_lost(&mut self, lost: &[CheckpointRef], out: &mut Vec<Action>) {
        for number in 0..self.asked() {
            let from = self.state.trial(number).and_then(|trial| trial.checkpoint);
            if from.is_some_and(|from| lost.contains(&from)) {
                self.begin_from(number, None, out);
            }
        }
    }

    /// Sets where the trial's next attempt begins.
    pub(super) fn begin_from(
        &mut self,
        number: u32,
        checkpoint: Option<CheckpointRef>,
        out: &mut Vec<Action>,
    ) {
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if let Some(checkpoint) = checkpoint {
            *self.state.checkpoints.entry(checkpoint).or_default() += 1;
        }
        let Some(former) = std::mem::replace(&mut trial.checkpoint, checkpoint) else { return };
        if let Some(users) = self.state.checkpoints.get_mut(&former) {
            *users -= 1;
            if *users == 0 {
                self.state.checkpoints.remove(&former);
                out.push(Action::DropCheckpoint { checkpoint: former });
            }
        }
    }

    /// The trial's next attempt begins from the donor's checkpoint, where there is one.
    pub(super) fn borrow_from(&mut self, number: u32, donor: u32, out: &mut Vec<Action>) {
        let donated = self.state.trial(donor).and_then(|donor| donor.checkpoint);
        if donated.is_some() {
            self.begin_from(number, donated, out);
            // The moments that it had before are no longer in its weights: the best of them cannot be kept.
            let select = self.settings.objective.select;
            if let Some(trial) = self.state.trial_mut(number).filter(|_| select == Select::Best) {
                trial.history.clear();
            }
        }
    }

    /// The attempt has left its slot with its checkpoint complete.
    pub(super) fn paused(&mut self, number: u32, out: &mut Vec<Action>) {
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        trial.phase = Phase::Paused;
        let early = trial.promoted_early.take();
        self.state.counts.running -= 1;
        self.state.counts.paused += 1;
        out.push(Action::Paused { trial: number });
        if let Some(donor) = early {
            self.go_on(number, donor, out);
        }
        self.lend(number, out);
    }

    /// The trial is not pausing any more: whoever waits for its checkpoint goes on from the one that is there.
    pub(super) fn lend(&mut self, donor: u32, out: &mut Vec<Action>) {
        for number in self.state.borrowers.remove(&donor).unwrap_or_default() {
            self.go_on(number, Some(donor), out);
        }
    }

    /// Asks the rule for a paused trial that should go on.
    pub(super) fn promote_next(&mut self, out: &mut Vec<Action>) -> bool {
        let others = !self.state.ready.is_empty() || self.has_more();
        let Some(Promotion { trial: number, donor, hparams, why }) = self.stopping.promote(others) else {
            return false;
        };
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return true };
        let pausing = trial.told() == Told::Pause;
        if !pausing && trial.phase != Phase::Paused {
            return true;
        }
        out.push(Action::Promoted { trial: number, why });
        if let Some(hparams) = hparams {
            trial.hparams = Row::new(self.state.shapes.of(hparams.keys()), hparams.values().cloned());
            // The generator may have read what has changed.
            trial.program = None;
        }
        if pausing {
            trial.promoted_early = Some(donor);
        } else {
            self.go_on(number, donor, out);
        }
        true
    }

    /// A paused trial was promoted.
    pub(super) fn go_on(&mut self, number: u32, donor: Option<u32>, out: &mut Vec<Action>) {
        if let Some(donor) = donor {
            if self.state.trial(donor).is_some_and(|donor| donor.told() == Told::Pause) {
                // What the rule knows of the donor is what it is about to save.
                return self.state.borrowers.entry(donor).or_default().push(number);
            }
            self.borrow_from(number, donor, out);
        }
        self.state.counts.paused -= 1;
        self.state.counts.ahead += 1;
        self.state.promoted += 1;
        if let Some(trial) = self.state.trial_mut(number) {
            trial.halted = None;
        }
        self.make_ready(number, Class::Promoted, out);
    }
}
