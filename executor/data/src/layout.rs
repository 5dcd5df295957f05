//! Which tensors come of a dataset's columns: their types and shapes, learned from the first rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use lethe_flight::message::dataset::{DataSpec, Dtype, Input, LabelKind, Section, Split, Taken};
use lethe_flight::{Error, Result};

/// Dimensions of nested arrays.
const DIMENSIONS: usize = 8;
/// Bytes of one row of an input.
const ROW_BYTES: u64 = 64 << 20;

/// How the columns of a batch become rows of sections.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What is read, each once.
    pub columns: Vec<String>,
    pub inputs: Vec<InputLayout>,
    pub label: Option<LabelLayout>,
    /// Numbers of columns.
    pub weight: Option<usize>,
    pub split: Option<usize>,
    pub key: Option<usize>,
    /// Columns of strings that become numbers.
    pub categories: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct InputLayout {
    /// At offset 0.
    pub section: Section,
    pub pieces: Vec<Piece>,
}

/// The elements of a row that one column gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub column: usize,
    pub width: usize,
    pub kind: Kind,
    pub normalized: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number,
    Category,
    Array,
}

#[derive(Debug, Clone, Copy)]
pub struct LabelLayout {
    pub column: usize,
    pub kind: LabelKind,
    pub is_category: bool,
}

