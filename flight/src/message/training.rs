//! What a trial is to do, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Hparams;
use super::dataset::DataSpec;

/// Metric values by name. `train_loss` is the training loss of the epoch; all others are validation metrics.
pub type Metrics = BTreeMap<String, f64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Min,
    Max,
}

/// Which report is a trial's value, and which moment's weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    Last,
    Best,
}

/// What the experiment looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    pub metric: String,
    pub direction: Direction,
    pub select: Select,
    /// Of a multi-objective search, the objectives after the first, which alone decides what is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Target>,
}

/// A further objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub metric: String,
    pub direction: Direction,
}

impl Objective {
    /// Whether `a` is a strictly better value than `b`. NaN is worse than every number.
    pub fn better(&self, a: f64, b: f64) -> bool {
        match (a.is_nan(), b.is_nan()) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => match self.direction {
                Direction::Min => a < b,
                Direction::Max => a > b,
            },
        }
    }
}

/// A training function: what is run, apart from the trial's hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Function {
    /// The native loop over a generated module.
    Supervised(Supervised),
    /// A Rust training function, registered by name in the trainer. `epochs` is its budget.
    Registered { name: String, epochs: u32 },
    /// A function of the user's, which the slots' tasks have. Its epochs are what it calls steps; `epochs` is how
    /// many there will be, or a very large number.
    Python { name: String, epochs: u32 },
}

impl Function {
    pub fn epochs(&self) -> u32 {
        match self {
            Self::Supervised(supervised) => supervised.epochs,
            Self::Registered { epochs, .. } | Self::Python { epochs, .. } => *epochs,
        }
    }

    /// Whether each trial needs a module generated in the user's process before it can start.
    pub fn needs_model(&self) -> bool {
        matches!(self, Self::Supervised(_))
    }
}

/// The parts of supervised training. Hyperparameters of the same names override the values here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Supervised {
    /// None: the module's own `training_step(batch)` returns the loss.
    pub loss: Option<Loss>,
    pub metrics: Vec<Metric>,
    pub epochs: u32,
    pub batch_size: u32,
    /// Leaves out an epoch's last batch where it is short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_last: bool,
    pub optimizer: Optimizer,
    pub lr: f64,
    pub weight_decay: f64,
    /// For SGD and RMSprop.
    pub momentum: f64,
    pub schedule: Schedule,
    /// Largest norm of all gradients together; None clips nothing.
    pub grad_clip: Option<f64>,
    /// Parts in which a worker computes the gradients of a batch, so that its memory holds one part.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: u32,
    #[serde(default, skip_serializing_if = "Precision::is_full")]
    pub precision: Precision,
    /// Batch norm takes its mean and variance over all ranks of a gang, as if they were one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_batch_norm: bool,
}

fn one() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

/// What forward and backward passes compute in. Weights, gradients and the optimizer's state stay float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    #[default]
    Float32,
    /// As PyTorch's autocast: matrix products and convolutions in bfloat16, what needs the digits in float32.
    Bfloat16,
}

impl Precision {
    fn is_full(&self) -> bool {
        *self == Self::Float32
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Logits `[n, classes]` and integer labels `[n]`.
    CrossEntropy,
    /// Logits `[n]` or `[n, 1]` and labels 0 or 1.
    BinaryCrossEntropy,
    Mse,
    L1,
    /// Huber loss, delta 1.
    Huber,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Accuracy,
    Loss,
    Mae,
    Mse,
    R2,
    RocAuc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    Adam,
    Adamw,
    Sgd,
    Rmsprop,
}

/// The learning rate over the trial's steps, as a factor of `lr` (one-cycle: its peak).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Constant,
    /// From 1 to 0 along half a cosine, by step.
    Cosine,
    /// A tenth after each third of the epochs.
    Step,
    /// PyTorch's `OneCycleLR` with its defaults, by step.
    OneCycle,
}

/// A program by the SHA-256 of its bytes, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProgramRef {
    pub format: ProgramFormat,
    pub hash: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramFormat {
    /// A saved TorchScript module whose parameters and buffers are placeholders.
    Torchscript,
}

/// One attempt at one trial, as a worker gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    pub experiment: String,
    pub trial: u32,
    /// From 1; a message of an earlier attempt is ignored.
    pub attempt: u32,
    /// Seeds dropout and the order of batches; the initial weights were drawn under it.
    pub seed: u64,
    pub hparams: Hparams,
    pub function: Function,
    pub program: Option<ProgramRef>,
    pub data: Option<DataSpec>,
    pub objective: Objective,
    /// Epochs (from 1, ascending) after whose report the worker waits for a decision.
    pub rungs: Vec<u32>,
    /// It waits after each multiple of this many epochs too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_every: Option<u32>,
    /// Where the attempt goes on; None begins with the initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointRef>,
    /// After so many seconds of training a checkpoint is saved at the end of the epoch. None saves at pauses only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every_s: Option<f64>,
    /// Its part of a trial that runs on several slots at once; None where it is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<Rank>,
    /// The experiment's best value when this attempt was handed out. Weights are kept
    /// only where the trial's value is no worse; None keeps them always.
    #[serde(default)]
    pub best_so_far: Option<f64>,
}

/// One of the workers that run a trial together. All have the same attempt; what rank 0 reports, saves and keeps is
/// the trial's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// From 0.
    pub rank: u32,
    pub world: u32,
}

/// A checkpoint by the attempt that saved it, after this epoch (see [`crate::tensors`] and the protocol page).
/// In population based training it may be another trial's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointRef {
    pub trial: u32,
    pub attempt: u32,
    pub epoch: u32,
}

/// The answer to a report at a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    GoOn,
    /// The trial ends here.
    Stop,
    /// The attempt saves a checkpoint and ends; the trial may go on later.
    Pause,
}

/// How an attempt ended on its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    Finished,
    /// Told to stop.
    Stopped,
    /// Told to pause, and its checkpoint is complete.
    Paused,
    /// The trial's own doing: a NaN loss, an exception in its code. Not run again.
    Failed {
        error: String,
    },
    /// The infrastructure's doing: the worker died. Run again within the retry limit.
    Lost {
        error: String,
    },
}

/// Where an attempt's time went, seconds on the worker's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the end of the previous attempt's last message to this attempt's first step; 0 for a worker's first.
    pub idle_s: f64,
    /// From the attempt's arrival to its first step: loading program, weights and view.
    pub setup_s: f64,
    /// From the first step to the last report: training and validating, and waiting for decisions.
    pub train_s: f64,
}
