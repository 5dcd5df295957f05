//! The experiment's state machine: `handle(event) -> actions`.
//!
//! It has no clock, does no I/O and draws no random numbers but from its seed: the same events give the same
//! actions. Slots, timers, optimizers, the journal and files live around it, in [`crate::service`].
//!
//! | file | |
//! |---|---|
//! | [`event`], [`action`] | its input and output |
//! | `settings` | what it is told at its beginning |
//! | `state`, `trial`, `row` | plain data |
//! | `suggest` | a trial's way until it is ready: suggested, checked, prepared |
//! | `run` | handed out, reported, decided, ended |
//! | `gang` | trials that take several slots at once |
//! | `pause` | paused, promoted; checkpoints |
//! | `slots` | slots come and go |
//! | `ending` | how the experiment ends |
//! | `restart` | how it goes on in another process |
//! | `report` | what it shows: progress and results |
//! | [`describe`] | its decisions in words |

pub mod action;
pub mod describe;
mod ending;
pub mod event;
mod gang;
mod pause;
mod report;
mod restart;
mod row;
mod run;
mod seed;
mod settings;
mod slots;
mod state;
mod suggest;
#[cfg(test)]
pub(crate) mod tests;
mod trial;

pub use action::Action;
pub use event::{Event, SlotKey};
pub use seed::trial_seed;
pub use settings::{Ahead, Settings};

use crate::stopping::StoppingRule;
use state::{Course, State};
use trial::Phase;

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
        if self.end().is_some() {
            // What comes late finds its trial where the experiment left it.
            if let Event::SlotJoined { slot, .. } = event {
                out.push(Action::Release { slot });
            }
            return actions;
        }
        match event {
            Event::Started | Event::SlotWorker { .. } => {}
            Event::Suggested { trial, hparams, why, .. } => self.suggested(trial, hparams, why, out),
            Event::Refused { trial, by, .. } => self.refused(trial, &by, Phase::Suggesting, out),
            Event::Exhausted { trial } => self.exhausted(trial, out),
            Event::Checked { trial, refused } => self.checked(trial, refused, out),
            Event::Prepared { trial, program } => self.prepared(trial, program),
            Event::PreparationFailed { trial, error } => self.preparation_failed(trial, error, out),
            Event::SlotJoined { slot, number } => self.slot_joined(slot, number, out),
            Event::SlotReady { slot } => self.slot_ready(slot),
            Event::SlotLeft { slot, reason } => self.slot_left(slot, &reason, out),
            Event::SlotLacks { slot, partitions } => self.slot_lacks(slot, partitions, out),
            Event::SlotFailed { slot, error, fatal } => self.slot_failed(slot, error, fatal, out),
            Event::Report { slot, trial, attempt, epoch, metrics } => {
                self.report(slot, trial, attempt, epoch, metrics, out);
            }
            Event::Checkpointed { slot, trial, attempt, epoch } => {
                self.checkpointed(slot, trial, attempt, epoch, out);
            }
            Event::Ended { slot, trial, attempt, outcome, timing } => {
                self.attempt_ended(slot, trial, attempt, outcome, timing, out);
            }
            Event::CheckpointsLost { checkpoints } => self.checkpoints_lost(&checkpoints, out),
            Event::GatherTimeUp { trial, attempt } => self.gather_time_up(trial, attempt, out),
            Event::TrialTimeUp { trial, attempt } => self.trial_time_up(trial, attempt, out),
            Event::TimeUp => self.complete("its time is up", out),
            Event::Cancel { reason } => self.cancel(reason, out),
            Event::Abort { error } => self.abort(error, out),
            Event::DrainExpired => self.drain_expired(out),
        }
        self.schedule(out);
        actions
    }

    /// Fills free slots, then asks for what will be needed next, or ends the experiment.
    fn schedule(&mut self, out: &mut Vec<Action>) {
        if self.state.course == Course::Searching {
            self.fill_slots(out);
            self.suggest_ahead(out);
        }
        self.end_if_done(out);
    }

    /// A promotion goes before a trial that has not begun; one that waits for several slots before all others.
    fn fill_slots(&mut self, out: &mut Vec<Action>) {
        while !self.state.free.is_empty() {
            // Promoted trials whose program is being made again already wait for free slots.
            if self.state.promoted < self.state.free.len() {
                self.promote_next(out);
            }
            let Some((class, trial)) = self.next_ready() else { return };
            let Some(workers) = self.whole(trial) else { return self.gather(trial, out) };
            let slots: Vec<SlotKey> = self.state.free.iter().take(workers).copied().collect();
            slots.iter().for_each(|slot| _ = self.state.free.remove(slot));
            self.state.ready.remove(&(class, trial));
            self.state.gathering = None;
            self.assign(&slots, trial, out);
        }
    }

    /// Trials asked for so far; the number of the next.
    pub fn asked(&self) -> u32 {
        u32::try_from(self.state.trials.len()).unwrap_or(u32::MAX)
    }

    /// Whether further trials may be asked for.
    fn has_more(&self) -> bool {
        !self.state.exhausted && self.settings.budget.trials.is_none_or(|trials| self.asked() < trials)
    }
}
