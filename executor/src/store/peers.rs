//! Partitions that this executor lacks, fetched from those that hold them.

use futures::{StreamExt, TryStreamExt};
use lethe_flight::message::dataset::{Located, PartitionInfo};
use lethe_flight::wire::Ticket;
use lethe_flight::{Error, Result, client};

use super::{Held, Store};
use crate::driver::Driver;

/// Partitions fetched at a time.
const PARALLEL: usize = 4;

/// Holds every partition of a dataset here, in their order.
///
/// # Errors
/// If a partition is held by nobody, or none of its holders can be reached.
pub async fn fetch_missing(store: &Store, driver: &Driver, located: &Located) -> Result<Vec<Held>> {
    let mut fetches = Vec::with_capacity(located.partitions.len());
    for info in &located.partitions {
        fetches.push(fetch(store, driver, &located.dataset, info));
    }
    futures::stream::iter(fetches).buffered(PARALLEL).try_collect().await
}

async fn fetch(store: &Store, driver: &Driver, dataset: &str, info: &PartitionInfo) -> Result<Held> {
    if let Some(held) = store.get(dataset, info.partition) {
        return Ok(held);
    }
    let mut failures = Vec::new();
    for location in info.locations.iter().filter(|l| l.executor != driver.executor()) {
        match fetch_from(store, driver, dataset, info.partition, &location.address).await {
            Ok(held) if held.rows == info.rows => {
                driver.announce_one(store, dataset, info.partition).await?;
                return Ok(held);
            }
            Ok(held) => failures.push(format!("{} sent {} rows", location.address, held.rows)),
            Err(error) => failures.push(format!("{}: {error}", location.address)),
        }
    }
    Err(Error::Unreachable(format!(
        "partition {} of dataset {dataset} is lost: no executor that held it answers; run the job again ({})",
        info.partition,
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
