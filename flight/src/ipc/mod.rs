//! Arrow IPC files at rest: received from Flight streams and sent as such, off the async threads.

mod mapped;
mod messages;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, SchemaAsIpc};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

pub use mapped::{MappedFile, map_file};

use crate::{Error, Result, limits};

/// Room in a message of [`limits::MESSAGE_BYTES`] for what Flight and gRPC put around a record batch.
const AROUND: usize = 64 << 10;
/// Batches in flight between the network and the disk.
const QUEUE: usize = 2;

/// A file that is being written: removed when this is dropped, unless it was renamed meanwhile. Also where the
/// async task that awaits the writer is dropped, as the server does when a client vanishes.
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// A name beside `target` that no other writer uses.
    pub fn beside(target: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(target.with_extension(format!("unfinished-{}-{n}", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts the file in its place. Blocks, for a moment.
    pub fn finish(self, target: &Path) -> Result<()> {
        std::fs::rename(&self.0, target).map_err(|e| Error::file(target, e))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub rows: u64,
    pub bytes: u64,
}

/// The record batches of a DoPut or DoGet stream.
pub fn decode(
    frames: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> FlightRecordBatchStream {
    FlightRecordBatchStream::new_from_flight_data(frames.map_err(|s| FlightError::Tonic(Box::new(s))))
}

pub fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let batches = batches.map_err(|e| FlightError::Tonic(Box::new(e.into())));
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(limits::FLIGHT_DATA_BYTES)
        .build(batches)
        .map_err(Status::from)
        .boxed()
}

/// Who follows what arrives, on the thread that writes it, and may refuse it.
pub trait Watch: Send + 'static {
    /// So many bytes are about to be written.
    fn room(&mut self, bytes: u64) -> Result<()>;

    fn batch(&mut self, batch: &RecordBatch) -> Result<()>;
}

/// Refuses more bytes than its limit.
struct Limit {
    path: PathBuf,
    arrived: u64,
    limit: u64,
}

impl Watch for Limit {
    fn room(&mut self, bytes: u64) -> Result<()> {
        self.arrived += bytes;
        if self.arrived > self.limit {
            return Err(Error::Exhausted(format!(
                "{} bytes arrived for {}, more than its limit of {}",
                self.arrived,
                self.path.display(),
                self.limit
            )));
        }
        Ok(())
    }

    fn batch(&mut self, _: &RecordBatch) -> Result<()> {
        Ok(())
    }
}

/// Writes a stream to `path` as an Arrow IPC file, complete or not at all (a rename ends it).
///
/// # Errors
/// If the stream breaks off, has no schema, brings more than `limit` bytes, or the disk fails.
pub async fn receive(batches: FlightRecordBatchStream, path: PathBuf, limit: u64) -> Result<Received> {
    let watch = Limit { path: path.clone(), arrived: 0, limit };
    receive_batches(batches, path, watch).await.map(|(received, _)| received)
}

/// As [`receive`], of frames, which are written as they come where they can lie in a file so. Gives `watch` back.
///
/// # Errors
/// Those of [`receive`] and of `watch`.
pub async fn receive_frames<W: Watch>(
    mut frames: BoxStream<'static, Result<FlightData, Status>>,
    path: PathBuf,
    watch: W,
) -> Result<(Received, W)> {
    let first = frames.next().await.transpose()?;
    let Some(schema) = first.as_ref().and_then(messages::plain_schema) else {
        let first = futures::stream::iter(first.map(Ok));
        return receive_batches(decode(first.chain(frames)), path, watch).await;
    };
    let write = move |path: &Path, frames: &mut dyn Iterator<Item = FlightData>, watch: &mut W| {
        messages::write(path, &schema, frames, watch)
    };
    written(frames.map_err(Error::from).boxed(), path, watch, write).await
}

async fn receive_batches<W: Watch>(
    mut batches: FlightRecordBatchStream,
    path: PathBuf,
    watch: W,
) -> Result<(Received, W)> {
    // The schema may come without any batch: an empty partition is a partition.
    let first = batches.next().await;
    if let Some(Err(error)) = first {
        return Err(from_flight(error));
    }
    let schema = batches
        .schema()
        .cloned()
        .ok_or_else(|| Error::Invalid("a put must begin with an Arrow schema".into()))?;
    let write = move |path: &Path, batches: &mut dyn Iterator<Item = RecordBatch>, watch: &mut W| {
        write(path, &schema, batches, watch)
    };
    let batches = futures::stream::iter(first).chain(batches).map_err(from_flight);
    written(batches.boxed(), path, watch, write).await
}

/// What comes goes through a short queue to a thread that may block, which writes it beside `path`.
async fn written<T: Send + 'static, W: Watch>(
    mut coming: BoxStream<'static, Result<T>>,
    path: PathBuf,
    mut watch: W,
    write: impl FnOnce(&Path, &mut dyn Iterator<Item = T>, &mut W) -> Result<Received> + Send + 'static,
) -> Result<(Received, W)> {
    let (sender, mut queue) = mpsc::channel(QUEUE);
    let target = path.clone();
    let writer = tokio::task::spawn_blocking(move || -> Result<_> {
        let unfinished = Unfinished::beside(&target);
        let received =
            write(unfinished.path(), &mut std::iter::from_fn(|| queue.blocking_recv()), &mut watch)?;
        Ok((received, watch, unfinished))
    });
    let mut broken = None;
    while let Some(next) = coming.next().await {
        match next {
            // A closed queue means that the writer failed; its error is the one to report.
            Ok(next) => {
                if sender.send(next).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let (received, watch, unfinished) =
        writer.await.map_err(|e| Error::Invalid(format!("the writer ended: {e}")))??;
    match broken {
        Some(error) => Err(error),
        None => unfinished.finish(&path).map(|()| (received, watch)),
    }
}

fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = RecordBatch>,
    watch: &mut impl Watch,
) -> Result<Received> {
    let file = File::create(path).map_err(|e| Error::file(path, e))?;
    let mut writer = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), schema)?;
    let mut received = Received { rows: 0, bytes: 0 };
    for batch in batches {
        // Of slices of a larger batch, what they take in the file.
        let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        let bytes = sizes.sum::<Result<usize, _>>()? as u64;
        received.rows += batch.num_rows() as u64;
        received.bytes += bytes;
        watch.room(bytes)?;
        watch.batch(&batch)?;
        writer.write(&batch)?;
    }
    writer.finish()?;
    writer.get_mut().flush().map_err(|e| Error::file(path, e))?;
    Ok(received)
}

/// Writes batches to `path`, complete or not at all. Blocks.
pub fn write_file(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = RecordBatch>,
    limit: u64,
) -> Result<Received> {
    let unfinished = Unfinished::beside(path);
    let mut watch = Limit { path: path.into(), arrived: 0, limit };
    let received = write(unfinished.path(), schema, batches, &mut watch)?;
    unfinished.finish(path)?;
    Ok(received)
}

/// Opens an Arrow IPC file. Blocks.
pub fn read_file(path: &Path) -> Result<FileReader<BufReader<File>>> {
    let file = File::open(path).map_err(|e| Error::file(path, e))?;
    Ok(FileReader::try_new(BufReader::with_capacity(1 << 20, file), None)?)
}

/// Streams an Arrow IPC file: its messages as they lie, mapped, where a receiver can take them so.
pub async fn send(path: PathBuf) -> Result<BoxStream<'static, Result<FlightData, Status>>> {
    let opened = tokio::task::spawn_blocking(move || map_file(&path)).await;
    let file = opened.map_err(|e| Error::Invalid(format!("the reader ended: {e}")))??;
    let schema = file.schema().clone();
    if !file.is_plain() || file.largest() + AROUND > limits::MESSAGE_BYTES {
        let batches = produce(move |sender| {
            for batch in file.batches() {
                if sender.blocking_send(batch).is_err() {
                    break;
                }
            }
        });
        return Ok(encode(schema, batches));
    }
    let first = FlightData::from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()));
    let frames = produce(move |sender| {
        for frame in file.frames() {
            if sender.blocking_send(frame.map_err(Status::from)).is_err() {
                break;
            }
        }
    });
    Ok(futures::stream::once(async { Ok(first) }).chain(frames).boxed())
}

