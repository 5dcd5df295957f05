//! The driver's Flight service: who may say what, and where it goes.
//!
//! | file | |
//! |---|---|
//! | `calls` | the calls of Flight, dispatched |
//! | `check` | what a plan and a peer must fulfil |
//! | `registry` | the experiments of this application |
//! | `executor_logs` | what executors log |
//! | `executors` | registration; an executor that leaves |
//! | `slot` | a slot's exchange |
//! | `setup`, `changes` | what a plan means; what a resumed one may change |
//! | `open` | an experiment's folder: begun, or taken up where its journal ends |
//! | `actor` | the task that owns an experiment |
//! | `chronicle` | its state machine, journal and tables |
//! | `engine` | who suggests |
//! | `timers` | when something is due |
//! | `stopwatch` | how long each trial has run |
//! | `ledger`, `rows` | where the slots' time went; the trials' rows for queries |
//! | `describe`, `flights` | what will come of a dataset; datasets as Flight names them |
//! | `feed` | what the experiment's watchers see |
//! | `gangs` | how the ranks of a gang find each other |
//! | `sql` | answers of queries |
//! | `files`, `programs` | weights, checkpoints; programs |

mod actor;
mod calls;
mod changes;
mod check;
pub(crate) mod chronicle;
mod describe;
mod engine;
mod executor_logs;
mod executors;
mod feed;
mod files;
mod flights;
mod gangs;
mod ledger;
mod logs;
pub(crate) mod open;
mod pages;
mod programs;
mod registry;
mod rows;
pub(crate) mod setup;
mod shards;
mod slot;
mod sql;
mod stopwatch;
#[cfg(test)]
mod tests;
mod timers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::Catalog;
use files::Programs;
use lethe_flight::Token;
use registry::Registry;

/// Executors that hold each partition that was put, unless the user wants it otherwise.
const COPIES: u32 = 2;

/// Serves one application. Cheap to clone.
#[derive(Clone)]
pub struct DriverService(Arc<Inner>);

struct Inner {
    catalog: Arc<Mutex<Catalog>>,
    experiments: Registry,
    programs: Programs,
    executors: executors::Executors,
    executor_logs: executor_logs::ExecutorLogs,
    token: Token,
}

impl DriverService {
    /// `directory` is where programs and initial weights lie; `token` is the application's.
    ///
    /// # Errors
    /// If its folders cannot be made.
    pub fn new(directory: impl Into<PathBuf>, token: Token) -> lethe_flight::Result<Self> {
        Self::with_copies(directory, token, COPIES)
    }

    /// `copies`: executors that hold each partition that was put, where there are so many.
    ///
    /// # Errors
    /// As [`DriverService::new`].
    pub fn with_copies(
        directory: impl Into<PathBuf>,
        token: Token,
        copies: u32,
    ) -> lethe_flight::Result<Self> {
        let directory = directory.into();
        let catalog = Arc::new(Mutex::new(Catalog::new(copies)));
        Ok(Self(Arc::new(Inner {
            programs: Programs::new(directory.join("programs"))?,
            experiments: Registry::new(directory.join("experiments"), catalog.clone()),
            executors: executors::Executors::new(catalog.clone()),
            executor_logs: executor_logs::ExecutorLogs::new(directory.join("logs"))?,
            catalog,
            token,
        })))
    }
}

/// A lock whose holder panicked is still a lock over whole data: no holder leaves them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
