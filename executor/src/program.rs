//! What attempts need of the driver: programs, once for all slots; initial weights and checkpoints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use lethe_flight::message::training::ProgramRef;
use lethe_flight::wire::Ticket;
use lethe_flight::{Error, Result, blob, client, ipc, limits};
use tokio::sync::{Mutex, OnceCell};

use crate::driver::Driver;

/// Files of programs, by hash.
pub struct Programs {
    directory: PathBuf,
    fetched: Mutex<HashMap<String, Arc<OnceCell<PathBuf>>>>,
}

impl Programs {
    /// Opens a folder; programs that lie there are used. Blocks.
    pub fn open(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|e| Error::file(&directory, e))?;
        Ok(Self { directory, fetched: Mutex::default() })
    }

    /// The file of a program; fetches it the first time. Slots that ask at once share one fetch.
    pub async fn get(&self, driver: &Driver, program: &ProgramRef) -> Result<PathBuf> {
        blob::check_hash(&program.hash)?;
        let cell = self.fetched.lock().await.entry(program.hash.clone()).or_default().clone();
        let path = self.directory.join(format!("{}.pt", program.hash));
        let fetched = cell.get_or_try_init(|| async {
            if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
                let ticket = Ticket::Program { hash: program.hash.clone() };
                let batches = client::get(&mut driver.client(), &ticket).await?;
                blob::receive(batches, path.clone(), program.hash.clone()).await?;
            }
            Ok::<_, Error>(path.clone())
        });
        fetched.await.cloned()
    }
}

/// Fetches initial weights or a checkpoint into `path`.
pub async fn fetch(driver: &Driver, ticket: &Ticket, path: PathBuf) -> Result<()> {
    let frames = driver.client().do_get(ticket.render()?).await?.into_inner();
    ipc::receive(ipc::decode(frames.boxed()), path, limits::WEIGHTS_BYTES).await?;
    Ok(())
}
