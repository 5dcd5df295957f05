//! A slot's exchange between its executor and the driver, and the call by which a Spark task holds it.

use serde::{Deserialize, Serialize};

use super::dataset::{DataSpec, Location};
use super::experiment::Report;
use super::training::{Metrics, Outcome, Timing, TrialSpec, Verdict};

/// Action `executor.register`, executor to driver. The answer is a stream of [`ToExecutor`], first `registered`; its
/// end tells the executor that the driver has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterExecutor {
    pub protocol: u32,
    pub version: String,
    pub executor: String,
    pub address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToExecutor {
    Registered {
        protocol: u32,
        version: String,
    },
    /// Hold a copy of this partition, from one of those that have it: it is announced as if it had been put.
    Copy {
        dataset: String,
        partition: u32,
        locations: Vec<Location>,
    },
    /// Nobody needs this dataset any more.
    Drop {
        dataset: String,
    },
}

/// Action `executor.log`, executor to driver: whole lines of its log, at most [`crate::limits::LOG_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorLog {
    pub executor: String,
    pub text: String,
}

/// Action `slot.open`, Spark task to executor. The answer is a stream of [`SlotEvent`]; when the caller
/// goes away the slot is gone and its worker is killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSlot {
    pub protocol: u32,
    pub version: String,
    pub experiment: String,
    pub slot: u32,
    /// The value of CUDA_VISIBLE_DEVICES for the worker; None leaves it without a GPU.
    pub gpu: Option<String>,
    /// The worker is a Python interpreter that runs the function in this file of the executor's folder
    /// `functions`, where the task has written it; None: it is the trainer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SlotEvent {
    /// Its worker runs and the driver knows it.
    Opened { worker_pid: u32 },
    /// The experiment needs the slot no longer: the task may end.
    Released,
    /// The slot cannot work: the first line says why and what to do.
    Failed { error: String },
}

/// Executor to driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromSlot {
    /// First message.
    Join { protocol: u32, version: String, experiment: String, slot: u32, executor: String },
    /// View and worker are there: trials may come.
    Ready { worker_pid: u32, device: String },
    Report {
        trial: u32,
        attempt: u32,
        epoch: u32,
        #[serde(with = "super::nullable")]
        metrics: Metrics,
    },
    /// Several at once, epochs ascending.
    Reports { trial: u32, attempt: u32, reports: Vec<Report> },
    /// Lines that the trial's function has printed or logged.
    Log { trial: u32, attempt: u32, text: String },
    /// A checkpoint after this epoch has been put to the driver.
    Checkpointed { trial: u32, attempt: u32, epoch: u32 },
    /// Kept weights have been put to the driver before this is said.
    Ended { trial: u32, attempt: u32, outcome: Outcome, timing: Timing },
    /// Partitions of its data are held by nobody any more. The slot leaves, and its task ends, so that the job
    /// which puts them again finds a free core.
    Lacks { dataset: String, partitions: u32 },
    /// The slot cannot work and leaves. If `fatal`, no other slot could either: a null in a column, a view
    /// that cannot be built; the experiment ends with this error.
    Failed { error: String, fatal: bool },
}

/// Driver to executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSlot {
    /// The answer to `join`: what the slot prepares before it says `ready`.
    Joined {
        data: Option<Box<DataSpec>>,
    },
    Assign {
        spec: Box<TrialSpec>,
    },
    Decision {
        trial: u32,
        attempt: u32,
        verdict: Verdict,
    },
    Stop {
        trial: u32,
        attempt: u32,
    },
    /// The experiment is over, or needs fewer slots.
    Release,
}
