//! An experiment, as the shim plans it, watches it and reads its result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Hparams;
use super::dataset::DataSpec;
use super::gang::Workers;
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
    /// The experiment's folder on the driver's host, absolute; journal, checkpoints and kept weights lie there.
    pub directory: String,
    /// A copy of that folder in an object store, for when this host is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// The user's code as text, by its part (`model`): compared when the experiment is resumed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub code: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Resume::is_new")]
    pub resume: Resume,
    #[serde(default)]
    pub retries: Retries,
    /// Seconds of training after which a trial is saved at the end of its epoch; None: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every_s: Option<f64>,
    /// Which rows the ranks of a gang train on.
    #[serde(default, skip_serializing_if = "Shards::are_default")]
    pub shards: Shards,
}

/// Which rows the ranks of a gang train on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shards {
    /// A slice of each batch of one process. Each executor holds all rows.
    #[default]
    Global,
    /// Fixed ones, those that lie on the rank's executor as far as that goes, equal to within one row.
    Local,
}

impl Shards {
    fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An object store's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `s3://bucket/folder`, `gs://…`, `az://…`, `file:///…`
    pub url: String,
    /// Of the object_store crate (`aws_endpoint`, …), beside the environment's. Never journalled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Whether an experiment of this name goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Resume {
    /// It must not be there.
    #[default]
    New,
    /// It goes on from its journal. Where seed, space, optimizer, stopping rule, objective, function, data or
    /// code differ, that is refused, unless `accept_changes`.
    Resume { accept_changes: bool },
}

impl Resume {
    fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }
}

/// How often a trial is run again, from its last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// After its slot or worker was lost.
    pub infrastructure: u32,
    /// After an exception of the user's code.
    pub exceptions: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { infrastructure: 3, exceptions: 0 }
    }
}

/// Where the experiment's trials come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    Search {
        space: Vec<Parameter>,
        /// SQL expressions over parameters that suggestions fulfil; one that is not known, because a parameter
        /// does not exist in this suggestion, counts as fulfilled.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        constraints: Vec<String>,
        /// The shim is asked whether a suggestion is allowed ([`WatchEvent::Check`]).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        checked: bool,
        /// The first trials. Parameters that are not given are drawn.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        enqueued: Vec<Hparams>,
        budget: Budget,
        optimizer: Optimizer,
        stopping: Stopping,
        /// Slots that each trial takes at once.
        #[serde(default, skip_serializing_if = "Workers::is_one")]
        workers: Workers,
    },
    /// These trials, in this order.
    Listed {
        trials: Vec<Listed>,
        /// Of each trial, as in [`Budget`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial_seconds: Option<f64>,
    },
}

/// One of a list of trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// What is told of it, in words: `without age`.
    pub name: String,
    pub hparams: Hparams,
    /// Trials of one replicate share their seed, which is that of the trial of this number.
    pub replicate: u32,
    /// None: the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// Columns that its rows are gathered without, see [`DataSpec`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Slots that it takes at once.
    #[serde(default, skip_serializing_if = "Workers::is_one")]
    pub workers: Workers,
}

/// What an experiment may use. It ends when the first of these is used up; at least one of the first three is
/// given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Trials in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// Wall time from the first assignment, seconds; that of all runs together where it was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Epochs reported by all trials together. No attempt begins once it is reached; running ones are stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// A value of the first objective; the experiment ends once a report is no worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Seconds that a trial runs, all its attempts together, before it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    pub domain: Domain,
    /// The parameter exists only where this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// Holds where another parameter exists and has one of these values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub parent: String,
    pub values: Vec<serde_json::Value>,
}

/// The values that a parameter can take. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Domain {
    Uniform {
        low: f64,
        high: f64,
        /// Values are `low + k * step`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<f64>,
    },
    LogUniform {
        low: f64,
        high: f64,
    },
    Integer {
        low: i64,
        high: i64,
        /// Values are `low + k * step`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<i64>,
        /// Drawn on a log scale; `low` is at least 1.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        log: bool,
    },
    /// Without an order.
    Choice {
        values: Vec<serde_json::Value>,
    },
    /// In this order, at equal distances.
    Ordinal {
        values: Vec<serde_json::Value>,
    },
}

/// Who suggests hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Optimizer {
    Random,
    /// Every combination once; `points` values of each continuous parameter without a step.
    Grid {
        points: u32,
    },
    /// A scrambled Sobol sequence.
    Sobol,
    /// Tree-structured Parzen estimator; the first `startup` trials are random.
    Tpe {
        startup: u32,
    },
    /// Gaussian process with expected improvement; the first `startup` trials are Sobol's.
    Gp {
        startup: u32,
    },
    /// `sigma` is the first step size, as a share of each range.
    Cmaes {
        sigma: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        population: Option<u32>,
    },
    Nsga2 {
        population: u32,
    },
    /// The shim is asked ([`WatchEvent::Ask`]), up to `ahead` trials before they are needed. `name` says who
    /// answers.
    External {
        name: String,
        ahead: u32,
    },
}

