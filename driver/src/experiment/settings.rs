//! What an experiment is told at its beginning, and anew when it is resumed.

use lethe_flight::message::Hparams;
use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::experiment::{Budget, Retries};
use lethe_flight::message::training::{Function, Objective};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub experiment: String,
    pub seed: u64,
    pub budget: Budget,
    /// Slots that are expected.
    pub slots: u32,
    pub ahead: Ahead,
    /// Whether each suggestion is shown to the user's predicate.
    pub checked: bool,
    /// Suggestions for one trial that may be refused; then the search ends.
    pub draws: u32,
    pub retries: Retries,
    pub objective: Objective,
    pub function: Function,
    pub data: Option<DataSpec>,
    /// See [`lethe_flight::message::training::TrialSpec`].
    pub checkpoint_every_s: Option<f64>,
}

/// How many trials are kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// So many beyond one for each slot: suggestions are as good now as later.
    Spare(u32),
    /// So many beyond those that run: a suggestion is the better the more results it knows. 0 makes none before
    /// a slot waits for it.
    Late(u32),
}

impl Settings {
    /// The budget of a trial: the hyperparameter `epochs` goes before the function's.
    pub fn epochs(&self, hparams: &Hparams) -> u32 {
        hparams
            .get("epochs")
            .and_then(serde_json::Value::as_f64)
            .filter(|epochs| epochs.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(epochs))
            .map(|epochs| epochs as u32)
            .unwrap_or_else(|| self.function.epochs())
    }
}
