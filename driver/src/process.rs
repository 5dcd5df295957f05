//! The life of the driver's process: it ends with the user's Python process.

use std::io::{Read, Write};

use futures::FutureExt;
use futures::future::BoxFuture;
use lethe_flight::process::{DriverConfig, Started};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, owner, server, wire};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::service::DriverService;

/// Serves until the owner has died, stdin has ended or SIGTERM comes, and then removes its directory. Says on
/// stdout, in one line, that it listens, or why it cannot. SIGINT is not for the driver: a Ctrl-C in a terminal
/// reaches it too, and the owner still wants the experiment's partial result.
///
/// # Errors
/// If the configuration, the owner, the directory or the address cannot be used, or the server fails.
pub async fn run(config: DriverConfig) -> Result<()> {
    let started = match start(&config).await {
        Ok(started) => started,
        Err(error) => {
            announce(&Started::Failed { error: error.to_string() })?;
            return Err(error);
        }
    };
    let Running { service, listener, token, port, owner, mut terminate, interrupt: _interrupt } = started;
    let ready = Started::Ready { protocol: PROTOCOL, version: VERSION.into(), pid: std::process::id(), port };
    announce(&ready)?;
    tracing::info!(port, "driver listens");
    let stdin = stdin_end();
    let end = async move {
        let why = tokio::select! {
            () = owner => "its owner has ended",
            _ = stdin => "stdin has ended",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(why, "driver ends");
    };
    let served = server::serve(service, listener, token, end).await;
    if let Err(error) = tokio::fs::remove_dir_all(&config.directory).await {
        tracing::warn!(directory = config.directory, %error, "cannot remove the driver's directory");
    }
    served
}

struct Running {
    service: DriverService,
    listener: TcpListener,
    token: Token,
    port: u16,
    /// Ready when it has ended.
    owner: BoxFuture<'static, ()>,
    terminate: Signal,
    interrupt: Signal,
}

async fn start(config: &DriverConfig) -> Result<Running> {
    let token = Token::new(&config.token)?;
    let owner = owner::ended(config.owner)?.boxed();
    let signals = |kind| signal(kind).map_err(|e| Error::Precondition(format!("cannot handle signals: {e}")));
    let terminate = signals(SignalKind::terminate())?;
    let interrupt = signals(SignalKind::interrupt())?;
    let address = format!("{}:{}", config.bind, config.port);
    let unusable = |e: std::io::Error| {
        Error::Unreachable(format!(
            "the driver cannot listen on {address}: {e}; set another driver host or port"
        ))
    };
    let listener = TcpListener::bind((config.bind.as_str(), config.port)).await.map_err(unusable)?;
    let port = listener.local_addr().map_err(unusable)?.port();
    let service = DriverService::with_copies(&config.directory, token.clone(), config.copies)?;
    Ok(Running { service, listener, token, port, owner, terminate, interrupt })
}

fn announce(started: &Started) -> Result<()> {
    let mut line = wire::render(started)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|e| Error::file("stdout", e))
}

/// Ready when stdin has ended. A thread of its own: tokio's stdin would keep the runtime from ending.
fn stdin_end() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 256];
        while stdin.read(&mut buffer).is_ok_and(|n| n > 0) {}
        _ = ended.send(());
    });
    end
}
