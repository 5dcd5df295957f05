//! How long each trial has run, all its attempts together, by the journal's times: so that a trial's limit holds
//! over losses, pauses and resumes. Beside the state machine, which has no clock.

use std::collections::BTreeMap;

use crate::experiment::{Action, Event, SlotKey};

/// Times are milliseconds since 1970. An attempt runs from its assignment until it has ended or its slot has left.
#[derive(Default)]
pub struct Stopwatch {
    running: BTreeMap<SlotKey, Lap>,
    /// Of attempts that are over, by trial.
    ran: BTreeMap<u32, u64>,
}

struct Lap {
    trial: u32,
    attempt: u32,
    since: u64,
}

impl Stopwatch {
    /// Before the state machine handles the event.
    pub fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::Ended { slot, trial, attempt, .. }
                if self
                    .running
                    .get(slot)
                    .is_some_and(|lap| (lap.trial, lap.attempt) == (*trial, *attempt)) =>
            {
                self.stop(at, *slot);
            }
            Event::SlotLeft { slot, .. } | Event::SlotLacks { slot, .. } | Event::SlotFailed { slot, .. } => {
                self.stop(at, *slot)
            }
            _ => {}
        }
    }

    /// All that the state machine made of one event.
    pub fn actions(&mut self, at: u64, actions: &[Action]) {
        // At the experiment's end all trials end, some of which go on if it is extended.
        let closes = actions.iter().any(|action| matches!(action, Action::Over { .. }));
        for action in actions {
            match action {
                // Of a gang one rank counts.
                Action::Assign { slot, spec } if spec.gang.is_none_or(|gang| gang.rank == 0) => {
                    let lap = Lap { trial: spec.trial, attempt: spec.attempt, since: at };
                    self.running.insert(*slot, lap);
                }
                // A slot that connects again has left its former connection.
                Action::Release { slot } => self.stop(at, *slot),
                Action::TrialEnded { trial, .. } if !closes => _ = self.ran.remove(trial),
                _ => {}
            }
        }
    }

    /// The run is over: what ran until then has run so long.
    pub fn end_run(&mut self, at: u64) {
        while let Some((&slot, _)) = self.running.first_key_value() {
            self.stop(at, slot);
        }
    }

    /// Seconds of the attempts that are over.
    pub fn ran_s(&self, trial: u32) -> f64 {
        self.ran.get(&trial).copied().unwrap_or_default() as f64 / 1e3
    }

    fn stop(&mut self, at: u64, slot: SlotKey) {
        if let Some(lap) = self.running.remove(&slot) {
            *self.ran.entry(lap.trial).or_default() += at.saturating_sub(lap.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::training::{Outcome, Timing};

    use super::*;
    use crate::experiment::tests::bench_of_one;

    #[test]
    fn a_trial_has_run_as_long_as_its_attempts_together() {
        let (mut watch, mut experiment) = (Stopwatch::default(), bench_of_one());
        let mut happens = |at: u64, event: Event, watch: &mut Stopwatch| {
            watch.event(at, &event);
            watch.actions(at, &experiment.handle(event));
        };
        let (a, b) = (SlotKey(0), SlotKey(1));
        happens(0, Event::SlotJoined { slot: a, number: 0 }, &mut watch);
        happens(1000, Event::SlotReady { slot: a }, &mut watch);
        assert_eq!(watch.ran_s(0), 0.0, "it runs its first attempt");
        happens(3000, Event::SlotLeft { slot: a, reason: "gone".into() }, &mut watch);
        assert_eq!(watch.ran_s(0), 2.0);
        // It waits for a slot, which takes none of its time.
        happens(9000, Event::SlotJoined { slot: b, number: 0 }, &mut watch);
        happens(9000, Event::SlotReady { slot: b }, &mut watch);
        let ended = |slot, attempt| {
            let outcome = Outcome::Lost { error: "killed".into() };
            Event::Ended { slot, trial: 0, attempt, outcome, timing: Timing::default() }
        };
        happens(9500, ended(b, 1), &mut watch);
        assert_eq!(watch.ran_s(0), 2.0, "a message of the attempt before");
        happens(10_500, ended(b, 2), &mut watch);
        assert_eq!(watch.ran_s(0), 3.5);
        // The third attempt began at once. The driver is killed.
        watch.end_run(11_000);
        assert_eq!(watch.ran_s(0), 4.0);
    }
}
