//! The rows of a trial: a mapped view, and batches gathered from it.

mod batches;
mod cache;

pub use batches::{Batch, Batches};
pub use cache::ViewCache;
pub use lethe_view::{EpochOrder, Labels, MappedView, Paging, Step, Steps, epoch_order};
