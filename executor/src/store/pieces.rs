//! Rows of partitions, for a view of one rank's rows: read where they lie here, else fetched for that view alone.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
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
    let pieces = &pieces[..];
    again(driver, located, |located| async move {
        let mut infos = Vec::with_capacity(pieces.len());
        for piece in pieces {
            infos.push(located.partitions.get(piece.partition as usize).ok_or_else(|| {
                Error::Precondition(format!(
                    "dataset {} has no partition {} any more",
                    located.dataset, piece.partition
                ))
            })?);
        }
        check_there(store, driver, &located.dataset, &infos)?;
        let mut fetches = Vec::with_capacity(pieces.len());
        for (piece, info) in pieces.iter().zip(infos) {
            fetches.push(fetch(store, driver, &located.dataset, *piece, info, beside));
        }
        futures::stream::iter(fetches).buffered(PARALLEL).try_collect().await
    })
    .await
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
