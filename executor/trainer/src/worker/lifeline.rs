//! The end of stdin: the executor has gone, or wants the process gone.

use std::io::Read;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Ready when `input` ends. It is read on a thread of its own, which ends with it.
pub fn lifeline(mut input: impl Read + Send + 'static) -> Result<oneshot::Receiver<()>> {
    let (ended, receiver) = oneshot::channel();
    let watch = move || {
        let mut ignored = [0; 256];
        // Anything more on stdin has no meaning; an error is as good as the end.
        while matches!(input.read(&mut ignored), Ok(n) if n > 0) {}
        _ = ended.send(());
    };
    let thread = std::thread::Builder::new().name("lifeline".into()).spawn(watch);
    thread.map_err(|e| Error::Worker(format!("no thread to watch stdin: {e}")))?;
    Ok(receiver)
}
