//! The stores by which the ranks of gangs find each other: one for each attempt that asks, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lethe_flight::message::gang::{Operation, StoreCall, Stored};
use lethe_flight::{Error, Result, limits};
use tokio::sync::Notify;

use super::lock;

/// Stores of one experiment. Ranks need theirs at the beginning of an attempt: beyond this, the oldest goes.
const STORES: usize = 1024;

/// The stores of one experiment.
#[derive(Default)]
pub struct Gangs {
    stores: Mutex<Stores>,
}

#[derive(Default)]
struct Stores {
    /// By trial: its last attempt that asked, and when that began, as a count of stores.
    by_trial: HashMap<u32, (u32, u64, Arc<Store>)>,
    opened: u64,
}

impl Gangs {
    /// Answers one call. Blocks for the time that the call waits, and no longer.
    ///
    /// # Errors
    /// If a later attempt at the trial has asked, a value to add to is no number, or the store is full.
    pub async fn call(&self, call: StoreCall) -> Result<Stored> {
        let store = lock(&self.stores).of(call.trial, call.attempt)?;
        store.call(call.operation).await
    }
}

impl Gangs {
    /// The trial has ended.
    pub fn drop_of(&self, trial: u32) {
        lock(&self.stores).by_trial.remove(&trial);
    }
}

impl Stores {
    fn of(&mut self, trial: u32, attempt: u32) -> Result<Arc<Store>> {
        match self.by_trial.get(&trial) {
            Some((last, _, store)) if *last == attempt => return Ok(store.clone()),
            Some((last, ..)) if *last > attempt => {
                return Err(Error::Precondition(format!(
                    "attempt {attempt} at trial {trial} is over: attempt {last} has begun"
                )));
            }
            _ => {}
        }
        if self.by_trial.len() >= STORES
            && let Some(oldest) =
                self.by_trial.iter().min_by_key(|(_, (_, opened, _))| *opened).map(|(t, _)| *t)
        {
            self.by_trial.remove(&oldest);
        }
        let store = Arc::new(Store::default());
        self.by_trial.insert(trial, (attempt, self.opened, store.clone()));
        self.opened += 1;
        Ok(store)
    }
}

#[derive(Default)]
struct Store {
    values: Mutex<Values>,
    changed: Notify,
}

#[derive(Default)]
struct Values {
    by_key: HashMap<String, Vec<u8>>,
    bytes: usize,
}

impl Store {
    async fn call(&self, operation: Operation) -> Result<Stored> {
        match operation {
            Operation::Set { key, value } => {
                lock(&self.values).set(key, value)?;
                self.changed.notify_waiters();
                Ok(Stored::Done)
            }
            Operation::Add { key, amount } => {
                let number = lock(&self.values).add(key, amount)?;
                self.changed.notify_waiters();
                Ok(Stored::Number { number })
            }
            Operation::Delete { key } => {
                Ok(if lock(&self.values).delete(&key) { Stored::Done } else { Stored::Missing })
            }
            Operation::Get { key, wait_s } => {
                let wait = Duration::from_secs_f64(wait_s.clamp(0.0, limits::STORE_WAIT_S));
                let value = tokio::time::timeout(wait, self.wait_for(&key)).await;
                Ok(value.map_or(Stored::Missing, |value| Stored::Value { value }))
            }
        }
    }

    async fn wait_for(&self, key: &str) -> Vec<u8> {
        loop {
            // Before the look, so that what is set meanwhile wakes it.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = lock(&self.values).by_key.get(key) {
                return value.clone();
            }
            changed.await;
        }
    }
}

impl Values {
    fn set(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        let before = self.by_key.get(&key).map_or(0, |value| key.len() + value.len());
        let after = key.len() + value.len();
        let keys = self.by_key.len() + usize::from(before == 0);
        if key.len() > limits::STORE_KEY_BYTES
            || keys > limits::STORE_KEYS
            || self.bytes - before + after > limits::STORE_BYTES
        {
            return Err(Error::Exhausted(format!(
                "the store of a gang takes {} keys of at most {} bytes, and {} bytes in all",
                limits::STORE_KEYS,
                limits::STORE_KEY_BYTES,
                limits::STORE_BYTES
            )));
        }
        self.bytes = self.bytes - before + after;
        self.by_key.insert(key, value);
        Ok(())
    }

