//! The dictionary of a column of strings: its distinct values in their order, numbered from 0.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use lethe_flight::{Error, Result};

use crate::query::{Bounds, Rows};
use crate::refused;
use crate::table::Table;

/// Distinct values of one column.
const CATEGORIES: usize = 10_000_000;

#[derive(Debug)]
pub struct Categories {
    values: StringArray,
    numbers: HashMap<String, i64>,
}

impl Categories {
    /// Reads the column once. The same on whichever executor reads the same rows.
    pub async fn learn(table: &Table, queries: &[String], column: &str, bounds: Bounds) -> Result<Self> {
        let rows = Rows::distinct(table, queries, column, bounds).await?;
        let mut found: Vec<ArrayRef> = Vec::new();
        let mut count = 0;
        for partition in 0..rows.partitions() {
            let mut batches = rows.read(partition)?;
            while let Some(batch) = batches.try_next().await.map_err(refused)? {
                count += batch.num_rows();
                if count > CATEGORIES {
                    return Err(Error::Exhausted(format!(
                        "column {column:?} has more than {CATEGORIES} different strings: it is no category; leave it \
                         out of features, or make numbers of it"
                    )));
                }
                found.push(cast(batch.column(0), &DataType::Utf8)?);
            }
        }
        let arrays: Vec<&dyn Array> = found.iter().map(|array| &**array).collect();
        let values = match arrays.is_empty() {
            true => StringArray::from(Vec::<&str>::new()),
            false => concat(&arrays)?.as_string::<i32>().clone(),
        };
        let numbers =
            values.iter().flatten().enumerate().map(|(n, value)| (value.to_owned(), n as i64)).collect();
        Ok(Self { values, numbers })
    }

    pub fn values(&self) -> &StringArray {
        &self.values
    }

    /// The numbers of strings; nulls stay nulls.
    pub fn numbers(&self, column: &str, strings: &ArrayRef) -> Result<Int64Array> {
        let strings = cast(strings, &DataType::Utf8)?;
        let number = |value: &str| {
            self.numbers.get(value).copied().ok_or_else(|| {
                Error::Precondition(format!(
                    "column {column:?} has the value {value:?} now, and had not when its values were counted: the \
                     source changes while it is read"
                ))
            })
        };
        strings.as_string::<i32>().iter().map(|value| value.map(number).transpose()).collect()
    }
}
