//! What trials' functions print, one file a trial below the experiment's folder `logs`.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

/// Texts that wait to be written; with more, the disk is too slow and what comes is left out.
const WAITING: usize = 256;
/// Of one trial, bytes.
const TRIAL_BYTES: u64 = 16 << 20;

/// Writes on a thread of its own, which ends when this is dropped.
pub struct Logs {
    texts: mpsc::Sender<(u32, String)>,
}

impl Logs {
    pub fn start(folder: PathBuf) -> Self {
        let (texts, waiting) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || write(&folder, waiting));
        Self { texts }
    }

    pub fn add(&self, trial: u32, text: &str) {
        if self.texts.try_send((trial, text.to_owned())).is_err() {
            tracing::warn!(trial, bytes = text.len(), "a trial prints faster than it can be written");
        }
    }
}

fn write(folder: &Path, mut texts: mpsc::Receiver<(u32, String)>) {
    let mut written: HashMap<u32, u64> = HashMap::new();
    while let Some((trial, text)) = texts.blocking_recv() {
        let bytes = written.entry(trial).or_default();
        if *bytes >= TRIAL_BYTES {
            continue;
        }
        *bytes += text.len() as u64;
        let path = folder.join(format!("trial-{trial}.log"));
        let end = if *bytes >= TRIAL_BYTES { "\n… the rest is left out …\n" } else { "" };
        let appended = std::fs::create_dir_all(folder).and_then(|()| {
            let mut file = std::fs::File::options().create(true).append(true).open(&path)?;
            file.write_all(text.as_bytes()).and_then(|()| file.write_all(end.as_bytes()))
        });
        if let Err(error) = appended {
            tracing::warn!(path = %path.display(), %error, "what a trial prints cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_trial_has_a_file_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let (texts, waiting) = mpsc::channel(WAITING);
        for text in ["one\n", "two\n"] {
            texts.try_send((3, text.to_owned())).unwrap();
        }
        let page = "x".repeat(1 << 20);
        (0..20).for_each(|_| texts.try_send((4, page.clone())).unwrap());
        drop(texts);
        let logs = folder.path().join("logs");
        let within = logs.clone();
        tokio::task::spawn_blocking(move || write(&within, waiting)).await.unwrap();
        assert_eq!(std::fs::read_to_string(logs.join("trial-3.log")).unwrap(), "one\ntwo\n");
        let long = std::fs::read_to_string(logs.join("trial-4.log")).unwrap();
        assert!(long.ends_with("… the rest is left out …\n"));
        assert!(long.len() < 18 << 20, "{}", long.len());
    }
}
