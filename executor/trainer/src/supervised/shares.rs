//! What of each batch is this rank's: a slice of it where all ranks have the same rows, else rows of its own.

use std::ops::Range;
use std::sync::Arc;

use lethe_flight::message::dataset::Shard;
use lethe_view::shard::slice;

use super::gradients::Share;
use crate::data::{MappedView, Step, Steps};
use crate::error::Result;
use crate::gang::Gang;

/// The steps of an epoch, and the rank's share in each.
pub struct Shares {
    view: Arc<MappedView>,
    steps: Steps,
    /// None: all rows are its own.
    shard: Option<Shard>,
}

impl Shares {
    pub fn new(
        view: Arc<MappedView>,
        batch_size: usize,
        drop_last: bool,
        gang: Option<&Gang>,
    ) -> Result<Self> {
        let shard = gang.map(|gang| gang.rank()).map(|rank| Shard { rank: rank.rank, world: rank.world });
        let (steps, shard) = match view.local() {
            None => (Steps::new(view.train().len(), batch_size, drop_last)?, shard),
            Some(rows) => (Steps::of_rank(rows, batch_size)?, None),
        };
        Ok(Self { view, steps, shard })
    }

    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Rows of the share and of the whole batch, of each step.
    pub fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.steps.iter().map(|step| (self.mine(step.places.len()).len(), step.batch))
    }

    /// Rows that validate, of whichever rank has most.
    pub fn most_validation(&self) -> usize {
        match self.view.local() {
            None => self.view.validation().len(),
            Some(rows) => rows.validation.iter().copied().max().unwrap_or(0) as usize,
        }
    }

    /// The share of a step, `order` being that of the epoch's rows.
    pub fn of<'a>(&'a self, step: &Step, order: &'a [u32]) -> Share<'a> {
        let read = &order[step.places.clone()];
        let whole = self.view.local().is_none().then_some(read);
        let any = if read.is_empty() { self.view.some_rows() } else { read };
        Share { mine: &read[self.mine(read.len())], whole, rows: step.batch, any }
    }

    /// Of so many rows that are read.
    fn mine(&self, read: usize) -> Range<usize> {
        self.shard.map_or(0..read, |shard| slice(0..read, shard))
    }
}
