//! Going on with a journal that is there.

use lethe_flight::{Error, Result};
use serde::Deserialize;

use super::file::JournalFile;
use super::folder::Folder;
use super::log::Log;
use super::reader::{Reader, Torn};
use super::record::{Header, Record};

/// Reads the journal of a locked folder, record by record, and then goes on with it.
pub struct Recovery<E> {
    folder: Folder,
    reader: Reader<E>,
    /// There was an error, before the end: what follows is not to be cut off.
    damaged: bool,
}

impl<E: for<'de> Deserialize<'de>> Recovery<E> {
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(folder: Folder) -> Result<Self> {
        let reader = Reader::open(folder.path())?;
        Ok(Self { folder, reader, damaged: false })
    }

    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// Cuts a torn end off; the log goes on after the last whole record. Records that were not asked for are
    /// read, so that damage before the end is found.
    ///
    /// # Errors
    /// If the journal is damaged, or the disk fails.
    pub fn finish(mut self) -> Result<(Log, Option<Torn>)> {
        for record in self.by_ref() {
            record?;
        }
        if self.damaged {
            let journal = self.folder.journal();
            return Err(Error::Precondition(format!(
                "{} cannot go on: it was not read whole",
                journal.display()
            )));
        }
        let torn = self.reader.torn();
        let file = JournalFile::open(self.folder, self.reader.valid())?;
        Ok((Log::continued(file), torn))
    }
}

impl<E: for<'de> Deserialize<'de>> Iterator for Recovery<E> {
    type Item = Result<Record<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.reader.next()?;
        self.damaged |= record.is_err();
        Some(record)
    }
}
