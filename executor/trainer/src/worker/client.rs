//! The worker's side of the exchange.

use std::fmt;
use std::sync::mpsc::TrySendError;
use std::time::Instant;

use lethe_flight::exchange::Receiver;
use lethe_flight::message::worker::{FromWorker, ToWorker};
use lethe_flight::process::TrainerConfig;
use lethe_flight::{PROTOCOL, Token, VERSION, client};
use tokio::sync::oneshot;

use super::current::Current;
use super::thread::{self, Connected, Job, Jobs, TrainingThread};
use crate::error::{Error, Result};
use crate::function::Registry;
use crate::gang::Line;
use crate::torch;

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `exit` was said.
    Told,
    /// The executor ended the exchange, or died.
    ExecutorGone,
    /// stdin ended.
    StdinClosed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "its executor said so",
            Self::ExecutorGone => "its executor has gone",
            Self::StdinClosed => "its stdin has ended",
        })
    }
}

/// Connects to the executor and runs its attempts until the exchange ends, `exit` is said, or `life` is ready.
/// An attempt that runs then is told to stop; it may take a step more than this call.
///
/// # Errors
/// If the executor cannot be reached, refuses the worker, or breaks the protocol.
pub async fn serve(
    config: TrainerConfig,
    registry: Registry,
    mut life: oneshot::Receiver<()>,
) -> Result<End> {
    let TrainingThread { jobs, device, connected } = thread::start(registry, config.threads)?;
    let token = Token::new(&config.token)?;
    let introduce = async {
        let device = device.await.map_err(|_| Error::Worker("the training thread has died".into()))??;
        let mut client = client::connect(&config.executor, &token).await?;
        let hello = FromWorker::Hello {
            protocol: PROTOCOL,
            version: VERSION.into(),
            worker: config.worker.clone(),
            pid: std::process::id(),
            device: torch::device_name(device),
        };
        let (sender, receiver) = client::exchange::<_, ToWorker>(&mut client, &hello).await?;
        Ok::<_, Error>((Connected { sender, line: Line::new(client, &config.executor) }, receiver))
    };
    let (ready, mut receiver) = tokio::select! {
        introduced = introduce => introduced?,
        _ = &mut life => return Ok(End::StdinClosed),
    };
    if connected.send(ready).is_err() {
        return Err(Error::Worker("the training thread has died".into()));
    }
    let mut current = Current::default();
    let end = tokio::select! {
        end = listen(&mut receiver, &mut current, &jobs) => end,
        _ = &mut life => Ok(End::StdinClosed),
    };
    current.abandon();
    end
}

async fn listen(receiver: &mut Receiver<ToWorker>, current: &mut Current, jobs: &Jobs) -> Result<End> {
    loop {
        let message = match receiver.next().await {
            None => return Ok(End::ExecutorGone),
            Some(Err(error)) if error.is_disconnect() => return Ok(End::ExecutorGone),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => message,
        };
        match message {
            ToWorker::Run(run) => {
                let interrupter = current.begin(run.spec.trial, run.spec.attempt);
                match jobs.try_send(Job { run, interrupter, arrived: Instant::now() }) {
                    Ok(()) => {}
                    Err(TrySendError::Full(job)) => {
                        return Err(Error::Worker(format!(
                            "the executor gave trial {} while others were waiting: it must wait for `ended`",
                            job.run.spec.trial
                        )));
                    }
                    Err(TrySendError::Disconnected(_)) => {
                        return Err(Error::Worker("the training thread has died".into()));
                    }
                }
            }
            ToWorker::Decision { trial, attempt, verdict } => current.decide(trial, attempt, verdict),
            ToWorker::Stop { trial, attempt } => current.stop(trial, attempt),
            ToWorker::Exit => return Ok(End::Told),
        }
    }
}
