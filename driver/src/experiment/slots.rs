//! Slots come, become ready, leave.

use super::state::{Course, Slot};
use super::{Action, Experiment, SlotKey};

impl Experiment {
    pub(super) fn slot_joined(&mut self, key: SlotKey, number: u32, out: &mut Vec<Action>) {
        if self.state.course != Course::Searching {
            out.push(Action::Release { slot: key });
            return;
        }
        // The same slot on a new connection: whatever the old one was doing is lost, noticed or not.
        let former = self.state.slots.iter().find(|(_, slot)| slot.number == number).map(|(&key, _)| key);
        if let Some(former) = former {
            out.push(Action::Release { slot: former });
            self.slot_left(former, &format!("slot {number} has connected again"), out);
        }
        self.state.slots.insert(key, Slot { number, ready: false, running: None });
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
        self.state.free.remove(&key);
        if let Some(slot) = self.state.slots.remove(&key)
            && let Some(trial) = slot.running
        {
            self.lose(trial, reason, out);
        }
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
