//! A store for ranks that are threads of one process: tests and measurements.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::store::{Attempt, Meeting, Store};
use crate::error::{Error, Result};

/// One store for all that have a copy of it. Ranks meet on loopback.
#[derive(Clone, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    values: Mutex<HashMap<String, Vec<u8>>>,
    changed: Condvar,
}

impl Memory {
    fn values(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        // The lock guards plain values: a panic elsewhere cannot leave them half changed.
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.values().insert(key.into(), value.into());
        self.0.changed.notify_all();
        Ok(())
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>> {
        let waited = self.0.changed.wait_timeout_while(self.values(), wait, |v| !v.contains_key(key));
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0.get(key).cloned())
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let mut values = self.values();
        let text = values.get(key).map_or("0".into(), |value| String::from_utf8_lossy(value));
        let before: i64 =
            text.parse().map_err(|_| Error::Worker(format!("the value of {key:?} is no number")))?;
        values.insert(key.into(), (before + amount).to_string().into_bytes());
        drop(values);
        self.0.changed.notify_all();
        Ok(before + amount)
    }

    fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.values().remove(key).is_some())
    }
}

impl Meeting for Memory {
    fn host(&self) -> &str {
        "127.0.0.1"
    }

    fn store(&self, _: &Attempt) -> Box<dyn Store> {
        Box::new(self.clone())
    }
}
