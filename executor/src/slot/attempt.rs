//! The attempt that a slot runs, and its files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lethe_flight::message::dataset::View;
use lethe_flight::message::training::{CheckpointRef, TrialSpec};
use lethe_flight::message::worker::Run;
use lethe_flight::wire::{self, Put, Ticket};
use lethe_flight::{Error, Result, client};

use super::Host;
use super::puts::{Puts, Saved};
use crate::program::fetch;

/// First part of the names of a worker's checkpoints.
const SAVED: &str = "saved";

/// What was handed to the worker and has not ended.
pub struct Attempt {
    pub trial: u32,
    pub attempt: u32,
    experiment: String,
    /// Holds all files of this attempt and no others.
    folder: PathBuf,
    /// Checkpoints on their way to the driver.
    pub puts: Puts,
    /// When its worker is killed; set once it is told to stop.
    pub stop_by: Option<Instant>,
}

impl Attempt {
    /// Brings the attempt's files here: the program once for all slots, and this trial's initial weights or the
    /// checkpoint to go on from.
    pub async fn prepare(host: &Host, spec: TrialSpec, view: Option<View>) -> Result<(Self, Run)> {
        wire::check_name("an experiment", &spec.experiment)?;
        // Of a gang each rank has its own.
        let rank = spec.gang.map_or(String::new(), |gang| format!("-{}", gang.rank));
        let name = format!("{}-{}-{}{rank}", spec.experiment, spec.trial, spec.attempt);
        let folder = host.options.directory.join("weights").join(name);
        // First of all, and with its folder, so that its files go with it if one of them does not come, or nobody
        // waits for them any more.
        let attempt = Self {
            trial: spec.trial,
            attempt: spec.attempt,
            experiment: spec.experiment.clone(),
            folder,
            puts: Puts::default(),
            stop_by: None,
        };
        let made = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&attempt.folder).map_err(|e| Error::file(&attempt.folder, e))?;
            Ok::<_, Error>(attempt)
        });
        let attempt: Self = made.await.map_err(|e| Error::Invalid(format!("the task ended: {e}")))??;
        let initial = spec.program.is_some() && spec.checkpoint.is_none();
        let initial = initial.then(|| {
            let ticket = Ticket::Initial { experiment: spec.experiment.clone(), trial: spec.trial };
            (ticket, attempt.folder.join("initial.arrow"))
        });
        let checkpoint = spec.checkpoint.map(|checkpoint| {
            let ticket = Ticket::Checkpoint { experiment: spec.experiment.clone(), checkpoint };
            (ticket, attempt.folder.join("checkpoint.arrow"))
        });
        let program = async {
            match &spec.program {
                Some(program) => host.programs.get(&host.driver, program).await.map(Some),
                None => Ok(None),
            }
        };
        let start = async {
            match initial.as_ref().or(checkpoint.as_ref()) {
                Some((ticket, path)) => fetch(&host.driver, ticket, path.clone()).await,
                None => Ok(()),
            }
        };
        let (program, ()) = tokio::try_join!(program, start)?;
        let text = |path: &Path| path.display().to_string();
        let run = Run {
            program: program.as_deref().map(text),
            initial: initial.map(|(_, path)| text(&path)),
            checkpoint: checkpoint.map(|(_, path)| text(&path)),
            view,
            weights: text(&attempt.weights()),
            checkpoints: text(&attempt.folder.join(SAVED)),
            spec,
        };
        Ok((attempt, run))
    }

    pub fn is(&self, trial: u32, attempt: u32) -> bool {
        (self.trial, self.attempt) == (trial, attempt)
    }

    /// Sends a checkpoint on, without waiting for it.
    ///
    /// # Errors
    /// If the file is not one that this attempt could have saved.
    pub fn put_checkpoint(&mut self, host: &Host, epoch: u32, path: &str) -> Result<()> {
        let path = PathBuf::from(path);
        if path != self.folder.join(format!("{SAVED}-{epoch}.arrow")) {
            return Err(Error::Invalid(format!(
                "the worker saved its checkpoint of epoch {epoch} as {}, outside of {}",
                path.display(),
                self.folder.display()
            )));
        }
        let checkpoint = CheckpointRef { trial: self.trial, attempt: self.attempt, epoch };
        let put = Put::Checkpoint { experiment: self.experiment.clone(), checkpoint };
        self.puts.add(host.driver.client(), Saved { epoch, path, put });
        Ok(())
    }

    /// Puts the kept weights to the driver, if there are any.
    pub async fn put_weights(&self, host: &Host) -> Result<()> {
        let put =
            Put::Weights { experiment: self.experiment.clone(), trial: self.trial, attempt: self.attempt };
        client::put_file(&mut host.driver.client(), &put, self.weights()).await
    }

    fn weights(&self) -> PathBuf {
        self.folder.join("weights.arrow")
    }
}

/// However an attempt ends, its files go.
impl Drop for Attempt {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}
