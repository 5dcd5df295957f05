//! Rows of partitions, for a view of one rank's rows: read where they lie here, else fetched for that view alone.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use lethe_flight::message::dataset::{Located, PartitionInfo, Piece};
use lethe_flight::wire::{RowRange, Ticket};
use lethe_flight::{Error, Result, client, ipc};

use super::Store;
use super::peers::{PARALLEL, again, check_there, of_any};
use crate::disk::{self, Space};
use crate::driver::Driver;

/// A file of rows that were fetched, which goes with this; or a partition that is held.
pub struct Fetched {
    path: PathBuf,
    _there: Option<(ipc::Unfinished, Space)>,
}

impl Fetched {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The pieces in their order, each a file and which of its rows; None is all. Files of what is not held here lie beside
/// `beside`.
///
/// # Errors
/// Those of [`super::fetch_missing`].
pub async fn fetch_pieces(
    store: &Store,
    driver: &Driver,
    located: &Located,
    pieces: Vec<Piece>,
    beside: &Path,
) -> Result<Vec<(Fetched, Option<RowRange>)>> {
    // What has come stays when others are asked for again.
    let mut came = Vec::new();
    came.resize_with(pieces.len(), || None);
    let came = Mutex::new(came);
    let (pieces, there) = (&pieces[..], &came);
    again(driver, located, |located| async move {
        let mut missing = Vec::with_capacity(pieces.len());
        for (place, piece) in pieces.iter().enumerate() {
            if lock(there)[place].is_some() {
                continue;
            }
            let info = located.partitions.get(piece.partition as usize).ok_or_else(|| {
                Error::Precondition(format!(
                    "dataset {} has no partition {} any more",
                    located.dataset, piece.partition
                ))
            })?;
            missing.push((place, piece, info));
        }
        let infos: Vec<&PartitionInfo> = missing.iter().map(|(.., info)| *info).collect();
        check_there(store, driver, &located.dataset, &infos)?;
        let mut fetches = Vec::with_capacity(missing.len());
        for (place, piece, info) in missing {
            let fetched = fetch(store, driver, &located.dataset, *piece, info, beside);
            fetches.push(fetched.map_ok(move |fetched| (place, fetched)));
        }
        let mut fetches = futures::stream::iter(fetches).buffer_unordered(PARALLEL);
        while let Some((place, fetched)) = fetches.try_next().await? {
            lock(there)[place] = Some(fetched);
        }
        Ok(())
    })
    .await?;
    Ok(came.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

fn lock<T>(values: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain values: a panic elsewhere cannot leave them half changed.
    values.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(
    store: &Store,
    driver: &Driver,
    dataset: &str,
    piece: Piece,
    info: &PartitionInfo,
    beside: &Path,
) -> Result<(Fetched, Option<RowRange>)> {
    let rows = RowRange { start: piece.start, rows: piece.rows };
    if let Some(held) = store.get(dataset, piece.partition) {
        return Ok((Fetched { path: held.path, _there: None }, Some(rows)));
    }
    let fetched = of_any(driver, dataset, piece.partition, &info.locations, |address| async move {
        fetch_from(store, driver, dataset, piece.partition, rows, &address, beside).await
    });
    Ok((fetched.await?, None))
}

async fn fetch_from(
    store: &Store,
    driver: &Driver,
    dataset: &str,
    partition: u32,
    rows: RowRange,
    address: &str,
    beside: &Path,
) -> Result<Fetched> {
    let what = format!("rows of partition {partition} of dataset {dataset}");
    let mut peer = client::connect(address, driver.token()).await?;
    let ticket = Ticket::Partition { dataset: dataset.into(), partition, rows: Some(rows) };
    let frames = peer.do_get(ticket.render()?).await?.into_inner();
    let file = ipc::Unfinished::beside(beside);
    let room = Room(store.disk().reserve(&what, 0)?);
    let folder = beside.parent().unwrap_or(beside);
    let received = ipc::receive_frames(frames.boxed(), file.path().into(), room).await;
    let (received, Room(space)) = received.map_err(|error| disk::explain(error, &what, folder))?;
    if received.rows != rows.rows {
        return Err(Error::Unreachable(format!("{} of {} {what} came", received.rows, rows.rows)));
    }
    Ok(Fetched { path: file.path().into(), _there: Some((file, space)) })
}

/// Takes room on the disk for what arrives.
struct Room(Space);

impl ipc::Watch for Room {
    fn room(&mut self, bytes: u64) -> Result<()> {
        self.0.grow(bytes)
    }

    fn batch(&mut self, _: &RecordBatch) -> Result<()> {
        Ok(())
    }
}
