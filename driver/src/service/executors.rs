//! Executors register and leave. Leaving is the end of the registration's answer stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::stream::{self, Stream, StreamExt};
use lethe_flight::message::slot::{RegisterExecutor, ToExecutor};
use lethe_flight::{PROTOCOL, Result, VERSION, wire};

use super::{check, lock};
use crate::catalog::Catalog;

pub struct Executors {
    catalog: Arc<Mutex<Catalog>>,
    /// The latest registration of each: the end of an earlier one does not mean that the executor has left.
    registrations: Arc<Mutex<Registrations>>,
}

#[derive(Default)]
struct Registrations {
    next: u64,
    current: HashMap<String, u64>,
}

impl Executors {
    pub fn new(catalog: Arc<Mutex<Catalog>>) -> Self {
        Self { catalog, registrations: Arc::default() }
    }

    /// The answers of the action: one, then silence until the executor goes.
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
        let presence = Presence {
            executor,
            registration,
            catalog: self.catalog.clone(),
            registrations: self.registrations.clone(),
        };
        let first =
            stream::once(async { ToExecutor::Registered { protocol: PROTOCOL, version: VERSION.into() } });
        let silence = stream::once(async move {
            // Dropped with the stream, which tonic does when the connection has gone.
            let _presence = presence;
            std::future::pending().await
        });
        Ok(first.chain(silence))
    }
}

struct Presence {
    executor: String,
    registration: u64,
    catalog: Arc<Mutex<Catalog>>,
    registrations: Arc<Mutex<Registrations>>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut registrations = lock(&self.registrations);
        if registrations.current.get(&self.executor) == Some(&self.registration) {
            registrations.current.remove(&self.executor);
            lock(&self.catalog).leave(&self.executor);
            tracing::info!(executor = self.executor, "executor left");
        }
    }
}
