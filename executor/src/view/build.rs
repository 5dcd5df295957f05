//! Builds a view's file: features row-major, labels, the split's row numbers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::ArrowNativeType;
use lethe_flight::message::dataset::{DataSpec, Dtype, LabelKind, Section, View};
use lethe_flight::{Error, Result, ipc};
use memmap2::MmapMut;
use rustix::fs::FallocateFlags;

use crate::disk::{Disk, Space};

use super::columns::{Columns, Feature, Label};
use super::split::split;

/// Sections begin at multiples of this, a cache line and what SIMD loads like.
const ALIGN: u64 = 64;
/// Rows of a block when columns become rows: 64 rows of 64 columns fit the first-level cache.
const BLOCK: usize = 64;

/// Builds the view of `files` (partitions in order, none empty), `rows` rows in all, at `path`. Blocks.
pub fn build(
    files: Vec<PathBuf>,
    rows: u64,
    data: &DataSpec,
    path: PathBuf,
    disk: &Arc<Disk>,
) -> Result<View> {
    // A build whose slot has gone runs on while another begins: each has a file of its own.
    let unfinished = ipc::Unfinished::beside(&path);
    let (view, space) = write(&files, rows, data, unfinished.path(), &path, disk)?;
    unfinished.finish(&path)?;
    disk.keep_view(path, space);
    Ok(view)
}

fn write(
    files: &[PathBuf],
    rows: u64,
    data: &DataSpec,
    unfinished: &Path,
    path: &Path,
    disk: &Arc<Disk>,
) -> Result<(View, Space)> {
    let first = files.first().filter(|_| rows > 0).ok_or_else(|| {
        Error::Invalid(format!("the dataset {} has no rows: check the filters that made it", data.dataset))
    })?;
    let (train, validation) = split(rows, data.split.as_ref())?;
    let schema = ipc::read_file(first)?.schema();
    let mut columns = Columns::new(data, &schema)?;
    let mut out: Option<Out> = None;
    for file in files {
        for batch in ipc::read_file(file)? {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let (features, label) = columns.cast(&batch)?;
            if columns.has_nulls() {
                // Nothing will come of it: the rest is only counted, for the error below.
                continue;
            }
            let width: usize = features.iter().map(Feature::width).sum();
            let out = match &mut out {
                Some(out) => out,
                None => out.insert(Out::create(unfinished, rows, width, data, disk)?),
            };
            if width != out.width {
                return Err(Error::Invalid(format!(
                    "a row of features has {} numbers in one place and {width} in another: arrays must have one \
                     length; pad or filter them",
                    out.width
                )));
            }
            out.append(&features, label.as_ref(), batch.num_rows())?;
        }
    }
    columns.check_nulls()?;
    let out = out.ok_or_else(|| Error::Invalid(format!("the dataset {} has no rows", data.dataset)))?;
    out.finish(path, &train, &validation)
}

/// The file under construction, mapped.
struct Out {
    map: MmapMut,
    view: View,
    space: Space,
    width: usize,
    row: usize,
}

