//! Datasets: partitions put by Spark tasks, where they lie, and the views that trials train on.

use serde::{Deserialize, Serialize};

/// What a trial sees of a dataset: columns, label, split. A pure function of the dataset's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    pub dataset: String,
    /// Columns in order, each a number or an array of numbers; together one row of the feature tensor.
    pub features: Vec<String>,
    pub label: Option<String>,
    pub label_kind: LabelKind,
    pub split: Option<Split>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// int64, from 0.
    Class,
    /// float32.
    Value,
}

/// A random split by row number and seed: `round(validation * rows)` rows validate, the others train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// A share in (0, 1).
    pub validation: f64,
    pub seed: u64,
}

/// Action `dataset.create`, shim to driver; idempotent for equal contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDataset {
    pub dataset: String,
}

/// Action `partition.announce`, executor to driver: a partition lies complete on that executor's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncePartition {
    pub dataset: String,
    /// The partition's place in the dataset's order of rows.
    pub partition: u32,
    pub rows: u64,
    pub bytes: u64,
    pub executor: String,
    pub address: String,
}

/// Action `dataset.seal`, shim to driver: all partitions `0..partitions` have been put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealDataset {
    pub dataset: String,
    pub partitions: u32,
}

/// Action `dataset.locate`, executor or shim to driver; answered by [`Located`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateDataset {
    pub dataset: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub dataset: String,
    pub rows: u64,
    /// In partition order, complete.
    pub partitions: Vec<PartitionInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    pub partition: u32,
    pub rows: u64,
    pub bytes: u64,
    pub locations: Vec<Location>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub executor: String,
    /// `host:port` of its Flight service.
    pub address: String,
}

/// Which rows of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Train,
    Validation,
}

/// One file that a worker maps: `rows * width` float32 row-major at `features_offset`, then the labels at
/// `labels_offset`; both offsets are multiples of 64. Row numbers of the split are little-endian uint32 at
/// `split_offset`: first `train` of them, then `validation`, each ascending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub path: String,
    pub rows: u64,
    pub width: u64,
    pub features_offset: u64,
    pub label: Option<LabelKind>,
    pub labels_offset: u64,
    pub split_offset: u64,
    pub train: u64,
    pub validation: u64,
}
