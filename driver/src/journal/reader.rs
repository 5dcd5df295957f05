//! Reads a journal, also one that is being written.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::marker::PhantomData;
use std::path::Path;

use lethe_flight::{Error, Result};
use serde::Deserialize;

use super::folder::FILE;
use super::line::Lines;
use super::record::{self, Header, Record};

/// The journal's records in order. Blocks on the disk.
///
/// Its end may be torn: see [`torn`](Self::torn). Any other damage is an error, after which there are no records.
pub struct Reader<E, R = BufReader<File>> {
    lines: Lines<R>,
    header: Header,
    events: PhantomData<fn() -> E>,
}

/// The end of a journal that is not a whole record: its writer, or the host, died over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub journal: String,
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the last {} bytes of {} are not a whole record and count as not written",
            self.bytes, self.journal
        )
    }
}

impl<E> Reader<E> {
    /// Of an experiment's folder.
    ///
    /// # Errors
    /// If there is no journal, or one of a format that this version does not know.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Precondition(format!(
                "there is no experiment to resume in {}: there is no {FILE}",
                folder.display()
            )),
            _ => Error::file(&path, error),
        })?;
        Self::new(BufReader::with_capacity(1 << 18, file), path.display().to_string())
    }
}

impl<E, R: BufRead> Reader<E, R> {
    /// Of any bytes, by the name that errors call them.
    ///
    /// # Errors
    /// As [`open`](Reader::open).
    pub fn new(source: R, name: String) -> Result<Self> {
        let mut lines = Lines::new(source, name);
        let Some(json) = lines.next()?.map(<[u8]>::to_owned) else {
            return Err(Error::Precondition(format!(
                "{} has no whole first record, so nothing was decided: remove it and begin anew",
                lines.name()
            )));
        };
        let header = record::header(&json, lines.name())?;
        Ok(Self { lines, header, events: PhantomData })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the records so far, the header among them.
    pub fn valid(&self) -> u64 {
        self.lines.valid()
    }

    /// What was dropped at the end, once there are no more records.
    pub fn torn(&self) -> Option<Torn> {
        let bytes = self.lines.torn();
        (bytes > 0).then(|| Torn { journal: self.lines.name().to_owned(), bytes })
    }
}

impl<E: for<'de> Deserialize<'de>, R: BufRead> Iterator for Reader<E, R> {
    type Item = Result<Record<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let json = match self.lines.next() {
            Ok(json) => json?,
            Err(error) => return Some(Err(error)),
        };
        match record::record(json) {
            Ok(record) => Some(Ok(record)),
            Err(error) => {
                self.lines.stop();
                Some(Err(Error::Precondition(format!(
                    "line {} of {} is whole, but not a record that this version knows: {error}; the journal was \
                     begun by Lethe {}",
                    self.lines.number(),
                    self.lines.name(),
                    self.header.version
                ))))
            }
        }
    }
}
