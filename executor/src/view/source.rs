//! A dataset's rows: partitions that are held here, or files that are read from their store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use lethe_data::table::{Batches, FilesTable, Table};
use lethe_flight::message::dataset::DataSpec;
use lethe_flight::wire::RowRange;
use lethe_flight::{Error, Result, ipc};

use super::local;
use crate::driver::Driver;
use crate::store::{Fetched, Store, fetch_missing, fetch_pieces};

/// A table, and the files that are there for it alone.
pub struct Opened {
    pub table: Table,
    _fetched: Vec<Fetched>,
}

/// A partition's file, and which rows of it.
struct Source {
    path: PathBuf,
    rows: Option<RowRange>,
}

/// The rows of a view. Gets what is not here from those that hold it: whole partitions, which stay; of one rank's rows
/// those alone, into files beside `beside` that go with what is returned.
pub async fn open(store: &Store, driver: &Driver, data: &DataSpec, beside: &Path) -> Result<Opened> {
    let located = driver.locate(&data.dataset).await?;
    if let Some(files) = &located.files {
        local::refuse_files(data)?;
        return Ok(Opened {
            table: Table::Files(Arc::new(FilesTable::open(files).await?)),
            _fetched: Vec::new(),
        });
    }
    let mut fetched = Vec::new();
    let sources: Vec<Source> = match &data.local {
        None => {
            let held = fetch_missing(store, driver, &located).await?;
            let filled = held.into_iter().filter(|held| held.rows > 0);
            filled.map(|held| Source { path: held.path, rows: None }).collect()
        }
        Some(shard) => {
            let pieces = local::pieces(shard, &located)?;
            let mut sources = Vec::with_capacity(pieces.len());
            for (held, rows) in fetch_pieces(store, driver, &located, pieces, beside).await? {
                sources.push(Source { path: held.path().to_owned(), rows });
                fetched.push(held);
            }
            sources
        }
    };
    let dataset = data.dataset.clone();
    let opened = tokio::task::spawn_blocking(move || of_sources(&dataset, sources)).await;
    let table = opened.map_err(|e| Error::Invalid(format!("opening partitions ended: {e}")))??;
    Ok(Opened { table, _fetched: fetched })
}

/// The table of partitions' files, none of them empty. Blocks.
#[cfg(test)]
pub fn of_partitions(dataset: &str, paths: Vec<PathBuf>) -> Result<Table> {
    of_sources(dataset, paths.into_iter().map(|path| Source { path, rows: None }).collect())
}

/// The table of pieces of partitions' files. Blocks.
#[cfg(test)]
pub fn of_pieces(dataset: &str, pieces: Vec<(PathBuf, RowRange)>) -> Result<Table> {
    of_sources(dataset, pieces.into_iter().map(|(path, rows)| Source { path, rows: Some(rows) }).collect())
}

fn of_sources(dataset: &str, sources: Vec<Source>) -> Result<Table> {
    let first = sources.first().ok_or_else(|| {
        Error::Invalid(format!("the dataset {dataset} has no rows: check the filters that made it"))
    })?;
    let schema = Arc::clone(ipc::map_file(&first.path)?.schema());
    let partition = |Source { path, rows }: Source| {
        let open = move || match ipc::map_file(&path) {
            Ok(file) => futures::stream::iter(sliced(file.into_batches(), rows)).boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        };
        Arc::new(Batches::new(Arc::clone(&schema), open)) as _
    };
    let partitions = sources.into_iter().map(partition).collect();
    Ok(Table::Partitions { schema: Arc::clone(&schema), partitions })
}

/// Those of the batches' rows; None is all.
pub fn sliced(
    batches: impl Iterator<Item = Result<RecordBatch>> + Send,
    rows: Option<RowRange>,
) -> impl Iterator<Item = Result<RecordBatch>> + Send {
    let RowRange { start, rows } = rows.unwrap_or(RowRange { start: 0, rows: u64::MAX });
    let (mut skip, mut left) = (start, rows);
    batches
        .map_while(move |batch| {
            if left == 0 {
                return None;
            }
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let rows = batch.num_rows() as u64;
            let first = skip.min(rows);
            let taken = left.min(rows - first);
            (skip, left) = (skip - first, left - taken);
            Some(Ok(batch.slice(first as usize, taken as usize)))
        })
        .filter(|batch| batch.as_ref().map_or(true, |batch| batch.num_rows() > 0))
}
