//! Workers that train one model together: what a rank does with the others.
//!
//! - [`store`]: where they find each other.
//! - [`shared`]: gradients summed in memory, where all are on one host.
//! - [`line`]: that store, over the executor's line to the driver; [`memory`]: one of this process.

mod line;
mod memory;
mod shared;
pub mod store;

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use lethe_flight::message::dataset::Shard;
use lethe_flight::message::training::Rank;
use lethe_view::shard::slice;
use tch::{Device, Kind, Tensor};

pub use line::Line;
pub use memory::Memory;
pub use shared::Shared;
pub use store::{Meeting, Store};

use crate::error::{Error, Result};
use crate::function::Flow;
use crate::torch::{self, Group};

/// How long ranks wait for each other at the beginning.
pub const JOIN: Duration = Duration::from_secs(10 * 60);
/// The same where each of them first builds a view of rows of its own, most of which may travel: no shorter than the
/// executor's limit for that.
pub const JOIN_LOCAL: Duration = Duration::from_secs(3 * 60 * 60);
/// How long they wait for one that validates or waits for a decision. One whose process ends is noticed at once, but for
/// NCCL.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// This rank, and its tie to the others.
pub struct Gang {
    rank: Rank,
    group: Group,
    shared: Option<Mutex<Shared>>,
}

impl Gang {
    /// Waits for the others, at most `wait`: [`JOIN`] or [`JOIN_LOCAL`].
    ///
    /// # Errors
    /// If they do not come, or the attempt is to end.
    pub fn join(
        rank: Rank,
        device: Device,
        meeting: &dyn Meeting,
        attempt: &store::Attempt,
        wait: Duration,
    ) -> Result<Self> {
        let store = meeting.store(attempt);
        let group = Group::new(meeting.host(), rank, wait, PATIENCE, store)?;
        let mut gang = Self { rank, group, shared: None };
        let all = |there: bool| Ok(!gang.any(!there)?);
        let on_gpus = gang.any(device != Device::Cpu)?;
        let shared = match on_gpus {
            true => gang.join_gpus(device).map(|()| None),
            false => Shared::meet(&*meeting.store(attempt), rank, wait, PATIENCE, all),
        }?;
        tracing::debug!(
            rank = rank.rank,
            world = rank.world,
            shared = shared.is_some(),
            on_gpus,
            "the ranks have met"
        );
        gang.shared = shared.map(Mutex::new);
        Ok(gang)
    }

    /// All ranks have a GPU, or none trains.
    fn join_gpus(&self, device: Device) -> Result<()> {
        let joined = match device {
            Device::Cpu => Err(Error::trial(
                "some workers of this trial have a GPU, and this one has none: give each slot one \
                 (spark.task.resource.gpu.amount=1), or none any",
            )),
            _ => self.group.join_gpus(PATIENCE),
        };
        if self.any(joined.is_err())? {
            return Err(joined.err().unwrap_or_else(|| Error::Gang("it could not use its GPU".into())));
        }
        // NCCL connects them now: better here than in the first step.
        let mut one = Tensor::f_ones([1], (Kind::Float, device))?;
        self.group.sum(&mut one).and_then(|()| torch::scalar(&one)).map(|_| ()).map_err(|error| match error {
            Error::Torch(text) if text.contains("Duplicate GPU") => Error::trial(format!(
                "two workers of this trial have one GPU: give each slot a whole one \
                 (spark.task.resource.gpu.amount=1)\n{text}"
            )),
            other => other,
        })
    }

    /// Memory of this host in which all ranks take part, if they are on one.
    pub fn shared(&self) -> Option<&Mutex<Shared>> {
        self.shared.as_ref()
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Rank 0 speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank.rank == 0
    }

