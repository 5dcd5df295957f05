//! Datasets: partitions put by Spark tasks or files in a store, where they lie, and the views that trials train on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a trial sees of a dataset: rows, tensors, split, order. A pure function of the dataset's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    pub dataset: String,
    /// Queries of one statement, in DataFusion's SQL. The first asks the dataset as the table `dataset`, each
    /// further one the answer of the one before, under the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// The tensors that a module gets, in the order of its `forward`'s arguments.
    pub inputs: Vec<Input>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// A column of numbers from 0: what each row's loss counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// A column without repeated values: a row's number is its place in their order, else its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(default, skip_serializing_if = "Order::is_default")]
    pub order: Order,
    /// Columns of the inputs that a row is gathered without: an ablation's. The view on the disk has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// The rows of one rank alone, where the ranks of a gang hold different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalShard>,
}

impl DataSpec {
    /// What about a row depends on all others, so that no executor can do without them: as a sentence goes on that
    /// begins with "the dataset".
    pub fn needs_all_rows(&self) -> Option<&'static str> {
        let found = [
            (self.key.is_some(), "numbers its rows by a key"),
            (!matches!(self.split, Some(Split::Random { .. }) | None), "is split by a column"),
            (self.inputs.iter().any(|input| !input.normalize.is_empty()), "normalizes columns"),
            (self.order.sampling != Sampling::Each, "draws its rows by class or weight"),
        ];
        found.iter().find(|(found, _)| *found).map(|(_, what)| *what)
    }
}

/// Which rows each rank of a gang has, as the driver chose them when the attempt began: those that lie on its
/// executor, as far as that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalShard {
    pub rank: u32,
    /// Rows of each partition of the dataset, in their order.
    pub partitions: Vec<u64>,
    /// Of each rank, in the order of the rows' numbers.
    pub shards: Vec<Vec<Piece>>,
}

/// Rows of a partition that follow each other. It travels as `[partition, start, rows]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub struct Piece {
    pub partition: u32,
    pub start: u64,
    pub rows: u64,
}

impl From<(u32, u64, u64)> for Piece {
    fn from((partition, start, rows): (u32, u64, u64)) -> Self {
        Self { partition, start, rows }
    }
}

impl From<Piece> for (u32, u64, u64) {
    fn from(Piece { partition, start, rows }: Piece) -> Self {
        (partition, start, rows)
    }
}

/// One tensor, `[rows, ..shape]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    /// Side by side in a row: numbers, booleans, strings (as categories: numbers from 0 in the order of all
    /// distinct values), or arrays of numbers, nested ones too.
    pub columns: Vec<String>,
    /// None: that of the columns, see [`Dtype`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// None: `[width]`; of one column of nested arrays, their lengths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u64>>,
    /// Columns whose every element is centred and scaled by its mean and standard deviation over the training
    /// rows; those tensors are float32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normalize: Vec<String>,
}

/// Of a tensor's elements. Columns of floats become float32, the signed integers and uint8 keep their type,
/// uint16 becomes int32, uint32 and uint64 become int64, categories int64, booleans bool; where they differ, the
/// common one is float32 if there are floats, else int64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
            Self::Int16 => 2,
            Self::Float32 | Self::Int32 => 4,
            Self::Float64 | Self::Int64 => 8,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub column: String,
    pub kind: LabelKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// int64, from 0: integers, booleans, or strings as categories.
    Class,
    /// float32.
    Value,
}

/// Which rows train, validate and test. Shares of `rows` rows are `round(share * rows)` rows; what is left trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Split {
    /// By row number and seed.
    Random { validation: f64, test: f64, seed: u64 },
    /// By what this column says: `train`, `validation` or `test`.
    Column { column: String },
    /// Random within each value of the column, so that each part has its share of each.
    Stratified { column: String, validation: f64, test: f64, seed: u64 },
    /// Rows of one value of the column go together, whole groups in random order until a part has its share.
    Grouped { column: String, validation: f64, test: f64, seed: u64 },
    /// The rows that come last by the column test, those before them validate. Equal ones go together, into the
    /// earlier part.
    Time { column: String, validation: f64, test: f64 },
}

impl Split {
    /// Whether it may leave rows to validate.
    pub fn validates(&self) -> bool {
        match self {
            Self::Column { .. } => true,
            Self::Random { validation, .. }
            | Self::Stratified { validation, .. }
            | Self::Grouped { validation, .. }
            | Self::Time { validation, .. } => *validation > 0.0,
        }
    }
}

/// The order of an epoch's training rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    pub sampling: Sampling,
    pub shuffle: Shuffle,
}

impl Order {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which rows an epoch has; always as many as train.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each once.
    #[default]
    Each,
    /// Drawn, each class of the label equally likely.
    Balanced,
    /// Drawn in proportion to their weights, which then count in no loss.
    Weighted,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Shuffle {
    /// One permutation of all.
    #[default]
    Full,
    /// For data that memory does not hold: blocks of `rows` neighbouring rows in random order, and within each
    /// `window` blocks that follow each other a permutation.
    Blocks { rows: u32, window: u32 },
    /// As they are numbered.
    Off,
}

/// Action `dataset.create`, shim to driver; idempotent for equal contents. Files are listed, and their schema is
/// read, before it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDataset {
    pub dataset: String,
    /// Where its rows are read from; None: partitions will be put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
}

