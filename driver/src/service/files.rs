//! Programs, initial weights, kept weights: files, and which of them may come or be had.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_flight::FlightData;
use lethe_flight::server::Outgoing;
use lethe_flight::{Error, Result, blob, ipc, limits};

use super::lock;

/// The programs of all experiments, each once, by its hash.
pub struct Programs {
    folder: PathBuf,
    next: AtomicU64,
}

impl Programs {
    pub fn new(folder: PathBuf) -> Result<Self> {
        make_folder(&folder)?;
        Ok(Self { folder, next: AtomicU64::new(0) })
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(hash)
    }

    /// # Errors
    /// If it is not a hash, or no such program has been put.
    pub fn find(&self, hash: &str) -> Result<PathBuf> {
        blob::check_hash(hash)?;
        let path = self.path(hash);
        if !path.is_file() {
            return Err(Error::Precondition(format!("program {hash} has not been put to this driver")));
        }
        Ok(path)
    }

    /// A program that is there already is read to its end and changes nothing.
    pub async fn receive(&self, frames: Outgoing<FlightData>, hash: String) -> Result<()> {
        blob::check_hash(&hash)?;
        let path = self.path(&hash);
        // Under a name of its own: two puts of one program at once do not write into one another's file.
        let own = self.folder.join(format!("put-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        blob::receive(ipc::decode(frames), own.clone(), hash).await?;
        tokio::fs::rename(&own, &path).await.map_err(|e| Error::file(&path, e))
    }
}

/// The weights of one experiment's trials.
pub struct TrialFiles {
    initial: PathBuf,
    kept: PathBuf,
    next: AtomicU64,
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
}

impl TrialFiles {
    /// # Errors
    /// If the folders cannot be made.
    pub fn new(initial: PathBuf, experiment: &Path) -> Result<Self> {
        let kept = experiment.join("weights");
        make_folder(&initial)?;
        make_folder(&kept)?;
        Ok(Self { initial, kept, next: AtomicU64::new(0), state: Mutex::default() })
    }

    fn initial_path(&self, trial: u32) -> PathBuf {
        self.initial.join(format!("trial-{trial}.arrow"))
    }

    fn weights_path(&self, trial: u32) -> PathBuf {
        self.kept.join(format!("trial-{trial}.arrow"))
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
        let own = self.initial.join(format!("put-{}.arrow", self.next.fetch_add(1, Ordering::Relaxed)));
        ipc::receive(ipc::decode(frames), own.clone(), limits::WEIGHTS_BYTES).await?;
        let taken = {
            let mut state = lock(&self.state);
            let open = state.open.contains(&trial);
            if open {
                rename(&own, &self.initial_path(trial))?;
                state.initial.insert(trial);
            }
            open
        };
        if !taken {
            _ = tokio::fs::remove_file(&own).await;
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
        let own = self.kept.join(format!("put-{}.arrow", self.next.fetch_add(1, Ordering::Relaxed)));
        ipc::receive(ipc::decode(frames), own.clone(), limits::WEIGHTS_BYTES).await?;
        let taken = {
            let mut state = lock(&self.state);
            let current = state.running.get(&trial) == Some(&attempt);
            if current {
                rename(&own, &self.weights_path(trial))?;
                state.weights.insert(trial);
            }
            current
        };
        if taken {
            return Ok(());
        }
        _ = tokio::fs::remove_file(&own).await;
        refused()
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
        if !gone.is_empty() {
            // Off the way of the next assignment.
            tokio::task::spawn_blocking(move || {
                for path in gone {
                    if let Err(error) = std::fs::remove_file(&path) {
                        tracing::warn!(path = %path.display(), %error, "cannot remove a superseded file");
                    }
                }
            });
        }
    }
}

/// Within one folder: no data move, so that it may be done under the lock that makes it one with the record.
fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::file(to, e))
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))
}
