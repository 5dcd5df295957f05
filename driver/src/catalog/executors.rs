//! The executors of the catalog: how much each holds, and what it is to be told.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Executors(BTreeMap<String, Executor>);

#[derive(Debug, Default)]
struct Executor {
    /// Of the partitions that it holds or is to hold.
    bytes: u64,
    drops: BTreeSet<String>,
    copies: BTreeSet<(String, u32)>,
}

/// What an executor is to be told next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Drop(String),
    Copy(String, u32),
}

impl Executors {
    /// One that joins again holds what it held, and has heard nothing.
    pub fn join(&mut self, executor: &str) {
        self.0.entry(executor.into()).or_default();
    }

    pub fn leave(&mut self, executor: &str) {
        self.0.remove(executor);
    }

    pub fn contains(&self, executor: &str) -> bool {
        self.0.contains_key(executor)
    }

    pub fn add(&mut self, executor: &str, bytes: u64) {
        if let Some(known) = self.0.get_mut(executor) {
            known.bytes = known.bytes.saturating_add(bytes);
        }
    }

    pub fn remove(&mut self, executor: &str, bytes: u64) {
        if let Some(known) = self.0.get_mut(executor) {
            known.bytes = known.bytes.saturating_sub(bytes);
        }
    }

    /// The one with the fewest bytes, of those that are not among `holders`.
    pub fn least(&self, holders: &BTreeMap<String, String>) -> Option<String> {
        let others = self.0.iter().filter(|(name, _)| !holders.contains_key(*name));
        others.min_by_key(|(_, executor)| executor.bytes).map(|(name, _)| name.clone())
    }

    pub fn order_copy(&mut self, executor: &str, dataset: &str, partition: u32) {
        if let Some(known) = self.0.get_mut(executor) {
            known.copies.insert((dataset.into(), partition));
        }
    }

    pub fn order_drop(&mut self, executor: &str, dataset: &str) {
        if let Some(known) = self.0.get_mut(executor) {
            known.drops.insert(dataset.into());
        }
    }

    pub fn order_drop_everywhere(&mut self, dataset: &str) {
        for known in self.0.values_mut() {
            known.drops.insert(dataset.into());
            known.copies.retain(|(of, _)| of != dataset);
        }
    }

    pub fn next(&mut self, executor: &str) -> Option<Next> {
        let known = self.0.get_mut(executor)?;
        if let Some(dataset) = known.drops.pop_first() {
            return Some(Next::Drop(dataset));
        }
        known.copies.pop_first().map(|(dataset, partition)| Next::Copy(dataset, partition))
    }
}
