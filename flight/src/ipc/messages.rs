//! A stream's messages as a file: written as they came, for a message of Flight and one of an Arrow IPC file have the
//! same header and the same body. Nothing is encoded anew, and large bodies are decoded where they were written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::convert::IpcSchemaEncoder;
use arrow::ipc::reader::RecordBatchDecoder;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};
use arrow::ipc::{Block, FooterBuilder, Message, MessageHeader, MetadataVersion, root_as_message};
use arrow_flight::FlightData;
use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;
use memmap2::MmapOptions;

use super::mapped::{self, CONTINUATION_MARKER, PAGE, PREFIX};
use super::{Received, Watch};
use crate::{Error, Result};

const MAGIC: &[u8] = b"ARROW1";
/// The magic word fills the first 8 bytes.
const START: &[u8] = b"ARROW1\0\0";
/// Bodies begin at multiples of this, messages at multiples of 8.
const ALIGN: u64 = 64;
/// From so many bytes a body is mapped where it was written; a shorter one is copied.
const LARGE: usize = 1 << 20;

/// The schema of a stream that begins with this frame, if its messages can lie in a file as they come: dictionaries
/// would have to be told apart from those that replace them, and other versions of the format are written anew.
pub fn plain_schema(first: &FlightData) -> Option<SchemaRef> {
    let message = root_as_message(&first.data_header).ok()?;
    if message.header_type() != MessageHeader::Schema || message.version() != MetadataVersion::V5 {
        return None;
    }
    let schema = Schema::try_from(first).ok()?;
    let plain = !schema.fields().iter().any(|field| has_dictionary(field));
    plain.then(|| schema.into())
}

fn has_dictionary(field: &Field) -> bool {
    match field.data_type() {
        DataType::Dictionary(..) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => has_dictionary(item),
        DataType::RunEndEncoded(ends, values) => has_dictionary(ends) || has_dictionary(values),
        DataType::Struct(fields) => fields.iter().any(|field| has_dictionary(field)),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_dictionary(field)),
        _ => false,
    }
}

/// Writes the frames that follow the schema's to a new file. Blocks.
///
/// # Errors
/// If a message is none of a record batch of this schema, `watch` refuses, or the disk fails.
pub fn write(
    path: &Path,
    schema: &SchemaRef,
    frames: impl Iterator<Item = FlightData>,
    watch: &mut impl Watch,
) -> Result<Received> {
    let mut file = Messages::create(path, schema)?;
    let mut received = Received { rows: 0, bytes: 0 };
    for frame in frames {
        if !is_batch(&frame)? {
            continue;
        }
        let bytes = (frame.data_header.len() + frame.data_body.len()) as u64;
        watch.room(bytes)?;
        let begin = file.append(&frame)?;
        let batch = decode(schema, &frame.data_header, file.body(begin, &frame.data_body)?)?;
        received.rows += batch.num_rows() as u64;
        received.bytes += bytes;
        watch.batch(&batch)?;
    }
    file.finish(schema)?;
    Ok(received)
}

/// False for what has no effect: metadata alone.
fn is_batch(frame: &FlightData) -> Result<bool> {
    let message = parsed(&frame.data_header)?;
    match message.header_type() {
        MessageHeader::NONE => Ok(false),
        MessageHeader::RecordBatch if message.version() != MetadataVersion::V5 => {
            Err(invalid("of another version of Arrow's format than the schema's"))
        }
        MessageHeader::RecordBatch if mapped::within(&message, frame.data_body.len()) != Some(true) => {
            Err(invalid("cut short: its buffers lie outside of it"))
        }
        MessageHeader::RecordBatch => Ok(true),
        other => Err(invalid(&format!("a {}", other.variant_name().unwrap_or("message of an unknown kind")))),
    }
}

fn parsed(header: &[u8]) -> Result<Message<'_>> {
    root_as_message(header).map_err(|error| invalid(&format!("damaged: {error}")))
}

fn invalid(why: &str) -> Error {
    Error::Invalid(format!("after the schema record batches must come, and one that came is {why}"))
}

/// Arrow checks what it reads, and at some damage panics.
fn decode(schema: &SchemaRef, header: &[u8], body: Buffer) -> Result<RecordBatch> {
    let read = || {
        let message = parsed(header)?;
        let batch = message.header_as_record_batch().ok_or_else(|| invalid("damaged: it has no batch"))?;
        let none: HashMap<i64, ArrayRef> = HashMap::new();
        let version = message.version();
        let decoder = RecordBatchDecoder::try_new(&body, batch, schema.clone(), &none, &version)?;
        Ok(decoder.read_record_batch()?)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(invalid("damaged: Arrow cannot read it")))
}