impl Out {
    fn create(path: &Path, rows: u64, width: usize, data: &DataSpec, disk: &Arc<Disk>) -> Result<Self> {
        if width == 0 {
            return Err(Error::Invalid("the features have no numbers: name at least one column".into()));
        }
        let label = data.label.as_ref().map(|label| label.kind);
        let label_bytes = match label {
            None => 0,
            Some(LabelKind::Class) => 8,
            Some(LabelKind::Value) => 4,
        };
        let labels_offset = align(rows * width as u64 * 4);
        let split_offset = align(labels_offset + rows * label_bytes);
        let bytes = split_offset + rows * 4;
        let space = disk.reserve(&format!("a view of {}", data.dataset), bytes)?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|e| Error::file(path, e))?;
        // Takes the blocks now: a full disk is an error here, and would be a SIGBUS later.
        let taken = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Some network file systems cannot; there, writing takes the blocks.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                std::io::copy(&mut std::io::repeat(0).take(bytes), &mut &file).map(|_| ())
            }
            other => other.map_err(std::io::Error::from),
        };
        taken.map_err(|e| {
            Error::Exhausted(format!(
                "a view needs {bytes} bytes in {}: {e}; free space there, or set spark.local.dir to a larger disk",
                path.parent().unwrap_or(path).display()
            ))
        })?;
        // SAFETY: the file is ours alone until it is renamed, and is never truncated after.
        let map = unsafe { MmapMut::map_mut(&file) }.map_err(|e| Error::file(path, e))?;
        let view = View {
            path: String::new(),
            rows,
            inputs: vec![Section {
                name: data.inputs[0].name.clone(),
                dtype: Dtype::Float32,
                shape: vec![width as u64],
                offset: 0,
            }],
            label: label.map(|kind| Section {
                name: "label".into(),
                dtype: match kind {
                    LabelKind::Class => Dtype::Int64,
                    LabelKind::Value => Dtype::Float32,
                },
                shape: Vec::new(),
                offset: labels_offset,
            }),
            weight: None,
            split_offset,
            train: 0,
            validation: 0,
            test: 0,
            order: data.order,
        };
        Ok(Self { map, view, space, width, row: 0 })
    }

    fn append(&mut self, features: &[Feature], label: Option<&Label>, rows: usize) -> Result<()> {
        if (self.row + rows) as u64 > self.view.rows {
            return Err(Error::Invalid("a partition has more rows than were announced".into()));
        }
        let (start, width) = (self.row * self.width, self.width);
        let end = start + rows * width;
        let target = floats(&mut self.map[start * 4..end * 4]);
        let mut scalars = Vec::new();
        let mut offset = 0;
        for feature in features {
            match feature {
                Feature::Scalar(column) => scalars.push((offset, &column.values()[..])),
                Feature::Array { values, width: w } => {
                    for (row, values) in values.values().chunks_exact(*w).enumerate() {
                        target[row * width + offset..][..*w].copy_from_slice(values);
                    }
                }
            }
            offset += feature.width();
        }
        interleave(&scalars, target, width, rows);
        match label {
            None => {}
            Some(Label::Class(classes)) => self.labels(classes.values(), rows),
            Some(Label::Value(values)) => self.labels(values.values(), rows),
        }
        self.row += rows;
        Ok(())
    }

    fn labels<T: ArrowNativeType>(&mut self, values: &[T], rows: usize) {
        let size = size_of::<T>();
        let offset = self.view.label.as_ref().map_or(0, |label| label.offset);
        let start = offset as usize + self.row * size;
        self.map[start..start + rows * size].copy_from_slice(bytes(values));
    }

    fn finish(mut self, path: &Path, train: &[u32], validation: &[u32]) -> Result<(View, Space)> {
        if self.row as u64 != self.view.rows {
            return Err(Error::Invalid(format!(
                "the dataset has {} rows where {} were announced",
                self.row, self.view.rows
            )));
        }
        let start = self.view.split_offset as usize;
        let middle = start + train.len() * 4;
        self.map[start..middle].copy_from_slice(bytes(train));
        self.map[middle..middle + validation.len() * 4].copy_from_slice(bytes(validation));
        self.view.train = train.len() as u64;
        self.view.validation = validation.len() as u64;
        self.view.path = path.display().to_string();
        Ok((self.view, self.space))
    }
}

fn align(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGN)
}

/// Copies columns into a row-major target, block by block so that both sides stay in cache.
fn interleave(columns: &[(usize, &[f32])], target: &mut [f32], width: usize, rows: usize) {
    for first in (0..rows).step_by(BLOCK) {
        let last = rows.min(first + BLOCK);
        for group in columns.chunks(BLOCK) {
            for (offset, column) in group {
                for row in first..last {
                    target[row * width + offset] = column[row];
                }
            }
        }
    }
}

fn floats(bytes: &mut [u8]) -> &mut [f32] {
    // SAFETY: every bit pattern is an f32; the map is page-aligned and sections start at multiples of 64,
    // rows at multiples of 4, so that nothing is cut off before or after.
    let (before, middle, _) = unsafe { bytes.align_to_mut::<f32>() };
    debug_assert!(before.is_empty());
    middle
}

