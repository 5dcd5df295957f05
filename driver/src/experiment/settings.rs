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
    /// Slots that are expected; one trial more than slots is kept ready.
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
            .and_then(serde_json::Value::as_u64)
            .and_then(|epochs| u32::try_from(epochs).ok())
            .unwrap_or_else(|| self.function.epochs())
    }
}
