//! Where the slots' time went, of all runs of the experiment. Kept beside the state machine, which has no clock;
//! times are those of the journal's records, so that a replay finds the same.

use std::collections::BTreeMap;

use lethe_flight::message::experiment::SlotResult;
use lethe_flight::message::training::Timing;

use crate::experiment::{Action, Event, SlotKey};

/// Times between two trials that are kept of a connection: the last ones.
const IDLE: usize = 1000;

#[derive(Default)]
pub struct Ledger {
    slots: BTreeMap<SlotKey, Entry>,
    /// Of this run, milliseconds since 1970.
    first_assignment: Option<u64>,
    last_result: Option<u64>,
}

struct Entry {
    number: u32,
    executor: String,
    device: String,
    worker_pid: u32,
    /// A connection that never became a slot is not one.
    ready: Option<u64>,
    left: Option<u64>,
    trials: u32,
    train_s: f64,
    idle_s: Vec<f64>,
}

impl Ledger {
    /// What an event says of slots. The end of an attempt is told apart, for only the current one's counts.
    pub fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::SlotJoined { slot, number } => {
                let entry = Entry {
                    number: *number,
                    executor: String::new(),
                    device: String::new(),
                    worker_pid: 0,
                    ready: None,
                    left: None,
                    trials: 0,
                    train_s: 0.0,
                    idle_s: Vec::new(),
                };
                self.slots.insert(*slot, entry);
            }
            Event::SlotWorker { slot, executor, worker_pid, device } => {
                if let Some(entry) = self.slots.get_mut(slot) {
                    entry.executor.clone_from(executor);
                    entry.device.clone_from(device);
                    entry.worker_pid = *worker_pid;
                }
            }
            // Said again when a worker was replaced; the slot has been held since the first time.
            Event::SlotReady { slot } => {
                if let Some(entry) = self.slots.get_mut(slot) {
                    entry.ready.get_or_insert(at);
                }
            }
            Event::SlotLeft { slot, .. } | Event::SlotLacks { slot, .. } | Event::SlotFailed { slot, .. } => {
                self.left(at, *slot)
            }
            _ => {}
        }
    }

    /// Of a slot that is there.
    pub fn number(&self, slot: SlotKey) -> Option<u32> {
        self.slots.get(&slot).map(|entry| entry.number)
    }

    pub fn action(&mut self, at: u64, action: &Action) {
        match action {
            Action::Assign { .. } => _ = self.first_assignment.get_or_insert(at),
            Action::Release { slot } => self.left(at, *slot),
            _ => {}
        }
    }

    /// The slot's current attempt has ended.
    pub fn ended(&mut self, at: u64, slot: SlotKey, timing: Timing) {
        self.last_result = Some(at);
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.trials += 1;
            entry.train_s += timing.train_s;
            if timing.idle_s > 0.0 {
                match entry.idle_s.len() {
                    0..IDLE => entry.idle_s.push(timing.idle_s),
                    _ => entry.idle_s[entry.trials as usize % IDLE] = timing.idle_s,
                }
            }
        }
    }

    /// Released or gone, whichever came first.
    fn left(&mut self, at: u64, slot: SlotKey) {
        match self.slots.get_mut(&slot) {
            Some(entry) if entry.ready.is_some() => _ = entry.left.get_or_insert(at),
            _ => _ = self.slots.remove(&slot),
        }
    }

    /// The driver has gone, and its slots with it; `at` is the last that is known of it.
    pub fn end_run(&mut self, at: u64) {
        let held: Vec<SlotKey> = self.slots.keys().copied().collect();
        held.into_iter().for_each(|slot| self.left(at, slot));
        (self.first_assignment, self.last_result) = (None, None);
    }

    /// Seconds from this run's first assignment to its last result.
    pub fn wall_s(&self) -> f64 {
        match (self.first_assignment, self.last_result) {
            (Some(first), Some(last)) => seconds(first, last),
            _ => 0.0,
        }
    }

    /// One for each connection that became ready, by slot number, then in order of their coming.
    pub fn results(&self, now: u64) -> Vec<SlotResult> {
        let mut results: Vec<SlotResult> =
            self.slots.values().filter_map(|entry| entry.result(now)).collect();
        results.sort_by_key(|result| result.slot);
        results
    }
}

impl Entry {
    fn result(&self, now: u64) -> Option<SlotResult> {
        Some(SlotResult {
            slot: self.number,
            executor: self.executor.clone(),
            device: self.device.clone(),
            worker_pid: self.worker_pid,
            trials: self.trials,
            held_s: seconds(self.ready?, self.left.unwrap_or(now)),
            train_s: self.train_s,
            idle_s: self.idle_s.clone(),
        })
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e3
}