/// A file under construction.
struct Messages {
    file: BufWriter<File>,
    /// Bytes so far.
    end: u64,
    blocks: Vec<Block>,
}

impl Messages {
    fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let mut file = BufWriter::with_capacity(LARGE, file.map_err(|e| Error::file(path, e))?);
        let (options, mut dictionaries) = (IpcWriteOptions::default(), DictionaryTracker::new(true));
        let message = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut dictionaries,
            &options,
        );
        file.write_all(START).map_err(failed)?;
        let (header, body) = write_message(&mut file, message, &options)?;
        Ok(Self { file, end: (START.len() + header + body) as u64, blocks: Vec::new() })
    }

    /// Returns where the body begins.
    fn append(&mut self, frame: &FlightData) -> Result<u64> {
        let begin = self.end.next_multiple_of(8);
        self.pad(begin)?;
        let prefix = PREFIX as u64;
        let mut body = (begin + prefix + frame.data_header.len() as u64).next_multiple_of(ALIGN);
        // Copies whose two sides lie alike in their pages, the target a little further, take twice as long.
        if body.wrapping_sub(frame.data_body.as_ptr() as u64) % (PAGE as u64) < ALIGN {
            body += ALIGN;
        }
        // A message is no longer than Flight's limit.
        self.write(&CONTINUATION_MARKER)?;
        self.write(&((body - begin - prefix) as u32).to_le_bytes())?;
        self.write(&frame.data_header)?;
        self.pad(body)?;
        self.write(&frame.data_body)?;
        self.blocks.push(Block::new(begin as i64, (body - begin) as i32, frame.data_body.len() as i64));
        Ok(body)
    }

    /// A body that was written: aligned, as its arrays want it.
    fn body(&mut self, begin: u64, bytes: &Bytes) -> Result<Buffer> {
        if bytes.len() < LARGE {
            return Ok(Buffer::from(&bytes[..]));
        }
        self.file.flush().map_err(failed)?;
        let mut options = MmapOptions::new();
        options.offset(begin).len(bytes.len()).populate();
        // SAFETY: the file is ours alone until it is renamed, and only grows.
        let map = unsafe { options.map(self.file.get_ref()) }.map_err(failed)?;
        Ok(Buffer::from(Bytes::from_owner(map)))
    }

    fn finish(mut self, schema: &SchemaRef) -> Result<()> {
        let end = self.end.next_multiple_of(8);
        self.pad(end)?;
        self.write(&CONTINUATION_MARKER)?;
        self.write(&[0; 4])?;
        let mut footer = FlatBufferBuilder::new();
        let dictionaries = footer.create_vector::<Block>(&[]);
        let batches = footer.create_vector(&self.blocks);
        let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut footer, schema);
        let mut root = FooterBuilder::new(&mut footer);
        root.add_version(MetadataVersion::V5);
        root.add_schema(schema);
        root.add_dictionaries(dictionaries);
        root.add_recordBatches(batches);
        let root = root.finish();
        footer.finish(root, None);
        let footer = footer.finished_data();
        self.write(footer)?;
        self.write(&(footer.len() as u32).to_le_bytes())?;
        self.write(MAGIC)?;
        self.file.flush().map_err(failed)
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        self.write(&[0; 2 * ALIGN as usize][..(to - self.end) as usize])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        self.file.write_all(bytes).map_err(failed)
    }
}

