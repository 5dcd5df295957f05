//! Arrow IPC files at rest: received from Flight streams and sent as such, off the async threads.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Error, Result, limits};

/// Batches in flight between the network and the disk.
const QUEUE: usize = 4;

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

/// Writes a stream to `path` as an Arrow IPC file, complete or not at all (a rename ends it).
///
/// # Errors
/// If the stream breaks off, has no schema, brings more than `limit` bytes, or the disk fails.
pub async fn receive(mut batches: FlightRecordBatchStream, path: PathBuf, limit: u64) -> Result<Received> {
    let (sender, mut queue) = mpsc::channel::<RecordBatch>(QUEUE);
    // The schema may come without any batch: an empty partition is a partition.
    let first = batches.next().await.transpose().map_err(from_flight)?;
    let schema = batches
        .schema()
        .cloned()
        .ok_or_else(|| Error::Invalid("a put must begin with an Arrow schema".into()))?;
    let target = path.clone();
    let writer = tokio::task::spawn_blocking(move || -> Result<(Received, Unfinished)> {
        let unfinished = Unfinished::beside(&target);
        let batches = std::iter::from_fn(|| queue.blocking_recv());
        Ok((write(unfinished.path(), &schema, batches, limit)?, unfinished))
    });
    let mut broken = None;
    let mut next = first.map(Ok);
    while let Some(batch) = next {
        match batch {
            // A closed queue means that the writer failed; its error is the one to report.
            Ok(batch) => {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
        next = batches.next().await;
    }
    drop(sender);
    let (received, unfinished) =
        writer.await.map_err(|e| Error::Invalid(format!("the writer ended: {e}")))??;
    match broken {
        Some(error) => Err(from_flight(error)),
        None => unfinished.finish(&path).map(|()| received),
    }
}

fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = RecordBatch>,
    limit: u64,
) -> Result<Received> {
    let file = File::create(path).map_err(|e| Error::file(path, e))?;
    let mut writer = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), schema)?;
    let mut received = Received { rows: 0, bytes: 0 };
    for batch in batches {
        received.rows += batch.num_rows() as u64;
        received.bytes += batch.get_array_memory_size() as u64;
        if received.bytes > limit {
            return Err(Error::Exhausted(format!(
                "{} bytes arrived for {}, more than its limit of {limit}",
                received.bytes,
                path.display()
            )));
        }
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
    let received = write(unfinished.path(), schema, batches, limit)?;
    unfinished.finish(path)?;
    Ok(received)
}

/// Opens an Arrow IPC file. Blocks.
pub fn read_file(path: &Path) -> Result<FileReader<BufReader<File>>> {
    let file = File::open(path).map_err(|e| Error::file(path, e))?;
    Ok(FileReader::try_new(BufReader::with_capacity(1 << 20, file), None)?)
}

/// Streams an Arrow IPC file.
pub async fn send(path: PathBuf) -> Result<BoxStream<'static, Result<FlightData, Status>>> {
    let opened = tokio::task::spawn_blocking(move || read_file(&path)).await;
    let reader = opened.map_err(|e| Error::Invalid(format!("the reader ended: {e}")))??;
    let schema = reader.schema();
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        for batch in reader {
            if sender.blocking_send(batch.map_err(Error::from)).is_err() {
                break;
            }
        }
    });
    Ok(encode(schema, ReceiverStream::new(queue)))
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
