//! What the driver wants of this executor beside its slots: partitions copied here, datasets dropped.
//!
//! A desired state, not a queue: what is wanted twice is done once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lethe_flight::message::dataset::Location;
use lethe_flight::message::slot::ToExecutor;
use lethe_flight::{Error, Result, limits};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::slot::Host;
use crate::store::fetch;

/// Copies fetched at a time: views that are built meanwhile go first.
const PARALLEL: usize = 2;
/// Tries of one copy.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Orders(Arc<Shared>);

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Default)]
struct Wanted {
    drops: BTreeSet<String>,
    copies: BTreeMap<(String, u32), Vec<Location>>,
}

enum Order {
    Drop(String),
    Copy(String, u32, Vec<Location>),
}

impl Orders {
    pub fn take(&self, order: ToExecutor) {
        match order {
            ToExecutor::Copy { dataset, partition, locations } => {
                let mut wanted = self.lock();
                if wanted.copies.len() < limits::PARTITIONS as usize {
                    wanted.copies.insert((dataset, partition), locations);
                }
            }
            ToExecutor::Drop { dataset } => {
                let mut wanted = self.lock();
                wanted.copies.retain(|(of, _), _| *of != dataset);
                wanted.drops.insert(dataset);
            }
            ToExecutor::Registered { .. } => return,
        }
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, copies: bool) -> Option<Order> {
        let mut wanted = self.lock();
        if let Some(dataset) = wanted.drops.pop_first() {
            return Some(Order::Drop(dataset));
        }
        let ((dataset, partition), locations) = copies.then(|| wanted.copies.pop_first()).flatten()?;
        Some(Order::Copy(dataset, partition, locations))
    }

    /// Carries out what is wanted until the executor ends.
    pub async fn carry_out(self, host: Arc<Host>) {
        let mut copying = JoinSet::new();
        loop {
            match self.next(copying.len() < PARALLEL) {
                Some(Order::Drop(dataset)) => drop_dataset(&host, dataset).await,
                Some(Order::Copy(dataset, partition, locations)) => {
                    let host = host.clone();
                    copying.spawn(async move {
                        if let Err(error) = copy(&host, &dataset, partition, locations).await {
                            tracing::warn!(dataset, partition, %error, "a partition is not copied here");
                        }
                    });
                }
                None => tokio::select! {
                    () = host.end.cancelled() => return,
                    () = self.0.changed.notified() => {}
                    Some(_) = copying.join_next() => {}
                },
            }
        }
    }
}

async fn drop_dataset(host: &Arc<Host>, dataset: String) {
    tracing::info!(dataset, "a dataset is dropped");
    host.views.drop_dataset(host.store.disk(), &dataset).await;
    let store = host.store.clone();
    _ = tokio::task::spawn_blocking(move || store.drop_dataset(&dataset)).await;
}

async fn copy(host: &Host, dataset: &str, partition: u32, mut locations: Vec<Location>) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match fetch(&host.store, &host.driver, dataset, partition, &locations).await {
            Ok(_) => return Ok(()),
            // No room, or the driver wants it no longer.
            Err(error @ (Error::Exhausted(_) | Error::Remote(_))) if !error.is_disconnect() => {
                return Err(error);
            }
            Err(error) if attempt == TRIES => return Err(error),
            Err(error) => tracing::info!(dataset, partition, %error, "a copy is tried again"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        let located = host.driver.locate(dataset).await?;
        let info = located.partitions.into_iter().find(|info| info.partition == partition);
        locations = info.map(|info| info.locations).unwrap_or_default();
    }
    Ok(())
}
