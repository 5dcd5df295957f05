//! Plain data and its transitions; the service keeps it behind a lock.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::dataset::{
    AnnouncePartition, CreateDataset, ListedFiles, Located, Location, PartitionInfo, SealDataset,
};
use lethe_flight::{Error, Result, limits, wire};

use super::executors::Executors;

#[derive(Debug)]
pub struct Catalog {
    pub(super) datasets: BTreeMap<String, Dataset>,
    /// Names of those that were dropped: nobody puts to them again.
    pub(super) dropped: BTreeSet<String>,
    pub(super) executors: Executors,
    /// Executors that should hold each partition that was put.
    pub(super) copies: usize,
}

#[derive(Debug, Default)]
pub(super) struct Dataset {
    /// How many, once sealed.
    pub(super) sealed: Option<u32>,
    /// Of the first partition that was announced; that of the others.
    pub(super) schema: String,
    pub(super) partitions: BTreeMap<u32, Partition>,
    pub(super) files: Option<ListedFiles>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) hash: String,
    /// Executor to address.
    pub(super) locations: BTreeMap<String, String>,
    /// The executor that is to hold a copy, until it does.
    pub(super) copying: Option<String>,
}

impl Catalog {
    /// `copies`: executors that hold each partition that was put, where there are so many; at least 1.
    pub fn new(copies: u32) -> Self {
        Self {
            datasets: BTreeMap::new(),
            dropped: BTreeSet::new(),
            executors: Executors::default(),
            copies: copies.max(1) as usize,
        }
    }

    /// Partitions will be put.
    ///
    /// # Errors
    /// If the name cannot be part of a path, or is that of a dataset that was dropped.
    pub fn create(&mut self, create: &CreateDataset) -> Result<()> {
        wire::check_name("a dataset", &create.dataset)?;
        self.check_kept(&create.dataset)?;
        self.datasets.entry(create.dataset.clone()).or_default();
        Ok(())
    }

    /// A dataset of files, which executors read themselves.
    ///
    /// # Errors
    /// As [`Catalog::create`].
    pub fn add_files(&mut self, name: &str, files: ListedFiles) -> Result<()> {
        wire::check_name("a dataset", name)?;
        self.check_kept(name)?;
        let schema = files.schema.clone();
        self.datasets.insert(name.into(), Dataset { schema, files: Some(files), ..Dataset::default() });
        Ok(())
    }

    /// From now on the executor may announce partitions.
    pub fn join(&mut self, executor: &str) {
        self.executors.join(executor);
        self.repeat(executor);
        self.plan();
    }

    /// What lay on this executor is there no longer.
    pub fn leave(&mut self, executor: &str) {
        self.executors.leave(executor);
        for partition in self.datasets.values_mut().flat_map(|dataset| dataset.partitions.values_mut()) {
            partition.locations.remove(executor);
            partition.copying.take_if(|to| to == executor);
        }
        self.plan();
    }

    /// Idempotent.
    ///
    /// # Errors
    /// If the dataset or the executor is unknown, the dataset was dropped, or the partition has other rows elsewhere.
    pub fn announce(&mut self, announce: AnnouncePartition) -> Result<()> {
        let AnnouncePartition { dataset: name, partition, rows, bytes, hash, schema, executor, address } =
            announce;
        if !self.executors.contains(&executor) {
            return Err(Error::Precondition(format!(
                "executor {executor} is not registered with this driver; it must register before it announces"
            )));
        }
        if self.dropped.contains(&name) {
            self.executors.order_drop(&executor, &name);
        }
        self.check_kept(&name)?;
        let dataset = self.datasets.get_mut(&name).ok_or_else(|| unknown(&name))?;
        if partition >= dataset.sealed.unwrap_or(limits::PARTITIONS) {
            return Err(Error::Invalid(format!(
                "partition {partition} of dataset {name} is out of range: {} are possible",
                dataset.sealed.unwrap_or(limits::PARTITIONS)
            )));
        }
        if dataset.schema.is_empty() {
            dataset.schema.clone_from(&schema);
        }
        if dataset.schema != schema {
            return Err(Error::Precondition(format!(
                "partition {partition} of dataset {name} has another schema than those before it; cast its columns"
            )));
        }
        let fresh = Partition { rows, bytes, hash, locations: BTreeMap::new(), copying: None };
        let known = match dataset.partitions.entry(partition) {
            std::collections::btree_map::Entry::Vacant(place) => place.insert(fresh),
            std::collections::btree_map::Entry::Occupied(place) => {
                let known = place.into_mut();
                // Of a put that still goes on nobody has read, and of this partition nothing is left.
                if dataset.sealed.is_none() && known.locations.is_empty() {
                    *known = fresh;
                } else if (known.rows, &known.hash) != (rows, &fresh.hash) {
                    return Err(differs(partition, &name, &executor, rows, known));
                }
                known
            }
        };
        if known.copying.as_ref() == Some(&executor) {
            // Its bytes are counted since it was chosen.
            known.copying = None;
        } else if !known.locations.contains_key(&executor) {
            self.executors.add(&executor, known.bytes);
        }
        known.locations.insert(executor, address);
        self.plan_one(&name, partition);
        Ok(())
    }

