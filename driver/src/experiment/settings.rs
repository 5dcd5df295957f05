//! What an experiment is told at its beginning, and anew when it is resumed.

use lethe_flight::message::Hparams;
use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::experiment::{Budget, Listed, Retries};
use lethe_flight::message::gang::Workers;
use lethe_flight::message::training::{Function, Objective};

use super::seed::trial_seed;

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
    /// Slots that each trial takes at once.
    pub workers: Workers,
    /// Where the trials are a list, what each of them has of its own.
    pub listed: Vec<Listed>,
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
    /// Slots that this trial takes at once.
    pub fn workers(&self, trial: u32) -> Workers {
        self.listed(trial).map_or(self.workers, |listed| listed.workers)
    }

    /// What this trial trains on.
    pub fn data(&self, trial: u32) -> Option<DataSpec> {
        let Some(listed) = self.listed(trial) else { return self.data.clone() };
        let mut data = listed.data.as_ref().or(self.data.as_ref()).cloned()?;
        data.without.extend(listed.without.iter().cloned());
        Some(data)
    }

    /// Whose seed this trial has.
    pub fn seed_of(&self, trial: u32) -> u64 {
        trial_seed(self.seed, self.listed(trial).map_or(trial, |listed| listed.replicate))
    }

    fn listed(&self, trial: u32) -> Option<&Listed> {
        self.listed.get(trial as usize)
    }

    /// The rows of a dataset are those of another one from now on.
    pub fn replace_data(&mut self, former: &str, dataset: &str) {
        let listed = self.listed.iter_mut().filter_map(|listed| listed.data.as_mut());
        for data in listed.chain(&mut self.data).filter(|data| data.dataset == former) {
            data.dataset = dataset.into();
        }
    }

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
