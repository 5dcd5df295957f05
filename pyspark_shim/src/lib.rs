//! What the three binaries share: configuration on stdin, a log that can be found.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use anyhow::Context;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// The process's configuration: one line of JSON on stdin.
pub fn configuration<T: DeserializeOwned>() -> anyhow::Result<T> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read the configuration from stdin")?;
    // serde's own text would quote the line, and with it the token.
    serde_json::from_str(&line).map_err(|error| {
        anyhow::anyhow!(
            "stdin must begin with the configuration, one line of JSON of this version ({:?} error in column {})",
            error.classify(),
            error.column()
        )
    })
}

/// Lines of a log that may wait to be sent.
const WAITING: usize = 4096;

/// Structured logs go to a file that only its owner reads; `RUST_LOG` sets their level.
pub fn log_to(path: &str) -> anyhow::Result<()> {
    let log = open(path)?;
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(Mutex::new(log)).init();
    Ok(())
}

/// The same, and each line to whoever holds the other end of the channel, as far as that keeps up.
pub fn log_to_both(path: &str) -> anyhow::Result<mpsc::Receiver<String>> {
    let (sender, lines) = mpsc::channel(WAITING);
    let both = Both { log: open(path)?, lines: sender };
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(Mutex::new(both)).init();
    Ok(lines)
}

/// A worker's: its executor has given it a file.
pub fn log_to_stderr() {
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(std::io::stderr).init();
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}

fn open(path: &str) -> anyhow::Result<File> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    log.with_context(|| format!("cannot write the log {path}"))
}

/// A file and a channel. Each write is a line.
struct Both {
    log: File,
    lines: mpsc::Sender<String>,
}

impl Write for Both {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // Where nobody keeps up, the file has it.
        _ = self.lines.try_send(String::from_utf8_lossy(line).into_owned());
        self.log.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.log.flush()
    }
}
