//! Training functions: the seam between a trial and what it runs.

mod attempt;
mod context;
mod interrupter;
mod registry;
mod sleep;

pub use attempt::{Attempt, Ended, run};
pub use context::{Flow, Sink, TrialContext};
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
}

/// A training function. It never learns in which kind of experiment it runs, nor on which machine.
///
/// It calls [`TrialContext::first_step`] before its first step, [`TrialContext::report`] after each epoch,
/// and looks at [`TrialContext::is_stopped`] at each step. An error is the trial's own result; so is a panic.
pub trait TrainingFunction: Send + Sync {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion>;
}

impl<F: Fn(&mut TrialContext) -> Result<Completion> + Send + Sync> TrainingFunction for F {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion> {
        self(trial)
    }
}
