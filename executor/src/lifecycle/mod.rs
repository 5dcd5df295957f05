//! Start and end of the executor's process.
//!
//! It ends when the Spark executor's JVM does, when Spark's local directory vanishes (a clean stop of the
//! application, also where the JVM lives on), or when the driver has gone. Spark sends it no signal.

mod info;
mod sending;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lethe_flight::owner;
use lethe_flight::process::ExecutorConfig;
use lethe_flight::{Error, Result, Token, server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use sending::Lines;

use crate::disk::Disk;
use crate::driver::Driver;
use crate::memory;
use crate::orders::Orders;
use crate::program::Programs;
use crate::service::Executor;
use crate::slot::{Host, Options, Workers};
use crate::store::Store;
use crate::view::Views;

/// How often Spark's local directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a worker has to end an attempt that it is told to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long slots have to end their workers.
const END: Duration = Duration::from_secs(3);

/// Runs the executor until its owner, its directory or its driver has gone. Whatever keeps it from
/// starting is written to `info`, where the task that started it waits for it.
pub async fn run(config: ExecutorConfig, lines: Lines) -> Result<()> {
    let executor = format!("{}-{}", config.application, std::process::id());
    match start(&config, executor.clone()).await {
        Ok(running) => {
            tokio::spawn(sending::send(lines, running.host.driver.clone()));
            running.until_the_end(&config).await
        }
        Err(error) => {
            info::write(Path::new(&config.info), executor, String::new(), Some(error.to_string()))?;
            Err(error)
        }
    }
}

struct Running {
    host: Arc<Host>,
    listener: TcpListener,
    token: Token,
    owner: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

async fn start(config: &ExecutorConfig, executor: String) -> Result<Running> {
    let token = Token::new(&config.token)?;
    let owner = Box::pin(owner::ended(config.owner)?);
    let listener = bind(&config.bind, config.ports).await?;
    let port = listener.local_addr().map_err(|e| Error::file("the listener's address", e))?.port();
    let address = format!("{}:{port}", config.bind);
    let driver =
        Driver::connect(config.driver.clone(), token.clone(), executor.clone(), address.clone()).await?;
    let directory = PathBuf::from(&config.directory);
    let (folders, disk_limit) = (directory.clone(), config.disk_limit);
    let opened = tokio::task::spawn_blocking(move || open(&folders, disk_limit)).await;
    let (store, views, programs) =
        opened.map_err(|e| Error::Invalid(format!("opening {} ended: {e}", config.directory)))??;
    let limit = memory::limit(config.memory_limit);
    match &limit {
        Some(limit) => tracing::info!(bytes = limit.bytes, source = limit.source, "memory is limited"),
        None => tracing::info!("memory is not limited by a cgroup"),
    }
    let end = CancellationToken::new();
    let store = Arc::new(store);
    let orders = Orders::default();
    driver.register(store.clone(), orders.clone(), end.clone()).await?;
    let options = Options {
        token: token.clone(),
        secret: config.token.clone(),
        trainer: config.trainer.clone().into(),
        libtorch: config.libtorch.clone().map(Into::into),
        python: config.python.clone().into(),
        functions: directory.join(FUNCTIONS),
        threads: config.threads.max(1),
        stop: STOP,
        directory,
        memory: limit,
        jvm_bytes: memory::jvm_bytes(config.owner.pid),
    };
    let host = Arc::new(Host {
        driver,
        store,
        views,
        programs,
        workers: Workers::default(),
        options,
        open: 0.into(),
        end,
        tasks: TaskTracker::new(),
    });
    host.tasks.spawn(orders.carry_out(host.clone()));
    // Connections queue in the listener from here on; they are answered a moment later.
    info::write(Path::new(&config.info), executor, address, None)?;
    Ok(Running { host, listener, token, owner })
}

/// The folder in which tasks write Python functions.
const FUNCTIONS: &str = "functions";

/// Blocks.
fn open(directory: &Path, disk_limit: Option<u64>) -> Result<(Store, Views, Programs)> {
    // Weights of attempts that died with an earlier executor here are of no use, nor are views whose place in memory
    // is forgotten; partitions and logs are.
    let (weights, views, logs) = (directory.join("weights"), directory.join("views"), directory.join("logs"));
    for folder in [&weights, &views] {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        }
    }
    for folder in [&weights, &views, &logs, &directory.join(FUNCTIONS)] {
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    }
    let disk = Disk::new(directory, disk_limit);
    Ok((
        Store::within(directory.join("partitions"), disk)?,
        Views::open(views)?,
        Programs::open(directory.join("programs"))?,
    ))
}

async fn bind(host: &str, ports: Option<(u16, u16)>) -> Result<TcpListener> {
    let (first, last) = ports.unwrap_or((0, 0));
    let mut failure = None;
    for port in first..=last {
        match TcpListener::bind((host, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(error),
        }
    }
    let reason = failure.map_or_else(|| "the range is empty".to_owned(), |e| e.to_string());
    Err(Error::Exhausted(match ports {
        None => format!("the executor cannot listen on {host}: {reason}; is it an address of this host?"),
        Some(_) => format!(
            "the executor finds no free port from {first} to {last} on {host}: widen executor_ports in \
             lethe.Settings ({reason})"
        ),
    }))
}

impl Running {
    async fn until_the_end(self, config: &ExecutorConfig) -> Result<()> {
        let Self { host, listener, token, owner } = self;
        let end = host.end.clone();
        let served = tokio::spawn(server::serve(
            Executor(host.clone()),
            listener,
            token,
            end.clone().cancelled_owned(),
        ));
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|e| Error::file("the signal handler", e))?;
        // Ended by a signal, it may be started again and find its partitions; else nobody will want them.
        let (reason, keep) = tokio::select! {
            () = owner => ("the Spark executor has ended", false),
            () = gone(Path::new(&config.local_directory)) => ("Spark's local directory has gone", false),
            () = end.cancelled() => ("the driver has gone", false),
            _ = terminate.recv() => ("told to terminate", true),
        };
        tracing::info!(reason, "the executor ends");
        end.cancel();
        host.tasks.close();
        if tokio::time::timeout(END, host.tasks.wait()).await.is_err() {
            tracing::warn!("slots did not end in time; their workers are killed with this process");
        }
        if !keep {
            _ = tokio::fs::remove_dir_all(&config.directory).await;
            _ = tokio::fs::remove_file(&config.info).await;
        }
        served.abort();
        Ok(())
    }
}

/// Ready when the directory is no longer there.
async fn gone(directory: &Path) {
    while tokio::fs::try_exists(directory).await.unwrap_or(false) {
        tokio::time::sleep(LOOK).await;
    }
}
