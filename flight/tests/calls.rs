//! A service behind the token and the limits, over real connections.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow_flight::{FlightData, Result as ActionResult};
use futures::StreamExt;
use lethe_flight::server::{Outgoing, Service, answer, serve};
use lethe_flight::wire::{Put, Ticket};
use lethe_flight::{Error, Result, Token, client, ipc, limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tonic::{Code, Streaming};

/// Answers `echo` with its body, counts the rows put, says back what an exchange brings, and gives a partition of as
/// many rows as its number, twice, before it fails.
#[derive(Clone, Default)]
struct Echo {
    calls: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Service for Echo {
    async fn action(&self, kind: &str, body: &[u8]) -> Result<Outgoing<ActionResult>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(kind, "echo");
        answer(&serde_json::from_slice::<serde_json::Value>(body)?)
    }
    async fn get(&self, ticket: Ticket) -> Result<Outgoing<FlightData>> {
        let Ticket::Partition { partition, .. } = ticket else {
            return Err(Error::Precondition(format!("no {ticket:?}")));
        };
        let rows = numbers(partition as i32);
        let batches =
            [Ok(rows.clone()), Ok(rows.clone()), Err(Error::Precondition("the disk is gone".into()))];
        Ok(ipc::encode(rows.schema(), futures::stream::iter(batches)))
    }
    async fn put(&self, _: Put, frames: Outgoing<FlightData>) -> Result<()> {
        let mut batches = ipc::decode(frames);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|e| Error::Invalid(e.to_string()))?;
            self.rows.fetch_add(batch.num_rows(), Ordering::SeqCst);
        }
        Ok(())
    }
    async fn exchange(&self, frames: Streaming<FlightData>) -> Result<Outgoing<FlightData>> {
        Ok(frames.boxed())
    }
}

fn numbers(rows: i32) -> RecordBatch {
    let column = Arc::new(Int32Array::from_iter_values(0..rows));
    RecordBatch::try_from_iter([("a", column as ArrayRef)]).unwrap()
}

fn token(letter: &str) -> Token {
    Token::new(&letter.repeat(40)).unwrap()
}

async fn start(echo: Echo) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(echo, listener, token("a"), std::future::pending()));
    address
}

#[tokio::test]
async fn a_call_without_the_token_is_refused_before_it_is_parsed() {
    let echo = Echo::default();
    let address = start(echo.clone()).await;
    let mut good = client::connect(&address, &token("a")).await.unwrap();
    let back: String = client::call(&mut good, "echo", &"hello").await.unwrap();
    assert_eq!(back, "hello");
    let mut bad = client::connect(&address, &token("b")).await.unwrap();
    let refused = client::call::<_, String>(&mut bad, "echo", &"hello").await.unwrap_err();
    assert!(matches!(&refused, Error::Remote(s) if s.code() == Code::Unauthenticated), "{refused:?}");
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut none = arrow_flight::flight_service_client::FlightServiceClient::new(channel);
    // Not a message of ours at all: the refusal comes first.
    let garbage = arrow_flight::Ticket { ticket: vec![0xff; 100].into() };
    assert_eq!(none.do_get(garbage).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(echo.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn messages_over_their_limits_are_refused() {
    let echo = Echo::default();
    let address = start(echo.clone()).await;
    let mut client = client::connect(&address, &token("a")).await.unwrap();
    let long = "x".repeat(limits::CONTROL_BYTES);
    let refused = client::call::<_, String>(&mut client, "echo", &long).await.unwrap_err();
    assert!(matches!(&refused, Error::Remote(s) if s.code() == Code::ResourceExhausted), "{refused:?}");
    // A frame over gRPC's own limit: the decoder refuses it by its length.
    let mut raw = client.clone().max_encoding_message_size(usize::MAX);
    let frame = FlightData { data_body: vec![0; limits::MESSAGE_BYTES + 1].into(), ..Default::default() };
    let answer = raw.do_exchange(futures::stream::iter([frame])).await;
    let refused = match answer {
        Err(status) => status,
        Ok(stream) => stream.into_inner().next().await.unwrap().unwrap_err(),
    };
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0);
    let ticket = Ticket::Program { hash: "x".repeat(limits::CONTROL_BYTES) };
    let refused = client.do_get(ticket.render().unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_get_that_fails_on_its_way_says_so_after_what_came() {
    let address = start(Echo::default()).await;
    let mut client = client::connect(&address, &token("a")).await.unwrap();
    // Of a few bytes, and of more than one Flight message.
    for rows in [3, 5 << 20] {
        let ticket = Ticket::Partition { dataset: "d".into(), partition: rows, rows: None };
        let mut batches = client::get(&mut client, &ticket).await.unwrap();
        let mut arrived: Vec<RecordBatch> = Vec::new();
        let error = loop {
            match batches.next().await.unwrap() {
                Ok(batch) => arrived.push(batch),
                Err(error) => break ipc::from_flight(error),
            }
        };
        assert!(
            matches!(&error, Error::Remote(s) if s.code() == Code::FailedPrecondition && s.message() == "the disk is gone"),
            "{error:?}"
        );
        let arrived = arrow::compute::concat_batches(&arrived[0].schema(), &arrived).unwrap();
        let half = rows as usize;
        assert_eq!(arrived.num_rows(), 2 * half);
        assert_eq!(
            [arrived.slice(0, half), arrived.slice(half, half)],
            [numbers(rows as i32), numbers(rows as i32)]
        );
    }
    let ticket = Ticket::Program { hash: "0".repeat(64) };
    let refused = client::get(&mut client, &ticket).await.err().unwrap();
    assert!(matches!(&refused, Error::Remote(s) if s.code() == Code::FailedPrecondition), "{refused:?}");
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = client::connect(&address, &token("a")).await.unwrap_err();
    assert!(error.is_disconnect() && error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_file_that_is_put_arrives_and_an_exchange_speaks_both_ways() {
    let echo = Echo::default();
    let address = start(echo.clone()).await;
    let mut client = client::connect(&address, &token("a")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let batch = numbers(1000);
    ipc::write_file(&path, &batch.schema(), [batch].into_iter(), u64::MAX).unwrap();
    client::put_file(&mut client, &Put::Program { hash: "0".repeat(64) }, path).await.unwrap();
    assert_eq!(echo.rows.load(Ordering::SeqCst), 1000);
    let (sender, mut receiver) =
        client::exchange::<String, String>(&mut client, &"one".into()).await.unwrap();
    sender.send(&"two".into()).await.unwrap();
    assert_eq!(receiver.next().await.unwrap().unwrap(), "one");
    assert_eq!(receiver.next().await.unwrap().unwrap(), "two");
    drop(sender);
    assert!(receiver.next().await.is_none());
}
