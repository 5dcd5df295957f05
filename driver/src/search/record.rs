//! What optimizers know of the trials.

use lethe_flight::message::Hparams;
use serde_json::Value;

/// Where a trial stands, as an optimizer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Suggested, not handed out.
    Waiting,
    Running,
    Paused,
    Finished,
    Stopped,
    Failed,
}

/// One trial that was suggested, by this optimizer or by the user.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub trial: u32,
    pub hparams: Hparams,
    pub standing: Standing,
    /// Of each objective: the smaller the better, NaN where it is no number. Empty without a report.
    pub costs: Vec<f64>,
    /// Reported so far.
    pub epochs: u32,
    /// What the optimizer noted when it suggested the trial.
    pub note: Option<Value>,
}

/// An optimizer's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Suggestion {
    Point {
        hparams: Hparams,
        /// For the user, in a few words: `random`, `expected improvement 0.031 over 12 trials`.
        why: String,
        /// Comes back in [`Observation::note`], also after a resume.
        note: Option<Value>,
    },
    /// There is no further point.
    Exhausted,
}
