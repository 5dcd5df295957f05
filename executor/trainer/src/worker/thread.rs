//! The training thread: one for the life of the process, as libtorch keeps memory for each thread that ever
//! ran an operation.

use std::sync::mpsc;
use std::time::Instant;

use lethe_flight::exchange::Sender;
use lethe_flight::message::worker::{FromWorker, Run};
use tch::Device;
use tokio::sync::oneshot;

use crate::data::ViewCache;
use crate::error::{Error, Result};
use crate::function::{self, Attempt, Interrupter, Registry, Said};
use crate::gang::{Line, Meeting};
use crate::torch;

/// An attempt to run.
pub struct Job {
    pub run: Box<Run>,
    pub interrupter: Interrupter,
    pub arrived: Instant,
}

/// Where attempts are handed to the thread: at most one may wait.
pub type Jobs = mpsc::SyncSender<Job>;

/// What the thread speaks through.
pub struct Connected {
    /// The exchange's outgoing half.
    pub sender: Sender<FromWorker>,
    pub line: Line,
}

/// The running thread's ends. It begins with a job once `connected` was sent, and ends when `jobs` is dropped.
pub struct TrainingThread {
    pub jobs: Jobs,
    /// What it found out at its start: libtorch wants CUDA to be asked for once, by one thread.
    pub device: oneshot::Receiver<Result<Device>>,
    pub connected: oneshot::Sender<Connected>,
}

pub fn start(registry: Registry, threads: u32) -> Result<TrainingThread> {
    let (jobs, queue) = mpsc::sync_channel::<Job>(1);
    let (found, device) = oneshot::channel();
    let (connected, sender) = oneshot::channel::<Connected>();
    let work = move || {
        let prepared = prepare(threads);
        let ready = prepared.as_ref().ok().copied();
        if found.send(prepared).is_err() {
            return;
        }
        if let (Some(device), Ok(connected)) = (ready, sender.blocking_recv()) {
            train(&registry, device, &queue, &connected);
        }
    };
    let thread = std::thread::Builder::new().name("training".into()).spawn(work);
    thread.map_err(|e| Error::Worker(format!("no thread to train on: {e}")))?;
    Ok(TrainingThread { jobs, device, connected })
}

fn prepare(threads: u32) -> Result<Device> {
    let device = torch::find_device();
    torch::prepare(threads)?;
    Ok(device)
}

fn train(registry: &Registry, device: Device, jobs: &mpsc::Receiver<Job>, connected: &Connected) {
    let Connected { sender, line } = connected;
    let mut views = ViewCache::default();
    let mut previous_end = None;
    while let Ok(Job { run, interrupter, arrived }) = jobs.recv() {
        let (trial, attempt) = (run.spec.trial, run.spec.attempt);
        let mut sink = |said: Said| -> Result<()> {
            let message = match said {
                Said::Report { epoch, metrics } => {
                    FromWorker::Report { trial, attempt, epoch, metrics: metrics.clone() }
                }
                Said::Checkpoint { epoch, path } => {
                    FromWorker::Checkpoint { trial, attempt, epoch, path: path.display().to_string() }
                }
            };
            // Waits only where the executor reads none of the 64 messages before.
            Ok(sender.blocking_send(&message)?)
        };
        let meeting: Option<&dyn Meeting> = Some(line);
        let attempted =
            Attempt { run: &run, device, views: &mut views, interrupter, meeting, arrived, previous_end };
        let ended = function::run(registry, attempted, &mut sink);
        let last = FromWorker::Ended {
            trial,
            attempt,
            outcome: ended.outcome,
            timing: ended.timing,
            weights: ended.weights,
            last: false,
        };
        if sender.blocking_send(&last).is_err() {
            return;
        }
        previous_end = Some(Instant::now());
    }
}
