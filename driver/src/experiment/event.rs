//! What happens to an experiment.

use lethe_flight::message::Hparams;
use lethe_flight::message::training::{CheckpointRef, Metrics, Outcome, ProgramRef, Timing};
use serde::{Deserialize, Serialize};

/// One connection of a slot. A slot that connects again, with the same number, has another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotKey(pub u64);

/// The only input of [`super::Experiment::handle`], and what the journal holds: an experiment is what its events
/// have made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    Started,
    /// Answers [`super::Action::Suggest`].
    Suggested {
        trial: u32,
        hparams: Hparams,
        /// In the optimizer's words.
        why: String,
        /// What the optimizer wants to see again with this trial.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<serde_json::Value>,
    },
    /// Answers [`super::Action::Suggest`]: what the user's optimizer suggests does not fulfil a constraint.
    Refused {
        trial: u32,
        hparams: Hparams,
        by: String,
    },
    /// Answers [`super::Action::Suggest`]: there are no further points.
    Exhausted {
        trial: u32,
    },
    /// Answers [`super::Action::Check`]; None allows the suggestion.
    Checked {
        trial: u32,
        refused: Option<String>,
    },
    /// Answers [`super::Action::Prepare`]: the trial can be handed out.
    Prepared {
        trial: u32,
        program: ProgramRef,
    },
    /// Answers [`super::Action::Prepare`]: the trial fails with this error.
    PreparationFailed {
        trial: u32,
        error: String,
    },
    /// A slot has connected; it can take no trial yet. A slot of the same number that was there is gone.
    SlotJoined {
        slot: SlotKey,
        number: u32,
    },
    /// Who works for the slot: comes before it is ready, and again when its worker was replaced. No decision
    /// depends on it.
    SlotWorker {
        slot: SlotKey,
        executor: String,
        worker_pid: u32,
        device: String,
    },
    SlotReady {
        slot: SlotKey,
    },
    SlotLeft {
        slot: SlotKey,
        reason: String,
    },
    /// The slot has left because partitions that it needs are lost. It joins again once they have been put again.
    SlotLacks {
        slot: SlotKey,
        partitions: u32,
    },
    /// The slot says that it cannot work; if `fatal`, no slot could.
    SlotFailed {
        slot: SlotKey,
        error: String,
        fatal: bool,
    },
    Report {
        slot: SlotKey,
        trial: u32,
        attempt: u32,
        epoch: u32,
        #[serde(with = "lethe_flight::message::nullable")]
        metrics: Metrics,
    },
    /// The attempt's checkpoint after this epoch is complete.
    Checkpointed {
        slot: SlotKey,
        trial: u32,
        attempt: u32,
        epoch: u32,
    },
    Ended {
        slot: SlotKey,
        trial: u32,
        attempt: u32,
        outcome: Outcome,
        timing: Timing,
    },
    /// After a resume: these checkpoints are nowhere any more.
    CheckpointsLost {
        checkpoints: Vec<CheckpointRef>,
    },
    /// The trial, which runs this attempt, has had its time.
    TrialTimeUp {
        trial: u32,
        attempt: u32,
    },
    /// The trial has waited long for as many slots as this attempt takes at once.
    GatherTimeUp {
        trial: u32,
        attempt: u32,
    },
    /// The experiment has had its time.
    TimeUp,
    Cancel {
        reason: String,
    },
    /// The experiment cannot go on: the optimizer or a predicate of the user's failed.
    Abort {
        error: String,
    },
    /// The timer of [`super::Action::StartDrainTimer`] has run out.
    DrainExpired,
}
