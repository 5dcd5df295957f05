//! Views: the columns that trials train on, as one row-major file that every worker here maps.
//!
//! A view is a pure function of the dataset's rows in partition order and of its [`DataSpec`], so that it
//! is the same on every executor. It is built once, however many slots, trials and experiments use it.

mod build;
mod columns;
mod rows;
mod split;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_flight::blob::hex;
use lethe_flight::message::dataset::{DataSpec, View};
use lethe_flight::{Error, Result, wire};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

pub use rows::batches;

use crate::disk::Disk;
use crate::driver::Driver;
use crate::store::{Store, fetch_missing};

pub struct Views {
    directory: PathBuf,
    built: Mutex<HashMap<String, Built>>,
}

struct Built {
    dataset: String,
    view: Arc<OnceCell<View>>,
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
        let disk = store.disk();
        let cell = {
            let mut all = self.built.lock().await;
            let fresh = || Built { dataset: data.dataset.clone(), view: Arc::default() };
            let built = all.entry(key.clone()).or_insert_with(fresh);
            if built.view.get().is_some_and(|view| !disk.has_view(Path::new(&view.path))) {
                // It made room for others.
                *built = fresh();
            }
            built.view.clone()
        };
        let view = cell.get_or_try_init(|| async {
            let located = driver.locate(&data.dataset).await?;
            let partitions = fetch_missing(store, driver, &located).await?;
            let files = partitions.into_iter().filter(|held| held.rows > 0).map(|held| held.path).collect();
            let (data, path) = (data.clone(), self.directory.join(format!("{key}.view")));
            let disk = disk.clone();
            let built =
                tokio::task::spawn_blocking(move || build::build(files, located.rows, &data, path, &disk))
                    .await;
            built
                .map_err(|e| Error::Invalid(format!("building the view of {} ended: {e}", located.dataset)))?
        });
        view.await.cloned()
    }

    /// Forgets the views of a dataset and removes their files; whoever maps one keeps it.
    pub async fn drop_dataset(&self, disk: &Disk, dataset: &str) {
        let dropped: Vec<Built> = {
            let mut all = self.built.lock().await;
            all.extract_if(|_, built| built.dataset == dataset).map(|(_, built)| built).collect()
        };
        for view in dropped.iter().filter_map(|built| built.view.get()) {
            disk.remove_view(Path::new(&view.path));
        }
    }
}
