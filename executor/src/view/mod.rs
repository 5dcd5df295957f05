//! Views: the columns that trials train on, as one row-major file that every worker here maps.
//!
//! A view is a pure function of the dataset's rows in partition order and of its [`DataSpec`], so that it
//! is the same on every executor. It is built once, however many slots, trials and experiments use it.

mod build;
mod columns;
mod frames;
mod rows;
mod split;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use lethe_flight::blob::hex;
use lethe_flight::message::dataset::{DataSpec, View};
use lethe_flight::{Error, Result, wire};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

pub use frames::frames;
pub use rows::{batches, epoch_batches};

use crate::driver::Driver;
use crate::store::{Store, fetch_missing};

pub struct Views {
    directory: PathBuf,
    built: Mutex<HashMap<String, Arc<OnceCell<View>>>>,
}

impl Views {
    /// Opens a folder for views. Blocks.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        Ok(Self { directory, built: Mutex::default() })
    }

    /// The view of a dataset; builds it the first time. Slots that ask at once share one build.
    ///
    /// # Errors
    /// If a partition cannot be had, or the rows cannot be trained on: no rows, nulls, a type that is no
    /// number, arrays of different lengths. The error names the column.
    pub async fn get(&self, store: &Store, driver: &Driver, data: &DataSpec) -> Result<View> {
        let key = hex(&Sha256::digest(wire::render(data)?));
        let cell = self.built.lock().await.entry(key.clone()).or_default().clone();
        let view = cell.get_or_try_init(|| async {
            let located = driver.locate(&data.dataset).await?;
            let partitions = fetch_missing(store, driver, &located).await?;
            let files = partitions.into_iter().filter(|held| held.rows > 0).map(|held| held.path).collect();
            let (data, path) = (data.clone(), self.directory.join(format!("{key}.view")));
            let built =
                tokio::task::spawn_blocking(move || build::build(files, located.rows, &data, path)).await;
            built
                .map_err(|e| Error::Invalid(format!("building the view of {} ended: {e}", located.dataset)))?
        });
        view.await.cloned()
    }
}