/// Files of one format and schema, in an object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// A file, a folder, or a pattern with `*`: `s3://bucket/folder/*.parquet`, `gs://…`, `az://…`,
    /// `https://…`, `hdfs://…`, `file:///…`, `/…`. Once listed: a file each, in the order of their paths.
    pub urls: Vec<String>,
    /// None: by the ending of the files' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FileFormat>,
    /// Of the object_store crate (`aws_endpoint`, …), beside the environment's. Never journalled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Parquet,
    /// With a header.
    Csv,
    /// One object a line.
    Json,
    Arrow,
}

/// A file as it was listed; one that has changed since is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub url: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
}

/// Action `partition.announce`, executor to driver: a partition lies complete on that executor's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncePartition {
    pub dataset: String,
    /// The partition's place in the dataset's order of rows.
    pub partition: u32,
    pub rows: u64,
    pub bytes: u64,
    /// Of its rows, whatever batches they came in: 32 hexadecimal digits.
    pub hash: String,
    /// As an encapsulated Arrow IPC message, base64.
    pub schema: String,
    pub executor: String,
    pub address: String,
}

/// Action `dataset.seal`, shim to driver: all partitions `0..partitions` have been put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealDataset {
    pub dataset: String,
    pub partitions: u32,
}

/// Action `dataset.drop`, shim to driver: nobody needs it any more. Idempotent. Executors give its space back once
/// no running trial reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropDataset {
    pub dataset: String,
}

/// Action `dataset.locate`, executor or shim to driver; answered by [`Located`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateDataset {
    pub dataset: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub dataset: String,
    /// Of the partitions; 0 for files.
    pub rows: u64,
    /// In partition order, complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<ListedFiles>,
}

/// A dataset of files, as whoever reads it needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFiles {
    pub format: FileFormat,
    /// In the order of their paths.
    pub files: Vec<FileRef>,
    /// Columns that the folders' names give (`day=2026-01-01/`), strings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// As an encapsulated Arrow IPC message, base64; without the folders' columns.
    pub schema: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
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

/// Action `dataset.describe`, shim to driver: what a view will look like, learned from its first row; answered by
/// [`Described`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescribeDataset {
    pub data: DataSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Names and types of the columns after the queries, as DataFusion prints types.
    pub columns: Vec<(String, String)>,
    /// Of each input, in order: its shape `[..]` of one row.
    pub inputs: Vec<Section>,
    /// Where it is known without reading the rows.
    pub rows: Option<u64>,
}

/// Which rows of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Train,
    Validation,
    Test,
}

/// The part of each rank of a gang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub rank: u32,
    pub world: u32,
}

/// Batches of an epoch, as the native loop trains on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    pub seed: u64,
    /// From 1.
    pub epoch: u32,
    pub batch_size: u32,
    /// Leaves out a last batch that is short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_last: bool,
    /// This rank's slice of each batch of `batch_size` rows; of a view of one rank's rows all of them are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// One file that a worker maps. Row numbers of the split are little-endian uint32 at `split_offset`: first `train`
/// of them, then `validation`, then `test`, each in the order of their numbers, as places in the sections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub path: String,
    pub rows: u64,
    pub inputs: Vec<Section>,
    /// int64 or float32, one a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Section>,
    /// float32, one a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Section>,
    pub split_offset: u64,
    pub train: u64,
    pub validation: u64,
    pub test: u64,
    pub order: Order,
    /// Where these are the rows of one rank alone: how many each of the ranks has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalRows>,
}

/// Rows of the ranks whose views differ, by rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRows {
    /// Whose view it is.
    pub rank: u32,
    pub train: Vec<u64>,
    pub validation: Vec<u64>,
}

/// A row-major tensor `[rows, ..shape]` of native, little-endian elements at `offset`, a multiple of 64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub name: String,
    pub dtype: Dtype,
    /// Of one row as it is gathered; `[]` is one element.
    pub shape: Vec<u64>,
    pub offset: u64,
    /// Where a row is gathered without some of its elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
}

/// The elements that are gathered of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Elements of a row in the file.
    pub width: u64,
    /// First and one past the last of each run of neighbours, ascending.
    pub runs: Vec<(u64, u64)>,
}

impl Taken {
    /// Whether its runs ascend within a row and have `elements` together.
    pub fn has(&self, elements: u64) -> bool {
        let ends = [0].into_iter().chain(self.runs.iter().map(|(_, end)| *end));
        let ascend = self.runs.iter().zip(ends).all(|((start, end), before)| before <= *start && start < end);
        let within = self.runs.last().is_none_or(|(_, end)| *end <= self.width);
        ascend && within && self.runs.iter().map(|(start, end)| end - start).sum::<u64>() == elements
    }
}

impl Section {
    /// Elements of one row.
    pub fn width(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes of one row as it is gathered.
    pub fn row_bytes(&self) -> u64 {
        self.width() * self.dtype.bytes()
    }

    /// Bytes of one row in the file.
    pub fn stored_row_bytes(&self) -> u64 {
        self.taken.as_ref().map_or(self.width(), |taken| taken.width) * self.dtype.bytes()
    }
}
