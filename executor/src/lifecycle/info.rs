//! The file by which tasks find the executor: written whole, by rename.

use std::path::Path;

use lethe_flight::process::ExecutorInfo;
use lethe_flight::{Error, PROTOCOL, Result, VERSION, owner, wire};

/// Blocks, for a moment.
pub fn write(path: &Path, executor: String, address: String, error: Option<String>) -> Result<()> {
    let pid = std::process::id();
    let info = ExecutorInfo {
        protocol: PROTOCOL,
        version: VERSION.into(),
        pid,
        started: owner::start_time(pid).unwrap_or(0),
        executor,
        address,
        error,
    };
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, wire::render(&info)?).map_err(|e| Error::file(&unfinished, e))?;
    std::fs::rename(&unfinished, path).map_err(|e| Error::file(path, e))
}