/// As Arrow's own writers say it, so that a full disk is told apart.
fn failed(error: std::io::Error) -> Error {
    arrow::error::ArrowError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, StringArray};
    use arrow_flight::SchemaAsIpc;
    use futures::TryStreamExt;

    use crate::ipc::{encode, map_file};

    struct All(Vec<RecordBatch>, u64);

    impl Watch for All {
        fn room(&mut self, bytes: u64) -> Result<()> {
            self.1 += bytes;
            Ok(())
        }

        fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
            self.0.push(batch.clone());
            Ok(())
        }
    }

    fn batch(rows: usize) -> RecordBatch {
        let numbers: Int64Array = (0..rows as i64).map(|n| (n % 7 != 0).then_some(n)).collect();
        let words: StringArray = (0..rows).map(|n| (n % 5 != 0).then(|| "x".repeat(n % 11))).collect();
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("w", Arc::new(words) as ArrayRef)])
            .unwrap()
    }

    async fn frames(batches: &[RecordBatch]) -> Vec<FlightData> {
        let owned: Vec<Result<RecordBatch>> = batches.iter().cloned().map(Ok).collect();
        encode(batches[0].schema(), futures::stream::iter(owned)).try_collect().await.unwrap()
    }

    fn written(frames: Vec<FlightData>) -> Result<(tempfile::TempDir, Received, All)> {
        let folder = tempfile::tempdir().unwrap();
        let schema = plain_schema(&frames[0]).unwrap();
        let mut all = All(Vec::new(), 0);
        let received = write(&folder.path().join("a.arrow"), &schema, frames.into_iter().skip(1), &mut all)?;
        Ok((folder, received, all))
    }

    #[tokio::test]
    async fn messages_become_a_file_that_arrow_reads() {
        // The second is mapped where it was written, the others are copied.
        let batches = [batch(3), batch(150_000), batch(1), batch(1000)];
        let (folder, received, all) = written(frames(&batches).await).unwrap();
        assert_eq!(received.rows, 151_004);
        assert_eq!(all.0, batches);
        assert_eq!(all.1, received.bytes);
        let path = folder.path().join("a.arrow");
        let mapped: Vec<_> = map_file(&path).unwrap().batches().collect::<Result<_>>().unwrap();
        assert_eq!(mapped, batches);
        let read: Vec<_> = crate::ipc::read_file(&path).unwrap().map(|batch| batch.unwrap()).collect();
        assert_eq!(read, batches);
        for array in mapped.iter().flat_map(|batch| batch.columns()) {
            let data = array.to_data();
            assert!(data.buffers().iter().all(|buffer| (buffer.as_ptr() as usize).is_multiple_of(8)));
        }
    }

    #[tokio::test]
    async fn bodies_of_odd_lengths_and_frames_without_any_are_taken() {
        let mut frames = frames(&[batch(5), batch(6)]).await;
        for frame in &mut frames[1..] {
            frame.data_body = [&frame.data_body[..], &[1, 2, 3]].concat().into();
        }
        let mut nothing = flatbuffers::FlatBufferBuilder::new();
        let message = arrow::ipc::MessageBuilder::new(&mut nothing).finish();
        nothing.finish(message, None);
        let nothing = nothing.finished_data().to_vec();
        frames.insert(2, FlightData { data_header: nothing.into(), ..FlightData::default() });
        let (folder, received, _) = written(frames).unwrap();
        assert_eq!(received.rows, 11);
        let mapped = map_file(&folder.path().join("a.arrow")).unwrap();
        let mapped: Vec<_> = mapped.batches().collect::<Result<_>>().unwrap();
        assert_eq!(mapped, [batch(5), batch(6)]);
    }

    #[tokio::test]
    async fn what_is_no_batch_is_named() {
        let whole = frames(&[batch(50)]).await;
        let refused = |frame: FlightData| {
            let error = written(vec![whole[0].clone(), frame]).err().unwrap();
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            error.to_string()
        };
        let cut = FlightData { data_body: whole[1].data_body.slice(..100), ..whole[1].clone() };
        assert!(refused(cut).contains("cut short"));
        let headless = FlightData { data_header: Bytes::from_static(b"12345678"), ..whole[1].clone() };
        assert!(refused(headless).contains("damaged"));
        assert!(refused(whole[0].clone()).contains("a Schema"));
    }

    #[tokio::test]
    async fn damaged_headers_are_errors_or_rows_and_never_a_crash() {
        let whole = frames(&[batch(50)]).await;
        for at in 0..whole[1].data_header.len() {
            let mut header = whole[1].data_header.to_vec();
            header[at] ^= 0x7f;
            _ = written(vec![
                whole[0].clone(),
                FlightData { data_header: header.into(), ..whole[1].clone() },
            ]);
        }
    }

    #[test]
    fn dictionaries_are_not_plain_wherever_they_are() {
        let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let inner = Arc::new(Field::new("w", words.clone(), true));
        for kind in [words, DataType::List(inner.clone()), DataType::Struct(vec![inner].into())] {
            let schema = Schema::new(vec![Field::new("a", kind, true)]);
            let first = FlightData::from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()));
            assert!(plain_schema(&first).is_none());
        }
    }
}
