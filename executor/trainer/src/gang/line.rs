//! The driver's store, asked through the executor.

use std::time::{Duration, Instant};

use lethe_flight::client::{self, Client};
use lethe_flight::message::gang::{Operation, StoreCall, Stored};
use lethe_flight::wire::action;
use tokio::runtime::Handle;

use super::store::{Attempt, Meeting, Store};
use crate::error::{Error, Result};

/// How long one call waits for a key, before it looks whether the attempt is to end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The worker's way to its driver. Calls block their thread while the runtime that it was made on works.
#[derive(Clone)]
pub struct Line {
    client: Client,
    runtime: Handle,
    host: String,
}

impl Line {
    /// `executor`: its `host:port`. To be called on the runtime.
    pub fn new(client: Client, executor: &str) -> Self {
        let host = executor.rsplit_once(':').map_or(executor, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { client, runtime: Handle::current(), host }
    }
}

impl Meeting for Line {
    fn host(&self) -> &str {
        &self.host
    }

    fn store(&self, attempt: &Attempt) -> Box<dyn Store> {
        Box::new(Driver { line: self.clone(), attempt: attempt.clone() })
    }
}

struct Driver {
    line: Line,
    attempt: Attempt,
}

impl Driver {
    fn call(&self, operation: Operation) -> Result<Stored> {
        if self.attempt.interrupter.is_stopped() {
            return Err(Error::Gang("the attempt is to end".into()));
        }
        let Attempt { experiment, trial, attempt, .. } = self.attempt.clone();
        let call = StoreCall { experiment, trial, attempt, operation };
        let mut client = self.line.client.clone();
        let answer = self.line.runtime.block_on(client::call(&mut client, action::STORE, &call));
        Ok(answer?)
    }

    fn unexpected(stored: &Stored) -> Error {
        Error::Worker(format!("the gang's store answered {stored:?}"))
    }
}

impl Store for Driver {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.call(Operation::Set { key: key.into(), value: value.into() }).map(|_| ())
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wait_s = left.min(LOOK_EVERY).as_secs_f64();
            match self.call(Operation::Get { key: key.into(), wait_s })? {
                Stored::Value { value } => return Ok(Some(value)),
                Stored::Missing if left.is_zero() => return Ok(None),
                Stored::Missing => {}
                other => return Err(Self::unexpected(&other)),
            }
        }
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64> {
        match self.call(Operation::Add { key: key.into(), amount })? {
            Stored::Number { number } => Ok(number),
            other => Err(Self::unexpected(&other)),
        }
    }

    fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.call(Operation::Delete { key: key.into() })? == Stored::Done)
    }
}
