//! The gradients of a batch: whole or in parts, alone or with the other ranks of a gang.

use lethe_flight::message::dataset::Shard;
use lethe_view::shard::slice;
use tch::Tensor;

use super::objective::Objective;
use super::shares::Shares;
use super::train_loss::TrainLoss;
use crate::data::{Batch, Batches};
use crate::error::{Error, Result};
use crate::gang::Gang;
use crate::torch::{Program, Reducer, StandIn, unused};

/// A batch, and what of it is this rank's.
pub struct Share<'a> {
    pub mine: &'a [u32],
    /// All of its rows, where this rank knows them.
    pub whole: Option<&'a [u32]>,
    /// How many these are.
    pub rows: usize,
    /// Rows that stand in for this rank's, where it has none; at least one.
    pub any: &'a [u32],
}

/// Computes the gradients of batches. Those of a rank's part, weighted by its rows and averaged over the ranks, are
/// those of the whole batch; so are those of a batch in parts.
pub struct Gradients<'a> {
    objective: &'a Objective,
    parameters: &'a [Tensor],
    gang: Option<&'a Gang>,
    parts: usize,
    reducer: Option<Reducer<'a>>,
}

impl<'a> Gradients<'a> {
    /// `parts`: in how many a batch is computed, one after the other.
    pub fn new(
        objective: &'a Objective,
        parameters: &'a [Tensor],
        gang: Option<&'a Gang>,
        parts: usize,
    ) -> Self {
        Self { objective, parameters, gang, parts, reducer: None }
    }

    /// The most rows of a part.
    pub fn part_rows(shares: &Shares, gang: Option<&Gang>, parts: usize) -> usize {
        // Small batches are cut into fewer parts.
        let part = |(mine, batch): (usize, usize)| mine.div_ceil(parts_of(batch, gang, parts));
        shares.sizes().map(part).max().unwrap_or(0).max(LEAST)
    }

    /// Adds the gradients of a batch to those that are there (there are none after a step). `step` counts from 1.
    pub fn add(
        &mut self,
        program: &mut Program,
        batches: &mut Batches,
        batch: &Share,
        step: u64,
        train_loss: &mut TrainLoss,
    ) -> Result<()> {
        if self.gang.is_none() && self.parts == 1 {
            let batch = batches.gather(batch.mine)?;
            let loss = self.objective.loss(program, &batch)?;
            loss.f_backward()?;
            return train_loss.add(&loss, self.objective.counts(&batch), step);
        }
        let world = self.gang.map_or(1, |gang| gang.rank().world);
        let total = self.total(batches, batch)?;
        // The same on all ranks: each of them waits in each part where batch norm is shared.
        let parts = parts_of(batch.rows, self.gang, self.parts);
        for part in 0..parts {
            let places = slice(0..batch.mine.len(), Shard { rank: part as u32, world: parts as u32 });
            let is_last = part + 1 == parts;
            if places.is_empty() {
                // The other ranks wait for gradients of this one too: those of rows that count nothing.
                let batch = batches.gather(&batch.any[..batch.any.len().min(LEAST)])?;
                let _counts_nothing = StandIn::begin();
                let loss = self.objective.loss(program, &batch).map_err(|error| few_rows(error, &batch))?;
                self.backward(&loss.f_mul_scalar(0.0)?, is_last)?;
                continue;
            }
            let batch = batches.gather(&batch.mine[places])?;
            let loss = self.objective.loss(program, &batch).map_err(|error| few_rows(error, &batch))?;
            let counts = self.objective.counts(&batch);
            let share = if total > 0.0 { counts * f64::from(world) / total } else { 0.0 };
            self.backward(&loss.f_mul_scalar(share)?, is_last)?;
            train_loss.add(&loss, counts, step)?;
        }
        Ok(())
    }

    /// What all rows of the batch count.
    fn total(&self, batches: &Batches, batch: &Share) -> Result<f64> {
        match (batch.whole, self.gang) {
            (Some(whole), _) => Ok(self.objective.counts_of(batches, whole)),
            (None, Some(gang)) if self.objective.is_weighted(batches) => {
                let mut counts = [self.objective.counts_of(batches, batch.mine)];
                gang.sum(&mut counts)?;
                Ok(counts[0])
            }
            (None, _) => Ok(batch.rows as f64),
        }
    }

    fn backward(&mut self, loss: &Tensor, is_last: bool) -> Result<()> {
        if let Some(gang) = self.gang.filter(|_| is_last) {
            let reducer = match self.reducer.take() {
                Some(reducer) => reducer,
                None => {
                    // All ranks have to look for them if one has to.
                    let finds = gang.any(unused(loss, self.parameters)? > 0)?;
                    Reducer::new(gang.group(), self.parameters, finds, gang.shared())?
                }
            };
            self.reducer.insert(reducer).prepare(loss)?;
        }
        Ok(loss.f_backward()?)
    }
}

/// Rows of a part, where there are so many: batch norm refuses one.
const LEAST: usize = 2;

fn world(gang: Option<&Gang>) -> usize {
    gang.map_or(1, |gang| gang.rank().world as usize)
}

/// In how many parts a rank computes a batch of so many rows.
fn parts_of(batch: usize, gang: Option<&Gang>, parts: usize) -> usize {
    parts.min(batch / world(gang) / LEAST).max(1)
}

/// What batch norm says of one row says how to have more.
fn few_rows(error: Error, batch: &Batch) -> Error {
    match error {
        Error::Torch(text) if batch.rows == 1 && text.contains("more than 1 value per channel") => {
            Error::trial(format!(
                "batch norm got a batch of one row, the last of an epoch or a worker's part of it: set drop_last=True, or choose \
             another batch_size\n{text}"
            ))
        }
        other => other,
    }
}
