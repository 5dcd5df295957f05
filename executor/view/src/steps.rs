//! The steps of an epoch: which places of its order each batch has, and which of those a rank takes.

use std::ops::Range;

use lethe_flight::message::dataset::Shard;
use lethe_flight::{Error, Result};

use crate::shard;

/// Batches of an epoch, of one process or of a rank of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    rows: usize,
    batch_size: usize,
    count: usize,
    shard: Option<Shard>,
}

/// What one step reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Places in the epoch's order; may be none for a rank.
    pub places: Range<usize>,
    /// The share of the batch's rows that these are: what the rank's mean gradient counts.
    pub weight: f64,
}

impl Steps {
    /// `drop_last` leaves out a last batch of fewer than `batch_size` rows.
    ///
    /// # Errors
    /// If `batch_size` is 0, or no batch is left.
    pub fn new(rows: usize, batch_size: usize, drop_last: bool) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Invalid("batch_size must be at least 1, not 0".into()));
        }
        let count = if drop_last { rows / batch_size } else { rows.div_ceil(batch_size) };
        if count == 0 && rows > 0 {
            return Err(Error::Invalid(format!(
                "batch_size={batch_size} is more than the {rows} rows that train, and drop_last leaves out short \
                 batches, so that an epoch has none: choose a smaller batch_size, or drop_last=False"
            )));
        }
        Ok(Self { rows, batch_size, count, shard: None })
    }

    /// A rank's slice of each batch.
    ///
    /// # Errors
    /// If the rank is not below the world size.
    pub fn sharded(self, shard: Shard) -> Result<Self> {
        if shard.rank >= shard.world {
            return Err(Error::Invalid(format!(
                "rank {} of a world of {}: ranks count from 0",
                shard.rank, shard.world
            )));
        }
        Ok(Self { shard: Some(shard), ..self })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of the largest batch.
    pub fn capacity(&self) -> usize {
        self.rows.min(self.batch_size)
    }

    /// Each step in its order.
    pub fn iter(self) -> impl Iterator<Item = Step> {
        (0..self.count).map(move |step| {
            let begin = step * self.batch_size;
            let batch = begin..self.rows.min(begin + self.batch_size);
            match self.shard {
                None => Step { places: batch, weight: 1.0 },
                Some(shard) => {
                    let places = shard::slice(batch.clone(), shard);
                    let weight = places.len() as f64 / batch.len() as f64;
                    Step { places, weight }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(rows: usize, batch_size: usize, drop_last: bool) -> Vec<usize> {
        Steps::new(rows, batch_size, drop_last).unwrap().iter().map(|step| step.places.len()).collect()
    }

    #[test]
    fn the_last_short_batch_is_kept_or_dropped() {
        assert_eq!(sizes(10, 4, false), [4, 4, 2]);
        assert_eq!(sizes(10, 4, true), [4, 4]);
        assert_eq!(sizes(8, 4, true), [4, 4]);
        assert_eq!(sizes(3, 4, false), [3]);
    }

    #[test]
    fn an_epoch_without_batches_is_an_error_that_names_batch_size() {
        let error = Steps::new(3, 4, true).unwrap_err().to_string();
        assert!(error.starts_with("batch_size=4 is more than the 3 rows that train"), "{error}");
        assert!(
            Steps::new(3, 0, false).unwrap_err().to_string().starts_with("batch_size must be at least 1")
        );
        assert!(Steps::new(3, 1, false).unwrap().sharded(Shard { rank: 2, world: 2 }).is_err());
    }

    proptest! {
        #[test]
        fn ranks_share_each_batch_of_one_process(
            rows in 1usize..200, batch_size in 1usize..40, world in 1u32..9, drop_last: bool,
        ) {
            let Ok(steps) = Steps::new(rows, batch_size, drop_last) else {
                prop_assert!(drop_last && rows < batch_size);
                return Ok(());
            };
            let ranks: Vec<Vec<Step>> = (0..world)
                .map(|rank| steps.sharded(Shard { rank, world }).unwrap().iter().collect())
                .collect();
            for (number, batch) in steps.iter().enumerate() {
                // A rank without rows steps all the same.
                let slices: Vec<&Step> = ranks.iter().map(|steps| &steps[number]).collect();
                let mut next = batch.places.start;
                for slice in &slices {
                    prop_assert_eq!(slice.places.start, next);
                    next = slice.places.end;
                }
                prop_assert_eq!(next, batch.places.end);
                let sizes = slices.iter().map(|slice| slice.places.len());
                prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                let total: f64 = slices.iter().map(|slice| slice.weight).sum();
                prop_assert!((total - 1.0).abs() < 1e-12);
                for slice in slices {
                    let rows = slice.weight * batch.places.len() as f64;
                    prop_assert!((rows - slice.places.len() as f64).abs() < 1e-9);
                }
            }
            prop_assert!(ranks.iter().all(|steps| steps.len() == ranks[0].len()));
            let seen: usize = ranks.iter().flatten().map(|step| step.places.len()).sum();
            prop_assert_eq!(seen, if drop_last { rows / batch_size * batch_size } else { rows });
        }
    }
}