    /// A seed of this rank's own, so that ranks do not drop the same units; rank 0's is the trial's.
    pub fn seed(&self, seed: u64) -> u64 {
        seed.wrapping_add(u64::from(self.rank.rank).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// This rank's part of a batch.
    pub fn slice(&self, batch: Range<usize>) -> Range<usize> {
        slice(batch, Shard { rank: self.rank.rank, world: self.rank.world })
    }

    /// The parts of all ranks, by rank.
    pub fn slices(&self, batch: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let world = self.rank.world;
        (0..world).map(move |rank| slice(batch.clone(), Shard { rank, world }))
    }

    /// Sums each of the values over the ranks.
    pub fn sum(&self, values: &mut [f64]) -> Result<()> {
        let mut tensor = Tensor::from_slice(values);
        self.group.sum(&mut tensor)?;
        values.copy_from_slice(&Vec::<f64>::try_from(&tensor)?);
        Ok(())
    }

    /// What rank 0 was told, and whether it wants a checkpoint: all ranks do the same.
    ///
    /// # Errors
    /// If the weights of some rank, by their fingerprint, are not rank 0's; on all ranks alike.
    pub fn agree(&self, flow: Flow, saves: bool, fingerprint: i64) -> Result<(Flow, bool)> {
        let code: i64 = match flow {
            Flow::Continue => 0,
            Flow::Stop => 1,
            Flow::Pause => 2,
        };
        let told = Tensor::from_slice(&[code, i64::from(saves), fingerprint]);
        self.group.broadcast(std::slice::from_ref(&told))?;
        let told = Vec::<i64>::try_from(&told)?;
        if self.any(told[2] != fingerprint)? {
            return Err(Error::trial(
                "ranks have other weights after the same steps: the module must train the same way on each worker, \
                 whatever its rows",
            ));
        }
        let flow = match told[0] {
            0 => Flow::Continue,
            1 => Flow::Stop,
            _ => Flow::Pause,
        };
        Ok((flow, told[1] != 0))
    }

    /// Whether any rank says yes.
    pub fn any(&self, yes: bool) -> Result<bool> {
        let mut count = [f64::from(u8::from(yes))];
        self.sum(&mut count)?;
        Ok(count[0] > 0.0)
    }

    /// Whether all ranks have the number of rank 0.
    pub fn same(&self, number: i64) -> Result<bool> {
        let told = Tensor::from_slice(&[number]);
        self.group.broadcast(std::slice::from_ref(&told))?;
        Ok(!self.any(told.f_int64_value(&[0])? != number)?)
    }

    /// Rows `[rows, columns]` of all ranks, one after the other, of which each has so many; on rank 0.
    pub fn gather_rows(&self, mine: &Tensor, rows: &[usize]) -> Result<Option<Tensor>> {
        let most = rows.iter().copied().max().unwrap_or(0) as i64;
        let missing = most - mine.size()[0];
        let mut padded = mine.shallow_clone();
        if missing > 0 {
            let shape = [&[missing], &mine.size()[1..]].concat();
            padded = Tensor::f_cat(&[mine, &Tensor::f_zeros(shape, (mine.kind(), Device::Cpu))?], 0)?;
        }
        let mut parts = self.gather(&padded)?;
        if parts.is_empty() {
            return Ok(None);
        }
        for (part, &rows) in parts.iter_mut().zip(rows) {
            *part = part.f_narrow(0, 0, rows as i64)?;
        }
        Ok(Some(Tensor::f_cat(&parts, 0)?))
    }

    /// Each rank's tensor, of one shape; none on ranks but 0.
    pub fn gather(&self, mine: &Tensor) -> Result<Vec<Tensor>> {
        let mine = mine.f_contiguous()?;
        let mut parts = Vec::new();
        if self.is_first() {
            for _ in 0..self.rank.world {
                parts.push(mine.f_zeros_like()?);
            }
        }
        self.group.gather(&mine, &mut parts)?;
        Ok(parts)
    }

    /// Waits until all have come to the end: who leaves early takes away what others are still to read.
    pub fn leave(&self) {
        // What was to be done is done.
        _ = self.group.barrier();
    }
}
