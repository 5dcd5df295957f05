//! The steps of an epoch: which places of its order each batch has, and which of those a rank takes.

use std::ops::Range;

use lethe_flight::message::dataset::{LocalRows, Shard};
use lethe_flight::{Error, Result};

use crate::shard;

/// Batches of an epoch, of one process or of a rank of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    count: usize,
    cut: Cut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cut {
    /// Batches of `batch_size` of `rows`, or a rank's slice of each.
    Batches { rows: usize, batch_size: usize, shard: Option<Shard> },
    /// Each rank's own rows, spread over all steps.
    Own { rows: Vec<u64>, rank: usize },
}

/// What one step reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Places in the epoch's order; may be none for a rank.
    pub places: Range<usize>,
    /// Rows of the batch, of all ranks together.
    pub batch: usize,
}

impl Step {
    /// The share of the batch's rows that these are: what the rank's mean gradient counts.
    pub fn weight(&self) -> f64 {
        if self.batch == 0 { 0.0 } else { self.places.len() as f64 / self.batch as f64 }
    }
}

impl Steps {
    /// `drop_last` leaves out a last batch of fewer than `batch_size` rows.
    ///
    /// # Errors
    /// If `batch_size` is 0, or no batch is left.
    pub fn new(rows: usize, batch_size: usize, drop_last: bool) -> Result<Self> {
        check(batch_size)?;
        let count = if drop_last { rows / batch_size } else { rows.div_ceil(batch_size) };
        if count == 0 && rows > 0 {
            return Err(Error::Invalid(format!(
                "batch_size={batch_size} is more than the {rows} rows that train, and drop_last leaves out short \
                 batches, so that an epoch has none: choose a smaller batch_size, or drop_last=False"
            )));
        }
        Ok(Self { count, cut: Cut::Batches { rows, batch_size, shard: None } })
    }

    /// Of a rank that has rows of its own; `rows` has how many each rank has. All take the same number of steps, as
    /// many as batches of `batch_size` of all their rows would be, and each spreads its rows evenly over them: batches
    /// are alike in size, to within one row of each rank, and none is short.
    ///
    /// # Errors
    /// If `batch_size` is 0, or the rank is none of them.
    pub fn of_rank(rows: &LocalRows, batch_size: usize) -> Result<Self> {
        check(batch_size)?;
        let (rank, rows) = (rows.rank as usize, rows.train.clone());
        if rank >= rows.len() {
            return Err(Error::Invalid(format!(
                "rank {rank} of a world of {}: ranks count from 0",
                rows.len()
            )));
        }
        let total: u64 = rows.iter().sum();
        Ok(Self { count: total.div_ceil(batch_size as u64) as usize, cut: Cut::Own { rows, rank } })
    }

    /// A rank's slice of each batch; of rows that are a rank's own already, all of it.
    ///
    /// # Errors
    /// If the rank is not below the world size.
    pub fn sharded(mut self, shard: Shard) -> Result<Self> {
        if shard.rank >= shard.world {
            return Err(Error::Invalid(format!(
                "rank {} of a world of {}: ranks count from 0",
                shard.rank, shard.world
            )));
        }
        if let Cut::Batches { shard: own, .. } = &mut self.cut {
            *own = Some(shard);
        }
        Ok(self)
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of the largest batch that is read here.
    pub fn capacity(&self) -> usize {
        match &self.cut {
            Cut::Batches { rows, batch_size, .. } => *rows.min(batch_size),
            Cut::Own { rows, rank } => (rows[*rank] as usize).div_ceil(self.count.max(1)),
        }
    }

    /// Each step in its order.
    pub fn iter(&self) -> impl Iterator<Item = Step> + '_ {
        (0..self.count).map(move |step| match &self.cut {
            Cut::Batches { rows, batch_size, shard } => {
                let begin = step * batch_size;
                let batch = begin..*rows.min(&(begin + batch_size));
                let places = shard.map_or(batch.clone(), |shard| shard::slice(batch.clone(), shard));
                Step { places, batch: batch.len() }
            }
            Cut::Own { rows, rank } => {
                // Of as many slices as there are steps, this one.
                let slice = Shard { rank: step as u32, world: self.count as u32 };
                let of = |rows: u64| shard::slice(0..rows as usize, slice);
                Step { places: of(rows[*rank]), batch: rows.iter().map(|&rows| of(rows).len()).sum() }
            }
        })
    }
}

fn check(batch_size: usize) -> Result<()> {
    if batch_size == 0 {
        return Err(Error::Invalid("batch_size must be at least 1, not 0".into()));
    }
    Ok(())
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
                .map(|rank| steps.clone().sharded(Shard { rank, world }).unwrap().iter().collect())
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
                let total: f64 = slices.iter().map(|slice| slice.weight()).sum();
                prop_assert!((total - 1.0).abs() < 1e-12);
                for slice in slices {
                    prop_assert_eq!(slice.batch, batch.places.len());
                }
            }
            prop_assert!(ranks.iter().all(|steps| steps.len() == ranks[0].len()));
            let seen: usize = ranks.iter().flatten().map(|step| step.places.len()).sum();
            prop_assert_eq!(seen, if drop_last { rows / batch_size * batch_size } else { rows });
        }

        #[test]
        fn ranks_of_unequal_rows_take_the_same_steps_and_each_row_once(
            rows in prop::collection::vec(0u64..300, 1..6), batch_size in 1usize..40,
        ) {
            let world = rows.len();
            let ranks: Vec<(Steps, Vec<Step>)> = (0..world as u32)
                .map(|rank| {
                    let local = LocalRows { rank, train: rows.clone(), validation: Vec::new() };
                    let steps = Steps::of_rank(&local, batch_size).unwrap();
                    let all = steps.iter().collect();
                    (steps, all)
                })
                .collect();
            let total: u64 = rows.iter().sum();
            for (rank, (steps, all)) in ranks.iter().enumerate() {
                prop_assert_eq!(all.len(), total.div_ceil(batch_size as u64) as usize);
                let mut next = 0;
                for step in all {
                    prop_assert_eq!(step.places.start, next);
                    next = step.places.end;
                    prop_assert!(step.places.len() <= steps.capacity());
                }
                prop_assert_eq!(next as u64, rows[rank]);
            }
            for step in 0..ranks[0].1.len() {
                let batch: usize = ranks.iter().map(|(_, all)| all[step].places.len()).sum();
                prop_assert!(batch < batch_size + world);
                prop_assert!(ranks.iter().all(|(_, all)| all[step].batch == batch));
                let weight: f64 = ranks.iter().map(|(_, all)| all[step].weight()).sum();
                prop_assert!((weight - 1.0).abs() < 1e-12 || batch == 0);
            }
        }
    }
}
