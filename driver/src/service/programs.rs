//! Programs: files by their hash.

use std::path::PathBuf;

use arrow_flight::FlightData;
use lethe_flight::ipc::Unfinished;
use lethe_flight::server::Outgoing;
use lethe_flight::{Error, Result, blob, ipc};

/// The programs of all experiments, each once, by its hash.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub fn new(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
        Ok(Self { folder })
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(hash)
    }

    /// # Errors
    /// If it is not a hash, or no such program has been put.
    pub fn find(&self, hash: &str) -> Result<PathBuf> {
        blob::check_hash(hash)?;
        let path = self.path(hash);
        if !path.is_file() {
            return Err(Error::Precondition(format!("program {hash} has not been put to this driver")));
        }
        Ok(path)
    }

    /// A program that is there already is read to its end and changes nothing.
    pub async fn receive(&self, frames: Outgoing<FlightData>, hash: String) -> Result<()> {
        blob::check_hash(&hash)?;
        let path = self.path(&hash);
        // Under a name of its own: two puts of one program at once do not write into one another's file.
        let own = Unfinished::beside(&path);
        blob::receive(ipc::decode(frames), own.path().to_owned(), hash).await?;
        own.finish(&path)
    }
}
