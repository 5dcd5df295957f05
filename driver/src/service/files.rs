//! Initial weights, kept weights, checkpoints: files, and which of them may come or be had.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow_flight::FlightData;
use lethe_flight::ipc::Unfinished;
use lethe_flight::message::training::CheckpointRef;
use lethe_flight::server::Outgoing;
use lethe_flight::tensors::{self, NamedTensor};
use lethe_flight::{Error, Result, ipc, limits};

use super::lock;
pub use super::programs::Programs;
use crate::journal::{Copies, Mirror};

/// The weights and checkpoints of one experiment's trials. Initial weights lie in the driver's own folder, the
/// others in the experiment's, where a resumed experiment finds them.
pub struct TrialFiles {
    initial: PathBuf,
    kept: PathBuf,
    saved: PathBuf,
    /// In a store, of kept weights and checkpoints; they follow, and nothing waits for them.
    copies: Option<Copies>,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Trials that have been asked for a model and have not ended.
    open: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    initial: BTreeSet<u32>,
    /// Running trials and their attempts: only of these may weights come.
    running: BTreeMap<u32, u32>,
    weights: BTreeSet<u32>,
    checkpoints: BTreeSet<CheckpointRef>,
}

impl TrialFiles {
    /// # Errors
    /// If the folders cannot be made.
    pub fn new(initial: PathBuf, experiment: &Path, copies: Option<Copies>) -> Result<Self> {
        let kept = experiment.join("weights");
        let saved = experiment.join("checkpoints");
        for folder in [&initial, &kept, &saved] {
            std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        }
        Ok(Self { initial, kept, saved, copies, state: Mutex::default() })
    }

