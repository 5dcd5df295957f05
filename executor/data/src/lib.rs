//! Datasets as DataFusion sees them, the same for driver and executors.
//!
//! - [`store`]: object stores by their addresses.
//! - [`listing`]: which files a dataset has, and their schema.
//! - [`table`]: files and partitions as tables whose rows have an order.
//! - [`query`]: chains of queries over them, read in that order.
//! - [`layout`]: which tensors come of the columns.
//! - [`encode`]: rows of those tensors, from record batches.
//! - [`categories`]: the dictionaries of columns of strings.

pub mod categories;
pub mod encode;
mod hdfs;
pub mod layout;
pub mod listing;
pub mod query;
pub mod store;
pub mod table;

use datafusion::error::DataFusionError;
use lethe_flight::Error;

/// What went wrong while rows were read.
pub fn failed(error: DataFusionError) -> Error {
    refused(error)
}

/// What the user can mend is DataFusion's word without its frames; the rest is the store's or the memory's. Our own
/// errors come back as they were.
pub(crate) fn refused(error: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error {
        return match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::Invalid(other.to_string()),
        };
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(text) => Error::Exhausted(text.clone()),
        DataFusionError::ObjectStore(error) => {
            Error::Unreachable(format!("the store does not answer: {error}"))
        }
        _ => Error::Invalid(error.strip_backtrace()),
    }
}
