//! Slots: each is one Spark task's promise that a worker may run here.
//!
//! - [`run`]: one slot from the moment that its task opens it until it is released or lost.
//! - [`ears`]: what it hears meanwhile.
//! - [`attempt`]: the files of the attempt that a slot runs.
//! - [`held`]: the view that it holds.
//! - [`puts`]: its checkpoints on their way to the driver.
//! - [`worker`]: the slot's worker process and its exchange; [`interface`]: where NCCL listens.

mod attempt;
mod ears;
mod held;
mod interface;
mod puts;
mod run;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::Stream;
use lethe_flight::message::slot::{OpenSlot, SlotEvent};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, wire};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use worker::Workers;

use crate::driver::Driver;
use crate::memory::Limit;
use crate::program::Programs;
use crate::store::Store;
use crate::view::Views;

/// What a slot needs of its executor.
pub struct Host {
    pub driver: Driver,
    pub store: Arc<Store>,
    pub views: Views,
    pub programs: Programs,
    pub workers: Workers,
    pub options: Options,
    pub open: AtomicU32,
    /// Cancelled when the executor ends.
    pub end: CancellationToken,
    pub tasks: TaskTracker,
}

/// How workers are started.
#[derive(Clone)]
pub struct Options {
    pub token: Token,
    /// The token's text, for the worker's stdin.
    pub secret: String,
    pub trainer: PathBuf,
    pub libtorch: Option<PathBuf>,
    /// Runs Python functions.
    pub python: PathBuf,
    /// Where tasks write them.
    pub functions: PathBuf,
    pub threads: u32,
    /// How long a worker has to end an attempt that it is told to stop, before it is killed.
    pub stop: Duration,
    /// For weights on their way and for the workers' logs.
    pub directory: PathBuf,
    pub memory: Option<Limit>,
    /// What the Spark executor's JVM may take, bytes.
    pub jvm_bytes: u64,
}

impl Host {
    /// Opens a slot. It lives as long as the stream is read, and no longer.
    ///
    /// # Errors
    /// If the caller's protocol is another.
    pub fn open(self: &Arc<Self>, slot: OpenSlot) -> Result<impl Stream<Item = SlotEvent> + Send + use<>> {
        if slot.protocol != PROTOCOL {
            return Err(Error::Precondition(format!(
                "the Spark task speaks protocol {} (lethe {}), this executor {PROTOCOL} (lethe {VERSION}): install \
                 one version of lethe on the driver and the executors",
                slot.protocol, slot.version
            )));
        }
        wire::check_name("an experiment", &slot.experiment)?;
        if let Some(function) = &slot.function {
            wire::check_name("a function", function)?;
        }
        let counted = Counted::new(self.clone());
        // A slot says at most three things; the channel never fills.
        let (events, mut said) = mpsc::channel(4);
        let gone = self.end.child_token();
        let host = self.clone();
        let lost = gone.clone();
        self.tasks.spawn(async move {
            let number = slot.slot;
            let last = match run::run(&host, slot, counted.number, &events, lost).await {
                Ok(()) => SlotEvent::Released,
                Err(error) => {
                    tracing::error!(slot = number, %error, "the slot failed");
                    SlotEvent::Failed { error: error.to_string() }
                }
            };
            drop(counted);
            _ = events.send(last).await;
        });
        let guard = gone.drop_guard();
        Ok(futures::stream::poll_fn(move |context| {
            let _held = &guard;
            said.poll_recv(context)
        }))
    }
}

/// Counts a slot while it is open. `number` is how many were open with it.
struct Counted {
    host: Arc<Host>,
    number: u32,
}

impl Counted {
    fn new(host: Arc<Host>) -> Self {
        let number = host.open.fetch_add(1, Ordering::SeqCst) + 1;
        Self { host, number }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.host.open.fetch_sub(1, Ordering::SeqCst);
    }
}
