//! Plain data and its transitions; the service keeps it behind a lock.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::dataset::{
    AnnouncePartition, CreateDataset, ListedFiles, Located, Location, PartitionInfo, SealDataset,
};
use lethe_flight::{Error, Result, limits, wire};

#[derive(Debug, Default)]
pub struct Catalog {
    datasets: BTreeMap<String, Dataset>,
    executors: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Dataset {
    /// How many, once sealed.
    sealed: Option<u32>,
    partitions: BTreeMap<u32, Partition>,
    /// Its rows are read from them: nothing is put.
    files: Option<ListedFiles>,
}

#[derive(Debug)]
struct Partition {
    rows: u64,
    bytes: u64,
    /// Executor to address.
    locations: BTreeMap<String, String>,
}

impl Catalog {
    pub fn new() -> Self {
        Self::default()
    }

    /// # Errors
    /// If the name cannot be part of a path.
    /// `files` are those that were listed for it, if it is read from files.
    pub fn create(&mut self, create: &CreateDataset, files: Option<ListedFiles>) -> Result<()> {
        wire::check_name("a dataset", &create.dataset)?;
        self.datasets.entry(create.dataset.clone()).or_default().files = files;
        Ok(())
    }

    /// From now on the executor may announce partitions.
    pub fn join(&mut self, executor: &str) {
        self.executors.insert(executor.into());
    }

    /// What lay on this executor is there no longer.
    pub fn leave(&mut self, executor: &str) {
        self.executors.remove(executor);
        for partition in self.datasets.values_mut().flat_map(|dataset| dataset.partitions.values_mut()) {
            partition.locations.remove(executor);
        }
    }

    /// Idempotent.
    ///
    /// # Errors
    /// If the dataset or the executor is unknown, or the partition has another number of rows elsewhere.
    pub fn announce(&mut self, announce: AnnouncePartition) -> Result<()> {
        let AnnouncePartition { dataset: name, partition, rows, bytes, hash: _, executor, address } =
            announce;
        if !self.executors.contains(&executor) {
            return Err(Error::Precondition(format!(
                "executor {executor} is not registered with this driver; it must register before it announces"
            )));
        }
        let dataset = self.dataset_mut(&name)?;
        if partition >= dataset.sealed.unwrap_or(limits::PARTITIONS) {
            return Err(Error::Invalid(format!(
                "partition {partition} of dataset {name} is out of range: {} are possible",
                dataset.sealed.unwrap_or(limits::PARTITIONS)
            )));
        }
        let known = dataset.partitions.entry(partition).or_insert_with(|| Partition {
            rows,
            bytes,
            locations: BTreeMap::new(),
        });
        if known.rows != rows {
            return Err(Error::Precondition(format!(
                "partition {partition} of dataset {name} has {rows} rows on executor {executor}, but had {} before: \
                 its source is not deterministic; persist or write out the DataFrame first",
                known.rows
            )));
        }
        known.locations.insert(executor, address);
        Ok(())
    }

    /// Idempotent.
    ///
    /// # Errors
    /// If a partition is missing, or another number of partitions was sealed before.
    pub fn seal(&mut self, seal: &SealDataset) -> Result<()> {
        let SealDataset { dataset: name, partitions } = seal;
        let dataset = self.dataset_mut(name)?;
        if *partitions == 0 {
            return Err(Error::Invalid(format!("dataset {name} has no partitions, so no rows to train on")));
        }
        if dataset.sealed.is_some_and(|sealed| sealed != *partitions) {
            return Err(Error::Precondition(format!(
                "dataset {name} was sealed with another number of partitions than {partitions}"
            )));
        }
        if let Some(missing) = (0..*partitions).find(|n| !dataset.partitions.contains_key(n)) {
            return Err(Error::Precondition(format!(
                "partition {missing} of dataset {name} has not been put; put it before the dataset is sealed"
            )));
        }
        if let Some((&last, _)) = dataset.partitions.last_key_value().filter(|(last, _)| *last >= partitions)
        {
            return Err(Error::Invalid(format!(
                "partition {last} of dataset {name} has been put, but only {partitions} partitions are sealed"
            )));
        }
        dataset.sealed = Some(*partitions);
        Ok(())
    }

