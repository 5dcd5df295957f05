//! Tries again what a store may grant later.

use std::time::Duration;

use object_store::{Error, Result};

const TRIES: u32 = 5;
/// Doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The clients of cloud stores try single requests again by themselves; this is about whole operations, and about
/// stores that have no such client.
pub async fn retry<T, F: Future<Output = Result<T>>>(mut attempt: impl FnMut() -> F) -> Result<T> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if may_pass(&error) => {
                tracing::debug!(%error, "the object store is asked again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    attempt().await
}

/// Whether the same request may be answered otherwise the next time.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}
