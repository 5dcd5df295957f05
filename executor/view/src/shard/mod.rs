//! Shards of an epoch for the ranks of a gang.
//!
//! - global: each rank takes its slice of each batch, so that N ranks see the batches of one. For data that every
//!   executor holds. See [`slice`].
//! - local: each rank has fixed rows, those that its executor holds as far as that goes. See [`local`].

mod flow;
mod local;

use std::ops::Range;

use lethe_flight::message::dataset::Shard;

pub use local::{Local, Partition, local};

/// A rank's slice of a batch: rank `r` of `n` has the places from `floor(rows r / n)` to `floor(rows (r + 1) / n)`
/// of it. Slices are equal to within one row, and empty for some ranks where the batch has fewer rows than there
/// are ranks.
pub fn slice(batch: Range<usize>, shard: Shard) -> Range<usize> {
    let rows = batch.len() as u128;
    let at = |rank: u32| batch.start + (rows * u128::from(rank) / u128::from(shard.world.max(1))) as usize;
    at(shard.rank)..at(shard.rank + 1)
}
