//! Training functions: the seam between a trial and what it runs.

mod attempt;
mod checkpoint;
mod context;
mod interrupter;
mod moment;
mod registry;
mod sleep;

pub use attempt::{Attempt, Ended, run};
pub use checkpoint::{Checkpoint, Meta, Saved};
pub use context::{Flow, Said, Sink, TrialContext};
pub use interrupter::Interrupter;
pub use registry::Registry;
pub use sleep::sleep;

use crate::error::Result;

/// How a function came to its end without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// It did all it was to do.
    Finished,
    /// It was told to stop before that.
    Stopped,
    /// It was told to pause, and has saved a checkpoint.
    Paused,
}

/// A training function. It never learns in which kind of experiment it runs, nor on which machine.
///
/// It calls [`TrialContext::first_step`] before its first step, [`TrialContext::report`] after each epoch,
/// and looks at [`TrialContext::is_stopped`] at each step. An error is the trial's own result; so is a panic.
///
/// A function that can go on where it left off begins at [`TrialContext::checkpoint`], and when it is told to
/// pause calls [`TrialContext::save`] and ends [`Completion::Paused`]. One that does not save ends stopped.
pub trait TrainingFunction: Send + Sync {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion>;
}

impl<F: Fn(&mut TrialContext) -> Result<Completion> + Send + Sync> TrainingFunction for F {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion> {
        self(trial)
    }
}
