//! Deals a dataset's rows out to the ranks of a gang, by where they lie when it begins.

use std::sync::{Arc, Mutex};

use lethe_flight::message::dataset::{LocalShard, Located};
use lethe_flight::message::training::TrialSpec;
use lethe_flight::{Error, Result};
use lethe_view::shard::{Local, Partition, local};

use super::lock;
use crate::catalog::Catalog;
use crate::experiment::{Action, SlotKey};

/// For experiments whose ranks train on rows of their own.
pub struct Dealer {
    catalog: Arc<Mutex<Catalog>>,
}

/// What moves for one attempt.
pub struct Moves {
    pub trial: u32,
    pub bytes: u64,
    /// Of the dataset.
    pub total: u64,
    pub world: usize,
}

impl Moves {
    pub fn text(&self) -> String {
        let Self { trial, bytes, total, world } = self;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "trial {trial}: each of {world} workers trains on rows that lie with it; {:.1} of {:.1} MB move",
            megabytes(*bytes),
            megabytes(*total)
        )
    }
}

impl Dealer {
    pub fn new(catalog: Arc<Mutex<Catalog>>) -> Self {
        Self { catalog }
    }

    /// # Errors
    /// If the rows of this dataset cannot be dealt out, however many ranks there are.
    pub fn check(&self, dataset: &str) -> Result<()> {
        plan(&lock(&self.catalog).locate(dataset)?, &[String::new()]).map(drop)
    }

    /// Says to each rank of each gang that begins which rows it has. `executor` tells a slot's.
    ///
    /// # Errors
    /// If the dataset cannot be dealt out.
    pub fn deal(
        &self,
        actions: &mut [Action],
        executor: impl Fn(SlotKey) -> Option<String>,
    ) -> Result<Vec<Moves>> {
        let mut moves = Vec::new();
        // The ranks of a gang follow each other.
        let same = |a: &Action, b: &Action| match (gang(a), gang(b)) {
            (Some((_, a)), Some((_, b))) => (a.trial, a.attempt) == (b.trial, b.attempt),
            _ => false,
        };
        for ranks in actions.chunk_by_mut(same) {
            let Some((_, spec)) = ranks.first().and_then(gang) else { continue };
            let (trial, Some(data)) = (spec.trial, &spec.data) else { continue };
            let located = lock(&self.catalog).locate(&data.dataset)?;
            // One that has gone meanwhile holds nothing; its end comes as an event of its own.
            let executors: Vec<String> =
                ranks.iter().filter_map(gang).map(|(slot, _)| executor(slot).unwrap_or_default()).collect();
            let dealt = plan(&located, &executors)?;
            moves.push(Moves {
                trial,
                bytes: dealt.moved,
                total: located.partitions.iter().map(|partition| partition.bytes).sum(),
                world: ranks.len(),
            });
            let partitions: Vec<u64> = located.partitions.iter().map(|partition| partition.rows).collect();
            for (action, rank) in ranks.iter_mut().zip(0..) {
                if let Action::Assign { spec, .. } = action
                    && let Some(data) = &mut spec.data
                {
                    let (partitions, shards) = (partitions.clone(), dealt.shards.clone());
                    data.local = Some(LocalShard { rank, partitions, shards });
                }
            }
        }
        Ok(moves)
    }
}

/// A rank of a gang that is about to begin.
fn gang(action: &Action) -> Option<(SlotKey, &TrialSpec)> {
    match action {
        Action::Assign { slot, spec } if spec.gang.is_some() => Some((*slot, spec)),
        _ => None,
    }
}

fn plan(located: &Located, executors: &[String]) -> Result<Local> {
    if located.files.is_some() {
        return Err(Error::Invalid(
            "order=\"local\" deals out the rows that executors hold, and this dataset is read from files: take \
             order=\"global\", or Dataset.from_spark(spark.read…)"
                .into(),
        ));
    }
    if located.rows < executors.len() as u64 {
        return Err(Error::Invalid(format!(
            "the dataset has {} rows, fewer than its {} workers: give it fewer workers",
            located.rows,
            executors.len()
        )));
    }
    let partition = |info: &lethe_flight::message::dataset::PartitionInfo| Partition {
        rows: info.rows,
        bytes: info.bytes,
        holders: info.locations.iter().map(|location| location.executor.clone()).collect(),
    };
    local(&located.partitions.iter().map(partition).collect::<Vec<_>>(), executors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lethe_flight::message::dataset::{ListedFiles, Location, PartitionInfo};

    fn located(partitions: &[(u64, &[&str])]) -> Located {
        let info = |(partition, (rows, holders)): (u32, &(u64, &[&str]))| PartitionInfo {
            partition,
            rows: *rows,
            bytes: rows * 10,
            locations: holders
                .iter()
                .map(|executor| Location { executor: (*executor).into(), address: "a:1".into() })
                .collect(),
        };
        Located {
            dataset: "d".into(),
            rows: partitions.iter().map(|(rows, _)| rows).sum(),
            partitions: (0..).zip(partitions).map(info).collect(),
            files: None,
        }
    }

    #[test]
    fn rows_go_where_they_lie_and_what_moves_is_counted() {
        let there = located(&[(100, &["a"]), (60, &["b"]), (40, &["a", "b"])]);
        let ranks = ["b".to_owned(), "a".to_owned()];
        let dealt = plan(&there, &ranks).unwrap();
        assert_eq!(dealt.moved, 0);
        let rows = |rank: usize| dealt.shards[rank].iter().map(|piece| piece.rows).collect::<Vec<_>>();
        assert_eq!((rows(0), rows(1)), (vec![60, 40], vec![100]));
        // Nothing lies with one of them.
        let dealt = plan(&there, &["a".into(), "c".into()]).unwrap();
        assert_eq!(dealt.moved, 1000);
        let moves = Moves { trial: 3, bytes: dealt.moved, total: 2_000_000, world: 2 };
        assert_eq!(
            moves.text(),
            "trial 3: each of 2 workers trains on rows that lie with it; 0.0 of 2.0 MB move"
        );
    }

    #[test]
    fn what_cannot_be_dealt_out_is_refused() {
        let few = plan(&located(&[(1, &["a"])]), &["a".into(), "a".into()]).unwrap_err().to_string();
        assert!(few.starts_with("the dataset has 1 rows, fewer than its 2 workers"), "{few}");
        let files = ListedFiles {
            format: lethe_flight::message::dataset::FileFormat::Csv,
            files: Vec::new(),
            folders: Vec::new(),
            schema: String::new(),
            options: Default::default(),
        };
        let files = Located { files: Some(files), ..located(&[]) };
        let error = plan(&files, &["a".into()]).unwrap_err().to_string();
        assert!(error.contains("read from files"), "{error}");
    }
}