/// The columns that a view reads, each once.
pub fn columns(data: &DataSpec) -> Vec<String> {
    let split = match &data.split {
        None | Some(Split::Random { .. }) => None,
        Some(
            Split::Column { column }
            | Split::Stratified { column, .. }
            | Split::Grouped { column, .. }
            | Split::Time { column, .. },
        ) => Some(column),
    };
    let inputs = data.inputs.iter().flat_map(|input| &input.columns);
    let others =
        data.label.iter().map(|label| &label.column).chain(&data.weight).chain(split).chain(&data.key);
    let mut all: Vec<String> = Vec::new();
    for name in inputs.chain(others) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

impl Layout {
    /// `first` holds the [`columns`] in their order; a batch without rows gives arrays the length 1.
    ///
    /// # Errors
    /// If a column's type cannot become numbers; the error names it.
    pub fn new(data: &DataSpec, first: &RecordBatch) -> Result<Self> {
        let columns = columns(data);
        let number = |name: &String| columns.iter().position(|known| known == name);
        if data.inputs.is_empty() || data.inputs.iter().any(|input| input.columns.is_empty()) {
            return Err(Error::Invalid("an input names no column: name at least one".into()));
        }
        let schema = first.schema();
        let mut categories = Vec::new();
        let mut inputs = Vec::new();
        for input in &data.inputs {
            let mut pieces = Vec::new();
            let mut shape = Vec::new();
            for name in &input.columns {
                let Some(column) = number(name) else { continue };
                let (kind, dimensions) = kind_of(name, first.column(column))?;
                if kind == Kind::Category {
                    categories.push(column);
                }
                let normalized = input.normalize.contains(name);
                if normalized && kind == Kind::Category {
                    return Err(Error::Invalid(format!(
                        "column {name:?} holds strings, which have no mean: leave it out of normalize()"
                    )));
                }
                let width = dimensions.iter().product::<u64>();
                pieces.push(Piece { column, width: width as usize, kind, normalized });
                shape = dimensions;
            }
            if let Some(other) = input.normalize.iter().find(|name| !input.columns.contains(name)) {
                return Err(Error::Invalid(format!(
                    "column {other:?} is to be normalized and is no column of the input {:?}",
                    input.name
                )));
            }
            let width = pieces.iter().map(|piece| piece.width as u64).sum();
            let shape = shape_of(input, &pieces, shape, width)?;
            let section = Section {
                name: input.name.clone(),
                dtype: dtype_of(input, &pieces, &schema),
                shape,
                offset: 0,
                taken: None,
            };
            if section.row_bytes() > ROW_BYTES {
                return Err(Error::Exhausted(format!(
                    "a row of the input {:?} has {} bytes, more than {ROW_BYTES}",
                    input.name,
                    section.row_bytes()
                )));
            }
            inputs.push(InputLayout { section, pieces });
        }
        let label = match &data.label {
            None => None,
            Some(label) => {
                let column = number(&label.column).unwrap_or_default();
                let is_category = check_label(&label.column, label.kind, schema.field(column).data_type())?;
                if is_category {
                    categories.push(column);
                }
                Some(LabelLayout { column, kind: label.kind, is_category })
            }
        };
        if let Some(name) = &data.weight {
            let kind = schema.field(number(name).unwrap_or_default()).data_type();
            if !is_number(kind) {
                return Err(Error::Invalid(format!(
                    "the weight {name:?} has type {kind}: it must be a number"
                )));
            }
        }
        categories.sort_unstable();
        categories.dedup();
        let split = columns_split(data).and_then(|name| number(&name));
        let (weight, key) = (data.weight.as_ref().and_then(number), data.key.as_ref().and_then(number));
        Ok(Self { inputs, label, weight, split, key, categories, columns })
    }

    /// The inputs' sections where rows are gathered without some columns: `sections` are those of all, in the order
    /// of the inputs. An input of which nothing is left is not among them.
    ///
    /// # Errors
    /// If one of the columns is no input's, or none is left.
    pub fn without(&self, sections: &[Section], columns: &[String]) -> Result<Vec<Section>> {
        let name = |piece: &Piece| self.columns.get(piece.column);
        let pieces = || self.inputs.iter().flat_map(|input| &input.pieces);
        if let Some(unknown) = columns.iter().find(|column| !pieces().any(|p| name(p) == Some(*column))) {
            return Err(Error::Invalid(format!("column {unknown:?} cannot be left out: it is no feature")));
        }
        let mut left = Vec::new();
        for (input, section) in self.inputs.iter().zip(sections) {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            let mut end = 0;
            for piece in &input.pieces {
                let start = end;
                end += piece.width as u64;
                if name(piece).is_some_and(|name| columns.contains(name)) {
                    continue;
                }
                match runs.last_mut() {
                    Some(last) if last.1 == start => last.1 = end,
                    _ => runs.push((start, end)),
                }
            }
            let width = runs.iter().map(|(start, end)| end - start).sum();
            if width == end {
                left.push(section.clone());
            } else if width > 0 {
                let taken = Some(Taken { width: end, runs });
                left.push(Section { shape: vec![width], taken, ..section.clone() });
            }
        }
        if left.is_empty() {
            return Err(Error::Invalid("no feature is left: leave out fewer columns".into()));
        }
        Ok(left)
    }

    /// Bytes of one row of all sections.
    pub fn row_bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.section.row_bytes()).sum::<u64>() + 12
    }
}

fn columns_split(data: &DataSpec) -> Option<String> {
    match data.split.as_ref()? {
        Split::Random { .. } => None,
        Split::Column { column }
        | Split::Stratified { column, .. }
        | Split::Grouped { column, .. }
        | Split::Time { column, .. } => Some(column.clone()),
    }
}

fn shape_of(input: &Input, pieces: &[Piece], own: Vec<u64>, width: u64) -> Result<Vec<u64>> {
    match &input.shape {
        Some(shape) if shape.iter().try_fold(1u64, |all, &n| all.checked_mul(n)) == Some(width) => {
            Ok(shape.clone())
        }
        Some(shape) => Err(Error::Invalid(format!(
            "the input {:?} has {width} numbers a row, which have not the shape {shape:?}",
            input.name
        ))),
        None if pieces.len() == 1 && own.len() > 1 => Ok(own),
        None => Ok(vec![width]),
    }
}

