//! The gradients of a batch: whole or in parts, alone or with the other ranks of a gang.

use lethe_flight::message::dataset::Shard;
use lethe_view::shard::slice;
use tch::Tensor;

use super::objective::Objective;
use super::train_loss::TrainLoss;
use crate::data::Batches;
use crate::error::{Error, Result};
use crate::gang::{self, Gang};
use crate::torch::{Program, Reducer, unused};

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

    /// The most rows of a part, of a batch of so many.
    pub fn part_rows(batch: usize, gang: Option<&Gang>, parts: usize) -> usize {
        let world = gang.map_or(1, |gang| gang.rank().world as usize);
        batch.div_ceil(world).div_ceil(parts.max(1)).max(1)
    }

    /// Adds the gradients of the batch of these rows to those that are there (there are none after a step). `step`
    /// counts from 1.
    pub fn add(
        &mut self,
        program: &mut Program,
        batches: &mut Batches,
        rows: &[u32],
        step: u64,
        train_loss: &mut TrainLoss,
    ) -> Result<()> {
        if self.gang.is_none() && self.parts == 1 {
            let batch = batches.gather(rows)?;
            let loss = self.objective.loss(program, &batch)?;
            loss.f_backward()?;
            return train_loss.add(&loss, self.objective.counts(&batch), step);
        }
        let mine = self.gang.map_or(0..rows.len(), |gang| gang.slice(0..rows.len()));
        let mine = &rows[mine];
        let world = self.gang.map_or(1, |gang| gang.rank().world);
        let total = self.objective.counts_of(batches, rows);
        let parts = self.parts.min(mine.len()).max(1);
        for part in 0..parts {
            let places = slice(0..mine.len(), Shard { rank: part as u32, world: parts as u32 });
            let is_last = part + 1 == parts;
            if places.is_empty() {
                // The other ranks wait for gradients of this one too: those of a row that counts nothing.
                let batch = batches.gather(&rows[..1])?;
                let loss = self.objective.loss(program, &batch)?;
                self.backward(&loss.f_mul_scalar(0.0)?, is_last)?;
                continue;
            }
            let batch = batches.gather(&mine[places])?;
            let loss = self.objective.loss(program, &batch)?;
            let counts = self.objective.counts(&batch);
            let share = if total > 0.0 { counts * f64::from(world) / total } else { 0.0 };
            self.backward(&loss.f_mul_scalar(share)?, is_last)?;
            train_loss.add(&loss, counts, step)?;
        }
        Ok(())
    }

    fn backward(&mut self, loss: &Tensor, is_last: bool) -> Result<()> {
        if let Some(gang) = self.gang.filter(|_| is_last) {
            let reducer = match self.reducer.take() {
                Some(reducer) => reducer,
                None => {
                    // All ranks have to look for them if one has to.
                    let finds = gang::any(gang, unused(loss, self.parameters)? > 0)?;
                    Reducer::new(gang.group(), self.parameters, finds)?
                }
            };
            self.reducer.insert(reducer).prepare(loss)?;
        }
        loss.f_backward().map_err(|error| {
            let error = Error::from(error);
            match error {
                Error::Torch(text) if self.gang.is_some() && gang::is_lost(&text) => Error::Gang(text),
                error => error,
            }
        })
    }
}
