//! Lethe's native trainer: training functions run on libtorch, one trial after another, for one slot.
//!
//! - [`function`]: what a training function is, what it sees of its trial, and how it is registered.
//! - [`supervised`]: the native loop over a generated module.
//! - [`gang`]: workers that train one model together.
//! - [`metrics`], [`data`]: validation metrics; the rows of a trial.
//! - [`torch`]: libtorch, through tch and a C++ bridge.
//! - [`worker`]: the process: its exchange with the executor, and the one thread that trains.
//!
//! A trainer with functions of its own is a `main` of one expression:
//!
//! ```no_run
//! use lethe_trainer::{Completion, Flow, Result, Trainer, TrialContext};
//!
//! fn count(trial: &mut TrialContext) -> Result<Completion> {
//!     trial.first_step();
//!     for epoch in 1..=trial.epochs() {
//!         let value = f64::from(epoch);
//!         // It saves no checkpoints: a pause is a stop.
//!         if trial.report(epoch, [("value".to_string(), value)].into())? != Flow::Continue {
//!             return Ok(Completion::Stopped);
//!         }
//!     }
//!     Ok(Completion::Finished)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Trainer::builder().register("count", count).run()
//! }
//! ```

pub mod data;
pub mod error;
pub mod function;
pub mod gang;
pub mod metrics;
pub mod supervised;
pub mod torch;
pub mod worker;

pub use error::{Error, Result};
pub use function::{
    Checkpoint, Completion, Flow, Interrupter, Registry, Saved, TrainingFunction, TrialContext,
};
pub use worker::Trainer;