/// Which trials end early, or pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Stopping {
    None,
    /// Asynchronous successive halving: rungs after `min_epochs * reduction^k` epochs. With `pause` a trial
    /// pauses at each rung and is promoted once it is among the best `1/reduction` of it; without, it is asked
    /// once, when it gets there, and ends if it is not.
    Asha {
        reduction: u32,
        min_epochs: u32,
        pause: bool,
    },
    /// Several such brackets, which begin at different rungs.
    Hyperband {
        reduction: u32,
        min_epochs: u32,
        pause: bool,
    },
    /// A trial ends whose best value is worse than the median of the others' running averages at its epoch.
    Median {
        /// Ended trials that are needed for a median.
        min_trials: u32,
        min_epochs: u32,
    },
    /// A trial ends that is worse than `bound` after `min_epochs` or later.
    Threshold {
        bound: f64,
        min_epochs: u32,
    },
    /// A trial ends that has not become better by more than `min_delta` for so many epochs.
    Patience {
        epochs: u32,
        min_delta: f64,
    },
    /// Population based training: every `every` epochs the worst `quantile` of the trials go on from the
    /// checkpoints of the best, with `parameters` perturbed: multiplied by 0.8 or 1.2, or drawn anew with
    /// probability `resample`.
    Pbt {
        every: u32,
        quantile: f64,
        resample: f64,
        parameters: Vec<String>,
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

/// Action `experiment.suggested`, shim to driver: answers [`WatchEvent::Ask`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggested {
    pub experiment: String,
    pub trial: u32,
    pub result: Suggestion,
}

/// Action `experiment.checked`, shim to driver: answers [`WatchEvent::Check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub experiment: String,
    pub trial: u32,
    /// None: the suggestion is allowed. Else why it is not, in words.
    pub refused: Option<String>,
    /// The user's predicate raised this: the search ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Suggestion {
    Hparams {
        hparams: Hparams,
    },
    /// There is no further point: the search ends with the trials it has.
    Exhausted,
    /// The optimizer raised this; the search ends with it.
    Failed {
        error: String,
    },
}

/// Action `experiment.cancel`, shim to driver: running trials stop within a step, slots are released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub experiment: String,
    pub reason: String,
}

/// Action `experiment.replace_data`, shim to driver: the data were put anew, under another name; slots that join
/// from now on train on those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceData {
    pub experiment: String,
    pub dataset: String,
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
    /// The shim's optimizer is asked for this trial's hyperparameters: answered by `experiment.suggested`.
    Ask {
        trial: u32,
    },
    /// Whether a suggestion fulfils the user's predicates: answered by `experiment.checked`.
    Check {
        trial: u32,
        hparams: Hparams,
    },
    /// The shim's optimizer is told what came of a trial, before it is asked again.
    Tell {
        trial: u32,
        state: TrialState,
        hparams: Hparams,
        /// Of the objectives in their order; null where it is no number. Empty without a report.
        values: Vec<Option<f64>>,
        history: Vec<Report>,
    },
    TrialFailed {
        trial: u32,
        error: String,
    },
    /// Partitions of the data are held by nobody any more, and this slot has left: put them again, then start the
    /// slots that have left.
    Lacks {
        dataset: String,
        slot: u32,
    },
    /// Something a user should read: a slot lost, a trial run again.
    Notice {
        text: String,
    },
    /// Lines that a trial's function has printed or logged.
    Log {
        trial: u32,
        text: String,
    },
    /// Last message.
    Over {
        end: End,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// None where the budget does not count trials.
    pub total: Option<u32>,
    pub finished: u32,
    pub stopped: u32,
    pub failed: u32,
    pub paused: u32,
    pub running: u32,
    pub slots: u32,
    /// Reported by all trials together.
    pub epochs: u64,
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
    /// Of a multi-objective search: the trials that no other is better than in all objectives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pareto: Vec<u32>,
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
    /// Stopped for now, with a checkpoint. At the experiment's end it counts as stopped.
    Paused,
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
    /// Of the further objectives, at that moment; null where it is no number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Option<f64>>,
    /// The metrics of that moment.
    #[serde(with = "super::nullable")]
    pub metrics: Metrics,
    pub epochs: u32,
    pub error: Option<String>,
    /// Why these hyperparameters, and why it ended early; in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub timing: Timing,
    pub slot: Option<u32>,
    /// Each epoch's report, in order.
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
