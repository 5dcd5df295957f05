//! Partitions that this executor lacks, fetched from those that hold them.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lethe_flight::message::dataset::{Located, Location, PartitionInfo};
use lethe_flight::wire::Ticket;
use lethe_flight::{Error, Result, client};

use super::{Held, Store};
use crate::driver::Driver;

/// Partitions fetched at a time.
pub(super) const PARALLEL: usize = 4;
/// The driver notices within eight seconds that an executor has gone: until then it is named and does not answer.
const TRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Holds every partition of a dataset here, in their order.
///
/// # Errors
/// [`Error::Lost`] if partitions are held by nobody any more; else if none of a partition's holders can be reached, or
/// there is no room.
pub async fn fetch_missing(store: &Store, driver: &Driver, located: &Located) -> Result<Vec<Held>> {
    again(driver, located, |located| async move {
        let all: Vec<&PartitionInfo> = located.partitions.iter().collect();
        check_there(store, driver, &located.dataset, &all)?;
        let mut fetches = Vec::with_capacity(all.len());
        for info in all {
            fetches.push(fetch(store, driver, &located.dataset, info.partition, &info.locations));
        }
        futures::stream::iter(fetches).buffered(PARALLEL).try_collect().await
    })
    .await
}

/// Asks the driver anew who holds what, and tries once more, where those that were named do not answer.
pub(super) async fn again<T, F: Future<Output = Result<T>>>(
    driver: &Driver,
    located: &Located,
    fetch: impl Fn(Located) -> F,
) -> Result<T> {
    let mut located = located.clone();
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match fetch(located.clone()).await {
            Err(error) if error.is_disconnect() => {
                tracing::warn!(dataset = located.dataset, %error, "partitions are asked for again");
                tokio::time::sleep(pause).await;
                pause *= 2;
                located = driver.locate(&located.dataset).await?;
            }
            fetched => return fetched,
        }
    }
    fetch(located).await
}

/// # Errors
/// [`Error::Lost`] if some of these partitions are held by nobody any more.
pub(super) fn check_there(
    store: &Store,
    driver: &Driver,
    dataset: &str,
    partitions: &[&PartitionInfo],
) -> Result<()> {
    let lost = |info: &&&PartitionInfo| {
        let elsewhere = info.locations.iter().any(|l| l.executor != driver.executor());
        !elsewhere && store.get(dataset, info.partition).is_none()
    };
    match partitions.iter().filter(lost).count() {
        0 => Ok(()),
        lost => Err(Error::Lost { dataset: dataset.into(), partitions: lost as u32 }),
    }
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
    let held = of_any(driver, dataset, partition, locations, |address| async move {
        fetch_from(store, driver, dataset, partition, &address).await
    });
    let held = held.await?;
    driver.announce_one(store, dataset, partition).await?;
    Ok(held)
}

/// From the first that gives it of those that hold the partition.
pub(super) async fn of_any<T, F: Future<Output = Result<T>>>(
    driver: &Driver,
    dataset: &str,
    partition: u32,
    locations: &[Location],
    fetch: impl Fn(String) -> F,
) -> Result<T> {
    let mut failures = Vec::new();
    for location in locations.iter().filter(|l| l.executor != driver.executor()) {
        match fetch(location.address.clone()).await {
            // No other holder makes room here.
            Err(error @ Error::Exhausted(_)) => return Err(error),
            Err(error) => failures.push(format!("{}: {error}", location.address)),
            fetched => return fetched,
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
    let ticket = Ticket::Partition { dataset: dataset.into(), partition, rows: None };
    let frames = peer.do_get(ticket.render()?).await?.into_inner();
    store.put(dataset, partition, frames.boxed()).await
}
