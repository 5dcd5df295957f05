//! Lethe's executor: one process for each Spark executor and application.
//!
//! - [`service`]: its Flight calls, from Spark tasks, other executors and workers.
//! - [`store`]: partitions at rest, as Arrow IPC files in Spark's local directory.
//! - [`view`]: the columns of a dataset as one row-major file that workers map.
//! - [`program`]: programs, fetched once.
//! - [`slot`]: a slot's exchange with the driver, and its worker process.
//! - [`disk`]: the room that partitions and views have.
//! - [`orders`]: what the driver wants copied and dropped.
//! - [`driver`]: the tie to the driver, whose end ends the executor.
//! - [`lifecycle`]: start and end of the process.
//! - [`memory`]: whether one more worker fits.
//!
//! It never loads libtorch.

pub mod disk;
pub mod driver;
pub mod lifecycle;
pub mod memory;
pub mod orders;
pub mod program;
pub mod service;
pub mod slot;
pub mod store;
pub mod view;

pub use lifecycle::{Lines, run};
