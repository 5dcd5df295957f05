//! What the three binaries share: configuration on stdin, a log that can be found.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use anyhow::Context;
use serde::de::DeserializeOwned;
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

/// Structured logs go to a file that only its owner reads; `RUST_LOG` sets their level.
pub fn log_to(path: &str) -> anyhow::Result<()> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let log = log.with_context(|| format!("cannot write the log {path}"))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Mutex::new(log)).init();
    Ok(())
}
