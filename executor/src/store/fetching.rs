//! Who fetches a partition: one at a time, so that a view and a copy that want the same one get it once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::Key;

#[derive(Default)]
pub struct Fetching {
    turns: Mutex<HashMap<Key, Arc<Turns<()>>>>,
}

/// Dropped, it lets the next one fetch.
pub struct Turn<'a> {
    all: &'a Fetching,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Fetching {
    /// Waits until nobody else fetches this partition.
    pub async fn turn(&self, dataset: &str, partition: u32) -> Turn<'_> {
        let key = (dataset.to_owned(), partition);
        let turns =
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        // Made before the wait: whoever gives up waiting tidies up as well.
        let mut turn = Turn { all: self, key, guard: None };
        turn.guard = Some(turns.lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.all.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.key);
        }
    }
}
