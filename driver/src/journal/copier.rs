//! Carries out what [`Copies`] wishes: files follow into the object store, and superseded ones go from there.
//!
//! The files themselves are the queue, as the journal's is for its [`Shipper`](super::Shipper): a store that is
//! slow or away delays nothing but its copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use lethe_flight::{Error, Result};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::copies::{Copies, Job, Kind};
use super::mirror::Mirror;
use super::shipper::{LONGEST_PAUSE, PAUSE, Shipper};
use super::writer::Writer;

/// Files that travel together.
const AT_ONCE: usize = 4;
/// Files of one round: after it, the store is looked upon as there again.
const ROUND: usize = 8;
/// For one file with all its tries, and in addition for each of its megabytes.
const FILE: Duration = Duration::from_secs(60);
const MEGABYTE: Duration = Duration::from_secs(1);

/// Copies until it is closed or dropped.
pub struct Copier {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Copier {
    /// `folder` is the experiment's, whose journal `writer` writes and `shipper` ships. `notice` gets what a user
    /// should read: that the copy falls behind, that it has caught up.
    pub fn start(
        mirror: Mirror,
        copies: Copies,
        folder: PathBuf,
        writer: &Writer,
        shipper: &Shipper,
        notice: impl Fn(String) + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        copies.follow(writer.written());
        let copy = Copy { mirror, copies, folder, shipped: shipper.shipped(), notice };
        Self { stop, task: tokio::spawn(copy.run(stopped)) }
    }

    /// Copies what is there by now: close the shipper before. It takes as long as files do, and ends with the first
    /// that cannot be copied.
    ///
    /// # Errors
    /// If the store does not take everything. The files on this host are whole.
    pub async fn close(self) -> Result<()> {
        _ = self.stop.send(());
        match self.task.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Unreachable(format!(
                "the object store has not all checkpoints and weights: its copy is not complete, the files on this \
                 host are ({error})"
            ))),
            Err(error) => Err(Error::Precondition(format!("the copy of files was broken off: {error}"))),
        }
    }
}

struct Copy<N> {
    mirror: Mirror,
    copies: Copies,
    folder: PathBuf,
    /// Bytes of the journal that the store has.
    shipped: watch::Receiver<u64>,
    notice: N,
}

impl<N: Fn(String) + Send + Sync + 'static> Copy<N> {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Result<()> {
        let mut changes = self.copies.changes();
        let (mut pause, mut behind, mut ends) = (PAUSE, false, false);
        loop {
            changes.borrow_and_update();
            let shipped = *self.shipped.borrow_and_update();
            let due = self.copies.due(shipped, ROUND);
            if due.is_empty() {
                if std::mem::take(&mut behind) {
                    pause = PAUSE;
                    (self.notice)("the copy of checkpoints and weights has caught up".into());
                }
                if ends {
                    return Ok(());
                }
                tokio::select! {
                    more = changes.changed() => if more.is_err() { return Ok(()) },
                    more = self.shipped.changed() => if more.is_err() {
                        // The journal's copy has ended: at the experiment's end, or because another driver writes
                        // there, whose files are not to be touched.
                        ends = (&mut stopped).await.is_ok();
                        if !ends {
                            return Ok(());
                        }
                    },
                    told = &mut stopped => match told {
                        Ok(()) => ends = true,
                        Err(_) => return Ok(()),
                    },
                }
                continue;
            }
            let Err(error) = self.round(due).await else { continue };
            if ends {
                return Err(error);
            }
            if !std::mem::replace(&mut behind, true) {
                (self.notice)(format!(
                    "the copy of checkpoints and weights in the object store falls behind, and is tried again: {error}"
                ));
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                told = &mut stopped => match told {
                    Ok(()) => ends = true,
                    Err(_) => return Err(error),
                },
            }
        }
    }

    /// # Errors
    /// The first of the files that could not be copied or removed; the others are.
    async fn round(&self, jobs: Vec<Job>) -> Result<()> {
        let carried = futures::stream::iter(jobs.into_iter().map(|job| self.carry_out(job)));
        let results: Vec<Result<()>> = carried.buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect()
    }

    async fn carry_out(&self, job: Job) -> Result<()> {
        self.bounded(&job).await?;
        self.copies.done(&job);
        Ok(())
    }

    async fn bounded(&self, job: &Job) -> Result<()> {
        let path = self.folder.join(&job.name);
        let (work, bytes) = match job.kind {
            Kind::Remove { .. } => (futures::future::Either::Left(self.mirror.remove_file(&job.name)), 0),
            Kind::Put => match tokio::fs::metadata(&path).await {
                Ok(file) => {
                    (futures::future::Either::Right(self.mirror.put_file(&path, &job.name)), file.len())
                }
                // Superseded meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::file(&path, error)),
            },
        };
        let within = FILE + MEGABYTE * u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        match timeout(within, work).await {
            // It may have gone while it was read.
            Ok(Err(_)) if job.kind == Kind::Put && is_gone(&path).await => Ok(()),
            Ok(done) => done,
            Err(_) => Err(Error::Unreachable(format!(
                "the object store has not answered about {} within {} s",
                job.name,
                within.as_secs()
            ))),
        }
    }
}

async fn is_gone(path: &Path) -> bool {
    !tokio::fs::try_exists(path).await.unwrap_or(true)
}
