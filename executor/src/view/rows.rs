//! Rows of a view's part as record batches, for whoever asks over Flight.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lethe_flight::message::dataset::{Dtype, LabelKind, Part, View};
use lethe_flight::{Error, Result};
use memmap2::Mmap;

/// Rows of one batch.
const ROWS: usize = 8192;

/// The schema, `features: fixed_size_list<float32>[width]` and `label`, and the batches of a part in order
/// of row numbers. The iterator reads the mapped file: it blocks on the disk.
pub fn batches(view: View, part: Part) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>>)> {
    let file = File::open(&view.path).map_err(|e| Error::file(&view.path, e))?;
    // SAFETY: a finished view is never written or truncated, only unlinked.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(&view.path, e))?;
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let (input, offset) = (view.inputs[0].clone(), view.inputs[0].offset);
    let labels = view.label.as_ref().map_or(0, |label| label.offset);
    let kind = view.label.as_ref().map(|label| match label.dtype {
        Dtype::Int64 => LabelKind::Class,
        _ => LabelKind::Value,
    });
    let width = i32::try_from(input.width()).map_err(|_| Error::Exhausted("the view is too wide".into()))?;
    let mut fields =
        vec![Field::new(input.name.clone(), DataType::FixedSizeList(item.clone(), width), false)];
    match kind {
        None => {}
        Some(LabelKind::Class) => fields.push(Field::new("label", DataType::Int64, false)),
        Some(LabelKind::Value) => fields.push(Field::new("label", DataType::Float32, false)),
    }
    let schema = Arc::new(Schema::new(fields));
    let (first, count) = match part {
        Part::Train => (0, view.train),
        Part::Validation => (view.train, view.validation),
        Part::Test => (view.train + view.validation, view.test),
    };
    let starts = (first..first + count).step_by(ROWS);
    let made = schema.clone();
    let batches = starts.map(move |start| {
        let numbers: Vec<usize> = (start..(start + ROWS as u64).min(first + count))
            .map(|i| u32::from_le_bytes(at(&map, view.split_offset, i as usize)) as usize)
            .collect();
        let width = input.width() as usize;
        let values = numbers.iter().flat_map(|row| row * width..(row + 1) * width);
        let features =
            Float32Array::from_iter_values(values.map(|i| f32::from_le_bytes(at(&map, offset, i))));
        let features = FixedSizeListArray::try_new(item.clone(), width as i32, Arc::new(features), None)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(features)];
        let rows = numbers.iter();
        match kind {
            None => {}
            Some(LabelKind::Class) => columns.push(Arc::new(Int64Array::from_iter_values(
                rows.map(|&row| i64::from_le_bytes(at(&map, labels, row))),
            ))),
            Some(LabelKind::Value) => columns.push(Arc::new(Float32Array::from_iter_values(
                rows.map(|&row| f32::from_le_bytes(at(&map, labels, row))),
            ))),
        }
        Ok(RecordBatch::try_new(made.clone(), columns)?)
    });
    Ok((schema, batches))
}

fn at<const N: usize>(map: &[u8], section: u64, index: usize) -> [u8; N] {
    let start = section as usize + index * N;
    let mut bytes = [0; N];
    bytes.copy_from_slice(&map[start..start + N]);
    bytes
}
