//! Checkpoints of one attempt on their way to the driver: one travels, and the newest waits. Whatever is older
//! than that one nobody would go on from.

use std::path::PathBuf;

use lethe_flight::client::{self, Client};
use lethe_flight::wire::Put;
use lethe_flight::{Error, Result};
use tokio_util::task::AbortOnDropHandle;

/// A complete file, and what it is.
pub struct Saved {
    pub epoch: u32,
    pub path: PathBuf,
    pub put: Put,
}

/// What became of a put: the epoch, or why it did not arrive.
pub type Arrived = Result<u32>;

#[derive(Default)]
pub struct Puts {
    travels: Option<AbortOnDropHandle<Arrived>>,
    waits: Option<(Client, Saved)>,
    /// The epoch saved last, and the one that arrived last.
    saved: Option<u32>,
    arrived: Option<u32>,
    /// Why the last that did not arrive did not.
    error: Option<String>,
}

impl Puts {
    pub fn add(&mut self, client: Client, saved: Saved) {
        self.saved = Some(saved.epoch);
        if let Some((_, older)) = self.waits.replace((client, saved)) {
            remove(&older.path);
        }
        self.advance();
    }

    /// The next one to arrive, or not to; waits forever while none travels. Cancel safe.
    pub async fn next(&mut self) -> Arrived {
        let Some(travels) = &mut self.travels else { return std::future::pending().await };
        let arrived = travels.await;
        self.travels = None;
        self.advance();
        let ended = |e| Err(Error::Invalid(format!("the put of a checkpoint ended: {e}")));
        let arrived = arrived.unwrap_or_else(ended);
        match &arrived {
            Ok(epoch) => self.arrived = Some(*epoch),
            Err(error) => self.error = Some(error.to_string()),
        }
        arrived
    }

    /// Notes one that cannot be put.
    pub fn refuse(&mut self, epoch: u32, error: &Error) {
        self.saved = Some(epoch);
        self.error = Some(error.to_string());
    }

    /// Whether the one saved last has arrived; else why not.
    pub fn last_arrived(&self) -> Result<(), String> {
        match (self.saved, &self.error) {
            (None, _) => Err("the worker saved none".into()),
            (saved, _) if saved == self.arrived => Ok(()),
            (_, Some(error)) => Err(error.clone()),
            (_, None) => Err("it was not put".into()),
        }
    }

    /// Whether none travels.
    pub fn is_empty(&self) -> bool {
        self.travels.is_none()
    }

    /// Gives up the one that waits: the attempt has ended for good.
    pub fn drop_waiting(&mut self) {
        if let Some((_, saved)) = self.waits.take() {
            remove(&saved.path);
        }
    }

    fn advance(&mut self) {
        if self.travels.is_none()
            && let Some((mut client, Saved { epoch, path, put })) = self.waits.take()
        {
            let travel = async move {
                let arrived = client::put_file(&mut client, &put, path.clone()).await;
                remove(&path);
                arrived.map(|()| epoch)
            };
            self.travels = Some(AbortOnDropHandle::new(tokio::spawn(travel)));
        }
    }
}

/// Blocks, for a moment. A file that stays goes with its attempt's folder.
fn remove(path: &std::path::Path) {
    _ = std::fs::remove_file(path);
}
