//! A log that writes where it is called.

use lethe_flight::Result;
use lethe_flight::message::experiment::Plan;
use serde::Serialize;

use super::batch::Batch;
use super::file::JournalFile;
use super::folder::Folder;
use super::record::{Header, HeaderLine};

/// Records are collected by [`event`](Self::event) and [`resumed`](Self::resumed), and are in the file, in one
/// write, once [`commit`](Self::commit) has returned: then they outlive the process. They outlive the host after
/// [`sync`](Self::sync). Blocks on the disk; among async tasks use [`Writer`](super::Writer).
pub struct Log {
    batch: Batch,
    file: JournalFile,
}

impl Log {
    /// Begins an experiment's journal; its header is on the disk when this returns.
    ///
    /// # Errors
    /// If there is one already, or the disk fails.
    pub fn create(folder: Folder, header: &Header) -> Result<Self> {
        let mut batch = Batch::default();
        batch.add(&HeaderLine::from(header))?;
        let file = JournalFile::create(folder, batch.lines())?;
        batch.clear();
        Ok(Self { batch, file })
    }

    pub(super) fn continued(file: JournalFile) -> Self {
        Self { batch: Batch::default(), file }
    }

    /// One whose disk is full.
    #[cfg(test)]
    pub fn full(folder: Folder) -> Self {
        Self::continued(JournalFile::full(folder))
    }

    /// Floats of an event that may be NaN or infinite need a representation of their own
    /// ([`lethe_flight::message::nullable`]): JSON has none.
    ///
    /// # Errors
    /// If it cannot be JSON or is too large.
    pub fn event<E: Serialize>(&mut self, at: u64, event: &E) -> Result<()> {
        self.batch.event(at, event)
    }

    /// The experiment goes on under this plan.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn resumed(&mut self, at: u64, plan: &Plan) -> Result<()> {
        self.batch.resumed(at, plan)
    }

    /// # Errors
    /// If the disk is full or fails; the first such error says so, and nothing is written after it.
    pub fn commit(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let written = self.file.write(self.batch.lines());
        self.batch.clear();
        written
    }

    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.file.length()
    }

    pub(super) fn into_parts(self) -> (Batch, JournalFile) {
        (self.batch, self.file)
    }
}
