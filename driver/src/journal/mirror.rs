//! A copy of an experiment's folder in an object store, for when the driver's host is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use lethe_flight::message::experiment::Store;
use lethe_flight::{Error, Result};
use object_store::buffered::BufWriter;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;

use super::retry::retry;
use super::store;

/// One part of a large file, bytes.
const PART_BYTES: usize = 8 << 20;

/// The experiment's part of a store. Clones share it.
#[derive(Clone)]
pub struct Mirror {
    pub(super) store: Arc<dyn ObjectStore>,
    folder: Location,
    next: Arc<AtomicU64>,
}

impl Mirror {
    /// Opens the store; nothing is asked of it yet.
    ///
    /// # Errors
    /// If the address or an option is not one that object_store knows.
    pub fn open(store: &Store) -> Result<Self> {
        let (store, folder) = store::open(store)?;
        Ok(Self::new(store, folder))
    }

    pub fn new(store: Arc<dyn ObjectStore>, folder: Location) -> Self {
        Self { store, folder, next: Arc::default() }
    }

    /// Copies a file of this host, under a name relative to the experiment's folder (`checkpoints/3-1-9.arrow`).
    /// It is there whole or not at all, and replaces what had the name.
    ///
    /// # Errors
    /// If the file cannot be read, or the store not be written with several tries.
    pub async fn put_file(&self, path: &Path, name: &str) -> Result<()> {
        let location = self.location(name)?;
        let put = || async {
            let mut file = tokio::fs::File::open(path).await.map_err(io)?;
            let mut upload = BufWriter::with_capacity(Arc::clone(&self.store), location.clone(), PART_BYTES);
            let copied = match tokio::io::copy(&mut file, &mut upload).await {
                Ok(_) => upload.shutdown().await,
                // Else its parts would stay in the store.
                Err(error) => {
                    _ = upload.abort().await;
                    Err(error)
                }
            };
            copied.map_err(io)
        };
        retry(put).await.map_err(|error| self.failed("write", &location, &error))
    }

    /// Brings a file here; false if the store has none of this name. What lay there is replaced once it is whole.
    ///
    /// # Errors
    /// If the store cannot be read with several tries, or the file not be written.
    pub async fn get_file(&self, name: &str, path: &Path) -> Result<bool> {
        let location = self.location(name)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_added_extension(format!("get-{number}"));
        let get = || async {
            let mut chunks = self.store.get(&location).await?.into_stream();
            let mut file = tokio::fs::File::create(&partial).await.map_err(io)?;
            while let Some(chunk) = chunks.next().await {
                file.write_all(&chunk?).await.map_err(io)?;
            }
            file.flush().await.map_err(io)?;
            tokio::fs::rename(&partial, path).await.map_err(io)
        };
        match retry(get).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => {
                _ = tokio::fs::remove_file(&partial).await;
                Err(self.failed("read", &location, &error))
            }
        }
    }

    /// The names of the files in a folder of the experiment's (`checkpoints`), with the folder before them.
    ///
    /// # Errors
    /// If the store cannot be read with several tries.
    pub async fn files(&self, folder: &str) -> Result<Vec<String>> {
        let location = self.location(folder)?;
        let list = || self.store.list(Some(&location)).try_collect::<Vec<_>>();
        match retry(list).await {
            Ok(objects) => Ok(objects
                .iter()
                .filter_map(|object| Some(format!("{folder}/{}", object.location.filename()?)))
                .collect()),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", &location, &error)),
        }
    }

    /// One that is not there is fine.
    ///
    /// # Errors
    /// If the store cannot be written with several tries.
    pub async fn remove_file(&self, name: &str) -> Result<()> {
        let location = self.location(name)?;
        match retry(|| self.store.delete(&location)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", &location, &error)),
        }
    }

    /// # Errors
    /// If the name leaves the experiment's folder.
    pub(super) fn location(&self, name: &str) -> Result<Location> {
        let relative = Location::parse(name).ok().filter(|path| !path.as_ref().is_empty());
        let Some(relative) = relative.filter(|path| path.as_ref() == name) else {
            return Err(Error::Invalid(format!("{name:?} is no name of a file in an experiment's folder")));
        };
        Ok(self.folder.parts().chain(relative.parts()).collect())
    }

    pub(super) fn failed(&self, verb: &str, location: &Location, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let text = format!("cannot {verb} {location} in {}: {error}", self.store);
        match error {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::Precondition(format!(
                "{text}; see the store's credentials, in its options or the environment"
            )),
            E::NotFound { .. } => Error::Precondition(format!("{text}; see the store's address")),
            _ => Error::Unreachable(text),
        }
    }
}

fn io(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "file", source: error.into() }
}
