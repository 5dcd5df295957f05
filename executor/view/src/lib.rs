//! A view's file, as an executor and its workers map it, and its rows in the order of training.
//!
//! - [`mapped`]: its sections, checked.
//! - [`order`]: the order of an epoch's rows, a function of the trial's seed and the epoch alone; [`draws`]: rows
//!   drawn by class or weight; [`blocks`]: an order for data that memory does not hold.
//! - [`steps`]: the batches of an epoch; [`shard`]: the ranks' parts of them.
//! - [`paging`]: which pages are wanted next.
//! - [`gather`]: rows copied side by side.

pub mod blocks;
pub mod draws;
pub mod gather;
pub mod mapped;
pub mod order;
pub mod paging;
pub mod shard;
pub mod steps;

pub use mapped::{Labels, MappedView};
pub use order::{EpochOrder, epoch_order};
pub use paging::{Paging, Window};
pub use steps::{Step, Steps};

#[cfg(test)]
#[path = "../tests/file/mod.rs"]
mod file;
