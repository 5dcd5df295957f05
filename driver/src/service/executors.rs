//! Executors register, are told what to copy and to drop, and leave. Leaving is the end of the registration's answer
//! stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::stream::{self, Stream, StreamExt};
use lethe_flight::message::slot::{RegisterExecutor, ToExecutor};
use lethe_flight::{PROTOCOL, Result, VERSION, wire};
use tokio::sync::watch;

use super::{check, lock};
use crate::catalog::Catalog;

pub struct Executors {
    catalog: Arc<Mutex<Catalog>>,
    /// The latest registration of each: the end of an earlier one does not mean that the executor has left.
    registrations: Arc<Mutex<Registrations>>,
    /// The catalog may want something else of them.
    changed: Arc<watch::Sender<()>>,
}

#[derive(Default)]
struct Registrations {
    next: u64,
    current: HashMap<String, u64>,
}

impl Executors {
    pub fn new(catalog: Arc<Mutex<Catalog>>) -> Self {
        Self { catalog, registrations: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }

    /// To be called when the catalog has changed.
    pub fn notify(&self) {
        self.changed.send_replace(());
    }

    /// The answers of the action: one, then what the catalog wants of the executor, until it goes.
    ///
    /// # Errors
    /// If it speaks another protocol.
    pub fn register(
        &self,
        request: &RegisterExecutor,
    ) -> Result<impl Stream<Item = ToExecutor> + Send + 'static + use<>> {
        check::protocol("the executor", request.protocol, &request.version)?;
        wire::check_name("an executor", &request.executor)?;
        let executor = request.executor.clone();
        let registration = {
            let mut registrations = lock(&self.registrations);
            registrations.next += 1;
            let registration = registrations.next;
            registrations.current.insert(executor.clone(), registration);
            lock(&self.catalog).join(&executor);
            registration
        };
        tracing::info!(executor, address = request.address, "executor registered");
        let changes = self.changed.subscribe();
        let presence = Presence {
            executor,
            registration,
            catalog: self.catalog.clone(),
            registrations: self.registrations.clone(),
            changed: self.changed.clone(),
        };
        self.notify();
        let first =
            stream::once(async { ToExecutor::Registered { protocol: PROTOCOL, version: VERSION.into() } });
        // The presence is dropped with the stream, which tonic does when the connection has gone.
        let orders = stream::unfold((presence, changes), |(presence, mut changes)| async move {
            let order = presence.next(&mut changes).await?;
            Some((order, (presence, changes)))
        });
        Ok(first.chain(orders))
    }
}

struct Presence {
    executor: String,
    registration: u64,
    catalog: Arc<Mutex<Catalog>>,
    registrations: Arc<Mutex<Registrations>>,
    changed: Arc<watch::Sender<()>>,
}

impl Presence {
    /// None when the executor has registered anew.
    async fn next(&self, changes: &mut watch::Receiver<()>) -> Option<ToExecutor> {
        loop {
            changes.borrow_and_update();
            if lock(&self.registrations).current.get(&self.executor) != Some(&self.registration) {
                return None;
            }
            if let Some(order) = lock(&self.catalog).next_order(&self.executor) {
                return Some(order);
            }
            changes.changed().await.ok()?;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut registrations = lock(&self.registrations);
        if registrations.current.get(&self.executor) == Some(&self.registration) {
            registrations.current.remove(&self.executor);
            lock(&self.catalog).leave(&self.executor);
            self.changed.send_replace(());
            tracing::info!(executor = self.executor, "executor left");
        }
    }
}
