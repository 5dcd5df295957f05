//! What a view learned of its rows, and raw rows need before a trained model gets them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lethe_data::encode::Encoder;
use lethe_flight::Result;

use super::normalize::Statistic;

#[derive(Debug, Default)]
pub struct Learned {
    statistics: Vec<Statistic>,
    categories: Vec<(String, StringArray)>,
}

impl Learned {
    pub fn new(statistics: Vec<Statistic>, encoder: &Encoder) -> Self {
        let categories = encoder.categories().map(|(name, found)| (name.to_owned(), found.values().clone()));
        Self { statistics, categories: categories.collect() }
    }

    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("column", DataType::Utf8, false),
            Field::new("kind", DataType::Utf8, false),
            Field::new("index", DataType::Int64, false),
            Field::new("number", DataType::Float64, true),
            Field::new("text", DataType::Utf8, true),
        ]))
    }

    /// See [`lethe_flight::wire::Ticket::Preprocessing`].
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let statistics = self.statistics.iter();
        let rows = statistics.flat_map(|s| [(s, "mean", s.mean), (s, "deviation", s.deviation)]);
        let rows: Vec<_> = rows.collect();
        batches.push(batch([
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(s, ..)| &s.column))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, kind, _)| kind))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(s, ..)| i64::from(s.element)))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|(.., number)| *number))),
            Arc::new(StringArray::new_null(rows.len())),
        ])?);
        for (column, values) in &self.categories {
            let count = values.iter().count();
            batches.push(batch([
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(column, count))),
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n("category", count))),
                Arc::new(Int64Array::from_iter_values(0..count as i64)),
                Arc::new(Float64Array::new_null(count)),
                Arc::new(values.clone()),
            ])?);
        }
        Ok(batches)
    }
}

fn batch(columns: [ArrayRef; 5]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(Learned::schema(), columns.to_vec())?)
}
