//! Builds a view: rows read in their order, encoded on as many cores as there are, written to one file.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::ArrayRef;
use futures::StreamExt;
use lethe_data::categories::Categories;
use lethe_data::encode::{Encoded, Encoder};
use lethe_data::layout::{self, Layout};
use lethe_data::query::{Bounds, Rows};
use lethe_data::table::Table;
use lethe_flight::message::dataset::{DataSpec, View};
use lethe_flight::{Error, Result};
use memmap2::MmapMut;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::disk::{Disk, Space};

use super::learned::Learned;
use super::local;
use super::normalize::normalize;
use super::numbering::{by_key, joined};
use super::split::{Parts, split};
use super::writer::Writer;

/// Bytes of one encoded batch, about.
const CHUNK_BYTES: u64 = 2 << 20;
const MOST_ROWS: u64 = 8192;
const LEAST_ROWS: u64 = 16;
/// Rows of the batches from which shapes are learned.
const FIRST_ROWS: usize = 64;
/// Encoded batches that wait for the writer, of each partition that is being read.
const QUEUE: usize = 8;

/// A view, and what was learned of its rows.
pub struct Built {
    /// With all columns.
    pub view: View,
    pub learned: Learned,
    pub layout: Layout,
}

/// Builds the view of `table` at `path`. `memory` bounds sorts and aggregates of its queries.
///
/// # Errors
/// If there are no rows, or they cannot be trained on: nulls, types that are no numbers, arrays of different lengths.
/// The error names the column; no file is left.
pub async fn build(
    table: Table,
    data: DataSpec,
    path: PathBuf,
    memory: usize,
    disk: &Arc<Disk>,
) -> Result<Built> {
    let columns = layout::columns(&data);
    let bounds = Bounds { memory, batch_rows: FIRST_ROWS };
    let first = Rows::plan(&table, &data.queries, &columns, bounds).await?.first().await?;
    let first = first.ok_or_else(|| {
        Error::Invalid(format!("the dataset {} has no rows: check the filters that made it", data.dataset))
    })?;
    let layout = Arc::new(Layout::new(&data, &first)?);
    let bounds = Bounds { memory, batch_rows: batch_rows(&layout) };
    let mut categories = Vec::new();
    for &column in &layout.categories {
        let name = &columns[column];
        categories.push((column, Categories::learn(&table, &data.queries, name, bounds).await?));
    }
    let encoder = Arc::new(Encoder::new(Arc::clone(&layout), categories));
    let rows = Arc::new(Rows::plan(&table, &data.queries, &columns, bounds).await?);
    local::check(&data, &layout, rows.is_row_by_row())?;
    let runtime = Handle::current();
    // Reading and writing block. A build whose slot has gone runs on while another begins: each has a file of its own.
    let disk = Arc::clone(disk);
    let built = tokio::task::spawn_blocking(move || {
        let (built, space) = write(&rows, &encoder, &layout, &data, &path, &disk, &runtime)?;
        disk.keep_view(path, space);
        Ok(built)
    });
    let built = built.await;
    built.map_err(|e| Error::Invalid(format!("building a view ended: {e}")))?
}

fn batch_rows(layout: &Layout) -> usize {
    (CHUNK_BYTES / layout.row_bytes().max(1)).clamp(LEAST_ROWS, MOST_ROWS) as usize
}

