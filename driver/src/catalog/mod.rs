//! Datasets: how many rows their partitions have, which executors hold them, and which are to.
//!
//! Plain data with its transitions; what it wants of an executor is asked for by [`Catalog::next_order`].

mod copies;
mod executors;
mod state;
#[cfg(test)]
mod tests;

pub use state::Catalog;