/// See [`Dtype`].
fn dtype_of(input: &Input, pieces: &[Piece], schema: &Schema) -> Dtype {
    if !input.normalize.is_empty() {
        return Dtype::Float32;
    }
    if let Some(dtype) = input.dtype {
        return dtype;
    }
    let mut all = pieces.iter().map(|piece| match piece.kind {
        Kind::Category => Dtype::Int64,
        _ => match leaf(schema.field(piece.column).data_type()) {
            DataType::Boolean => Dtype::Bool,
            DataType::Int8 => Dtype::Int8,
            DataType::UInt8 => Dtype::Uint8,
            DataType::Int16 => Dtype::Int16,
            DataType::Int32 | DataType::UInt16 => Dtype::Int32,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Dtype::Int64,
            _ => Dtype::Float32,
        },
    });
    let first = all.next().unwrap_or(Dtype::Float32);
    all.fold(first, |common, next| match (common, next) {
        (a, b) if a == b => a,
        (Dtype::Float32, _) | (_, Dtype::Float32) => Dtype::Float32,
        _ => Dtype::Int64,
    })
}

/// What a column is, and the lengths of its arrays.
fn kind_of(name: &str, array: &ArrayRef) -> Result<(Kind, Vec<u64>)> {
    let whole = array.data_type();
    let kind = leaf(whole);
    let is_array = kind != whole;
    if is_string(kind) && !is_array {
        return Ok((Kind::Category, vec![1]));
    }
    if !is_number(kind) {
        let remedy = match kind {
            kind if is_time(kind) => "ask for numbers (dates=\"number\"), or compute one with with_column()",
            kind if is_string(kind) => "arrays of strings cannot be categories; make a column of each",
            _ => "cast it, or leave it out of features",
        };
        return Err(Error::Invalid(format!(
            "column {name:?} has type {whole}: a feature must be numbers, strings as categories, or arrays of numbers; \
             {remedy}"
        )));
    }
    if !is_array {
        return Ok((Kind::Number, vec![1]));
    }
    let mut dimensions = Vec::new();
    let mut inner = Arc::clone(array);
    while is_list(inner.data_type()) {
        if dimensions.len() == DIMENSIONS {
            return Err(Error::Invalid(format!("column {name:?} nests arrays more than {DIMENSIONS} deep")));
        }
        let (length, next) = first_element(&inner);
        dimensions.push(length);
        inner = next;
    }
    Ok((Kind::Array, dimensions))
}

/// The first array that is there: its length, and itself. Where there is none, 1 and no elements.
fn first_element(array: &ArrayRef) -> (u64, ArrayRef) {
    let there = (0..array.len()).find(|&row| array.is_valid(row));
    let found = match (there, array.data_type()) {
        (Some(row), DataType::List(_)) => Some(array.as_list::<i32>().value(row)),
        (Some(row), DataType::LargeList(_)) => Some(array.as_list::<i64>().value(row)),
        (Some(row), DataType::FixedSizeList(..)) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    };
    match found {
        Some(found) => (found.len() as u64, found),
        None => (1, arrow::array::new_empty_array(inside(array.data_type()))),
    }
}

fn inside(kind: &DataType) -> &DataType {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type()
        }
        other => other,
    }
}

/// The type of the elements in all nested arrays.
pub fn leaf(kind: &DataType) -> &DataType {
    if is_list(kind) { leaf(inside(kind)) } else { kind }
}

pub fn is_list(kind: &DataType) -> bool {
    matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

pub fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || *kind == DataType::Boolean
}

pub fn is_string(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_string(value),
        _ => false,
    }
}

fn is_time(kind: &DataType) -> bool {
    kind.is_temporal()
}

/// Whether the label is of strings.
fn check_label(name: &str, kind: LabelKind, from: &DataType) -> Result<bool> {
    match kind {
        LabelKind::Class if from.is_integer() || *from == DataType::Boolean => Ok(false),
        LabelKind::Class if is_string(from) => Ok(true),
        LabelKind::Value if is_number(from) => Ok(false),
        LabelKind::Class => Err(Error::Invalid(format!(
            "label {name:?} has type {from}: classes must be integers from 0, or strings; cast the column"
        ))),
        LabelKind::Value => Err(Error::Invalid(format!(
            "label {name:?} has type {from}: it must be a number; cast the column"
        ))),
    }
}