    /// Brings the files that a resumed experiment needs and this host has not from the store. Checkpoints that are
    /// nowhere are the answer.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn fetch(
        &self,
        checkpoints: &BTreeSet<CheckpointRef>,
        best: Option<u32>,
        mirror: Option<&Mirror>,
    ) -> Result<BTreeSet<CheckpointRef>> {
        let mut lost = BTreeSet::new();
        for &checkpoint in checkpoints {
            if !self.bring(&self.checkpoint_path(checkpoint), mirror).await? {
                lost.insert(checkpoint);
            }
        }
        if let Some(best) = best {
            self.bring(&self.weights_path(best), mirror).await?;
        }
        Ok(lost)
    }

    async fn bring(&self, path: &Path, mirror: Option<&Mirror>) -> Result<bool> {
        match mirror {
            _ if path.is_file() => Ok(true),
            Some(mirror) => mirror.get_file(&relative(path), path).await,
            None => Ok(false),
        }
    }

    /// Brings the copy of a resumed experiment into line with what is here: the driver before may have been killed
    /// while it was behind. Comes after [`restore`](Self::restore).
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn reconcile(&self, mirror: &Mirror) -> Result<()> {
        let Some(copies) = &self.copies else { return Ok(()) };
        let mut there = BTreeSet::new();
        for folder in [&self.kept, &self.saved] {
            there.extend(mirror.files(&name(folder)).await?);
        }
        copies.found(there.iter().cloned());
        let state = lock(&self.state);
        let checkpoints = state.checkpoints.iter().map(|checkpoint| self.checkpoint_path(*checkpoint));
        let mut here: BTreeSet<String> = checkpoints.map(|path| relative(&path)).collect();
        // The weights of a trial that was run again have the name that they had before.
        let weights: BTreeSet<String> =
            state.weights.iter().map(|trial| relative(&self.weights_path(*trial))).collect();
        here.extend(weights.iter().cloned());
        for gone in there.difference(&here) {
            copies.remove(gone.clone());
        }
        for new in here.iter().filter(|file| !there.contains(*file) || weights.contains(*file)) {
            copies.put(new.clone());
        }
        Ok(())
    }

    /// It is here, under the name that it has from now on.
    fn copy(&self, path: &Path) {
        if let Some(copies) = &self.copies {
            copies.put(relative(path));
        }
    }

    /// Off the way of the next assignment.
    fn remove_all(&self, gone: Vec<PathBuf>) {
        if gone.is_empty() {
            return;
        }
        if let Some(copies) = &self.copies {
            gone.iter()
                .filter(|path| !path.starts_with(&self.initial))
                .for_each(|path| copies.remove(relative(path)));
        }
        tokio::task::spawn_blocking(move || gone.iter().for_each(|path| remove(path)));
    }

    /// Takes up the files of a resumed experiment: the weights that were kept, and the checkpoints that attempts
    /// may begin from. All others, and what a put left unfinished, are removed. Blocks.
    ///
    /// # Errors
    /// If the folders cannot be read.
    pub fn restore(&self, ended: BTreeSet<u32>, checkpoints: &BTreeSet<CheckpointRef>) -> Result<()> {
        let mut state = lock(&self.state);
        for name in names(&self.kept)? {
            match name.strip_prefix("trial-").and_then(|n| n.strip_suffix(".arrow")).map(str::parse) {
                Some(Ok(trial)) => _ = state.weights.insert(trial),
                _ => remove(&self.kept.join(name)),
            }
        }
        for name in names(&self.saved)? {
            let found =
                checkpoints.iter().find(|checkpoint| self.checkpoint_path(**checkpoint).ends_with(&name));
            match found {
                Some(checkpoint) => _ = state.checkpoints.insert(*checkpoint),
                None => remove(&self.saved.join(name)),
            }
        }
        state.ended = ended;
        Ok(())
    }

    /// The folder for what their functions print.
    pub fn logs(&self) -> PathBuf {
        self.kept.with_file_name("logs")
    }

    fn initial_path(&self, trial: u32) -> PathBuf {
        self.initial.join(format!("trial-{trial}.arrow"))
    }

    fn weights_path(&self, trial: u32) -> PathBuf {
        self.kept.join(format!("trial-{trial}.arrow"))
    }

    pub fn checkpoint_path(&self, checkpoint: CheckpointRef) -> PathBuf {
        let CheckpointRef { trial, attempt, epoch } = checkpoint;
        self.saved.join(format!("trial-{trial}-{attempt}-{epoch}.arrow"))
    }

    /// # Errors
    /// If it has not been put, or no attempt may begin from it any more.
    pub fn checkpoint(&self, checkpoint: CheckpointRef) -> Result<PathBuf> {
        if lock(&self.state).checkpoints.contains(&checkpoint) {
            return Ok(self.checkpoint_path(checkpoint));
        }
        Err(Error::Precondition(format!(
            "the checkpoint of trial {} after epoch {} is not there",
            checkpoint.trial, checkpoint.epoch
        )))
    }

    /// # Errors
    /// If its attempt is not the one that runs, or the disk fails.
    pub async fn receive_checkpoint(
        &self,
        frames: Outgoing<FlightData>,
        checkpoint: CheckpointRef,
    ) -> Result<()> {
        let CheckpointRef { trial, attempt, .. } = checkpoint;
        let refused = || {
            Err(Error::Precondition(format!(
                "attempt {attempt} of trial {trial} is not running: its checkpoint is not kept"
            )))
        };
        if lock(&self.state).running.get(&trial) != Some(&attempt) {
            return refused();
        }
        let path = self.checkpoint_path(checkpoint);
        let own = Unfinished::beside(&path);
        ipc::receive(ipc::decode(frames), own.path().to_owned(), limits::WEIGHTS_BYTES).await?;
        let mut state = lock(&self.state);
        if state.running.get(&trial) != Some(&attempt) {
            return refused();
        }
        own.finish(&path)?;
        state.checkpoints.insert(checkpoint);
        self.copy(&path);
        Ok(())
    }

    /// No attempt begins from it any more.
    pub fn drop_checkpoint(&self, checkpoint: CheckpointRef) {
        if lock(&self.state).checkpoints.remove(&checkpoint) {
            self.remove_all(vec![self.checkpoint_path(checkpoint)]);
        }
    }

    /// The trial has left its slot for now; its checkpoint takes the place of its initial weights.
    pub fn pause(&self, trial: u32) {
        let known = {
            let mut state = lock(&self.state);
            state.running.remove(&trial);
            state.initial.remove(&trial)
        };
        if known {
            self.remove_all(vec![self.initial_path(trial)]);
        }
    }

    /// Makes the best trial's weights of its checkpoint, where it kept none: it was paused when the experiment
    /// ended.
    ///
    /// # Errors
    /// If the checkpoint cannot be read, or the disk fails.
    pub async fn weights_of_checkpoint(&self, trial: u32) -> Result<()> {
        let checkpoint = {
            let state = lock(&self.state);
            if state.weights.contains(&trial) {
                return Ok(());
            }
            state.checkpoints.iter().rfind(|checkpoint| checkpoint.trial == trial).copied()
        };
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let (from, to) = (self.checkpoint_path(checkpoint), self.weights_path(trial));
        let path = to.clone();
        let made = tokio::task::spawn_blocking(move || extract_weights(&from, &path)).await;
        let made = made.map_err(|error| Error::Precondition(format!("the task ended: {error}")))??;
        if made {
            lock(&self.state).weights.insert(trial);
            self.copy(&to);
        }
        Ok(())
    }

    /// # Errors
    /// If they have not been put, or the trial has ended.
    pub fn initial(&self, trial: u32) -> Result<PathBuf> {
        if lock(&self.state).initial.contains(&trial) {
            return Ok(self.initial_path(trial));
        }
        Err(Error::Precondition(format!("the initial weights of trial {trial} are not there")))
    }

    /// # Errors
    /// If none were kept.
    pub fn weights(&self, trial: u32) -> Result<PathBuf> {
        if lock(&self.state).weights.contains(&trial) {
            return Ok(self.weights_path(trial));
        }
        Err(Error::Precondition(format!(
            "no weights of trial {trial} were kept; only those of the experiment's best trial are"
        )))
    }

    /// Those of a trial that has ended meanwhile, in a cancelled experiment, are received and dropped.
    ///
    /// # Errors
    /// If the trial has not been asked for, or the disk fails.
    pub async fn receive_initial(&self, frames: Outgoing<FlightData>, trial: u32) -> Result<()> {
        let known = {
            let state = lock(&self.state);
            state.open.contains(&trial) || state.ended.contains(&trial)
        };
        if !known {
            return Err(Error::Precondition(format!(
                "trial {trial} has not been asked for; put initial weights after its prepare request"
            )));
        }
        let path = self.initial_path(trial);
        let own = Unfinished::beside(&path);
        ipc::receive(ipc::decode(frames), own.path().to_owned(), limits::WEIGHTS_BYTES).await?;
        let mut state = lock(&self.state);
        if state.open.contains(&trial) {
            own.finish(&path)?;
            state.initial.insert(trial);
        }
        Ok(())
    }

    /// # Errors
    /// If the attempt is not the one that runs, or the disk fails.
    pub async fn receive_weights(
        &self,
        frames: Outgoing<FlightData>,
        trial: u32,
        attempt: u32,
    ) -> Result<()> {
        let refused = || {
            Err(Error::Precondition(format!(
                "attempt {attempt} of trial {trial} is not running: its weights are not kept"
            )))
        };
        if lock(&self.state).running.get(&trial) != Some(&attempt) {
            return refused();
        }
        let path = self.weights_path(trial);
        let own = Unfinished::beside(&path);
        ipc::receive(ipc::decode(frames), own.path().to_owned(), limits::WEIGHTS_BYTES).await?;
        let mut state = lock(&self.state);
        if state.running.get(&trial) != Some(&attempt) {
            return refused();
        }
        own.finish(&path)?;
        state.weights.insert(trial);
        self.copy(&path);
        Ok(())
    }

    pub fn has_initial(&self, trial: u32) -> bool {
        lock(&self.state).initial.contains(&trial)
    }

    pub fn has_ended(&self, trial: u32) -> bool {
        lock(&self.state).ended.contains(&trial)
    }

    pub fn expect(&self, trial: u32) {
        lock(&self.state).open.insert(trial);
    }

    pub fn begin(&self, trial: u32, attempt: u32) {
        lock(&self.state).running.insert(trial, attempt);
    }

    /// The trial has ended: its initial weights are of no more use, nor are others but the best's.
    pub fn end(&self, trial: u32, best: Option<u32>) {
        let mut gone = Vec::new();
        {
            let mut state = lock(&self.state);
            state.open.remove(&trial);
            state.ended.insert(trial);
            state.running.remove(&trial);
            if state.initial.remove(&trial) {
                gone.push(self.initial_path(trial));
            }
            // Until the best trial's weights have come, those of the former best stay.
            if best.is_none_or(|best| state.weights.contains(&best)) {
                let keep = |trial: &u32| Some(*trial) == best || state.running.contains_key(trial);
                let superseded: Vec<u32> = state.weights.iter().copied().filter(|t| !keep(t)).collect();
                for trial in superseded {
                    state.weights.remove(&trial);
                    gone.push(self.weights_path(trial));
                }
            }
        }
        self.remove_all(gone);
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name in the store: folder and file.
fn relative(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.iter().rev().cloned().collect::<Vec<_>>().join("/")
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove a superseded file");
    }
}

/// The names of a folder's files.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
    entries
        .map(|entry| {
            Ok(entry.map_err(|e| Error::file(folder, e))?.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// The weights that a checkpoint holds: the kept moment's, where that is not the checkpoint's own. False if it
/// holds none, as that of a function without a model.
fn extract_weights(checkpoint: &Path, weights: &Path) -> Result<bool> {
    let tensors = tensors::read_file(checkpoint)?;
    for prefix in ["best/", "model/"] {
        let named = |tensor: &NamedTensor| {
            let name = tensor.name.strip_prefix(prefix)?.to_owned();
            Some(NamedTensor { name, ..tensor.clone() })
        };
        let part: Vec<NamedTensor> = tensors.iter().filter_map(named).collect();
        if !part.is_empty() {
            tensors::write_file(weights, &part)?;
            return Ok(true);
        }
    }
    Ok(false)
}