    fn add(&mut self, key: String, amount: i64) -> Result<i64> {
        let number: i64 = match self.by_key.get(&key) {
            None => 0,
            Some(value) => {
                let text = std::str::from_utf8(value).ok();
                text.and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Error::Invalid(format!("the value of {key:?} in a gang's store is no number"))
                })?
            }
        };
        let sum = number.checked_add(amount).ok_or_else(|| {
            Error::Invalid(format!("the number of {key:?} in a gang's store grows too large"))
        })?;
        self.set(key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    fn delete(&mut self, key: &str) -> bool {
        let Some(value) = self.by_key.remove(key) else { return false };
        self.bytes -= key.len() + value.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(trial: u32, attempt: u32, operation: Operation) -> StoreCall {
        StoreCall { experiment: "e".into(), trial, attempt, operation }
    }

    fn set(key: &str, value: &str) -> Operation {
        Operation::Set { key: key.into(), value: value.into() }
    }

    fn get(key: &str, wait_s: f64) -> Operation {
        Operation::Get { key: key.into(), wait_s }
    }

    fn value(text: &str) -> Stored {
        Stored::Value { value: text.into() }
    }

    #[tokio::test]
    async fn a_key_is_waited_for_until_another_rank_sets_it() {
        let gangs = Arc::new(Gangs::default());
        assert_eq!(gangs.call(call(1, 1, get("a", 0.01))).await.unwrap(), Stored::Missing);
        let other = gangs.clone();
        let waits = tokio::spawn(async move { other.call(call(1, 1, get("a", 10.0))).await.unwrap() });
        tokio::task::yield_now().await;
        // Of another key, and of another trial: neither is what is waited for.
        gangs.call(call(1, 1, set("b", "no"))).await.unwrap();
        gangs.call(call(2, 1, set("a", "no"))).await.unwrap();
        gangs.call(call(1, 1, set("a", "yes"))).await.unwrap();
        assert_eq!(waits.await.unwrap(), value("yes"));
        let delete = || Operation::Delete { key: "a".into() };
        assert_eq!(gangs.call(call(1, 1, delete())).await.unwrap(), Stored::Done);
        assert_eq!(gangs.call(call(1, 1, delete())).await.unwrap(), Stored::Missing);
    }

    #[tokio::test]
    async fn numbers_are_added_and_read_as_text() {
        let gangs = Gangs::default();
        let add = |amount| call(1, 1, Operation::Add { key: "n".into(), amount });
        assert_eq!(gangs.call(add(2)).await.unwrap(), Stored::Number { number: 2 });
        assert_eq!(gangs.call(add(-5)).await.unwrap(), Stored::Number { number: -3 });
        assert_eq!(gangs.call(call(1, 1, get("n", 0.0))).await.unwrap(), value("-3"));
        gangs.call(call(1, 1, set("n", "x"))).await.unwrap();
        assert!(gangs.call(add(1)).await.is_err());
    }

    #[tokio::test]
    async fn a_new_attempt_begins_with_an_empty_store_and_an_old_one_has_none() {
        let gangs = Gangs::default();
        gangs.call(call(1, 1, set("a", "old"))).await.unwrap();
        assert_eq!(gangs.call(call(1, 2, get("a", 0.0))).await.unwrap(), Stored::Missing);
        let error = gangs.call(call(1, 1, get("a", 0.0))).await.unwrap_err().to_string();
        assert!(error.contains("attempt 1 at trial 1 is over"), "{error}");
    }

    #[tokio::test]
    async fn what_a_store_holds_is_bounded() {
        let gangs = Gangs::default();
        let large = "x".repeat(limits::STORE_BYTES / 2);
        gangs.call(call(1, 1, set("a", &large))).await.unwrap();
        // In place of what was there.
        gangs.call(call(1, 1, set("a", &large))).await.unwrap();
        assert!(gangs.call(call(1, 1, set("b", &large))).await.is_err());
        assert!(gangs.call(call(1, 1, set(&"k".repeat(limits::STORE_KEY_BYTES + 1), ""))).await.is_err());
        for trial in 0..=STORES as u32 {
            gangs.call(call(trial + 2, 1, set("a", ""))).await.unwrap();
        }
        assert_eq!(lock(&gangs.stores).by_trial.len(), STORES);
        gangs.drop_of(3 + STORES as u32 - 1);
        assert_eq!(lock(&gangs.stores).by_trial.len(), STORES - 1);
    }
}
