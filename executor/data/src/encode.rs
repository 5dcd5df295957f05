//! Rows of sections, from record batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type,
};
use lethe_flight::message::dataset::{Dtype, LabelKind};
use lethe_flight::{Error, Result};

use crate::categories::Categories;
use crate::layout::{InputLayout, Kind, Layout, is_list};

/// Rows of a block when columns become rows: 64 rows of 64 columns fit the first-level cache.
const BLOCK: usize = 64;

/// Rows of one batch, row-major.
pub struct Encoded {
    pub rows: usize,
    /// Of each input.
    pub inputs: Vec<Buffer>,
    pub label: Option<Buffer>,
    pub weight: Option<Buffer>,
    /// The columns by which rows are split and numbered.
    pub split: Option<ArrayRef>,
    pub key: Option<ArrayRef>,
    /// Of each column.
    pub nulls: Vec<u64>,
}

pub struct Encoder {
    layout: Arc<Layout>,
    /// Of each column that has them.
    categories: Vec<Option<Categories>>,
}

impl Encoder {
    /// `categories`: those of `layout.categories`, by their columns' numbers.
    pub fn new(layout: Arc<Layout>, categories: Vec<(usize, Categories)>) -> Self {
        let mut all: Vec<_> = layout.columns.iter().map(|_| None).collect();
        for (column, found) in categories {
            all[column] = Some(found);
        }
        Self { layout, categories: all }
    }

    pub fn categories(&self) -> impl Iterator<Item = (&str, &Categories)> {
        let named = self.layout.columns.iter().zip(&self.categories);
        named.filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?)))
    }

    /// # Errors
    /// If arrays have different lengths, a number does not fit its tensor's type, or a class is below 0. Nulls are
    /// counted; the rows then mean nothing.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Encoded> {
        let mut nulls = vec![0; self.layout.columns.len()];
        let mut inputs = Vec::with_capacity(self.layout.inputs.len());
        for input in &self.layout.inputs {
            inputs.push(match input.section.dtype {
                Dtype::Float32 => self.input::<Float32Type>(input, batch, &mut nulls)?,
                Dtype::Float64 => self.input::<Float64Type>(input, batch, &mut nulls)?,
                Dtype::Int8 => self.input::<Int8Type>(input, batch, &mut nulls)?,
                Dtype::Int16 => self.input::<Int16Type>(input, batch, &mut nulls)?,
                Dtype::Int32 => self.input::<Int32Type>(input, batch, &mut nulls)?,
                Dtype::Int64 => self.input::<Int64Type>(input, batch, &mut nulls)?,
                // A boolean is a byte, 0 or 1.
                Dtype::Uint8 | Dtype::Bool => self.input::<UInt8Type>(input, batch, &mut nulls)?,
            });
        }
        let label = match self.layout.label {
            None => None,
            Some(label) => {
                let name = &self.layout.columns[label.column];
                let array = batch.column(label.column);
                nulls[label.column] = array.null_count() as u64;
                Some(match label.kind {
                    LabelKind::Value => numbers::<Float32Type>(name, array)?,
                    LabelKind::Class => {
                        let numbered = self.numbered(label.column, array)?;
                        let classes = numbers::<Int64Type>(name, &numbered)?;
                        if let Some(negative) = classes.typed_data::<i64>().iter().find(|class| **class < 0)
                            && array.null_count() == 0
                        {
                            return Err(Error::Invalid(format!(
                                "label {name:?} has the value {negative}: classes are integers from 0"
                            )));
                        }
                        classes
                    }
                })
            }
        };
        let weight = match self.layout.weight {
            None => None,
            Some(column) => {
                let array = batch.column(column);
                nulls[column] = array.null_count() as u64;
                Some(numbers::<Float32Type>(&self.layout.columns[column], array)?)
            }
        };
        let mut plain = |column: Option<usize>| {
            column.map(|column| {
                nulls[column] = nulls[column].max(batch.column(column).null_count() as u64);
                Arc::clone(batch.column(column))
            })
        };
        let (split, key) = (plain(self.layout.split), plain(self.layout.key));
        Ok(Encoded { rows: batch.num_rows(), inputs, label, weight, split, key, nulls })
    }

    fn input<T: ArrowPrimitiveType>(
        &self,
        input: &InputLayout,
        batch: &RecordBatch,
        nulls: &mut [u64],
    ) -> Result<Buffer> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(input.pieces.len());
        for piece in &input.pieces {
            let name = &self.layout.columns[piece.column];
            let array = self.numbered(piece.column, batch.column(piece.column))?;
            let (values, missing) = match piece.kind {
                Kind::Array => flat(name, &array, rows, piece.width)?,
                _ => (Arc::clone(&array), array.null_count() as u64),
            };
            nulls[piece.column] = missing;
            columns.push((piece.width, (missing == 0).then(|| numbers::<T>(name, &values)).transpose()?));
        }
        if let [(_, Some(only))] = &columns[..] {
            // Already side by side.
            return Ok(only.clone());
        }
        let width: usize = columns.iter().map(|(width, _)| width).sum();
        let mut out = MutableBuffer::from_len_zeroed(rows * width * size_of::<T::Native>());
        let target = out.typed_data_mut::<T::Native>();
        let mut scalars = Vec::new();
        let mut offset = 0;
        for (piece, values) in &columns {
            match values {
                // Nothing will come of it: nulls are only counted.
                None => {}
                Some(values) if *piece == 1 => scalars.push((offset, values.typed_data::<T::Native>())),
                Some(values) => {
                    for (row, values) in values.typed_data::<T::Native>().chunks_exact(*piece).enumerate() {
                        target[row * width + offset..][..*piece].copy_from_slice(values);
                    }
                }
            }
            offset += piece;
        }
        interleave(&scalars, target, width, rows);
        Ok(out.into())
    }

    /// A column's strings as numbers; other columns as they are.
    fn numbered(&self, column: usize, array: &ArrayRef) -> Result<ArrayRef> {
        match &self.categories[column] {
            None => Ok(Arc::clone(array)),
            Some(categories) => Ok(Arc::new(categories.numbers(&self.layout.columns[column], array)?)),
        }
    }
}

