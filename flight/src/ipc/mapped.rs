//! Arrow IPC files as the kernel maps them: their record batches and their messages, without a copy.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, Footer, Message, MetadataVersion, root_as_footer, root_as_message};
use arrow_flight::FlightData;
use bytes::Bytes;
use memmap2::Mmap;

use crate::{Error, Result};

/// What ends a file: the footer's length and the magic word.
const TRAILER: usize = 10;
/// A message's marker and the length of its header.
pub(super) const PREFIX: usize = 8;
pub(super) const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];
/// Of memory, as the kernel maps it.
pub(super) const PAGE: usize = 4096;

/// An Arrow IPC file. What it gives out lives on when it is dropped, and when the file is removed.
pub struct MappedFile {
    path: PathBuf,
    bytes: Bytes,
    schema: SchemaRef,
    decoder: FileDecoder,
    blocks: Vec<Block>,
    dictionaries: bool,
}

/// Maps an Arrow IPC file. Blocks.
///
/// # Errors
/// If it cannot be read, or is none; also later, where a part of it is damaged.
pub fn map_file(path: &Path) -> Result<MappedFile> {
    let file = File::open(path).map_err(|e| Error::file(path, e))?;
    // SAFETY: files that are read here were renamed into place when they were complete, and are removed but never
    // written or cut short afterwards.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(path, e))?;
    let bytes = Bytes::from_owner(map);
    let footer_bytes =
        footer(&bytes).ok_or_else(|| damaged(path, "its footer is not that of an Arrow file"))?;
    let footer = root_as_footer(&footer_bytes).map_err(|e| damaged(path, &e.to_string()))?;
    let schema = footer.schema().ok_or_else(|| damaged(path, "it has no schema"))?;
    let schema = SchemaRef::new(caught(path, || Ok(fb_to_schema(schema)))?);
    let mut decoder = FileDecoder::new(schema.clone(), footer.version());
    let mut dictionaries = false;
    for block in footer.dictionaries().iter().flatten() {
        let message = checked(path, &bytes, block, &footer)?;
        caught(path, || Ok(decoder.read_dictionary(block, &Buffer::from(message))?))?;
        dictionaries = true;
    }
    let blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
    for block in &blocks {
        checked(path, &bytes, block, &footer)?;
    }
    Ok(MappedFile { path: path.into(), schema, decoder, blocks, dictionaries, bytes })
}

impl MappedFile {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The record batches in their order.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.blocks.iter().map(|block| self.batch(block))
    }

    /// As [`MappedFile::batches`], with the file.
    pub fn into_batches(self) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        (0..self.blocks.len()).map(move |number| self.batch(&self.blocks[number]))
    }

    fn batch(&self, block: &Block) -> Result<RecordBatch> {
        let message =
            message(&self.bytes, block).ok_or_else(|| damaged(&self.path, "a batch is cut short"))?;
        let read = || Ok(self.decoder.read_record_batch(block, &Buffer::from(message))?);
        let batch = caught(&self.path, read)?;
        batch.ok_or_else(|| damaged(&self.path, "a batch has no message"))
    }

    /// Bytes of the largest message.
    pub(super) fn largest(&self) -> usize {
        self.blocks
            .iter()
            .map(|block| size(block).map_or(0, |(header, body)| header + body))
            .max()
            .unwrap_or(0)
    }

    /// Whether its messages can be sent as they lie. Dictionaries would have to be sent, and known, before them.
    pub(super) fn is_plain(&self) -> bool {
        !self.dictionaries
    }

    /// The messages of the record batches, as Flight carries them; each is in memory when it is given out. Blocks.
    pub(super) fn frames(&self) -> impl Iterator<Item = Result<FlightData>> + '_ {
        self.blocks.iter().map(|block| {
            let frame = self.frame(block).ok_or_else(|| damaged(&self.path, "a batch is cut short"))?;
            touch(&frame.data_body);
            Ok(frame)
        })
    }

    fn frame(&self, block: &Block) -> Option<FlightData> {
        let message = message(&self.bytes, block)?;
        let (header, _) = size(block)?;
        let length = u32::from_le_bytes(message.get(4..PREFIX)?.try_into().ok()?) as usize;
        let end = PREFIX.checked_add(length).filter(|end| *end <= header)?;
        Some(FlightData {
            data_header: message.slice(PREFIX..end),
            data_body: message.slice(header..),
            ..Default::default()
        })
    }
}

/// The footer's own bytes, which flatbuffers wants aligned: a copy.
fn footer(bytes: &Bytes) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(TRAILER)?;
    let length = read_footer_length(bytes.get(end..)?.try_into().ok()?).ok()?;
    bytes.get(end.checked_sub(length)?..end).map(<[u8]>::to_vec)
}

/// Lengths of a message's header and body.
fn size(block: &Block) -> Option<(usize, usize)> {
    Some((block.metaDataLength().try_into().ok()?, block.bodyLength().try_into().ok()?))
}

/// The bytes of a message, if they lie within the file.
fn message(bytes: &Bytes, block: &Block) -> Option<Bytes> {
    let (header, body) = size(block).filter(|(header, _)| *header >= PREFIX)?;
    let start: usize = block.offset().try_into().ok()?;
    let end = start.checked_add(header)?.checked_add(body)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// A message whose buffers lie within it: arrow checks what is in them, and takes these for granted.
fn checked(path: &Path, bytes: &Bytes, block: &Block, footer: &Footer<'_>) -> Result<Bytes> {
    let cut = || damaged(path, "a batch is cut short");
    let whole = message(bytes, block).ok_or_else(cut)?;
    let (header, body) = size(block).ok_or_else(cut)?;
    if whole[..4] != CONTINUATION_MARKER {
        return Err(damaged(path, "a message does not begin as one"));
    }
    let parsed = root_as_message(&whole[PREFIX..header]).map_err(|e| damaged(path, &e.to_string()))?;
    if footer.version() != MetadataVersion::V5 || parsed.version() != MetadataVersion::V5 {
        return Err(damaged(path, "it is of another version of Arrow's format than 5"));
    }
    match within(&parsed, body) {
        Some(true) => Ok(whole),
        _ => Err(damaged(path, "a batch's buffers lie outside of it")),
    }
}

pub(super) fn within(message: &Message<'_>, body: usize) -> Option<bool> {
    let batch = match message.header_as_record_batch() {
        Some(batch) => batch,
        None => message.header_as_dictionary_batch()?.data()?,
    };
    let inside = batch.buffers().iter().flatten().all(|buffer| {
        let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        matches!((start, length), (Ok(start), Ok(length)) if start.checked_add(length).is_some_and(|end| end <= body))
    });
    Some(inside)
}

/// Has the pages read from disk here, on a thread that may block.
fn touch(bytes: &[u8]) {
    for page in bytes.chunks(PAGE) {
        std::hint::black_box(page[0]);
    }
}

/// Arrow checks what it reads, and at some damage panics.
fn caught<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(damaged(path, "Arrow cannot read it")))
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::Invalid(format!("{} is no Arrow IPC file, or is damaged: {why}", path.display()))
}
