//! The executor's tie to its driver, over real connections.

#![allow(clippy::unwrap_used)] // a test may

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::{FlightData, Result as ActionResult};
use futures::StreamExt;
use lethe_executor::driver::Driver;
use lethe_executor::store::Store;
use lethe_flight::message::slot::Registered;
use lethe_flight::server::{Outgoing, Service, answers, serve};
use lethe_flight::wire::{Put, Ticket, action};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION};
use tokio::net::TcpListener;
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
        let hello = Registered { protocol: self.protocol, version: "9.9.9".into() };
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

/// A registered executor's store folder, and what is cancelled when its driver has gone.
async fn register(protocol: u32, end: CancellationToken) -> Result<(tempfile::TempDir, CancellationToken)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let token = Token::new(&"t".repeat(40)).unwrap();
    tokio::spawn(serve(Peer { protocol }, listener, token.clone(), end.cancelled_owned()));
    let driver = Driver::connect(address, token, "e".into(), "127.0.0.1:1".into()).await?;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path().into()).unwrap());
    let gone = CancellationToken::new();
    driver.register(store, gone.clone()).await?;
    Ok((folder, gone))
}

#[tokio::test]
async fn a_driver_of_another_protocol_is_refused_with_both_named() {
    let error = register(999, CancellationToken::new()).await.unwrap_err().to_string();
    for part in ["999", "9.9.9", &format!("protocol {PROTOCOL}"), VERSION] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_driver_that_vanishes_is_noticed_within_five_seconds() {
    let end = CancellationToken::new();
    let (_folder, gone) = register(PROTOCOL, end.clone()).await.unwrap();
    assert!(!gone.is_cancelled());
    end.cancel();
    tokio::time::timeout(Duration::from_secs(5), gone.cancelled()).await.unwrap();
}
