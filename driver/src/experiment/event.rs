//! What happens to an experiment.

use lethe_flight::message::Hparams;
use lethe_flight::message::training::{Metrics, Outcome, ProgramRef, Timing};

/// One connection of a slot. A slot that connects again, with the same number, has another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey(pub u64);

/// The only input of [`super::Experiment::handle`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event.
    Started,
    /// Answers [`super::Action::Suggest`].
    Suggested {
        trial: u32,
        hparams: Hparams,
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
    SlotReady {
        slot: SlotKey,
    },
    SlotLeft {
        slot: SlotKey,
        reason: String,
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
        metrics: Metrics,
    },
    Ended {
        slot: SlotKey,
        trial: u32,
        attempt: u32,
        outcome: Outcome,
        timing: Timing,
    },
    Cancel {
        reason: String,
    },
    /// The timer of [`super::Action::StartDrainTimer`] has run out.
    DrainExpired,
}
