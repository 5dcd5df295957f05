//! The attempt that a slot runs, and its files.

use std::path::PathBuf;

use lethe_flight::message::dataset::View;
use lethe_flight::message::training::TrialSpec;
use lethe_flight::message::worker::Run;
use lethe_flight::wire::Put;
use lethe_flight::{Result, client};

use super::Host;
use crate::program::fetch_initial;

/// What was handed to the worker and has not ended.
pub struct Attempt {
    pub trial: u32,
    pub attempt: u32,
    experiment: String,
    initial: Option<PathBuf>,
    weights: PathBuf,
}

impl Attempt {
    /// Brings the attempt's files here: the program once for all slots, the weights for this trial.
    pub async fn prepare(host: &Host, spec: TrialSpec, view: Option<View>) -> Result<(Self, Run)> {
        let name = format!("{}-{}-{}", spec.experiment, spec.trial, spec.attempt);
        let folder = host.options.directory.join("weights");
        // First of all, so that its files go with it if one of them does not come.
        let attempt = Self {
            trial: spec.trial,
            attempt: spec.attempt,
            experiment: spec.experiment.clone(),
            initial: spec.program.is_some().then(|| folder.join(format!("{name}.initial.arrow"))),
            weights: folder.join(format!("{name}.arrow")),
        };
        let program = match (&spec.program, &attempt.initial) {
            (Some(program), Some(initial)) => {
                let initial = fetch_initial(&host.driver, &spec.experiment, spec.trial, initial.clone());
                let (program, ()) = tokio::try_join!(host.programs.get(&host.driver, program), initial)?;
                Some(program)
            }
            _ => None,
        };
        let run = Run {
            program: program.map(|p| p.display().to_string()),
            initial: attempt.initial.as_ref().map(|p| p.display().to_string()),
            view,
            weights: attempt.weights.display().to_string(),
            spec,
        };
        Ok((attempt, run))
    }

    pub fn is(&self, trial: u32, attempt: u32) -> bool {
        (self.trial, self.attempt) == (trial, attempt)
    }

    /// Puts the kept weights to the driver, if there are any.
    pub async fn put_weights(&self, host: &Host) -> Result<()> {
        let put =
            Put::Weights { experiment: self.experiment.clone(), trial: self.trial, attempt: self.attempt };
        client::put_file(&mut host.driver.client(), &put, self.weights.clone()).await
    }
}

/// However an attempt ends, its files go.
impl Drop for Attempt {
    fn drop(&mut self) {
        for file in self.initial.iter().chain([&self.weights]) {
            _ = std::fs::remove_file(file);
        }
    }
}
