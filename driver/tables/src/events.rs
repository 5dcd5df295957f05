//! The table `events`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use lethe_flight::Result;

use super::chunks::{self, Chunks, Names, ROWS, int};

/// Something that happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Happened<'a> {
    /// Its place among the experiment's events.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// One of few: `assigned`, `slot_left`.
    pub kind: &'a str,
    pub trial: Option<u32>,
    pub attempt: Option<u32>,
    pub slot: Option<u32>,
    pub epoch: Option<u32>,
    /// Why, in words.
    pub text: Option<&'a str>,
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("sequence", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("kind", chunks::dictionary(), false),
        Field::new("trial", DataType::Int32, true),
        Field::new("attempt", DataType::Int32, true),
        Field::new("slot", DataType::Int32, true),
        Field::new("epoch", DataType::Int32, true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

#[derive(Default)]
pub struct EventRows {
    full: Chunks,
    last: Builders,
    kinds: Names,
}

#[derive(Default)]
struct Builders {
    sequence: Int64Builder,
    at: TimestampMillisecondBuilder,
    kind: Int32Builder,
    trial: Int32Builder,
    attempt: Int32Builder,
    slot: Int32Builder,
    epoch: Int32Builder,
    text: StringBuilder,
    rows: usize,
}

impl EventRows {
    pub fn add(&mut self, event: &Happened<'_>) {
        let last = &mut self.last;
        last.sequence.append_value(event.sequence.cast_signed());
        last.at.append_value(event.at.cast_signed());
        last.kind.append_value(self.kinds.number(event.kind));
        last.trial.append_option(event.trial.map(int));
        last.attempt.append_option(event.attempt.map(int));
        last.slot.append_option(event.slot.map(int));
        last.epoch.append_option(event.epoch.map(int));
        last.text.append_option(event.text);
        last.rows += 1;
        if last.rows == ROWS {
            self.full.push(last.columns(&self.kinds));
            self.last = Builders::default();
        }
    }

    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let last = (self.last.rows > 0).then(|| self.last.columns(&self.kinds));
        self.full.batches(&schema(), last)
    }
}

impl Builders {
    fn columns(&self, kinds: &Names) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.sequence.finish_cloned()),
            Arc::new(self.at.finish_cloned().with_timezone("UTC")),
            kinds.named(self.kind.finish_cloned()),
            Arc::new(self.trial.finish_cloned()),
            Arc::new(self.attempt.finish_cloned()),
            Arc::new(self.slot.finish_cloned()),
            Arc::new(self.epoch.finish_cloned()),
            Arc::new(self.text.finish_cloned()),
        ]
    }
}
