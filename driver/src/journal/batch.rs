//! Records on their way to the file. Buffers are used again and again: a record allocates nothing.

use lethe_flight::message::experiment::Plan;
use lethe_flight::{Error, Result};
use serde::Serialize;

use super::line;
use super::record::{EventLine, ResumedLine};

/// What may wait to be committed, bytes.
const BATCH_BYTES: usize = 64 << 20;
/// What an empty buffer keeps for the next records, bytes.
const KEPT_BYTES: usize = 4 << 20;

#[derive(Default)]
pub struct Batch {
    lines: Vec<u8>,
}

impl Batch {
    pub fn event<E: Serialize>(&mut self, at: u64, event: &E) -> Result<()> {
        self.add(&EventLine { at, event })
    }

    pub fn resumed(&mut self, at: u64, plan: &Plan) -> Result<()> {
        self.add(&ResumedLine::new(at, plan))
    }

    pub fn add<T: Serialize>(&mut self, record: &T) -> Result<()> {
        if self.lines.len() >= BATCH_BYTES {
            return Err(Error::Exhausted(format!(
                "more than {BATCH_BYTES} bytes of journal records wait to be committed"
            )));
        }
        line::append(&mut self.lines, record)
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    pub fn clear(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES);
    }

    /// Gives what waits away, for another buffer.
    pub fn swap(&mut self, other: Self) -> Self {
        std::mem::replace(self, other)
    }
}
