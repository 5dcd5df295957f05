//! What an experiment wants done.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{End, TrialState};
use lethe_flight::message::training::TrialSpec;

use super::event::SlotKey;

/// The only output of [`super::Experiment::handle`]; carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the optimizer for this trial's hyperparameters.
    Suggest { trial: u32 },
    /// Have the trial's model generated.
    Prepare { trial: u32, seed: u64, hparams: Hparams },
    /// Hand an attempt to a slot.
    Assign { slot: SlotKey, spec: Box<TrialSpec> },
    /// Answer a report at a rung.
    Decide { slot: SlotKey, trial: u32, attempt: u32, stop: bool },
    /// End an attempt within a step; its `Ended` still comes.
    Stop { slot: SlotKey, trial: u32, attempt: u32 },
    /// The slot is needed no longer; nothing is said to it afterwards.
    Release { slot: SlotKey },
    /// The trial has ended, for good. `error` is there if it failed.
    TrialEnded { trial: u32, state: TrialState, error: Option<String> },
    /// The trial is the best so far. Comes before its `TrialEnded`.
    NewBest { trial: u32, superseded: Option<u32> },
    /// Something a user should read.
    Notice { text: String },
    /// Bring [`super::Event::DrainExpired`] after two seconds.
    StartDrainTimer,
    /// The experiment is over. Comes once, last but for the release of slots that join later.
    Over { end: End },
}
