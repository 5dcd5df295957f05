//! A log for async tasks: its disk is a thread's.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use lethe_flight::message::experiment::Plan;
use lethe_flight::{Error, Result};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::batch::Batch;
use super::file::JournalFile;
use super::log::Log;
use super::syncer::Syncer;

/// As [`Log`], without blocking: all that was recorded since the last commit goes in one write, on the writer's
/// thread. One batch is on its way at most, so memory is bounded. `fdatasync` follows in the background within
/// the second.
///
/// What was recorded and not committed is lost when this is dropped; what was committed is written.
pub struct Writer {
    batch: Batch,
    spare: Batch,
    jobs: mpsc::SyncSender<Job>,
    /// Its batch is on its way, also when the caller of the commit has gone.
    in_flight: Option<oneshot::Receiver<(Batch, Result<()>)>>,
    path: PathBuf,
    written: watch::Receiver<u64>,
    synced: watch::Receiver<u64>,
}

enum Job {
    Write(Batch, oneshot::Sender<(Batch, Result<()>)>),
    Close(oneshot::Sender<Result<()>>),
}

impl Writer {
    /// # Errors
    /// If threads cannot be started.
    pub fn start(log: Log) -> Result<Self> {
        let (batch, file) = log.into_parts();
        let (written, written_so_far) = watch::channel(file.length());
        let (synced, synced_so_far) = watch::channel(file.length());
        let syncer = Syncer::start(file.handle()?, file.length(), synced.clone())?;
        let path = file.path().to_owned();
        let (jobs, queue) = mpsc::sync_channel(2);
        let run = move || carry_out(&queue, file, syncer, &written, &synced);
        let spawned = thread::Builder::new().name("lethe-journal".to_owned()).spawn(run);
        spawned.map_err(|e| Error::Exhausted(format!("cannot start a thread for the journal: {e}")))?;
        Ok(Self {
            batch,
            spare: Batch::default(),
            jobs,
            in_flight: None,
            path,
            written: written_so_far,
            synced: synced_so_far,
        })
    }

    /// # Errors
    /// As [`Log::event`].
    pub fn event<E: Serialize>(&mut self, at: u64, event: &E) -> Result<()> {
        self.batch.event(at, event)
    }

    /// # Errors
    /// As [`Log::event`].
    pub fn resumed(&mut self, at: u64, plan: &Plan) -> Result<()> {
        self.batch.resumed(at, plan)
    }

    /// Whether records wait to be committed.
    pub fn is_dirty(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Ready when all that was recorded is in the file and outlives this process. May be dropped: the records
    /// are written all the same, and the next commit waits for them.
    ///
    /// # Errors
    /// As [`Log::commit`]. A failed sync in the background is the next commit's error.
    pub async fn commit(&mut self) -> Result<()> {
        self.arrived().await?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        let batch = self.batch.swap(std::mem::take(&mut self.spare));
        // Does not block: there is room for one batch and the end.
        self.jobs.send(Job::Write(batch, done)).map_err(|_| self.gone())?;
        self.in_flight = Some(answer);
        self.arrived().await
    }

    async fn arrived(&mut self) -> Result<()> {
        let Some(answer) = &mut self.in_flight else { return Ok(()) };
        let answer = answer.await;
        self.in_flight = None;
        let (batch, result) = answer.map_err(|_| self.gone())?;
        self.spare = batch;
        result
    }

    /// Commits, syncs, and gives the folder back.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn close(mut self) -> Result<()> {
        let committed = self.commit().await;
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Close(done)).map_err(|_| self.gone())?;
        let closed = answer.await.map_err(|_| self.gone())?;
        committed.and(closed)
    }

    /// Bytes in the file, as they become more.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }

    /// Bytes that a lost host does not cost, as they become more.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.synced.clone()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn gone(&self) -> Error {
        Error::Precondition(format!("the thread that writes {} has ended", self.path.display()))
    }
}

fn carry_out(
    jobs: &mpsc::Receiver<Job>,
    mut file: JournalFile,
    syncer: Syncer,
    written: &watch::Sender<u64>,
    synced: &watch::Sender<u64>,
) {
    while let Ok(job) = jobs.recv() {
        let failure = syncer.failure().map(|error| Err(file.fail(error)));
        match job {
            Job::Write(mut batch, done) => {
                let result = failure.unwrap_or_else(|| file.write(batch.lines()));
                if result.is_ok() {
                    syncer.written(file.length());
                    written.send_replace(file.length());
                }
                batch.clear();
                _ = done.send((batch, result));
            }
            Job::Close(done) => {
                let result = failure.unwrap_or_else(|| file.sync());
                if result.is_ok() {
                    synced.send_replace(file.length());
                }
                // Before the answer: whoever waits for it may lock the folder.
                drop(file);
                _ = done.send(result);
                return;
            }
        }
    }
}
