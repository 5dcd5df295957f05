//! The rows of a trial: a mapped view, the order of an epoch, batches gathered from it.

mod batches;
mod order;
mod view;

pub use batches::{Batch, Batches};
pub use order::epoch_order;
pub use view::{Labels, MappedView, ViewCache};