    /// Idempotent.
    ///
    /// # Errors
    /// If a partition is missing, or another number of partitions was sealed before.
    pub fn seal(&mut self, seal: &SealDataset) -> Result<()> {
        let SealDataset { dataset: name, partitions } = seal;
        self.check_kept(name)?;
        let dataset = self.datasets.get_mut(name).ok_or_else(|| unknown(name))?;
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
        self.plan();
        Ok(())
    }

    /// Forgets a dataset, and has its executors do so. Idempotent.
    ///
    /// # Errors
    /// If there never was one of this name.
    pub fn drop_dataset(&mut self, name: &str) -> Result<()> {
        let Some(dataset) = self.datasets.remove(name) else {
            return if self.dropped.contains(name) { Ok(()) } else { Err(unknown(name)) };
        };
        for partition in dataset.partitions.values() {
            for executor in partition.locations.keys().chain(&partition.copying) {
                self.executors.remove(executor, partition.bytes);
            }
        }
        // Those that hold no partition of it may have views, or fetch one at this moment.
        self.executors.order_drop_everywhere(name);
        self.dropped.insert(name.into());
        Ok(())
    }

    /// A partition whose executors have all left has no locations.
    ///
    /// # Errors
    /// If the dataset is unknown, was dropped, or is not sealed.
    pub fn locate(&self, name: &str) -> Result<Located> {
        let dataset = self.ready(name)?;
        let partitions = dataset.partitions.iter().map(|(&partition, known)| PartitionInfo {
            partition,
            rows: known.rows,
            bytes: known.bytes,
            locations: known.places(),
        });
        Ok(Located {
            dataset: name.into(),
            rows: dataset.partitions.values().map(|known| known.rows).sum(),
            partitions: partitions.collect(),
            files: dataset.files.clone(),
        })
    }

    /// The schema of a dataset that can be read; see [`lethe_flight::schema`].
    ///
    /// # Errors
    /// As [`Catalog::locate`].
    pub fn schema(&self, name: &str) -> Result<&str> {
        Ok(&self.ready(name)?.schema)
    }

    /// All datasets that can be read.
    pub fn names(&self) -> Vec<String> {
        let ready = |(_, dataset): &(&String, &Dataset)| dataset.sealed.is_some() || dataset.files.is_some();
        self.datasets.iter().filter(ready).map(|(name, _)| name.clone()).collect()
    }

    fn ready(&self, name: &str) -> Result<&Dataset> {
        self.check_kept(name)?;
        let dataset = self.datasets.get(name).ok_or_else(|| unknown(name))?;
        if dataset.sealed.is_none() && dataset.files.is_none() {
            return Err(Error::Precondition(format!(
                "dataset {name} is not sealed yet; wait until all its partitions have been put"
            )));
        }
        Ok(dataset)
    }

    fn check_kept(&self, name: &str) -> Result<()> {
        if self.dropped.contains(name) {
            return Err(Error::Precondition(format!(
                "dataset {name} was unpersisted; use it again from its source, which puts it under another name"
            )));
        }
        Ok(())
    }
}

impl Partition {
    pub(super) fn places(&self) -> Vec<Location> {
        let place = |(executor, address): (&String, &String)| Location {
            executor: executor.clone(),
            address: address.clone(),
        };
        self.locations.iter().map(place).collect()
    }
}

fn differs(partition: u32, name: &str, executor: &str, rows: u64, known: &Partition) -> Error {
    let how = if rows == known.rows {
        format!("has other contents on executor {executor} than before")
    } else {
        format!("has {rows} rows on executor {executor}, but had {} before", known.rows)
    };
    Error::Precondition(format!(
        "partition {partition} of dataset {name} {how}: its source is not deterministic; persist or write out the \
         DataFrame first"
    ))
}

fn unknown(name: &str) -> Error {
    Error::Precondition(format!("dataset {name:?} is unknown to this driver; create it first"))
}
