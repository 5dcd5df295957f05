//! What executors log, collected beside the driver's own log: of those whose host is lost, too.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lethe_flight::message::slot::ExecutorLog;
use lethe_flight::{Error, Result, limits, wire};

use super::lock;

/// Of one executor, bytes; what comes after is not kept.
const MOST: u64 = 64 << 20;
/// Executors whose logs are kept.
const EXECUTORS: usize = 10_000;

/// A file for each executor, `<executor>.log`.
pub struct ExecutorLogs {
    directory: PathBuf,
    /// Bytes so far.
    written: Arc<Mutex<HashMap<String, u64>>>,
}

impl ExecutorLogs {
    pub fn new(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        Ok(Self { directory, written: Arc::default() })
    }

    /// Appends lines to the executor's log.
    ///
    /// # Errors
    /// If its name is none, the text too long, or the file cannot be written.
    pub async fn append(&self, log: ExecutorLog) -> Result<()> {
        wire::check_name("an executor", &log.executor)?;
        if log.text.len() > limits::LOG_BYTES {
            return Err(Error::Exhausted(format!(
                "{} bytes of a log come at once; the limit is {}",
                log.text.len(),
                limits::LOG_BYTES
            )));
        }
        {
            let mut written = lock(&self.written);
            if written.len() >= EXECUTORS && !written.contains_key(&log.executor) {
                return Ok(());
            }
            let so_far = written.entry(log.executor.clone()).or_default();
            if *so_far + log.text.len() as u64 > MOST {
                return Ok(());
            }
            *so_far += log.text.len() as u64;
        }
        let path = self.directory.join(format!("{}.log", log.executor));
        let append = move || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(log.text.as_bytes()));
            written.map_err(|e| Error::file(&path, e))
        };
        let appended = tokio::task::spawn_blocking(append).await;
        appended.map_err(|e| Error::Invalid(format!("the log's writer ended: {e}")))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_appended_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let logs = ExecutorLogs::new(folder.path().join("logs")).unwrap();
        let say = |executor: &str, text: String| logs.append(ExecutorLog { executor: executor.into(), text });
        say("a", "one\n".into()).await.unwrap();
        say("a", "two\n".into()).await.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("logs/a.log")).unwrap(), "one\ntwo\n");
        assert!(say("../a", "x".into()).await.is_err());
        assert!(say("a", "x".repeat(limits::LOG_BYTES + 1)).await.is_err());
        lock(&logs.written).insert("b".into(), MOST);
        say("b", "x".into()).await.unwrap();
        assert!(!folder.path().join("logs/b.log").exists());
    }
}
