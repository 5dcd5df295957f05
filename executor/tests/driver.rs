//! The executor's tie to its driver, over real connections.

#![allow(clippy::unwrap_used)] // a test may

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::{FlightData, Result as ActionResult};
use futures::StreamExt;
use lethe_executor::driver::Driver;
use lethe_executor::orders::Orders;
use lethe_executor::store::Store;
use lethe_flight::message::slot::ToExecutor;
use lethe_flight::server::{Outgoing, Service, answers, serve};
use lethe_flight::wire::{Put, Ticket, action};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// A driver of some protocol that takes registrations and nothing else.
struct Peer {
    protocol: u32,
}

#[tonic::async_trait]
impl Service for Peer {
    async fn action(&self, kind: &str, _: &[u8]) -> Result<Outgoing<ActionResult>> {
        assert_eq!(kind, action::REGISTER);
        let hello = ToExecutor::Registered { protocol: self.protocol, version: "9.9.9".into() };
        Ok(answers(futures::stream::once(async { hello }).chain(futures::stream::pending())))
    }
    async fn get(&self, _: Ticket) -> Result<Outgoing<FlightData>> {
        Err(Error::Invalid("not here".into()))
    }
    async fn put(&self, _: Put, _: Outgoing<FlightData>) -> Result<()> {
        Err(Error::Invalid("not here".into()))
    }
    async fn exchange(&self, _: Streaming<FlightData>) -> Result<Outgoing<FlightData>> {
        Err(Error::Invalid("not here".into()))
    }
}

/// A registered executor's store folder, and what is cancelled when its driver has gone. The driver has a
/// runtime of its own, whose end cuts its connections as the end of a process does.
async fn register(runtime: &Runtime, protocol: u32) -> Result<(tempfile::TempDir, CancellationToken)> {
    let token = Token::new(&"t".repeat(40)).unwrap();
    let listener = runtime.spawn(TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
    let address = listener.local_addr().unwrap().to_string();
    runtime.spawn(serve(Peer { protocol }, listener, token.clone(), std::future::pending()));
    let driver = Driver::connect(address, token, "e".into(), "127.0.0.1:1".into()).await?;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path().into()).unwrap());
    let gone = CancellationToken::new();
    driver.register(store, Orders::default(), gone.clone()).await?;
    Ok((folder, gone))
}

#[tokio::test]
async fn a_driver_of_another_protocol_is_refused_with_both_named() {
    let runtime = Runtime::new().unwrap();
    let error = register(&runtime, 999).await.unwrap_err().to_string();
    runtime.shutdown_background();
    for part in ["999", "9.9.9", &format!("protocol {PROTOCOL}"), VERSION] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_driver_that_vanishes_is_noticed_within_seconds() {
    let runtime = Runtime::new().unwrap();
    let (_folder, gone) = register(&runtime, PROTOCOL).await.unwrap();
    assert!(!gone.is_cancelled());
    runtime.shutdown_background();
    tokio::time::timeout(Duration::from_secs(15), gone.cancelled()).await.unwrap();
}
