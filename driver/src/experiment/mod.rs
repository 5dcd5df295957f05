//! The experiment's state machine: `handle(event) -> actions`.
//!
//! It has no clock, does no I/O and draws no random numbers but from its seed: the same events give the same
//! actions. Slots, timers, optimizers and files live around it, in [`crate::service`].
//!
//! | file | |
//! |---|---|
//! | [`event`], [`action`] | its input and output |
//! | `settings` | what it is told at its beginning |
//! | `state` | plain data |
//! | `trials` | a trial's way from suggestion to end |
//! | `slots` | slots come and go |
//! | `ending` | how the experiment ends |
//! | `report` | what it shows: progress and results |

pub mod action;
mod ending;
pub mod event;
mod report;
mod seed;
mod settings;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod trials;

pub use action::Action;
pub use event::{Event, SlotKey};
pub use seed::trial_seed;
pub use settings::Settings;

use crate::stopping::StoppingRule;
use state::{Course, State};

/// Trials that are kept ready beyond one for each slot. A module is generated one after another in the user's
/// process, in some 20 ms; where trials are stopped sooner than that, slots live on what is ready.
const AHEAD: u32 = 8;

/// One experiment: a source of trials, and the slots that run them.
pub struct Experiment {
    settings: Settings,
    stopping: Box<dyn StoppingRule>,
    state: State,
}

impl Experiment {
    pub fn new(settings: Settings, stopping: Box<dyn StoppingRule>) -> Self {
        Self { settings, stopping, state: State::new() }
    }

    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let out = &mut actions;
        match event {
            Event::Started => {}
            Event::Suggested { trial, hparams } => self.suggested(trial, hparams, out),
            Event::Prepared { trial, program } => self.prepared(trial, program),
            Event::PreparationFailed { trial, error } => self.preparation_failed(trial, error, out),
            Event::SlotJoined { slot, number } => self.slot_joined(slot, number, out),
            Event::SlotReady { slot } => self.slot_ready(slot),
            Event::SlotLeft { slot, reason } => self.slot_left(slot, &reason, out),
            Event::SlotFailed { slot, error, fatal } => self.slot_failed(slot, error, fatal, out),
            Event::Report { slot, trial, attempt, epoch, metrics } => {
                self.report(slot, trial, attempt, epoch, metrics, out);
            }
            Event::Ended { slot, trial, attempt, outcome, timing } => {
                self.attempt_ended(slot, trial, attempt, outcome, timing, out);
            }
            Event::Cancel { reason } => self.cancel(reason, out),
            Event::DrainExpired => self.drain_expired(out),
        }
        self.schedule(out);
        actions
    }

    /// Fills free slots, then asks for what will be needed next.
    fn schedule(&mut self, out: &mut Vec<Action>) {
        self.end_if_done(out);
        if self.state.course != Course::Searching {
            return;
        }
        while let (Some(&slot), Some(&trial)) = (self.state.free.first(), self.state.ready.first()) {
            self.state.free.remove(&slot);
            self.state.ready.remove(&trial);
            self.assign(slot, trial.1, out);
        }
        let present = u32::try_from(self.state.slots.len()).unwrap_or(u32::MAX);
        let wanted = self.settings.slots.max(present).saturating_add(AHEAD);
        while self.state.counts.ahead < wanted && self.asked() < self.settings.trials {
            self.suggest(out);
        }
    }

    /// Trials asked for so far; the number of the next.
    fn asked(&self) -> u32 {
        u32::try_from(self.state.trials.len()).unwrap_or(u32::MAX)
    }
}
