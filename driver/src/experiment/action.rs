//! What an experiment wants done.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{End, TrialState};
use lethe_flight::message::training::{CheckpointRef, TrialSpec, Verdict};

use super::event::SlotKey;

/// The only output of [`super::Experiment::handle`]; carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the optimizer for this trial's hyperparameters; `draw` counts its answers that were refused.
    Suggest { trial: u32, draw: u32 },
    /// Ask the user's predicate about a suggestion.
    Check { trial: u32, hparams: Hparams },
    /// Have the trial's model generated.
    Prepare { trial: u32, seed: u64, hparams: Hparams },
    /// The paused trial goes on when a slot takes it.
    Promoted { trial: u32, why: String },
    /// Hand an attempt to a slot; those of a gang follow each other, by rank.
    Assign { slot: SlotKey, spec: Box<TrialSpec> },
    /// Answer a report at a rung. `why` where the trial does not go on.
    Decide { slot: SlotKey, trial: u32, attempt: u32, verdict: Verdict, why: Option<String> },
    /// End an attempt within a step; its `Ended` still comes.
    Stop { slot: SlotKey, trial: u32, attempt: u32, why: String },
    /// The slot is needed no longer; nothing is said to it afterwards.
    Release { slot: SlotKey },
    /// The trial has saved a checkpoint and left its slot.
    Paused { trial: u32 },
    /// No attempt will begin from this checkpoint.
    DropCheckpoint { checkpoint: CheckpointRef },
    /// The trial has ended. `error` is there if it failed.
    TrialEnded { trial: u32, state: TrialState, error: Option<String> },
    /// The trial is the best so far. Comes before its `TrialEnded`.
    NewBest { trial: u32, superseded: Option<u32> },
    /// Something a user should read.
    Notice { text: String },
    /// Bring [`super::Event::GatherTimeUp`] after a while, first after a short one.
    StartGatherTimer { trial: u32, attempt: u32, short: bool },
    /// Bring [`super::Event::DrainExpired`] after two seconds.
    StartDrainTimer,
    /// The experiment is over. Comes once, last but for the release of slots that join later.
    Over { end: End },
}
