//! Runs one attempt to its outcome: errors and panics of the function end here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use lethe_flight::message::training::{Outcome, Timing};
use lethe_flight::message::worker::Run;
use tch::Device;

use super::context::Pause;
use super::{Completion, Interrupter, Registry, Sink, TrialContext};
use crate::data::ViewCache;
use crate::error::Result;
use crate::gang::Meeting;

/// What an attempt needs beside its [`Run`].
pub struct Attempt<'a> {
    pub run: &'a Run,
    pub device: Device,
    pub views: &'a mut ViewCache,
    pub interrupter: Interrupter,
    /// How it comes to the other ranks of its gang.
    pub meeting: Option<&'a dyn Meeting>,
    /// When the run arrived.
    pub arrived: Instant,
    /// When the worker sent the last message of its previous attempt.
    pub previous_end: Option<Instant>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub outcome: Outcome,
    pub timing: Timing,
    /// The file of kept weights.
    pub weights: Option<String>,
}

/// Runs the attempt's function on this thread; `sink` gets its reports.
pub fn run<'a>(registry: &Registry, attempt: Attempt<'a>, sink: &'a mut Sink<'a>) -> Ended {
    let run = attempt.run;
    let mut context = TrialContext::new(attempt, sink);
    // The context is not used after a panic but for its clock and the name of a complete file.
    let trained: Result<Result<Completion>, _> = catch_unwind(AssertUnwindSafe(|| {
        let function = registry.find(&run.spec.function)?;
        function.train(&mut context)
    }));
    let outcome = match trained {
        Ok(Ok(Completion::Finished)) => Outcome::Finished,
        Ok(Ok(Completion::Stopped)) => Outcome::Stopped,
        Ok(Ok(Completion::Paused)) => match context.pause() {
            Pause::Saved => Outcome::Paused,
            Pause::Unsaved => Outcome::Stopped,
            Pause::Untold => {
                Outcome::Failed { error: "the training function paused without being told to".into() }
            }
        },
        Ok(Err(error)) if error.is_infrastructure() => Outcome::Lost { error: error.to_string() },
        Ok(Err(error)) => Outcome::Failed { error: error.to_string() },
        Err(panic) => Outcome::Failed { error: format!("the training function panicked: {}", said(&*panic)) },
    };
    let weights = match outcome {
        Outcome::Finished | Outcome::Stopped => context.kept(),
        // The checkpoint carries a paused trial's.
        Outcome::Paused | Outcome::Failed { .. } | Outcome::Lost { .. } => None,
    };
    Ended { outcome, timing: context.timing(), weights }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
