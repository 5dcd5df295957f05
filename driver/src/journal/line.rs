//! A record as a line of text: the CRC-32 of its JSON in eight digits of hex, a space, the JSON, a newline.

use std::io::{BufRead, Read};

use lethe_flight::{Error, Result};
use serde::Serialize;

/// One record, bytes. A plan, the largest, comes in one control message.
pub const RECORD_BYTES: usize = 16 << 20;

/// Bytes before the JSON.
const HEAD: usize = 9;
const HEX: &[u8; 16] = b"0123456789abcdef";

fn sum(json: &[u8]) -> [u8; 8] {
    let sum = crc32fast::hash(json);
    std::array::from_fn(|digit| HEX[(sum >> (28 - 4 * digit)) as usize & 15])
}

/// Appends a record's line; on error nothing is appended.
pub fn append<T: Serialize>(lines: &mut Vec<u8>, record: &T) -> Result<()> {
    let start = lines.len();
    lines.extend_from_slice(b"00000000 ");
    let written = serde_json::to_writer(&mut *lines, record).map_err(Error::from);
    let length = lines.len() - start - HEAD;
    if let Err(error) = written {
        lines.truncate(start);
        return Err(error);
    }
    if length > RECORD_BYTES {
        lines.truncate(start);
        return Err(Error::Exhausted(format!(
            "a journal record of {length} bytes is more than {RECORD_BYTES}"
        )));
    }
    let sum = sum(&lines[start + HEAD..]);
    lines[start..start + 8].copy_from_slice(&sum);
    lines.push(b'\n');
    Ok(())
}

/// The JSON of a whole line with its newline; None if it is not one.
pub fn json(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (head, json) = line.split_at_checked(HEAD)?;
    (head[..8] == sum(json) && head[8] == b' ').then_some(json)
}

/// The records' JSON, one after another. What is not a whole record and has none after it is the torn end that a
/// lost host or process leaves; with one after it, the journal is damaged.
pub struct Lines<R> {
    source: R,
    name: String,
    line: Vec<u8>,
    number: u64,
    valid: u64,
    torn: u64,
    over: bool,
}

impl<R: BufRead> Lines<R> {
    /// `name` is what errors call it.
    pub fn new(source: R, name: String) -> Self {
        Self { source, name, line: Vec::new(), number: 0, valid: 0, torn: 0, over: false }
    }

    /// # Errors
    /// If it cannot be read or is damaged; there are no more after that.
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.over {
            return Ok(None);
        }
        // Whatever happens but a record.
        self.over = true;
        if self.fill()? == 0 {
            return Ok(None);
        }
        if json(&self.line).is_none() {
            self.skip()?;
            return Ok(None);
        }
        self.over = false;
        self.number += 1;
        self.valid += self.line.len() as u64;
        Ok(json(&self.line))
    }

    /// To the end, which is torn if there is no record.
    fn skip(&mut self) -> Result<()> {
        let mut torn = self.line.len() as u64;
        while self.fill()? > 0 {
            if json(&self.line).is_some() {
                return Err(Error::Precondition(format!(
                    "{} is damaged in line {} (byte {}), before its end: bring the file back from a copy, or \
                     cut it after {} bytes and lose what was decided from there on",
                    self.name,
                    self.number + 1,
                    self.valid,
                    self.valid
                )));
            }
            torn += self.line.len() as u64;
        }
        self.torn = torn;
        Ok(())
    }

    /// The next line, or as much as a record can have of it.
    fn fill(&mut self) -> Result<usize> {
        self.line.clear();
        let longest = (HEAD + RECORD_BYTES + 1) as u64;
        self.source
            .by_ref()
            .take(longest)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Error::file(&self.name, error))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the record that came last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the records so far.
    pub fn valid(&self) -> u64 {
        self.valid
    }

    /// Bytes of the torn end, once it has been reached.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// There are no more.
    pub fn stop(&mut self) {
        self.over = true;
    }
}
