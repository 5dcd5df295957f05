//! Follows the journal's file and puts what is new into the object store, about once a second.
//!
//! The file itself is the queue: nothing is held in memory for the store, and a store that is slow or away delays
//! nothing but its copy.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use lethe_flight::{Error, Result};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::mirror::Mirror;
use super::segments::{Bytes, Position};
use super::writer::Writer;

/// Between two segments: what a lost host costs is this and the time of one put.
const PERIOD: Duration = Duration::from_secs(1);
/// For one segment with all its tries.
const PUT: Duration = Duration::from_secs(60);
/// After a segment that could not be put; doubled up to the longest.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One segment, bytes, unless a single record is more.
const SEGMENT_BYTES: usize = 8 << 20;

/// Ships until it is closed or dropped.
pub struct Shipper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    shipped: watch::Receiver<u64>,
}

impl Shipper {
    /// `notice` gets what a user should read: that the copy falls behind, that it has caught up, that it ends.
    pub fn start(
        mirror: Mirror,
        writer: &Writer,
        position: Position,
        notice: impl Fn(String) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let written = writer.written();
        let path = writer.path().to_owned();
        let (shipped, shipped_so_far) = watch::channel(position.bytes);
        let ship = Ship { mirror, path, written, position, shipped, notice };
        Self { stop, task: tokio::spawn(ship.run(stopped)), shipped: shipped_so_far }
    }

    /// Bytes of the journal that the store has, as they become more; its sender goes when the copy ends.
    pub fn shipped(&self) -> watch::Receiver<u64> {
        self.shipped.clone()
    }

    /// Ships what is written by now: close the writer before.
    ///
    /// # Errors
    /// If the store has not taken everything in time. The journal on this host is whole.
    pub async fn close(self, within: Duration) -> Result<()> {
        _ = self.stop.send(());
        let mut task = self.task;
        match timeout(within, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::Precondition(format!("the journal's copy was broken off: {error}"))),
            Err(_) => {
                task.abort();
                Err(Error::Unreachable(format!(
                    "the object store has not taken the end of the journal in {within:?}: its copy is not complete; \
                     the journal on this host is"
                )))
            }
        }
    }
}

struct Ship<N> {
    mirror: Mirror,
    path: PathBuf,
    written: watch::Receiver<u64>,
    position: Position,
    shipped: watch::Sender<u64>,
    notice: N,
}

impl<N: Fn(String) + Send + 'static> Ship<N> {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Result<()> {
        let mut pause = PAUSE;
        let mut behind = false;
        loop {
            let bytes = self.position.bytes;
            let ended = tokio::select! {
                more = self.written.wait_for(|written| *written > bytes) => more.is_err(),
                _ = &mut stopped => true,
            };
            let ended = ended || pause_unless(&mut stopped, PERIOD).await;
            match self.ship().await {
                Ok(()) if behind => {
                    (behind, pause) = (false, PAUSE);
                    (self.notice)("the journal's copy in the object store has caught up".into());
                }
                Ok(()) => {}
                Err(error) if ended => return Err(error),
                // Another driver: what this one writes must not go where that one's is.
                Err(error @ Error::Invalid(_)) => {
                    (self.notice)(format!("{error}; the copy ends here"));
                    return Err(error);
                }
                Err(error) => {
                    if !behind {
                        (self.notice)(format!(
                            "the journal's copy in the object store falls behind, and is tried again: {error}"
                        ));
                    }
                    behind = true;
                    if pause_unless(&mut stopped, pause).await {
                        return self.ship().await;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// All that is written by now.
    async fn ship(&mut self) -> Result<()> {
        loop {
            let written = *self.written.borrow();
            if written <= self.position.bytes {
                return Ok(());
            }
            let segment = read(self.path.clone(), self.position.bytes, written).await?;
            let length = segment.len() as u64;
            let number = self.position.segment + 1;
            let put = timeout(PUT, self.mirror.put_segment(number, segment)).await;
            put.unwrap_or_else(|_| {
                Err(Error::Unreachable(format!("the object store has not taken a segment in {PUT:?}")))
            })?;
            self.position = Position { segment: number, bytes: self.position.bytes + length };
            self.shipped.send_replace(self.position.bytes);
        }
    }
}

/// Whole records of the first `written` bytes, from `start` on.
async fn read(path: PathBuf, start: u64, written: u64) -> Result<Bytes> {
    let read = move || {
        let failed = |error| Error::file(&path, error);
        let mut file = std::fs::File::open(&path).map_err(failed)?;
        let mut most = SEGMENT_BYTES;
        loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
            let left = (written - start).min(most as u64);
            file.by_ref().take(left).read_to_end(&mut bytes).map_err(failed)?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
                return Ok(bytes.into());
            }
            if left < most as u64 {
                return Err(failed(ErrorKind::UnexpectedEof.into()));
            }
            most *= 2;
        }
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Error::Precondition(format!("reading the journal was broken off: {error}")))?
}

/// Whether it was stopped before.
async fn pause_unless(stopped: &mut oneshot::Receiver<()>, pause: Duration) -> bool {
    tokio::select! {
        () = sleep(pause) => false,
        _ = stopped => true,
    }
}
