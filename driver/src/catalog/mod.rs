//! Datasets: how many rows their partitions have, and which executors hold them.

mod state;

pub use state::Catalog;
