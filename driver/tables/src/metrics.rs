//! The table `metrics`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use lethe_flight::Result;
use lethe_flight::message::training::Metrics;

use super::chunks::{self, Chunks, Names, ROWS, int};

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("trial", DataType::Int32, false),
        Field::new("attempt", DataType::Int32, false),
        Field::new("epoch", DataType::Int32, false),
        Field::new("metric", chunks::dictionary(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
    ]))
}

#[derive(Default)]
pub struct MetricRows {
    full: Chunks,
    last: Builders,
    names: Names,
}

#[derive(Default)]
struct Builders {
    trial: Int32Builder,
    attempt: Int32Builder,
    epoch: Int32Builder,
    metric: Int32Builder,
    value: Float64Builder,
    at: TimestampMillisecondBuilder,
    rows: usize,
}

impl MetricRows {
    /// `at`: milliseconds since 1970.
    pub fn add(&mut self, at: u64, trial: u32, attempt: u32, epoch: u32, metrics: &Metrics) {
        for (name, value) in metrics {
            let last = &mut self.last;
            last.trial.append_value(int(trial));
            last.attempt.append_value(int(attempt));
            last.epoch.append_value(int(epoch));
            last.metric.append_value(self.names.number(name));
            last.value.append_option(value.is_finite().then_some(*value));
            last.at.append_value(at.cast_signed());
            last.rows += 1;
            if last.rows == ROWS {
                self.full.push(last.columns(&self.names));
                self.last = Builders::default();
            }
        }
    }

    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let last = (self.last.rows > 0).then(|| self.last.columns(&self.names));
        self.full.batches(&schema(), last)
    }
}

impl Builders {
    fn columns(&self, names: &Names) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.trial.finish_cloned()),
            Arc::new(self.attempt.finish_cloned()),
            Arc::new(self.epoch.finish_cloned()),
            names.named(self.metric.finish_cloned()),
            Arc::new(self.value.finish_cloned()),
            Arc::new(self.at.finish_cloned().with_timezone("UTC")),
        ]
    }
}
