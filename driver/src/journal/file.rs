//! The journal's file, open for more.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use lethe_flight::{Error, Result};

use super::folder::Folder;

pub struct JournalFile {
    file: File,
    path: PathBuf,
    length: u64,
    failed: bool,
    _folder: Folder,
}

impl JournalFile {
    /// A journal that begins with these lines. It is there whole, or not at all.
    pub fn create(folder: Folder, lines: &[u8]) -> Result<Self> {
        let path = folder.journal();
        if path.exists() {
            return Err(Error::Precondition(format!(
                "there is an experiment's journal already: {}; resume it, or choose another name",
                path.display()
            )));
        }
        let new = path.with_extension("new");
        let written =
            File::create(&new).and_then(|mut file| file.write_all(lines).and_then(|()| file.sync_all()));
        written.and_then(|()| std::fs::rename(&new, &path)).map_err(|e| explain(&path, e))?;
        folder.sync()?;
        Self::open(folder, lines.len() as u64)
    }

    /// The one that is there, cut to its valid bytes.
    pub fn open(folder: Folder, valid: u64) -> Result<Self> {
        let path = folder.journal();
        let failed = |e| Error::file(&path, e);
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != valid {
            file.set_len(valid).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Ok(Self { file, path, length: valid, failed: false, _folder: folder })
    }

    /// One whose disk is full.
    #[cfg(test)]
    pub fn full(folder: Folder) -> Self {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        Self { file, path: folder.journal(), length: 0, failed: false, _folder: folder }
    }

    /// All or nothing, as far as the disk allows. After an error nothing more is written.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        self.usable()?;
        if let Err(error) = self.file.write_all(lines) {
            self.failed = true;
            // So that what comes later finds whole records; if it fails, their reader drops the torn one.
            _ = self.file.set_len(self.length);
            return Err(explain(&self.path, error));
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// # Errors
    /// If the disk fails: then nobody knows what it holds, and nothing more is written.
    pub fn sync(&mut self) -> Result<()> {
        self.usable()?;
        self.file.sync_data().map_err(|error| self.fail(error))
    }

    /// What a sync elsewhere came upon.
    pub fn fail(&mut self, error: std::io::Error) -> Error {
        self.failed = true;
        explain(&self.path, error)
    }

    fn usable(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(Error::Precondition(format!(
            "{} could not be written before: nothing more is recorded",
            self.path.display()
        )))
    }

    /// A second handle on the same file.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().map_err(|e| Error::file(&self.path, e))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn length(&self) -> u64 {
        self.length
    }
}

fn explain(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::Exhausted(format!(
                "no room for the experiment's journal {} ({error}): free some and resume the experiment; what was \
                 decided before is kept",
                path.display()
            ))
        }
        _ => Error::file(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_with_the_remedy_and_then_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut file = JournalFile::full(folder);
        let first = file.write(b"x").unwrap_err();
        assert!(matches!(first, Error::Exhausted(_)));
        assert!(
            first.to_string().contains("journal.log") && first.to_string().contains("free some"),
            "{first}"
        );
        let second = file.write(b"x").unwrap_err();
        assert!(second.to_string().contains("could not be written before"), "{second}");
        assert_eq!(file.length(), 0);
    }
}
