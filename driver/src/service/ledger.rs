//! Where the slots' time went. Kept beside the state machine, which has no clock.

use std::collections::BTreeMap;
use std::time::Instant;

use lethe_flight::message::experiment::SlotResult;
use lethe_flight::message::training::Timing;

use crate::experiment::SlotKey;

#[derive(Default)]
pub struct Ledger {
    slots: BTreeMap<SlotKey, Entry>,
    first_assignment: Option<Instant>,
    last_result: Option<Instant>,
}

struct Entry {
    number: u32,
    executor: String,
    worker: Option<Worker>,
    left: Option<Instant>,
    trials: u32,
    train_s: f64,
    idle_s: Vec<f64>,
}

struct Worker {
    pid: u32,
    device: String,
    ready: Instant,
}

impl Ledger {
    pub fn joined(&mut self, slot: SlotKey, number: u32, executor: String) {
        let entry =
            Entry { number, executor, worker: None, left: None, trials: 0, train_s: 0.0, idle_s: Vec::new() };
        self.slots.insert(slot, entry);
    }

    /// Said again when a worker was replaced; the slot has been held since the first time.
    pub fn ready(&mut self, slot: SlotKey, pid: u32, device: String) {
        if let Some(entry) = self.slots.get_mut(&slot) {
            let ready = entry.worker.as_ref().map_or_else(Instant::now, |worker| worker.ready);
            entry.worker = Some(Worker { pid, device, ready });
        }
    }

    /// Of a slot that is there.
    pub fn number(&self, slot: SlotKey) -> Option<u32> {
        self.slots.get(&slot).map(|entry| entry.number)
    }

    pub fn assigned(&mut self) {
        self.first_assignment.get_or_insert_with(Instant::now);
    }

    pub fn ended(&mut self, slot: SlotKey, timing: Timing) {
        self.last_result = Some(Instant::now());
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.trials += 1;
            entry.train_s += timing.train_s;
            if timing.idle_s > 0.0 {
                entry.idle_s.push(timing.idle_s);
            }
        }
    }

    /// Released or gone, whichever came first. A connection that never became a slot is forgotten.
    pub fn left(&mut self, slot: SlotKey) {
        match self.slots.get_mut(&slot) {
            Some(entry) if entry.worker.is_some() => {
                entry.left.get_or_insert_with(Instant::now);
            }
            Some(_) => {
                self.slots.remove(&slot);
            }
            None => {}
        }
    }

    /// Seconds from the first assignment to the last result.
    pub fn wall_s(&self) -> f64 {
        match (self.first_assignment, self.last_result) {
            (Some(first), Some(last)) => last.saturating_duration_since(first).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// One for each connection that became ready, by slot number, then in order of their coming.
    pub fn results(&self) -> Vec<SlotResult> {
        let mut results: Vec<SlotResult> = self.slots.values().filter_map(Entry::result).collect();
        results.sort_by_key(|result| result.slot);
        results
    }
}

impl Entry {
    fn result(&self) -> Option<SlotResult> {
        let worker = self.worker.as_ref()?;
        let until = self.left.unwrap_or_else(Instant::now);
        Some(SlotResult {
            slot: self.number,
            executor: self.executor.clone(),
            device: worker.device.clone(),
            worker_pid: worker.pid,
            trials: self.trials,
            held_s: until.saturating_duration_since(worker.ready).as_secs_f64(),
            train_s: self.train_s,
            idle_s: self.idle_s.clone(),
        })
    }
}
