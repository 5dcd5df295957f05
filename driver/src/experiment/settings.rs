//! What an experiment is told at its beginning; never changes.

use lethe_flight::message::Hparams;
use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::training::{Function, Objective};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub experiment: String,
    pub seed: u64,
    /// Trials in all.
    pub trials: u32,
    /// Slots that are expected; a few trials more than slots are kept ready.
    pub slots: u32,
    /// How often a trial that was lost with its slot or worker is run again.
    pub retries: u32,
    pub objective: Objective,
    pub function: Function,
    pub data: Option<DataSpec>,
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
