//! The object store that an experiment's folder is copied to.

use std::sync::Arc;

use lethe_flight::Result;
use lethe_flight::message::experiment::Store;
use object_store::ObjectStore;
use object_store::path::Path;

/// # Errors
/// If the address or an option is not one that object_store knows.
pub fn open(store: &Store) -> Result<(Arc<dyn ObjectStore>, Path)> {
    lethe_data::store::open(&store.url, &store.options)
}
