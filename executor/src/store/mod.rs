//! Partitions at rest: one Arrow IPC file each, `<directory>/<dataset>/<partition>-<rows>.arrow`.
//!
//! A put counts once it is complete: it is received beside its place and renamed. The first complete put
//! wins; a retried or speculative one changes nothing. An executor that starts in a folder finds what lies
//! there.

mod peers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use lethe_flight::message::dataset::AnnouncePartition;
use lethe_flight::{Error, Result, ipc, limits, wire};
use tonic::Status;

pub use peers::fetch_missing;

/// A partition held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub path: PathBuf,
    pub rows: u64,
    pub bytes: u64,
}

type Key = (String, u32);

pub struct Store {
    directory: PathBuf,
    held: Mutex<BTreeMap<Key, Held>>,
}

impl Store {
    /// Opens a folder and finds the partitions in it. Blocks.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        let mut held = BTreeMap::new();
        for dataset in list(&directory)? {
            let Some(name) = dataset.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
                continue;
            };
            for file in list(&dataset)? {
                match describe(&file) {
                    Some((partition, found)) => _ = held.insert((name.clone(), partition), found),
                    // What an executor that died left half received.
                    None => _ = std::fs::remove_file(&file),
                }
            }
        }
        Ok(Self { directory, held: Mutex::new(held) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Held>> {
        // The map is only changed by single inserts: a panic elsewhere leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a partition over, unless it is there.
    ///
    /// # Errors
    /// If the name is not one, the stream breaks off, or the disk fails: then nothing is left of it.
    pub async fn put(
        &self,
        dataset: &str,
        partition: u32,
        frames: BoxStream<'static, Result<arrow_flight::FlightData, Status>>,
    ) -> Result<Held> {
        wire::check_name("a dataset", dataset)?;
        if partition >= limits::PARTITIONS {
            return Err(Error::Exhausted(format!(
                "partition {partition} of {dataset}: a dataset may have {} partitions; coalesce() it",
                limits::PARTITIONS
            )));
        }
        if let Some(held) = self.get(dataset, partition) {
            // Read to its end: a client that is answered while it writes takes that for a failure.
            let mut frames = frames;
            while frames.next().await.transpose()?.is_some() {}
            return Ok(held);
        }
        let folder = self.directory.join(dataset);
        tokio::fs::create_dir_all(&folder).await.map_err(|e| Error::file(&folder, e))?;
        let arriving = ipc::Unfinished::beside(&folder.join(format!("{partition}.arriving")));
        let received = ipc::receive(ipc::decode(frames), arriving.path().into(), u64::MAX).await?;
        let size = tokio::fs::metadata(arriving.path()).await;
        let bytes = size.map_err(|e| Error::file(arriving.path(), e))?.len();
        let path = folder.join(format!("{partition}-{}.arrow", received.rows));
        self.keep(dataset, partition, arriving, Held { path, rows: received.rows, bytes })
    }

    /// The one place where a partition becomes held: under the lock, so that the first complete put wins.
    fn keep(&self, dataset: &str, partition: u32, arriving: ipc::Unfinished, held: Held) -> Result<Held> {
        let mut all = self.lock();
        if let Some(first) = all.get(&(dataset.to_owned(), partition)) {
            return Ok(first.clone());
        }
        arriving.finish(&held.path)?;
        all.insert((dataset.to_owned(), partition), held.clone());
        Ok(held)
    }

    pub fn get(&self, dataset: &str, partition: u32) -> Option<Held> {
        self.lock().get(&(dataset.to_owned(), partition)).cloned()
    }

    /// All that is held, as the driver wants to hear it.
    pub fn announcements(&self, executor: &str, address: &str) -> Vec<AnnouncePartition> {
        let all = self.lock();
        let all = all.iter();
        all.map(|((dataset, partition), held)| announcement(dataset, *partition, held, executor, address))
            .collect()
    }
}

/// What the driver is told of a partition held here.
pub fn announcement(
    dataset: &str,
    partition: u32,
    held: &Held,
    executor: &str,
    address: &str,
) -> AnnouncePartition {
    AnnouncePartition {
        dataset: dataset.into(),
        partition,
        rows: held.rows,
        bytes: held.bytes,
        hash: String::new(),
        executor: executor.into(),
        address: address.into(),
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
    Ok(entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect())
}

/// `<partition>-<rows>.arrow`.
fn describe(file: &Path) -> Option<(u32, Held)> {
    let (partition, rows) = file.file_name()?.to_str()?.strip_suffix(".arrow")?.split_once('-')?;
    let bytes = std::fs::metadata(file).ok()?.len();
    Some((partition.parse().ok()?, Held { path: file.into(), rows: rows.parse().ok()?, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, false)]))
    }

    fn frames(rows: i32) -> BoxStream<'static, Result<arrow_flight::FlightData, Status>> {
        let array = Arc::new(Int32Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_new(schema(), vec![array]).unwrap();
        ipc::encode(schema(), futures::stream::iter([Ok(batch)]))
    }

    #[tokio::test]
    async fn the_first_complete_put_wins_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().into()).unwrap();
        let (a, b) = tokio::join!(store.put("d", 0, frames(3)), store.put("d", 0, frames(5)));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a, b);
        assert_eq!(store.put("d", 0, frames(7)).await.unwrap(), a);
        let broken = frames(7).chain(futures::stream::iter([Err(Status::cancelled("gone"))])).boxed();
        assert!(store.put("d", 0, broken).await.is_err(), "a repeated put is read to its end");
        let again = Store::open(folder.path().into()).unwrap();
        assert_eq!(again.get("d", 0), Some(a));
        assert_eq!(std::fs::read_dir(folder.path().join("d")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_put_that_breaks_off_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().into()).unwrap();
        let broken = frames(3).take(1).chain(futures::stream::iter([Err(Status::cancelled("gone"))])).boxed();
        assert!(store.put("d", 0, broken).await.is_err());
        assert_eq!(store.get("d", 0), None);
        assert_eq!(std::fs::read_dir(folder.path().join("d")).unwrap().count(), 0);
        assert!(store.put("../d", 0, frames(1)).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_vanishes_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().into()).unwrap();
        let hanging = frames(3).take(2).chain(futures::stream::pending()).boxed();
        // The server drops the call, as it does when the connection is reset.
        let dropped =
            tokio::time::timeout(std::time::Duration::from_millis(300), store.put("d", 0, hanging)).await;
        assert!(dropped.is_err());
        let left = || std::fs::read_dir(folder.path().join("d")).unwrap().count();
        for _ in 0..100 {
            if left() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{} files are left", left());
    }

    #[tokio::test]
    async fn what_a_killed_executor_left_half_received_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        std::fs::write(folder.path().join("d/1-9-0.arriving"), b"half").unwrap();
        let store = Store::open(folder.path().into()).unwrap();
        assert_eq!(store.get("d", 1), None);
        assert_eq!(std::fs::read_dir(folder.path().join("d")).unwrap().count(), 0);
    }
}
