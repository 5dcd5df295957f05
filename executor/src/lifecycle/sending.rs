//! What this executor logs goes to its driver, so that it is found where the error is read, and after this host is lost.

use std::time::Duration;

use lethe_flight::limits;
use tokio::sync::mpsc;

use crate::driver::Driver;

/// How long lines are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(100);

/// Lines on their way. What comes while it is full is in this host's log alone.
pub type Lines = mpsc::Receiver<String>;

/// Sends what is logged until the process ends, in as many messages as that takes.
pub async fn send(mut lines: Lines, driver: Driver) {
    while let Some(mut text) = lines.recv().await {
        tokio::time::sleep(COLLECT).await;
        while text.len() < limits::LOG_BYTES / 2
            && let Ok(line) = lines.try_recv()
        {
            text.push_str(&line);
        }
        truncate(&mut text);
        // A driver that cannot be reached will not miss it: the executor ends with it.
        _ = driver.log(text).await;
    }
}

fn truncate(text: &mut String) {
    if text.len() > limits::LOG_BYTES {
        text.truncate(text.floor_char_boundary(limits::LOG_BYTES));
    }
}
