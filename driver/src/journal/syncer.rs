//! Makes what was written durable, behind the writer's back: a slow disk delays no decision.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use lethe_flight::{Error, Result};
use tokio::sync::watch;

/// Between two syncs: what a lost host costs is this and the time that a sync takes.
const PAUSE: Duration = Duration::from_millis(250);

/// Its thread ends when this is dropped.
pub struct Syncer {
    nudge: mpsc::SyncSender<()>,
    written: Arc<AtomicU64>,
    failure: mpsc::Receiver<std::io::Error>,
}

impl Syncer {
    /// `synced` follows the bytes that a lost host does not cost.
    pub fn start(file: File, length: u64, synced: watch::Sender<u64>) -> Result<Self> {
        let (nudge, nudges) = mpsc::sync_channel(1);
        let (failed, failure) = mpsc::sync_channel(1);
        let written = Arc::new(AtomicU64::new(length));
        let target = Arc::clone(&written);
        let run = move || {
            while nudges.recv().is_ok() {
                // Read before the sync: what is written meanwhile may not be part of it.
                let length = target.load(Ordering::Acquire);
                if let Err(error) = file.sync_data() {
                    _ = failed.send(error);
                    return;
                }
                synced.send_replace(length);
                thread::sleep(PAUSE);
            }
        };
        let name = "lethe-journal-sync".to_owned();
        let spawned = thread::Builder::new().name(name).spawn(run);
        spawned.map_err(|e| Error::Exhausted(format!("cannot start a thread for the journal: {e}")))?;
        Ok(Self { nudge, written, failure })
    }

    pub fn written(&self, length: u64) {
        self.written.store(length, Ordering::Release);
        // A full channel has its nudge already.
        _ = self.nudge.try_send(());
    }

    /// What the disk said, once.
    pub fn failure(&self) -> Option<std::io::Error> {
        self.failure.try_recv().ok()
    }
}
