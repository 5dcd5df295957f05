//! A view's file, as an executor and its workers map it.
//!
//! - [`mapped`]: its sections, checked.
//! - [`order`]: the order of an epoch's rows, a function of the trial's seed and the epoch alone.
//! - [`gather`]: rows copied side by side.

pub mod gather;
pub mod mapped;
pub mod order;

pub use mapped::{Labels, MappedView};
pub use order::epoch_order;
