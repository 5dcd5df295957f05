//! What came of an experiment, as tables that SQL asks, also while it runs.
//!
//! | table | a row is |
//! |---|---|
//! | `trials` | a trial: `trial, state, attempts, value, epochs`, a column for each hyperparameter and for each metric at the trial's best or last moment, `slot, idle_s, setup_s, train_s, error, why, hparams` (all of them as JSON) |
//! | `metrics` | a reported value: `trial, attempt, epoch, metric, value` |
//! | `slots` | a slot's connection: `slot, executor, device, worker_pid, trials, held_s, train_s` |
//! | `events` | something that happened: `sequence, at, kind, trial, attempt, slot, epoch, text` |
//!
//! A value that is NaN or infinite is null, as in all of the protocol.
//!
//! [`Tables`] takes reports and events as they come; nobody else writes them, so there is no lock. A [`Snapshot`]
//! of it shares their columns and is asked in threads of its own.
//!
//! - [`chunks`]: columns that only grow.
//! - [`metrics`], [`events`], [`trials`], [`slots`]: a table each; [`typed`]: columns whose type the values tell.
//! - [`query`]: the SQL that is answered; [`run`]: where, and with what it may use.

mod chunks;
mod events;
mod metrics;
mod query;
mod run;
mod slots;
#[cfg(test)]
mod tests;
mod trials;
mod typed;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use lethe_flight::Result;
use lethe_flight::message::experiment::{Plan, SlotResult, TrialResult};
use lethe_flight::message::training::Metrics;

pub use events::Happened;
pub use run::{Answer, Rows};
pub use trials::state as state_name;

/// Trials in order, as snapshots share them. Their histories are not looked at: leave them empty.
pub type TrialChunk = Arc<Vec<TrialResult>>;

/// An experiment's reports and events.
pub struct Tables {
    known: Arc<trials::Known>,
    metrics: metrics::MetricRows,
    events: events::EventRows,
    limits: run::Limits,
}

impl Tables {
    /// # Errors
    /// If the queries' memory cannot be set up.
    pub fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            known: Arc::new(trials::Known::of(plan)),
            metrics: metrics::MetricRows::default(),
            events: events::EventRows::default(),
            limits: run::Limits::new()?,
        })
    }

    /// A row of `metrics` for each of them. `at`: milliseconds since 1970.
    pub fn reported(&mut self, at: u64, trial: u32, attempt: u32, epoch: u32, metrics: &Metrics) {
        self.metrics.add(at, trial, attempt, epoch, metrics);
    }

    /// A row of `events`.
    pub fn happened(&mut self, event: &Happened<'_>) {
        self.events.add(event);
    }

    /// How things stand now; what comes later does not change it. Takes well below a millisecond however many
    /// rows there are.
    ///
    /// # Errors
    /// If columns do not fit together, which is a mistake of this module.
    pub fn snapshot(&self, trials: Vec<TrialChunk>, slots: Vec<SlotResult>) -> Result<Snapshot> {
        let rows = SnapshotRows {
            known: Arc::clone(&self.known),
            metrics: self.metrics.batches()?,
            events: self.events.batches()?,
            trials,
            slots,
        };
        Ok(Snapshot { rows: Arc::new(rows), limits: self.limits.clone() })
    }
}

/// The tables at one moment. Clones share them.
#[derive(Clone)]
pub struct Snapshot {
    rows: Arc<SnapshotRows>,
    limits: run::Limits,
}

struct SnapshotRows {
    known: Arc<trials::Known>,
    metrics: Vec<RecordBatch>,
    events: Vec<RecordBatch>,
    trials: Vec<TrialChunk>,
    slots: Vec<SlotResult>,
}

impl Snapshot {
    /// Answers one SELECT. Its work is done in a thread of its own, in bounded memory and time; rows come as they
    /// are read, and dropping them ends it.
    ///
    /// # Errors
    /// If it is not one SELECT over these tables: the first line says what is wrong, and which tables and columns
    /// there are. If too many queries run already.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        run::answer(Arc::clone(&self.rows), &self.limits, sql.to_owned()).await
    }
}
