//! Slots come, become ready, leave.

use lethe_flight::message::experiment::TrialState;

use super::state::Slot;
use super::trial::Told;
use super::{Action, Experiment, SlotKey};

/// Attempts after which data that are lost once more count as any other loss: nothing is tried for ever.
const LACKS: u32 = 20;

/// Why a slot has left that lacks so many partitions.
pub(super) fn lacks(partitions: u32) -> String {
    format!("{partitions} partitions of its data are lost")
}

impl Experiment {
    pub(super) fn slot_joined(&mut self, key: SlotKey, number: u32, out: &mut Vec<Action>) {
        if !self.state.searching() {
            out.push(Action::Release { slot: key });
            return;
        }
        // The same slot on a new connection: whatever the old one was doing is lost, noticed or not.
        if let Some(&former) = self.state.by_number.get(&number) {
            out.push(Action::Release { slot: former });
            self.slot_left(former, &format!("slot {number} has connected again"), out);
        }
        self.state.slots.insert(key, Slot { number, ready: false, running: None, attempt: 0 });
        self.state.by_number.insert(number, key);
        self.state.lacking.remove(&number);
    }

    /// Whether it waits for a trial.
    pub fn is_free(&self, key: SlotKey) -> bool {
        self.state.free.contains(&key)
    }

    /// Attempts from now on train on this dataset, which has the same columns. No part of what is replayed: whoever
    /// goes on with the experiment names its data anew.
    pub fn replace_data(&mut self, dataset: &str) {
        if let Some(former) = self.settings.data.as_ref().map(|data| data.dataset.clone()) {
            self.settings.replace_data(&former, dataset);
        }
    }

    pub(super) fn slot_ready(&mut self, key: SlotKey) {
        // A slot whose worker was replaced may say it again.
        if let Some(slot) = self.state.slots.get_mut(&key)
            && !slot.ready
        {
            slot.ready = true;
            self.state.free.insert(key);
        }
    }

    pub(super) fn slot_left(&mut self, key: SlotKey, reason: &str, out: &mut Vec<Action>) {
        if let Some(trial) = self.leave(key, out) {
            self.lose(trial, reason, out);
        }
    }

    /// No loss of the trial's, which has not begun.
    pub(super) fn slot_lacks(&mut self, key: SlotKey, partitions: u32, out: &mut Vec<Action>) {
        let Some(number) = self.state.slots.get(&key).map(|slot| slot.number) else { return };
        self.state.lacking.insert(number);
        let Some(trial) = self.leave(key, out) else { return };
        if self.state.trial(trial).is_some_and(|trial| trial.attempts > LACKS) {
            return self.lose(trial, &lacks(partitions), out);
        }
        self.repeat(trial, &lacks(partitions), out);
    }

    /// Takes the slot away; the trial whose attempt is broken off by that.
    fn leave(&mut self, key: SlotKey, out: &mut Vec<Action>) -> Option<u32> {
        self.state.free.remove(&key);
        let slot = self.state.slots.remove(&key)?;
        if self.state.by_number.get(&slot.number) == Some(&key) {
            self.state.by_number.remove(&slot.number);
        }
        // None where its gang has been given up meanwhile.
        let trial = slot.running.filter(|trial| self.is_running(*trial, slot.attempt))?;
        self.dismiss(trial, out);
        // What it was told is done all the same.
        if self.state.searching() && self.state.trial(trial).is_some_and(|trial| trial.told() == Told::Stop) {
            self.end_trial(trial, TrialState::Stopped, None, out);
            return None;
        }
        Some(trial)
    }

    pub(super) fn slot_failed(&mut self, key: SlotKey, error: String, fatal: bool, out: &mut Vec<Action>) {
        let Some(number) = self.state.slots.get(&key).map(|slot| slot.number) else { return };
        self.slot_left(key, &format!("slot {number} failed: {error}"), out);
        if fatal {
            self.abort(error, out);
        } else {
            out.push(Action::Notice { text: format!("slot {number} left: {error}") });
        }
    }

    /// The slot's attempt is over: it can take another, or is released where none will come.
    pub(super) fn free(&mut self, key: SlotKey) {
        if let Some(slot) = self.state.slots.get_mut(&key) {
            slot.running = None;
            self.state.free.insert(key);
        }
    }
}
