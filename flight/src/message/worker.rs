//! The worker protocol: one exchange between an executor and a slot's worker, native or Python.
//!
//! The worker connects, says `hello`, and runs one attempt after another. Bulk data are files on the
//! executor's own disk that both sides map.

use serde::{Deserialize, Serialize};

use super::dataset::View;
use super::experiment::Report;
use super::training::{Metrics, Outcome, Timing, TrialSpec, Verdict};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// First message. `worker` is the key given to the process when it was started.
    Hello { protocol: u32, version: String, worker: String, pid: u32, device: String },
    /// After each epoch, or whatever the function calls a step. If the epoch is one of the attempt's
    /// rungs, the worker waits for [`ToWorker::Decision`] before it goes on.
    Report {
        trial: u32,
        attempt: u32,
        epoch: u32,
        #[serde(with = "super::nullable")]
        metrics: Metrics,
    },
    /// Several at once, epochs ascending; the worker waits after the last one if that is a rung. At most
    /// [`crate::limits::REPORTS`].
    Reports { trial: u32, attempt: u32, reports: Vec<Report> },
    /// Lines that the function has printed or logged, of at most [`crate::limits::LOG_BYTES`].
    Log { trial: u32, attempt: u32, text: String },
    /// A checkpoint lies complete in this file (see the protocol page), which the executor takes over. Comes
    /// after the report of its epoch, and before `ended` where the attempt was told to pause.
    Checkpoint { trial: u32, attempt: u32, epoch: u32, path: String },
    /// Last message of an attempt.
    Ended {
        trial: u32,
        attempt: u32,
        outcome: Outcome,
        timing: Timing,
        /// The file of kept weights (see [`crate::tensors`]), which the executor takes over.
        weights: Option<String>,
        /// The process ends with it: the next attempt needs another.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        last: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    Run(Box<Run>),
    /// The answer to a report at a rung.
    Decision {
        trial: u32,
        attempt: u32,
        verdict: Verdict,
    },
    /// End this attempt within a step. Ignored if it is not the current one.
    Stop {
        trial: u32,
        attempt: u32,
    },
    /// End the process.
    Exit,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub spec: TrialSpec,
    /// File of the program, complete and checked against its hash.
    pub program: Option<String>,
    /// File of the initial weights (see [`crate::tensors`]); the worker may delete nothing.
    pub initial: Option<String>,
    /// File of the checkpoint to go on from, in place of initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    pub view: Option<View>,
    /// Where the worker writes the weights it keeps.
    pub weights: String,
    /// Folder and first part of the name of the checkpoints that it saves: `-<epoch>.arrow` is added.
    pub checkpoints: String,
}
