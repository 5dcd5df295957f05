//! Partitions at rest: one Arrow IPC file each, `<directory>/<dataset>/<partition>-<rows>-<hash>.arrow`.
//!
//! A put counts once it is complete: it is received beside its place and renamed. The first complete put
//! wins; a retried or speculative one changes nothing. An executor that starts in a folder finds what lies
//! there.

mod content;
mod fetching;
mod peers;
mod pieces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;
use lethe_flight::message::dataset::AnnouncePartition;
use lethe_flight::{Error, Result, ipc, limits, schema, wire};
use tonic::Status;

pub use peers::{fetch, fetch_missing};
pub use pieces::{Fetched, fetch_pieces};

use crate::disk::{self, Disk, Space};
use content::Content;
use fetching::Fetching;

/// A partition held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub path: PathBuf,
    pub rows: u64,
    pub bytes: u64,
    /// Of its rows, see [`content`].
    pub hash: String,
    /// See [`lethe_flight::schema`].
    pub schema: Arc<str>,
}

type Key = (String, u32);

struct Entry {
    held: Held,
    /// Given back with the file.
    _space: Space,
}

pub struct Store {
    directory: PathBuf,
    disk: Arc<Disk>,
    held: Mutex<BTreeMap<Key, Entry>>,
    fetching: Fetching,
}

impl Store {
    /// [`Store::within`] what the file system has.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        let disk = Disk::new(&directory, None);
        Self::within(directory, disk)
    }

    /// Opens a folder and finds the partitions in it. Blocks.
    pub fn within(directory: PathBuf, disk: Arc<Disk>) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        let mut held = BTreeMap::new();
        for dataset in list(&directory)? {
            let Some(name) = dataset.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
                continue;
            };
            for file in list(&dataset)? {
                match describe(&file) {
                    Some((partition, found)) => {
                        let space = disk.found(&name, found.bytes);
                        held.insert((name.clone(), partition), Entry { held: found, _space: space });
                    }
                    // What an executor that died left half received, or a disk has damaged.
                    None => _ = std::fs::remove_file(&file),
                }
            }
        }
        Ok(Self { directory, disk, held: Mutex::new(held), fetching: Fetching::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // The map is only changed by single inserts and removals: a panic elsewhere leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk that it shares with the views.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Takes a partition over, unless it is there.
    ///
    /// # Errors
    /// If the name is not one, the stream breaks off, or there is no room: then nothing is left of it.
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
        let what = format!("partition {partition} of dataset {dataset}");
        let arriving = ipc::Unfinished::beside(&folder.join(format!("{partition}.arriving")));
        let incoming = Incoming { space: self.disk.reserve(&what, 0)?, content: None };
        let received = ipc::receive_frames(frames, arriving.path().into(), incoming).await;
        let (received, incoming) = received.map_err(|error| disk::explain(error, &what, &folder))?;
        let (path, file) = (folder, arriving.path().to_owned());
        let opened = tokio::task::spawn_blocking(move || finish(&file, incoming)).await;
        let Finished { bytes, hash, schema, space } =
            opened.map_err(|e| Error::Invalid(format!("reading {what} ended: {e}")))??;
        let path = path.join(format!("{partition}-{}-{hash}.arrow", received.rows));
        self.keep(
            dataset,
            partition,
            arriving,
            Held { path, rows: received.rows, bytes, hash, schema },
            space,
        )
    }

    /// The one place where a partition becomes held: under the lock, so that the first complete put wins.
    fn keep(
        &self,
        dataset: &str,
        partition: u32,
        arriving: ipc::Unfinished,
        held: Held,
        space: Space,
    ) -> Result<Held> {
        let mut all = self.lock();
        if let Some(first) = all.get(&(dataset.to_owned(), partition)) {
            return Ok(first.held.clone());
        }
        arriving.finish(&held.path)?;
        all.insert((dataset.to_owned(), partition), Entry { held: held.clone(), _space: space });
        Ok(held)
    }

    pub fn get(&self, dataset: &str, partition: u32) -> Option<Held> {
        self.lock().get(&(dataset.to_owned(), partition)).map(|entry| entry.held.clone())
    }

    /// Forgets a partition and removes its file; whoever maps it keeps it. Blocks, for a moment.
    pub fn remove(&self, dataset: &str, partition: u32) {
        if let Some(entry) = self.lock().remove(&(dataset.to_owned(), partition)) {
            _ = std::fs::remove_file(&entry.held.path);
        }
    }

    /// Forgets a dataset's partitions and removes their files. Blocks.
    pub fn drop_dataset(&self, dataset: &str) {
        let mut all = self.lock();
        let keys: Vec<Key> = all
            .range((dataset.to_owned(), 0)..=(dataset.to_owned(), u32::MAX))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if let Some(entry) = all.remove(&key) {
                _ = std::fs::remove_file(&entry.held.path);
            }
        }
        // Where a put is under way it stays, until that is refused.
        _ = std::fs::remove_dir(self.directory.join(dataset));
    }

    /// All that is held, as the driver wants to hear it.
    pub fn announcements(&self, executor: &str, address: &str) -> Vec<AnnouncePartition> {
        let all = self.lock();
        let all = all.iter();
        all.map(|((dataset, partition), entry)| {
            announcement(dataset, *partition, &entry.held, executor, address)
        })
        .collect()
    }
}

