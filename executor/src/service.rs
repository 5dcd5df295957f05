//! The executor's Flight calls.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightData, Result as ActionResult};
use futures::StreamExt;
use lethe_flight::exchange::{self, Receiver};
use lethe_flight::message::gang::{StoreCall, Stored};
use lethe_flight::message::worker::{FromWorker, ToWorker};
use lethe_flight::server::{Outgoing, Service, answer, answers};
use lethe_flight::wire::{self, Put, Ticket, action};
use lethe_flight::{Error, Result, client, ipc};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::slot::Host;
use crate::view::{self, Learned};

/// Record batches between a view's reader and the network: one is sent while the next is gathered.
const QUEUE: usize = 1;

pub struct Executor(pub Arc<Host>);

#[tonic::async_trait]
impl Service for Executor {
    async fn action(&self, kind: &str, body: &[u8]) -> Result<Outgoing<ActionResult>> {
        match kind {
            action::STORE => {
                let call: StoreCall = wire::parse(body)?;
                let stored: Stored = client::call(&mut self.0.driver.client(), kind, &call).await?;
                answer(&stored)
            }
            action::OPEN_SLOT => Ok(answers(self.0.open(wire::parse(body)?)?)),
            other => Err(Error::Invalid(format!(
                "the executor has no action {:?}",
                other.chars().take(100).collect::<String>()
            ))),
        }
    }

    async fn get(&self, ticket: Ticket) -> Result<Outgoing<FlightData>> {
        match ticket {
            Ticket::Partition { dataset, partition, rows } => {
                let held = self.0.store.get(&dataset, partition).ok_or_else(|| {
                    Error::Precondition(format!(
                        "partition {partition} of dataset {dataset} is not held here"
                    ))
                })?;
                match rows {
                    None => ipc::send(held.path).await,
                    Some(rows) => Ok(encoded(move || view::partition(&held.path, rows))),
                }
            }
            Ticket::Rows { data, part } => {
                let built = self.0.views.get(&self.0.store, &self.0.driver, &data).await?;
                let view = built.without(&data.without)?;
                Ok(stream(move || view::batches(view, part)))
            }
            Ticket::Batches { data, epoch } => {
                let built = self.0.views.get(&self.0.store, &self.0.driver, &data).await?;
                let view = built.without(&data.without)?;
                Ok(stream(move || view::epoch_batches(view, epoch)))
            }
            Ticket::Preprocessing { data } => {
                let built = self.0.views.get(&self.0.store, &self.0.driver, &data).await?;
                let batches = built.learned.batches()?.into_iter().map(Ok);
                Ok(ipc::encode(Learned::schema(), futures::stream::iter(batches)))
            }
            Ticket::Program { .. }
            | Ticket::Initial { .. }
            | Ticket::Weights { .. }
            | Ticket::Checkpoint { .. }
            | Ticket::Sql { .. } => Err(Error::Invalid(
                "programs, weights, checkpoints and queries are the driver's to answer".into(),
            )),
        }
    }

    async fn put(&self, put: Put, frames: Outgoing<FlightData>) -> Result<()> {
        let Put::Partition { dataset, partition } = put else {
            return Err(Error::Invalid("programs, weights and checkpoints are put to the driver".into()));
        };
        self.0.store.put(&dataset, partition, frames).await?;
        // Idempotent, so that a put that was repeated because its answer was lost ends well.
        self.0.driver.announce_one(&self.0.store, &dataset, partition).await
    }

    async fn exchange(&self, frames: Streaming<FlightData>) -> Result<Outgoing<FlightData>> {
        let mut receiver = Receiver::<FromWorker>::new(frames);
        let hello = match receiver.next().await {
            Some(hello) => hello?,
            None => return Err(Error::Invalid("a worker's exchange ended before hello".into())),
        };
        let (sender, frames) = exchange::outgoing::<ToWorker>();
        self.0.workers.connect(hello, sender, receiver)?;
        Ok(frames.map(Ok).boxed())
    }
}

/// Sends record batches of any size and type, read and encoded on a thread of its own.
fn encoded<B>(open: impl FnOnce() -> Result<(SchemaRef, B)> + Send + 'static) -> Outgoing<FlightData>
where
    B: Iterator<Item = Result<RecordBatch>> + Send + 'static,
{
    let (sender, queue) = mpsc::channel(QUEUE);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut frames = match open() {
            Ok((schema, batches)) => ipc::encode(schema, futures::stream::iter(batches)),
            Err(error) => futures::stream::iter([Err(error.into())]).boxed(),
        };
        runtime.block_on(async {
            while let Some(frame) = frames.next().await {
                if sender.send(frame).await.is_err() {
                    break;
                }
            }
        });
    });
    ReceiverStream::new(queue).boxed()
}

/// Sends record batches that a thread of its own makes, each as it is, no faster than they are taken.
fn stream<B>(open: impl FnOnce() -> Result<(SchemaRef, B)> + Send + 'static) -> Outgoing<FlightData>
where
    B: Iterator<Item = Result<RecordBatch>>,
{
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let (schema, batches) = match open() {
            Ok(opened) => opened,
            Err(error) => {
                _ = sender.blocking_send(Err(error.into()));
                return;
            }
        };
        for frame in view::frames(&schema, batches) {
            if sender.blocking_send(frame.map_err(Status::from)).is_err() {
                break;
            }
        }
    });
    ReceiverStream::new(queue).boxed()
}
