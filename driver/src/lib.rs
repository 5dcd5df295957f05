//! Lethe's driver: the asynchronous scheduler of trials, beside the user's Python process.
//!
//! - [`experiment`]: the state machine. Pure: events in, actions out; no clock, no I/O.
//! - [`search`]: where hyperparameters come from.
//! - [`stopping`]: which trials end early.
//! - [`catalog`]: datasets' partitions and the executors that hold them.
//! - [`service`]: the Flight service around them: time, files and connections.
//! - [`process`]: the life of the driver's process.

pub mod catalog;
pub mod experiment;
pub mod process;
pub mod search;
pub mod service;
pub mod stopping;

pub use process::run;