/// What a thread of its own sends.
fn produce<T: Send + 'static>(run: impl FnOnce(mpsc::Sender<T>) + Send + 'static) -> ReceiverStream<T> {
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || run(sender));
    ReceiverStream::new(queue)
}

pub fn from_flight(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => Error::Remote(status),
        FlightError::Arrow(error) => Error::Arrow(error),
        other => Error::Invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, false)]))
    }

    fn batch(n: i32) -> RecordBatch {
        RecordBatch::try_new(schema(), vec![Arc::new(Int32Array::from_iter_values(0..n))]).unwrap()
    }

    #[tokio::test]
    async fn a_stream_becomes_a_file_and_a_stream_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let frames = encode(schema(), futures::stream::iter([Ok(batch(3)), Ok(batch(2))]));
        let received = receive(decode(frames), path.clone(), 1 << 20).await.unwrap();
        assert_eq!(received.rows, 5);
        let back: Vec<_> = decode(send(path).await.unwrap()).try_collect().await.unwrap();
        assert_eq!(back.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    }

    #[tokio::test]
    async fn what_is_sent_as_it_lies_arrives_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let list = Field::new("l", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true);
        let schema = Arc::new(Schema::new(vec![Field::new("b", DataType::Boolean, true), list]));
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        lists.append_value([Some("x"), None]);
        lists.append_null();
        lists.append_value([Some("a longer text")]);
        let flags = arrow::array::BooleanArray::from(vec![Some(true), None, Some(false)]);
        let whole =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(flags), Arc::new(lists.finish())]).unwrap();
        let parts = [whole.clone(), whole.slice(1, 2)];
        write_file(&path, &schema, parts.clone().into_iter(), u64::MAX).unwrap();
        let mapped: Vec<_> = map_file(&path).unwrap().batches().collect::<Result<_>>().unwrap();
        assert_eq!(mapped, parts);
        let sent: Vec<_> = decode(send(path.clone()).await.unwrap()).try_collect().await.unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(sent, parts);
        assert_eq!(mapped, parts, "a removed file stays mapped");
    }

    #[tokio::test]
    async fn dictionaries_and_batches_too_large_for_a_message_are_sent_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let words: arrow::array::DictionaryArray<arrow::datatypes::Int8Type> =
            ["a", "b", "a"].into_iter().collect();
        let schema = Arc::new(Schema::new(vec![Field::new(
            "w",
            arrow::array::Array::data_type(&words).clone(),
            true,
        )]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(words)]).unwrap();
        write_file(&path, &schema, std::iter::once(batch), u64::MAX).unwrap();
        let sent: Vec<_> = decode(send(path.clone()).await.unwrap()).try_collect().await.unwrap();
        assert_eq!(sent.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
        let rows = i32::try_from(limits::MESSAGE_BYTES / 4).unwrap();
        write_file(&path, &super::tests::schema(), std::iter::once(super::tests::batch(rows)), u64::MAX)
            .unwrap();
        let frames: Vec<_> = send(path).await.unwrap().try_collect().await.unwrap();
        assert!(frames.len() > 2);
        assert!(frames.iter().all(|frame| frame.data_body.len() < limits::MESSAGE_BYTES));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        write_file(&path, &schema(), [batch(1000), batch(10)].into_iter(), u64::MAX).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            let path = folder.path().join("b.arrow");
            _ = std::fs::remove_file(&path);
            std::fs::write(&path, bytes).unwrap();
            map_file(&path).and_then(|file| file.batches().collect::<Result<Vec<_>>>())
        };
        for length in [0, 5, 9, 10, whole.len() / 2, whole.len() - 1] {
            assert!(read(&whole[..length]).is_err(), "cut to {length}");
        }
        // Each byte of the footer and of the messages' headers in turn: an error or rows, never a crash.
        for at in (0..600).chain(whole.len() - 600..whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x7f;
            _ = read(&bytes);
        }
    }

    #[tokio::test]
    async fn an_empty_stream_with_a_schema_is_a_file_of_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let received =
            receive(decode(encode(schema(), futures::stream::empty())), path.clone(), 1).await.unwrap();
        assert_eq!(received.rows, 0);
        assert_eq!(read_file(&path).unwrap().schema(), schema());
    }

    #[tokio::test]
    async fn a_stream_that_breaks_or_is_too_large_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let broken = futures::stream::iter([Ok(batch(3)), Err(Error::Unreachable("gone".into()))]);
        assert!(receive(decode(encode(schema(), broken)), path.clone(), 1 << 20).await.is_err());
        let large = encode(schema(), futures::stream::iter([Ok(batch(1000))]));
        assert!(matches!(receive(decode(large), path, 100).await, Err(Error::Exhausted(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
