//! An experiment's folder, taken by one driver at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use lethe_flight::{Error, Result, VERSION};

/// The journal's name in the folder.
pub const FILE: &str = "journal.log";
const LOCK: &str = "journal.lock";

/// Holds the folder's lock until it is dropped, and no longer than its process lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there. Blocks on the disk.
    ///
    /// # Errors
    /// If it cannot be made, or another driver has it; the error says which.
    pub fn lock(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, e))?;
        let file = path.join(LOCK);
        let failed = |e| Error::file(&file, e);
        // Its contents are the holder's name: they stay until the lock has been taken.
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                _ = lock.take(1000).read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(Error::Precondition(format!(
                    "the experiment in {} is in use by {holder}: end that, wait for it, or choose another name",
                    path.display()
                )));
            }
            // Some network file systems know no locks; those are used by one driver as a rule, all the same.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                tracing::warn!(path = %file.display(), "no locks on this file system: a second driver is not noticed");
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        writeln!(lock, "process {} on {} (Lethe {VERSION})", std::process::id(), host.trim())
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal lies, or will.
    pub fn journal(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> Result<()> {
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(|e| Error::file(&self.path, e))
    }
}
