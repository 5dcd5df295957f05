//! A Flight service behind the token and the size limits.
//!
//! A service implements the calls of [`Service`] that it has; the rest answer `unimplemented`.

use std::future::Future;
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaAsIpc, SchemaResult,
    Ticket as FlightTicket,
};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::RequireToken;
use crate::lending::Lending;
use crate::wire::{self, Flight, Put, Ticket};
use crate::{Error, Result, Token, limits};

/// A stream of answers or frames.
pub type Outgoing<T> = BoxStream<'static, Result<T, Status>>;

/// The calls of a service. Arguments have been parsed and are within their limits.
#[tonic::async_trait]
pub trait Service: Send + Sync + 'static {
    /// `body` is JSON within [`limits::CONTROL_BYTES`]; answers are made by [`answer`] or [`answers`].
    async fn action(&self, kind: &str, body: &[u8]) -> Result<Outgoing<ActionResult>>;

    async fn get(&self, ticket: Ticket) -> Result<Outgoing<FlightData>>;

    /// `frames` begins with the schema. Returns when the data are safe.
    async fn put(&self, put: Put, frames: Outgoing<FlightData>) -> Result<()>;

    async fn exchange(&self, frames: Streaming<FlightData>) -> Result<Outgoing<FlightData>>;

    /// ListFlights.
    async fn list(&self) -> Result<Outgoing<FlightInfo>> {
        Err(unimplemented("list_flights"))
    }

    /// GetFlightInfo. What was asked for becomes the answer's descriptor.
    async fn info(&self, _flight: Flight) -> Result<FlightInfo> {
        Err(unimplemented("get_flight_info"))
    }

    /// GetSchema.
    async fn schema(&self, _flight: Flight) -> Result<Schema> {
        Err(unimplemented("get_schema"))
    }
}

fn unimplemented(call: &str) -> Error {
    Status::unimplemented(call).into()
}

/// One answer to an action.
pub fn answer<M: Serialize>(message: &M) -> Result<Outgoing<ActionResult>> {
    let body = wire::render(message)?;
    Ok(futures::stream::once(async move { Ok(ActionResult { body: body.into() }) }).boxed())
}

/// A stream of answers to an action.
pub fn answers<M: Serialize>(messages: impl Stream<Item = M> + Send + 'static) -> Outgoing<ActionResult> {
    messages
        .map(|message| match wire::render(&message) {
            Ok(body) => Ok(ActionResult { body: body.into() }),
            Err(error) => Err(error.into()),
        })
        .boxed()
}

/// Serves until `shutdown` is ready. Calls that are open then end with the runtime that they run on.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    service: impl Service,
    listener: TcpListener,
    token: Token,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let flight = Lending::new(Adapter(service));
    let guarded = tonic::service::interceptor::InterceptedService::new(flight, RequireToken(token));
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    });
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(6)))
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size((1 << 24) - 1)
        .add_service(guarded)
        .serve_with_incoming(incoming);
    tokio::select! {
        served = server => served.map_err(|e| Error::Unreachable(format!("the Flight server failed: {e}"))),
        () = shutdown => Ok(()),
    }
}

struct Adapter<S>(S);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl<S: Service> FlightService for Adapter<S> {
    type HandshakeStream = Outgoing<HandshakeResponse>;
    type ListFlightsStream = Outgoing<FlightInfo>;
    type DoGetStream = Outgoing<FlightData>;
    type DoPutStream = Outgoing<PutResult>;
    type DoExchangeStream = Outgoing<FlightData>;
    type DoActionStream = Outgoing<ActionResult>;
    type ListActionsStream = Outgoing<ActionType>;

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let action = request.into_inner();
        if action.body.len() > limits::CONTROL_BYTES {
            return Err(Status::resource_exhausted(format!(
                "the body of {} has {} bytes, more than the limit of {}",
                action.r#type.chars().take(limits::NAME_BYTES).collect::<String>(),
                action.body.len(),
                limits::CONTROL_BYTES
            )));
        }
        Ok(Response::new(self.0.action(&action.r#type, &action.body).await?))
    }

    async fn do_get(&self, request: Request<FlightTicket>) -> Answer<Self::DoGetStream> {
        let ticket = Ticket::parse(request.get_ref())?;
        Ok(Response::new(self.0.get(ticket).await?))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.ok_or_else(|| Status::invalid_argument("an empty put"))?;
        let put = Put::parse(first.flight_descriptor.as_ref())?;
        let frames = futures::stream::once(async { Ok(first) }).chain(frames).boxed();
        self.0.put(put, frames).await?;
        let done = futures::stream::once(async { Ok(PutResult::default()) });
        Ok(Response::new(done.boxed()))
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        Ok(Response::new(self.0.exchange(request.into_inner()).await?))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        Err(Status::unimplemented("the token is a header of each call; there is no handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Ok(Response::new(self.0.list().await?))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let descriptor = request.into_inner();
        let info = self.0.info(Flight::parse(&descriptor)?).await?;
        Ok(Response::new(info.with_descriptor(descriptor)))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(Status::unimplemented("poll_flight_info"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let schema = self.0.schema(Flight::parse(request.get_ref())?).await?;
        let options = IpcWriteOptions::default();
        let result = SchemaResult::try_from(SchemaAsIpc::new(&schema, &options)).map_err(Error::from)?;
        Ok(Response::new(result))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        Err(Status::unimplemented("list_actions"))
    }
}