fn bytes<T: ArrowNativeType>(values: &[T]) -> &[u8] {
    // SAFETY: native Arrow types are plain numbers without padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::batches;
    use arrow::array::{
        ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    };
    use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
    use lethe_flight::message::dataset::{Input, Label, Order, Part, Split};

    fn data(features: &[&str], label: Option<&str>, label_kind: LabelKind) -> DataSpec {
        DataSpec {
            dataset: "d".into(),
            queries: Vec::new(),
            inputs: vec![Input {
                name: "features".into(),
                columns: features.iter().map(|&f| f.into()).collect(),
                dtype: Some(Dtype::Float32),
                shape: None,
                normalize: Vec::new(),
            }],
            label: label.map(|column| Label { column: column.into(), kind: label_kind }),
            weight: None,
            key: None,
            split: Some(Split::Random { validation: 0.4, test: 0.0, seed: 3 }),
            order: Order::default(),
        }
    }

    /// Two partitions of 100 and 50 rows: `a` = row, `xs` = [row + ¼, row + ½], `y` = row % 10.
    fn partitions(folder: &Path) -> Vec<PathBuf> {
        let make = |name: &str, rows: std::ops::Range<i32>| {
            let list = rows.clone().map(|r| Some(vec![Some(f64::from(r) + 0.25), Some(f64::from(r) + 0.5)]));
            let columns: Vec<(&str, ArrayRef)> = vec![
                ("a", Arc::new(Int32Array::from_iter_values(rows.clone()))),
                ("xs", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(list))),
                ("y", Arc::new(Int64Array::from_iter_values(rows.clone().map(|r| i64::from(r % 10))))),
                (
                    "holes",
                    Arc::new(Float64Array::from_iter(rows.clone().map(|r| (r % 50 != 7).then_some(1.0)))),
                ),
                ("text", Arc::new(StringArray::from_iter_values(rows.clone().map(|r| r.to_string())))),
                (
                    // A null in the first row, and one later.
                    "null_arrays",
                    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
                        rows.clone().map(|r| (r != 0 && r != 77).then(|| vec![Some(1.0); 64])),
                    )),
                ),
                (
                    "ragged",
                    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
                        rows.map(|r| Some(vec![Some(1.0); 1 + usize::from(r == 120)])),
                    )),
                ),
            ];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let path = folder.join(name);
            // Sliced: batches whose offsets do not begin at 0 are as common as those whose do.
            let pieces = [batch.slice(0, 30), batch.slice(30, batch.num_rows() - 30)];
            ipc::write_file(&path, &batch.schema(), pieces.into_iter(), u64::MAX).unwrap();
            path
        };
        vec![make("0.arrow", 0..100), make("1.arrow", 100..150)]
    }

    fn built(data: &DataSpec) -> Result<(View, tempfile::TempDir)> {
        let folder = tempfile::tempdir().unwrap();
        let files = partitions(folder.path());
        let disk = Disk::new(folder.path(), None);
        build(files, 150, data, folder.path().join("v.view"), &disk).map(|view| (view, folder))
    }

    #[test]
    fn scalars_and_arrays_become_rows_in_the_order_of_the_partitions() {
        let (view, _folder) = built(&data(&["xs", "a"], Some("y"), LabelKind::Class)).unwrap();
        assert_eq!((view.rows, view.inputs[0].width(), view.train, view.validation), (150, 3, 90, 60));
        let label = view.label.as_ref().unwrap().offset;
        assert!([view.inputs[0].offset, label, view.split_offset].iter().all(|o| o % 64 == 0));
        let mut seen = Vec::new();
        for part in [Part::Train, Part::Validation] {
            let (_, rows) = batches(view.clone(), part).unwrap();
            let mut last = -1;
            for batch in rows.map(Result::unwrap) {
                let labels = batch.column(1).as_primitive::<Int64Type>().values().to_vec();
                for (i, label) in labels.into_iter().enumerate() {
                    let row = batch.column(0).as_fixed_size_list().value(i);
                    let row = row.as_primitive::<Float32Type>().values().to_vec();
                    let number = row[2] as i64;
                    assert_eq!(row, [number as f32 + 0.25, number as f32 + 0.5, number as f32]);
                    assert_eq!(label, number % 10);
                    assert!(number > last, "rows of a part come in order of their numbers");
                    last = number;
                    seen.push(number);
                }
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..150).collect::<Vec<_>>());
    }

    fn refused(data: &DataSpec) -> String {
        built(data).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let class = LabelKind::Class;
        let nulls = refused(&data(&["a", "holes"], Some("y"), class));
        assert!(nulls.starts_with("column \"holes\" has 3 nulls"), "{nulls}");
        let arrays = refused(&data(&["null_arrays"], Some("y"), class));
        assert!(arrays.starts_with("column \"null_arrays\" has 2 nulls"), "{arrays}");
        let missing = refused(&data(&["b"], None, class));
        assert!(missing.starts_with("the dataset has no column \"b\": it has a, xs"), "{missing}");
        let text = refused(&data(&["text"], None, class));
        assert!(text.starts_with("column \"text\" has type Utf8"), "{text}");
        let label = refused(&data(&["a"], Some("holes"), class));
        assert!(label.starts_with("label \"holes\" has type Float64"), "{label}");
        let ragged = refused(&data(&["ragged"], None, class));
        assert!(ragged.contains("arrays of different lengths"), "{ragged}");
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), None);
        let none = build(vec![], 0, &data(&["a"], None, class), folder.path().join("v"), &disk).unwrap_err();
        assert!(none.to_string().contains("has no rows"), "{none}");
    }

    #[test]
    fn a_view_that_failed_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = partitions(folder.path());
        let path = folder.path().join("v.view");
        let disk = Disk::new(folder.path(), None);
        assert!(build(files, 150, &data(&["holes"], None, LabelKind::Value), path.clone(), &disk).is_err());
        assert_eq!(disk.used(), 0);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left.len(), 2, "the two partitions and nothing else: {left:?}");
    }
}
