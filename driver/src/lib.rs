//! Lethe's driver: the asynchronous scheduler of trials, beside the user's Python process.
//!
//! - [`experiment`]: the state machine. Pure: events in, actions out; no clock, no I/O.
//! - [`search`]: where hyperparameters come from.
//! - [`stopping`]: which trials end early.
//! - [`journal`]: what was decided, on disk and in an object store.
//! - [`lethe_tables`]: what came of it, as tables that SQL asks.
//! - [`catalog`]: datasets' partitions and the executors that hold them.
//! - [`journal`]: the log of its events, from which it goes on.
//! - [`lethe_tables`]: what came of it, as tables that SQL asks.
//! - [`service`]: the Flight service around them: time, files and connections.
//! - [`process`]: the life of the driver's process; [`commands`]: what it does beside.

pub mod catalog;
pub mod commands;
pub mod experiment;
pub mod journal;
pub mod process;
pub mod search;
pub mod service;
pub mod stopping;

pub use process::run;
