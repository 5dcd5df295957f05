//! The tie to the driver: registration, whose stream ends with it, and calls.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use lethe_flight::client::{self, Client};
use lethe_flight::message::dataset::{AnnouncePartition, LocateDataset, Located};
use lethe_flight::message::slot::{ExecutorLog, RegisterExecutor, ToExecutor};
use lethe_flight::wire::action;
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::orders::Orders;
use crate::store::{Store, announcement};

/// How long a driver that no longer answers is called again before it counts as gone.
const GONE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(250);

/// How long the driver may take to answer a registration.
const ANSWER: Duration = Duration::from_secs(5);

/// The answer to a registration, which ends with the driver.
type Tie = Box<dyn Stream<Item = Result<ToExecutor>> + Send + Unpin>;

/// This executor, as its driver knows it.
#[derive(Clone)]
pub struct Driver {
    client: Client,
    token: Token,
    executor: String,
    address: String,
    driver: String,
}

impl Driver {
    /// # Errors
    /// If the driver cannot be reached within three seconds; the error names both addresses.
    pub async fn connect(driver: String, token: Token, executor: String, address: String) -> Result<Self> {
        match client::connect(&driver, &token).await {
            Ok(client) => Ok(Self { client, token, executor, address, driver }),
            Err(error) => Err(unreachable(&address, &driver, &error.to_string())),
        }
    }

    pub fn executor(&self) -> &str {
        &self.executor
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn token(&self) -> &Token {
        &self.token
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers, announces what is held, hands on what the driver wants, and cancels `gone` when the driver has
    /// vanished.
    ///
    /// # Errors
    /// If the driver refuses, as one of another protocol does.
    pub async fn register(
        &self,
        store: std::sync::Arc<Store>,
        orders: Orders,
        gone: CancellationToken,
    ) -> Result<()> {
        let hello = tokio::time::timeout(ANSWER, self.hello()).await;
        let mut tie = hello.map_err(|_| {
            self.unreachable(&format!("it takes connections and has not answered for {} s", ANSWER.as_secs()))
        })??;
        self.announce(&store).await?;
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                while let Some(Ok(order)) = tie.next().await {
                    orders.take(order);
                }
                match this.again(&store).await {
                    Some(next) => tie = next,
                    None => break,
                }
            }
            tracing::info!(driver = this.driver, "the driver has gone");
            gone.cancel();
        });
        Ok(())
    }

    fn unreachable(&self, reason: &str) -> Error {
        unreachable(&self.address, &self.driver, reason)
    }

    async fn hello(&self) -> Result<Tie> {
        let request = RegisterExecutor {
            protocol: PROTOCOL,
            version: VERSION.into(),
            executor: self.executor.clone(),
            address: self.address.clone(),
        };
        let mut tie: Tie =
            Box::new(client::call_stream(&mut self.client(), action::REGISTER, &request).await?);
        match tie.next().await {
            Some(Ok(ToExecutor::Registered { protocol, .. })) if protocol == PROTOCOL => Ok(tie),
            Some(Ok(ToExecutor::Registered { protocol, version })) => Err(Error::Precondition(format!(
                "this executor speaks protocol {PROTOCOL} (lethe {VERSION}), its driver {protocol} (lethe {version}): \
                 install one version of lethe on the driver and the executors"
            ))),
            Some(Ok(other)) => {
                Err(Error::Invalid(format!("the driver answered a registration with {other:?}")))
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Unreachable(format!("the driver at {} ended the registration", self.driver))),
        }
    }

    /// A connection may break where the driver has not: registers again, for [`GONE`] at most.
    async fn again(&self, store: &Store) -> Option<Tie> {
        let started = Instant::now();
        while started.elapsed() < GONE {
            tokio::time::sleep(RETRY).await;
            if let Ok(Ok(tie)) = tokio::time::timeout(GONE, self.hello()).await
                && self.announce(store).await.is_ok()
            {
                tracing::warn!("registered again with the driver after a broken connection");
                return Some(tie);
            }
        }
        None
    }

    /// Tells the driver what was logged here.
    pub async fn log(&self, text: String) -> Result<()> {
        let log = ExecutorLog { executor: self.executor.clone(), text };
        client::call(&mut self.client(), action::EXECUTOR_LOG, &log).await
    }

    /// Tells the driver all that is held here. Idempotent. What it refuses, it has no use for.
    pub async fn announce(&self, store: &Store) -> Result<()> {
        for announcement in store.announcements(&self.executor, &self.address) {
            match self.say(&announcement).await {
                Err(error) if is_refusal(&error) => tracing::warn!(%error, "a partition is not announced"),
                said => said?,
            }
        }
        Ok(())
    }

    /// Tells the driver of one partition that is held here.
    ///
    /// # Errors
    /// If the driver refuses it, because its rows are not those that it knows, or its dataset was dropped: then it is
    /// held no longer.
    pub async fn announce_one(&self, store: &Store, dataset: &str, partition: u32) -> Result<()> {
        let Some(held) = store.get(dataset, partition) else { return Ok(()) };
        let said = self.say(&announcement(dataset, partition, &held, &self.executor, &self.address)).await;
        if said.as_ref().is_err_and(is_refusal) {
            store.remove(dataset, partition);
        }
        said
    }

    async fn say(&self, announcement: &AnnouncePartition) -> Result<()> {
        client::call(&mut self.client(), action::ANNOUNCE, announcement).await
    }

    pub async fn locate(&self, dataset: &str) -> Result<Located> {
        let request = LocateDataset { dataset: dataset.into() };
        client::call(&mut self.client(), action::LOCATE, &request).await
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Remote(status) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument))
}

fn unreachable(executor: &str, driver: &str, reason: &str) -> Error {
    Error::Unreachable(format!(
        "the executor at {executor} cannot reach the Lethe driver at {driver}: open that port to the executors, or \
         set driver_host and driver_port in lethe.Settings ({reason})"
    ))
}