/// Copies columns into a row-major target, block by block so that both sides stay in cache.
fn interleave<T: ArrowNativeType>(columns: &[(usize, &[T])], target: &mut [T], width: usize, rows: usize) {
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

/// The values of an array as numbers of one type.
fn numbers<T: ArrowPrimitiveType>(name: &str, array: &ArrayRef) -> Result<Buffer> {
    // A number that does not fit is an error, and no null.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = match array.data_type() {
        from if *from == T::DATA_TYPE => Arc::clone(array),
        _ => cast_with_options(array, &T::DATA_TYPE, &strict).map_err(|error| {
            Error::Invalid(format!("column {name:?} cannot be read as {}: {error}", T::DATA_TYPE))
        })?,
    };
    match cast.as_primitive_opt::<T>() {
        Some(values) => Ok(values.values().inner().clone()),
        None => Err(Error::Invalid(format!("column {name:?} was not cast to numbers"))),
    }
}

/// The elements of nested arrays, row after row, and how many are missing. With some missing the elements may be
/// fewer.
fn flat(name: &str, array: &ArrayRef, rows: usize, width: usize) -> Result<(ArrayRef, u64)> {
    let mut inner = Arc::clone(array);
    let mut nulls = 0;
    while is_list(inner.data_type()) {
        nulls += inner.null_count() as u64;
        if nulls > 0 {
            return Ok((inner, nulls));
        }
        inner = match inner.data_type() {
            DataType::List(_) => {
                let list = inner.as_list::<i32>();
                even(name, list.value_offsets())?;
                let (first, last) = ends(list.value_offsets());
                list.values().slice(first, last - first)
            }
            DataType::LargeList(_) => {
                let list = inner.as_list::<i64>();
                even(name, list.value_offsets())?;
                let (first, last) = ends(list.value_offsets());
                list.values().slice(first, last - first)
            }
            _ => Arc::clone(inner.as_fixed_size_list().values()),
        };
    }
    nulls += inner.null_count() as u64;
    if inner.len() != rows * width {
        if rows > 0 && inner.is_empty() {
            return Err(Error::Invalid(format!(
                "column {name:?} has empty arrays: filter those rows, or leave it out of features"
            )));
        }
        return Err(uneven(name));
    }
    if width == 0 {
        return Err(Error::Invalid(format!(
            "column {name:?} has empty arrays: filter those rows, or leave it out of features"
        )));
    }
    Ok((inner, nulls))
}

fn ends<O: ArrowNativeType>(offsets: &[O]) -> (usize, usize) {
    (offsets.first().map_or(0, |o| o.as_usize()), offsets.last().map_or(0, |o| o.as_usize()))
}

fn even<O: ArrowNativeType>(name: &str, offsets: &[O]) -> Result<()> {
    let mut lengths = offsets.windows(2).map(|pair| pair[1].as_usize() - pair[0].as_usize());
    let first = lengths.next();
    if lengths.any(|length| Some(length) != first) { Err(uneven(name)) } else { Ok(()) }
}

fn uneven(name: &str) -> Error {
    Error::Invalid(format!(
        "column {name:?} has arrays of different lengths: each row must have as many elements; pad or filter them"
    ))
}
