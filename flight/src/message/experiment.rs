//! An experiment, as the shim plans it, watches it and reads its result.

use serde::{Deserialize, Serialize};

use super::Hparams;
use super::dataset::DataSpec;
use super::training::{Function, Metrics, Objective, ProgramRef, Timing};

/// Action `driver.hello`: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
}

/// Action `experiment.create`, shim to driver; answered by [`Created`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub protocol: u32,
    pub version: String,
    /// Unique within the application.
    pub experiment: String,
    pub seed: u64,
    pub source: Source,
    pub objective: Objective,
    pub function: Function,
    pub data: Option<DataSpec>,
    /// Slots that are expected; so many trials are prepared ahead.
    pub slots: u32,
    /// The experiment's folder on the driver's host, absolute; kept weights lie there.
    pub directory: String,
}

/// Where the experiment's trials come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    Search { space: Vec<Parameter>, trials: u32, optimizer: Optimizer, stopping: Stopping },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    pub domain: Domain,
}

/// The values that a parameter can take. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Domain {
    Uniform { low: f64, high: f64 },
    LogUniform { low: f64, high: f64 },
    Integer { low: i64, high: i64 },
    Choice { values: Vec<serde_json::Value> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Optimizer {
    Random,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Stopping {
    None,
    /// Asynchronous successive halving: rungs after `min_epochs * reduction^k` epochs; a trial goes on
    /// if its value is among the best `1/reduction` of its rung so far.
    Asha {
        reduction: u32,
        min_epochs: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub experiment: String,
}

/// Names an experiment: body of `experiment.watch`, `experiment.result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRef {
    pub experiment: String,
}

/// Action `experiment.prepared`, shim to driver: the trial's program and initial weights have been put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    pub experiment: String,
    pub trial: u32,
    /// Or the traceback of the model generator.
    pub result: Preparation,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Preparation {
    Ready { program: ProgramRef },
    Failed { error: String },
}

/// Action `experiment.cancel`, shim to driver: running trials stop within a step, slots are released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub experiment: String,
    pub reason: String,
}

/// The stream that answers `experiment.watch`: what has happened so far in short, then as it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchEvent {
    /// Generate the module of this trial: put program and weights, then say `experiment.prepared`.
    Prepare {
        trial: u32,
        seed: u64,
        hparams: Hparams,
    },
    Progress(Progress),
    TrialFailed {
        trial: u32,
        error: String,
    },
    /// Something a user should read: a slot lost, a trial run again.
    Notice {
        text: String,
    },
    /// Last message.
    Over {
        end: End,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub total: u32,
    pub finished: u32,
    pub stopped: u32,
    pub failed: u32,
    pub running: u32,
    pub slots: u32,
    pub best: Option<f64>,
    pub best_trial: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum End {
    Completed,
    Cancelled {
        reason: String,
    },
    /// The experiment cannot go on: the first line says why and what to do.
    Aborted {
        error: String,
    },
}

/// What `experiment.result` answers, also while the experiment runs: a stream, of which the first has the slots
/// and no trials, and each further one a page of trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentResult {
    pub experiment: String,
    pub end: Option<End>,
    pub best: Option<u32>,
    pub trials: Vec<TrialResult>,
    pub slots: Vec<SlotResult>,
    /// From the first assignment to the last result, seconds.
    pub wall_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    Waiting,
    Running,
    Finished,
    Stopped,
    Failed,
    /// Not ended when the experiment was.
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    pub trial: u32,
    pub state: TrialState,
    pub attempts: u32,
    pub hparams: Hparams,
    /// By the experiment's `select`.
    pub value: Option<f64>,
    /// The metrics of that moment.
    #[serde(with = "super::nullable")]
    pub metrics: Metrics,
    pub epochs: u32,
    pub error: Option<String>,
    pub timing: Timing,
    pub slot: Option<u32>,
    /// Each epoch's report of the last attempt, in order.
    pub history: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub epoch: u32,
    #[serde(with = "super::nullable")]
    pub metrics: Metrics,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotResult {
    pub slot: u32,
    pub executor: String,
    pub device: String,
    pub worker_pid: u32,
    pub trials: u32,
    /// From ready to released, seconds.
    pub held_s: f64,
    /// Of which training, seconds.
    pub train_s: f64,
    /// Seconds between the last message of one trial and the first step of the next, for each but the first.
    pub idle_s: Vec<f64>,
}
