//! Views: what trials train on, as one file of row-major tensors that every worker here maps.
//!
//! A view is a pure function of the dataset's rows in their order and of its [`DataSpec`], so that it is the same on
//! every executor. It is built once, however many slots, trials and experiments use it.
//!
//! - [`source`]: the dataset's rows, from partitions held here or files in a store.
//! - [`build`]: rows to tensors; [`writer`]: tensors to the file.
//! - [`numbering`], [`split`], [`local`]: which row is which, and trains or is held out.
//! - [`normalize`], [`learned`]: what is learned of the rows.
//! - [`rows`]: a view's rows for whoever asks over Flight.

mod build;
mod frames;
mod learned;
mod local;
mod normalize;
mod numbering;
mod rows;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_flight::blob::hex;
use lethe_flight::message::dataset::{DataSpec, View};
use lethe_flight::{Error, Result, wire};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

pub use build::Built;
pub use frames::frames;
pub use learned::Learned;
pub use rows::{batches, epoch_batches, partition};

use crate::disk::Disk;
use crate::driver::Driver;
use crate::store::Store;

/// Memory of the sorts and aggregates of a view's queries, bytes.
const QUERY_MEMORY: usize = 256 << 20;

pub struct Views {
    directory: PathBuf,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    dataset: String,
    built: Arc<OnceCell<Arc<Built>>>,
}

impl Built {
    /// The view without columns that an ablation leaves out.
    ///
    /// # Errors
    /// If one of them is no feature, or no other is left.
    pub fn without(&self, columns: &[String]) -> Result<View> {
        let inputs = self.layout.without(&self.view.inputs, columns)?;
        Ok(View { inputs, ..self.view.clone() })
    }
}

impl Views {
    /// Opens a folder for views. Blocks.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        Ok(Self { directory, known: Mutex::default() })
    }

    /// The view of a dataset, with all columns; builds it the first time. Slots that ask at once share one build.
    ///
    /// # Errors
    /// If a partition or file cannot be had, or the rows cannot be trained on: no rows, nulls, a type that is no
    /// number, arrays of different lengths. The error names the column.
    pub async fn get(&self, store: &Store, driver: &Driver, data: &DataSpec) -> Result<Arc<Built>> {
        // What rows are gathered without is in the file for others.
        let data = &DataSpec { without: Vec::new(), ..data.clone() };
        let key = hex(&Sha256::digest(wire::render(data)?));
        let disk = store.disk();
        let cell = {
            let mut all = self.known.lock().await;
            let fresh = || Known { dataset: data.dataset.clone(), built: Arc::default() };
            let known = all.entry(key.clone()).or_insert_with(fresh);
            if known.built.get().is_some_and(|built| !disk.has_view(Path::new(&built.view.path))) {
                // It made room for others.
                *known = fresh();
            }
            known.built.clone()
        };
        let built = cell.get_or_try_init(|| async {
            let path = self.directory.join(format!("{key}.view"));
            let opened = source::open(store, driver, data, &path).await?;
            build::build(opened.table.clone(), data.clone(), path, QUERY_MEMORY, disk).await.map(Arc::new)
        });
        built.await.cloned()
    }

    /// Forgets the views of a dataset and removes their files; whoever maps one keeps it.
    pub async fn drop_dataset(&self, disk: &Disk, dataset: &str) {
        let dropped: Vec<Known> = {
            let mut all = self.known.lock().await;
            all.extract_if(|_, known| known.dataset == dataset).map(|(_, known)| known).collect()
        };
        for built in dropped.iter().filter_map(|known| known.built.get()) {
            disk.remove_view(Path::new(&built.view.path));
        }
    }
}