    /// A partition whose executors have all left has no locations.
    ///
    /// # Errors
    /// If the dataset is unknown or not sealed.
    pub fn locate(&self, name: &str) -> Result<Located> {
        let dataset = self.datasets.get(name).ok_or_else(|| unknown(name))?;
        if let Some(files) = &dataset.files {
            return Ok(Located {
                dataset: name.into(),
                rows: 0,
                partitions: Vec::new(),
                files: Some(files.clone()),
            });
        }
        if dataset.sealed.is_none() {
            return Err(Error::Precondition(format!(
                "dataset {name} is not sealed yet; wait until all its partitions have been put"
            )));
        }
        let partitions = dataset.partitions.iter().map(|(&partition, known)| PartitionInfo {
            partition,
            rows: known.rows,
            bytes: known.bytes,
            locations: known
                .locations
                .iter()
                .map(|(executor, address)| Location { executor: executor.clone(), address: address.clone() })
                .collect(),
        });
        Ok(Located {
            dataset: name.into(),
            rows: dataset.partitions.values().map(|known| known.rows).sum(),
            partitions: partitions.collect(),
            files: None,
        })
    }

    fn dataset_mut(&mut self, name: &str) -> Result<&mut Dataset> {
        self.datasets.get_mut(name).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Error {
    Error::Precondition(format!("dataset {name:?} is unknown to this driver; create it first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        catalog.create(&CreateDataset { dataset: "d".into(), files: None }, None).unwrap();
        catalog.join("a");
        catalog.join("b");
        catalog
    }

    fn partition(partition: u32, rows: u64, executor: &str) -> AnnouncePartition {
        AnnouncePartition {
            dataset: "d".into(),
            partition,
            rows,
            bytes: 8 * rows,
            hash: "0".repeat(32),
            executor: executor.into(),
            address: format!("{executor}:1"),
        }
    }

    fn seal(partitions: u32) -> SealDataset {
        SealDataset { dataset: "d".into(), partitions }
    }

    #[test]
    fn a_dataset_is_sealed_when_complete_and_located_when_sealed() {
        let mut catalog = catalog();
        catalog.announce(partition(2, 5, "a")).unwrap();
        catalog.announce(partition(0, 3, "a")).unwrap();
        let missing = catalog.seal(&seal(3)).unwrap_err();
        assert!(matches!(missing, Error::Precondition(_)) && missing.to_string().contains("partition 1"));
        assert!(matches!(catalog.locate("d"), Err(Error::Precondition(_))));
        catalog.announce(partition(1, 0, "b")).unwrap();
        catalog.seal(&seal(3)).unwrap();
        catalog.seal(&seal(3)).unwrap();
        let located = catalog.locate("d").unwrap();
        assert_eq!(located.rows, 8);
        assert_eq!(located.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(located.partitions[1].locations[0].address, "b:1");
    }

    #[test]
    fn a_partition_announced_again_must_have_the_same_rows() {
        let mut catalog = catalog();
        catalog.announce(partition(0, 3, "a")).unwrap();
        catalog.announce(partition(0, 3, "a")).unwrap();
        catalog.announce(partition(0, 3, "b")).unwrap();
        let error = catalog.announce(partition(0, 4, "b")).unwrap_err().to_string();
        assert!(error.contains("4 rows") && error.contains('3'), "{error}");
        catalog.seal(&seal(1)).unwrap();
        assert_eq!(catalog.locate("d").unwrap().partitions[0].locations.len(), 2);
        assert!(catalog.announce(partition(1, 3, "a")).is_err(), "a sealed dataset does not grow");
    }

    #[test]
    fn an_executor_that_leaves_takes_its_locations_with_it() {
        let mut catalog = catalog();
        catalog.announce(partition(0, 3, "a")).unwrap();
        catalog.announce(partition(0, 3, "b")).unwrap();
        catalog.seal(&seal(1)).unwrap();
        catalog.leave("a");
        let located = catalog.locate("d").unwrap();
        assert_eq!(located.partitions[0].locations.iter().map(|l| &l.executor).collect::<Vec<_>>(), ["b"]);
        let late = catalog.announce(partition(0, 3, "a")).unwrap_err();
        assert!(late.to_string().contains("not registered"));
    }

    #[test]
    fn unknown_names_and_wrong_counts_are_refused() {
        let mut catalog = catalog();
        assert!(catalog.create(&CreateDataset { dataset: "../d".into(), files: None }, None).is_err());
        assert!(catalog.locate("other").unwrap_err().to_string().contains("other"));
        assert!(catalog.seal(&seal(0)).is_err());
        catalog.announce(partition(0, 1, "a")).unwrap();
        catalog.announce(partition(1, 1, "a")).unwrap();
        assert!(catalog.seal(&seal(1)).unwrap_err().to_string().contains("partition 1"));
    }
}
