//! Partitions that this executor lacks, fetched from those that hold them.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lethe_flight::message::dataset::{Located, Location, PartitionInfo};
use lethe_flight::wire::Ticket;
use lethe_flight::{Error, Result, client};

use super::{Held, Store};
use crate::driver::Driver;

/// Partitions fetched at a time.
const PARALLEL: usize = 4;
/// The driver notices within eight seconds that an executor has gone: until then it is named and does not answer.
const TRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Holds every partition of a dataset here, in their order.
///
/// # Errors
/// [`Error::Lost`] if partitions are held by nobody any more; else if none of a partition's holders can be reached, or
/// there is no room.
pub async fn fetch_missing(store: &Store, driver: &Driver, located: &Located) -> Result<Vec<Held>> {
    let mut located = located.clone();
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match fetch_all(store, driver, &located).await {
            Err(error) if error.is_disconnect() => {
                tracing::warn!(dataset = located.dataset, %error, "partitions are asked for again");
                tokio::time::sleep(pause).await;
                pause *= 2;
                located = driver.locate(&located.dataset).await?;
            }
            fetched => return fetched,
        }
    }
    fetch_all(store, driver, &located).await
}

async fn fetch_all(store: &Store, driver: &Driver, located: &Located) -> Result<Vec<Held>> {
    let lost = |info: &&PartitionInfo| {
        let elsewhere = info.locations.iter().any(|l| l.executor != driver.executor());
        !elsewhere && store.get(&located.dataset, info.partition).is_none()
    };
    let partitions = located.partitions.iter().filter(lost).count();
    if partitions > 0 {
        return Err(Error::Lost { dataset: located.dataset.clone(), partitions: partitions as u32 });
    }
    let mut fetches = Vec::with_capacity(located.partitions.len());
    for info in &located.partitions {
        fetches.push(fetch(store, driver, &located.dataset, info.partition, &info.locations));
    }
    futures::stream::iter(fetches).buffered(PARALLEL).try_collect().await
}

/// Holds a partition here, and says so to the driver.
///
/// # Errors
/// If none of those that hold it can be reached, there is no room, or the driver refuses what came.
pub async fn fetch(
    store: &Store,
    driver: &Driver,
    dataset: &str,
    partition: u32,
    locations: &[Location],
) -> Result<Held> {
    let _turn = store.fetching.turn(dataset, partition).await;
    if let Some(held) = store.get(dataset, partition) {
        return Ok(held);
    }
    let mut failures = Vec::new();
    for location in locations.iter().filter(|l| l.executor != driver.executor()) {
        match fetch_from(store, driver, dataset, partition, &location.address).await {
            Ok(held) => {
                driver.announce_one(store, dataset, partition).await?;
                return Ok(held);
            }
            // No other holder makes room here.
            Err(error @ Error::Exhausted(_)) => return Err(error),
            Err(error) => failures.push(format!("{}: {error}", location.address)),
        }
    }
    Err(Error::Unreachable(format!(
        "partition {partition} of dataset {dataset} cannot be had: no executor that holds it answers ({})",
        if failures.is_empty() { "nobody holds it".into() } else { failures.join("; ") }
    )))
}

async fn fetch_from(
    store: &Store,
    driver: &Driver,
    dataset: &str,
    partition: u32,
    address: &str,
) -> Result<Held> {
    let mut peer = client::connect(address, driver.token()).await?;
    let ticket = Ticket::Partition { dataset: dataset.into(), partition };
    let frames = peer.do_get(ticket.render()?).await?.into_inner();
    store.put(dataset, partition, frames.boxed()).await
}
