//! A dataset's rows: partitions that are held here, or files that are read from their store.

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use lethe_data::table::{Batches, FilesTable, Table};
use lethe_flight::{Error, Result, ipc};

use crate::driver::Driver;
use crate::store::{Store, fetch_missing};

/// Gets the partitions that are not here from their holders.
pub async fn open(store: &Store, driver: &Driver, dataset: &str) -> Result<Table> {
    let located = driver.locate(dataset).await?;
    if let Some(files) = &located.files {
        return Ok(Table::Files(Arc::new(FilesTable::open(files).await?)));
    }
    let held = fetch_missing(store, driver, &located).await?;
    let paths: Vec<_> = held.into_iter().filter(|held| held.rows > 0).map(|held| held.path).collect();
    let dataset = dataset.to_owned();
    let opened = tokio::task::spawn_blocking(move || of_partitions(&dataset, paths)).await;
    opened.map_err(|e| Error::Invalid(format!("opening partitions ended: {e}")))?
}

/// The table of partitions' files, none of them empty. Blocks.
pub fn of_partitions(dataset: &str, paths: Vec<PathBuf>) -> Result<Table> {
    let first = paths.first().ok_or_else(|| {
        Error::Invalid(format!("the dataset {dataset} has no rows: check the filters that made it"))
    })?;
    let schema = Arc::clone(ipc::map_file(first)?.schema());
    let partition = |path: PathBuf| {
        let open = move || match ipc::map_file(&path) {
            Ok(file) => futures::stream::iter(file.into_batches()).boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        };
        Arc::new(Batches::new(Arc::clone(&schema), open)) as _
    };
    let partitions = paths.into_iter().map(partition).collect();
    Ok(Table::Partitions { schema: Arc::clone(&schema), partitions })
}
