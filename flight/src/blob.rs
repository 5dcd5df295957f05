//! Bytes in chunks: a program as record batches of one column, `data: large_binary`, in order.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{LargeBinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Error, Result, ipc, limits};

static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("data", DataType::LargeBinary, false)])));

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// # Errors
/// If the text is not the hex of a SHA-256: it becomes a file's name.
pub fn check_hash(hash: &str) -> Result<()> {
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(Error::Invalid(format!("{hash:?} is not a SHA-256 in lower-case hex")));
    }
    Ok(())
}

/// Writes the bytes of a stream to `path` if their SHA-256 is `hash`; complete or not at all.
pub async fn receive(mut batches: FlightRecordBatchStream, path: PathBuf, hash: String) -> Result<()> {
    check_hash(&hash)?;
    let mut bytes = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(ipc::from_flight)?;
        for chunk in column(&batch)?.iter().flatten() {
            if (bytes.len() + chunk.len()) as u64 > limits::PROGRAM_BYTES {
                return Err(Error::Exhausted(format!(
                    "a program exceeds the limit of {} bytes",
                    limits::PROGRAM_BYTES
                )));
            }
            bytes.extend_from_slice(chunk);
        }
    }
    let written = tokio::task::spawn_blocking(move || store(&path, &bytes, &hash)).await;
    written.map_err(|e| Error::Invalid(format!("the writer ended: {e}")))?
}

fn store(path: &Path, bytes: &[u8], hash: &str) -> Result<()> {
    let found = hex(&Sha256::digest(bytes));
    if found != hash {
        return Err(Error::Invalid(format!("the program's SHA-256 is {found}, not {hash}: it is damaged")));
    }
    let unfinished = ipc::Unfinished::beside(path);
    std::fs::write(unfinished.path(), bytes).map_err(|e| Error::file(path, e))?;
    unfinished.finish(path)
}

/// Streams the bytes of a file.
pub async fn send(path: PathBuf) -> Result<BoxStream<'static, Result<FlightData, Status>>> {
    let mut file = tokio::fs::File::open(&path).await.map_err(|e| Error::file(&path, e))?.into_std().await;
    let (sender, queue) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::new();
            let read = Read::by_ref(&mut file).take(limits::CHUNK_BYTES as u64).read_to_end(&mut chunk);
            let batch = match read {
                Ok(0) => return,
                Ok(_) => batch(&chunk),
                Err(error) => Err(Error::file(&path, error)),
            };
            if sender.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    Ok(ipc::encode(SCHEMA.clone(), ReceiverStream::new(queue)))
}

fn batch(chunk: &[u8]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(LargeBinaryArray::from_iter_values([chunk]))])?)
}

fn column(batch: &RecordBatch) -> Result<&LargeBinaryArray> {
    batch
        .column_by_name("data")
        .and_then(|c| c.as_any().downcast_ref())
        .ok_or_else(|| Error::Invalid("a program must come as one column data: large_binary".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_arrives_whole_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        let bytes: Vec<u8> = (0..20_000_000u32).map(|i| i as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let hash = hex(&Sha256::digest(&bytes));
        let stream = send(from.clone()).await.unwrap();
        receive(ipc::decode(stream), to.clone(), hash).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), bytes);
        let wrong =
            receive(ipc::decode(send(from).await.unwrap()), folder.path().join("c"), "0".repeat(64)).await;
        assert!(wrong.unwrap_err().to_string().contains("damaged"));
        assert!(check_hash("../../etc/passwd").is_err());
    }
}
