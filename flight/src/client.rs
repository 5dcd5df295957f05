//! Connections: with the token, time-outs and size limits in place.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::auth::CarryToken;
use crate::exchange::{self, Receiver, Sender};
use crate::wire::{self, Put, Ticket};
use crate::{Error, Result, Token, ipc, limits};

/// A Flight client that carries the token.
pub type Client = FlightServiceClient<InterceptedService<Channel, CarryToken>>;

const CONNECT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(6);

/// Connects to `host:port` within three seconds. A peer that dies later is noticed within eight.
///
/// # Errors
/// [`Error::Unreachable`], which names the address.
pub async fn connect(address: &str, token: &Token) -> Result<Client> {
    let unreachable = |reason: String| Error::Unreachable(format!("cannot reach {address}: {reason}"));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| unreachable(e.to_string()))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    let channel = tokio::time::timeout(CONNECT, channel.connect())
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", CONNECT.as_secs())))?
        .map_err(|e| unreachable(cause(&e)))?;
    Ok(FlightServiceClient::with_interceptor(channel, CarryToken(token.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES))
}

/// tonic says "transport error"; what happened stands at the end of the chain.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Calls an action that answers once.
pub async fn call<Request: Serialize, Answer: DeserializeOwned>(
    client: &mut Client,
    kind: &str,
    request: &Request,
) -> Result<Answer> {
    let mut answers = call_stream(client, kind, request).await?;
    match answers.next().await {
        Some(answer) => answer,
        None => Err(Error::Invalid(format!("{kind} was not answered"))),
    }
}

/// Calls an action that answers with a stream.
pub async fn call_stream<Request: Serialize, Answer: DeserializeOwned>(
    client: &mut Client,
    kind: &str,
    request: &Request,
) -> Result<impl Stream<Item = Result<Answer>> + Unpin + use<Request, Answer>> {
    let answers = client.do_action(wire::action(kind, request)?).await?.into_inner();
    Ok(answers.map(|answer| wire::parse(&answer?.body)))
}

/// Puts an Arrow IPC file; returns when the other side has taken it over.
pub async fn put_file(client: &mut Client, put: &Put, path: std::path::PathBuf) -> Result<()> {
    let (failure, mut failed) = mpsc::channel(1);
    let frames = Described { frames: ipc::send(path).await?, descriptor: Some(put.render()?), failure };
    let mut answers = client.do_put(frames).await?.into_inner();
    while answers.next().await.transpose()?.is_some() {}
    match failed.try_recv() {
        Ok(status) => Err(status.into()),
        Err(_) => Ok(()),
    }
}

/// The frames of a put, the first with the descriptor. A failure of their source ends them, and is told apart
/// from their end by `failure`. A type of its own, for a boxed stream's lifetime keeps the compiler from
/// seeing that what awaits it is `Send`.
struct Described {
    frames: BoxStream<'static, Result<FlightData, Status>>,
    descriptor: Option<FlightDescriptor>,
    failure: mpsc::Sender<Status>,
}

impl Stream for Described {
    type Item = FlightData;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FlightData>> {
        self.frames.poll_next_unpin(context).map(|frame| match frame? {
            Ok(mut frame) => {
                if let Some(descriptor) = self.descriptor.take() {
                    frame.flight_descriptor = Some(descriptor);
                }
                Some(frame)
            }
            Err(status) => {
                _ = self.failure.try_send(status);
                None
            }
        })
    }
}

/// The record batches of a ticket.
pub async fn get(client: &mut Client, ticket: &Ticket) -> Result<FlightRecordBatchStream> {
    let frames = client.do_get(ticket.render()?).await?.into_inner();
    Ok(ipc::decode(frames))
}

/// Opens an exchange and says the first message: the other side may answer only when it has it.
pub async fn exchange<Out: Serialize, In: DeserializeOwned>(
    client: &mut Client,
    first: &Out,
) -> Result<(Sender<Out>, Receiver<In>)> {
    let (sender, frames) = exchange::outgoing();
    sender.send(first).await?;
    let frames = client.do_exchange(frames).await?.into_inner();
    Ok((sender, Receiver::new(frames)))
}