fn write(
    rows: &Arc<Rows>,
    encoder: &Arc<Encoder>,
    layout: &Layout,
    data: &DataSpec,
    path: &std::path::Path,
    disk: &Arc<Disk>,
    runtime: &Handle,
) -> Result<(Built, Space)> {
    let space = disk.reserve(&format!("a view of {}", data.dataset), 0)?;
    let mut writer = Writer::create(path, layout, space)?;
    let mut seen = Seen::new(layout);
    let ahead = std::thread::available_parallelism().map_or(2, usize::from);
    let mut being_read = VecDeque::new();
    let mut partitions = 0..rows.partitions();
    loop {
        while being_read.len() <= ahead
            && let Some(partition) = partitions.next()
        {
            being_read.push_back(read(rows, encoder, partition, runtime));
        }
        let Some(mut next) = being_read.pop_front() else { break };
        while let Some(encoded) = next.blocking_recv() {
            let encoded = encoded?;
            seen.add(&encoded)?;
            // With nulls nothing will come of it: the rest is only counted, for the error.
            if !seen.has_nulls() {
                writer.append(&encoded)?;
            }
        }
    }
    seen.check_nulls(layout)?;
    let count = writer.rows();
    let rows = u32::try_from(count).map_err(|_| {
        Error::Exhausted(format!("a dataset of {count} rows: at most {} can be trained on", u32::MAX))
    })?;
    let (parts, local) = match &data.local {
        None => (whole(data, &seen, rows)?, None),
        Some(shard) => {
            let (parts, rows) = local::split(data, shard, rows.into())?;
            (parts, Some(rows))
        }
    };
    let joined = writer.join()?;
    let sections = joined.sections(layout);
    let mut statistics = Vec::new();
    if layout.inputs.iter().any(|input| input.pieces.iter().any(|piece| piece.normalized)) {
        // SAFETY: the file is ours alone until it is renamed, and is not truncated meanwhile.
        let map = unsafe { MmapMut::map_mut(joined.file()) };
        let mut map = map.map_err(|e| Error::file(joined.path(), e))?;
        statistics = normalize(&mut map, &sections.inputs, layout, sections.rows, &parts.train)?;
    }
    let (split_offset, space) = joined.finish([&parts.train, &parts.validation, &parts.test])?;
    let view = View {
        path: path.display().to_string(),
        rows: sections.rows,
        inputs: sections.inputs,
        label: sections.label,
        weight: sections.weight,
        split_offset,
        train: parts.train.len() as u64,
        validation: parts.validation.len() as u64,
        test: parts.test.len() as u64,
        order: data.order,
        local,
    };
    Ok((Built { view, learned: Learned::new(statistics, encoder), layout: layout.clone() }, space))
}

/// The split of all rows.
fn whole(data: &DataSpec, seen: &Seen, rows: u32) -> Result<Parts> {
    let places = match (&data.key, seen.key.is_empty()) {
        (Some(name), false) => by_key(name, &joined(&seen.key)?)?,
        _ => (0..rows).collect(),
    };
    let values = if seen.split.is_empty() { None } else { Some(joined(&seen.split)?) };
    split(&places, data.split.as_ref(), values.as_ref())
}

/// Reads and encodes a partition on a thread of its own.
fn read(
    rows: &Arc<Rows>,
    encoder: &Arc<Encoder>,
    partition: usize,
    runtime: &Handle,
) -> mpsc::Receiver<Result<Encoded>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (rows, encoder, inner) = (Arc::clone(rows), Arc::clone(encoder), runtime.clone());
    runtime.spawn_blocking(move || {
        inner.block_on(async {
            let mut batches = match rows.read(partition) {
                Ok(batches) => batches,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            while let Some(batch) = batches.next().await {
                let encoded = batch.map_err(lethe_data::failed).and_then(|batch| encoder.encode(&batch));
                let failed = encoded.is_err();
                if sender.send(encoded).await.is_err() || failed {
                    return;
                }
            }
        });
    });
    receiver
}

/// What is remembered of all rows until the last has come.
struct Seen {
    nulls: Vec<u64>,
    split: Vec<ArrayRef>,
    key: Vec<ArrayRef>,
}

impl Seen {
    fn new(layout: &Layout) -> Self {
        Self { nulls: vec![0; layout.columns.len()], split: Vec::new(), key: Vec::new() }
    }

    fn add(&mut self, encoded: &Encoded) -> Result<()> {
        self.nulls.iter_mut().zip(&encoded.nulls).for_each(|(all, more)| *all += more);
        self.split.extend(encoded.split.clone());
        self.key.extend(encoded.key.clone());
        Ok(())
    }

    fn has_nulls(&self) -> bool {
        self.nulls.iter().any(|&count| count > 0)
    }

    /// Names the first column that had any, and how many.
    fn check_nulls(&self, layout: &Layout) -> Result<()> {
        match layout.columns.iter().zip(&self.nulls).find(|(_, count)| **count > 0) {
            None => Ok(()),
            Some((name, count)) => Err(Error::Invalid(format!(
                "column {name:?} has {count} nulls: give the dataset fill= or drop=, or fill or drop them before \
                 (df.fillna, df.dropna)"
            ))),
        }
    }
}
