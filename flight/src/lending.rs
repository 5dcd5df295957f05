//! DoGet without a copy of what it sends: gRPC's own encoder puts each message into a buffer of its own, while here a
//! frame's body goes to the network from where it lies, such as a mapped file.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{FlightData, Ticket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::server::NamedService;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::limits;
use crate::server::Outgoing;

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";
/// The field `data_body` of `FlightData`, its last.
const DATA_BODY: u32 = 1000;
/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// A shorter body is copied behind its header: one write for both.
const SHORT: usize = 4 << 10;

/// A Flight server whose DoGet is answered here.
pub struct Lending<F: FlightService> {
    service: Arc<F>,
    server: FlightServiceServer<F>,
}

impl<F: FlightService> Lending<F> {
    pub fn new(service: F) -> Self {
        let service = Arc::new(service);
        let server = FlightServiceServer::from_arc(Arc::clone(&service))
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        Self { service, server }
    }
}

impl<F: FlightService> Clone for Lending<F> {
    fn clone(&self) -> Self {
        Self { service: Arc::clone(&self.service), server: self.server.clone() }
    }
}

impl<F: FlightService> NamedService for Lending<F> {
    const NAME: &'static str = <FlightServiceServer<F> as NamedService>::NAME;
}

impl<F: FlightService<DoGetStream = Outgoing<FlightData>>> Service<http::Request<Body>> for Lending<F> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != DO_GET {
            return self.server.call(request);
        }
        let service = Arc::clone(&self.service);
        async move {
            Ok(match get(&*service, request).await {
                Ok(frames) => response(frames),
                Err(status) => status.into_http(),
            })
        }
        .boxed()
    }
}

async fn get<F>(service: &F, request: http::Request<Body>) -> Result<Outgoing<FlightData>, Status>
where
    F: FlightService<DoGetStream = Outgoing<FlightData>>,
{
    let decoder = ProstCodec::<FlightData, Ticket>::default().decoder();
    let body = request.into_body();
    let mut tickets = Streaming::new_request(decoder, body, None, Some(limits::MESSAGE_BYTES));
    let ticket = tickets.message().await?;
    let ticket = ticket.ok_or_else(|| Status::invalid_argument("a DoGet without a ticket"))?;
    Ok(service.do_get(Request::new(ticket)).await?.into_inner())
}

fn response(frames: Outgoing<FlightData>) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Frames { frames: Some(frames), next: VecDeque::new() }));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// The body of an answer: messages, and a status at the end.
struct Frames {
    /// None once the status is out.
    frames: Option<Outgoing<FlightData>>,
    /// The rest of the message that was begun.
    next: VecDeque<Bytes>,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(bytes) = self.next.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
            let status = match std::task::ready!(frames.poll_next_unpin(context)) {
                Some(Ok(frame)) => match encode(frame) {
                    Ok(parts) => {
                        self.next.extend(parts);
                        continue;
                    }
                    Err(status) => status,
                },
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.frames = None;
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }
}

/// A message as gRPC frames it: all before the body's bytes, and these as they lie.
fn encode(mut frame: FlightData) -> Result<Vec<Bytes>, Status> {
    let body = std::mem::take(&mut frame.data_body);
    let mut head = BytesMut::with_capacity(PREFIX + frame.encoded_len() + 16);
    head.put_bytes(0, PREFIX);
    frame.encode(&mut head).map_err(|error| Status::internal(error.to_string()))?;
    if !body.is_empty() {
        encode_key(DATA_BODY, WireType::LengthDelimited, &mut head);
        encode_varint(body.len() as u64, &mut head);
    }
    let length = head.len() - PREFIX + body.len();
    if length > limits::MESSAGE_BYTES {
        return Err(Status::out_of_range(format!(
            "a message of {length} bytes is more than the limit of {}",
            limits::MESSAGE_BYTES
        )));
    }
    head[1..PREFIX].copy_from_slice(&(length as u32).to_be_bytes());
    if body.len() < SHORT {
        head.extend_from_slice(&body);
        return Ok(vec![head.freeze()]);
    }
    Ok(vec![head.freeze(), body])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_flight::FlightDescriptor;

    fn frame(bytes: usize) -> FlightData {
        FlightData {
            flight_descriptor: Some(FlightDescriptor::new_cmd("what")),
            data_header: Bytes::from_static(b"header"),
            app_metadata: Bytes::from_static(b"more"),
            data_body: (0..bytes).map(|n| n as u8).collect(),
        }
    }

    #[test]
    fn a_message_is_what_grpc_would_have_made_of_it() {
        for bytes in [0, 1, SHORT - 1, SHORT, 100_000] {
            let whole = encode(frame(bytes)).unwrap().concat();
            assert_eq!(whole[0], 0, "not compressed");
            assert_eq!(
                u32::from_be_bytes(whole[1..PREFIX].try_into().unwrap()) as usize,
                whole.len() - PREFIX
            );
            assert_eq!(whole[PREFIX..], frame(bytes).encode_to_vec());
        }
    }

    #[test]
    fn a_long_body_is_lent() {
        let frame = frame(SHORT);
        let lies_at = frame.data_body.as_ptr();
        assert_eq!(encode(frame).unwrap()[1].as_ptr(), lies_at);
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        let status = encode(FlightData { data_body: vec![0; limits::MESSAGE_BYTES].into(), ..frame(0) });
        assert_eq!(status.unwrap_err().code(), tonic::Code::OutOfRange);
    }
}