/// What is learned of a partition while it is written.
struct Incoming {
    space: Space,
    content: Option<Content>,
}

impl ipc::Watch for Incoming {
    fn room(&mut self, bytes: u64) -> Result<()> {
        self.space.grow(bytes)
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.content.get_or_insert_with(|| Content::new(&batch.schema())).add(batch)
    }
}

struct Finished {
    bytes: u64,
    hash: String,
    schema: Arc<str>,
    space: Space,
}

/// Blocks.
fn finish(file: &Path, mut incoming: Incoming) -> Result<Finished> {
    let bytes = std::fs::metadata(file).map_err(|e| Error::file(file, e))?.len();
    let found = ipc::map_file(file)?;
    let nothing = Content::new(found.schema());
    let hash = incoming.content.as_ref().unwrap_or(&nothing).finish();
    incoming.space.settle(bytes);
    Ok(Finished { bytes, hash, schema: schema::render(found.schema())?.into(), space: incoming.space })
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
        hash: held.hash.clone(),
        schema: held.schema.to_string(),
        executor: executor.into(),
        address: address.into(),
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
    Ok(entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect())
}

/// `<partition>-<rows>-<hash>.arrow`.
fn describe(file: &Path) -> Option<(u32, Held)> {
    let mut parts = file.file_name()?.to_str()?.strip_suffix(".arrow")?.splitn(3, '-');
    let (partition, rows, hash) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let bytes = std::fs::metadata(file).ok()?.len();
    let schema = schema::render(ipc::map_file(file).ok()?.schema()).ok()?.into();
    Some((partition, Held { path: file.into(), rows, bytes, hash: hash.into(), schema }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;
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
    async fn the_hash_does_not_depend_on_how_the_rows_came() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().into()).unwrap();
        let batch = |range: std::ops::Range<i32>| {
            RecordBatch::try_new(schema(), vec![Arc::new(Int32Array::from_iter_values(range))])
                .map_err(lethe_flight::Error::from)
        };
        let parts = ipc::encode(schema(), futures::stream::iter([batch(0..1), batch(1..7)]));
        let (a, b) = (store.put("d", 0, frames(7)).await.unwrap(), store.put("d", 1, parts).await.unwrap());
        assert_eq!(a.hash, b.hash);
        assert_ne!(a.hash, store.put("d", 2, frames(6)).await.unwrap().hash);
        let said = store.announcements("e", "h:1");
        assert_eq!((said[0].hash.as_str(), said[0].rows), (a.hash.as_str(), 7));
        assert_eq!(&lethe_flight::schema::parse(&said[0].schema).unwrap(), schema().as_ref());
    }

    #[tokio::test]
    async fn a_partition_that_does_not_fit_leaves_nothing_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), Some(100_000));
        let store = Store::within(folder.path().into(), disk.clone()).unwrap();
        let held = store.put("d", 0, frames(10_000)).await.unwrap();
        assert_eq!(disk.used(), held.bytes);
        let error = store.put("d", 1, frames(20_000)).await.unwrap_err();
        assert!(matches!(error, Error::Exhausted(_)), "{error}");
        for part in ["disk_limit", "partition 1 of dataset d"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path().join("d")).unwrap().count(), 1);
        assert_eq!((disk.used(), store.get("d", 0)), (held.bytes, Some(held.clone())));
        // What lies there counts again after a restart, and no longer once it is dropped.
        let disk = Disk::new(folder.path(), Some(100_000));
        let store = Store::within(folder.path().into(), disk.clone()).unwrap();
        assert_eq!(disk.used(), held.bytes);
        store.drop_dataset("d");
        assert_eq!((disk.used(), store.get("d", 0)), (0, None));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
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
