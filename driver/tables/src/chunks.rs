//! Columns that only grow: full chunks are frozen and shared, so that a snapshot copies one chunk at most.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use lethe_flight::Result;

/// Rows of one chunk.
pub const ROWS: usize = 16_384;

/// For numbers that count: they do not get so high.
pub fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A column of few different texts.
pub fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The frozen chunks of a table.
#[derive(Default)]
pub struct Chunks {
    full: Vec<Vec<ArrayRef>>,
}

impl Chunks {
    pub fn push(&mut self, columns: Vec<ArrayRef>) {
        self.full.push(columns);
    }

    /// And those of the chunk that grows, if it has rows.
    pub fn batches(&self, schema: &SchemaRef, last: Option<Vec<ArrayRef>>) -> Result<Vec<RecordBatch>> {
        let columns = self.full.iter().cloned().chain(last);
        columns.map(|columns| Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)).collect()
    }
}

/// Texts, numbered by the order of their first coming.
pub struct Names {
    numbers: HashMap<String, i32>,
    names: Vec<String>,
    /// The same as a column, which chunks share until there is a new one.
    column: ArrayRef,
}

impl Default for Names {
    fn default() -> Self {
        Self { numbers: HashMap::new(), names: Vec::new(), column: column(&[]) }
    }
}

impl Names {
    pub fn number(&mut self, name: &str) -> i32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = i32::try_from(self.names.len()).unwrap_or(i32::MAX);
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        self.column = column(&self.names);
        number
    }

    /// The column of these numbers, which [`number`](Self::number) gave.
    pub fn named(&self, numbers: Int32Array) -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(numbers, Arc::clone(&self.column)))
    }
}

fn column(names: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(names))
}
