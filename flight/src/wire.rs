//! How a message travels: JSON as an action's body, a ticket, a descriptor's command, or the
//! `app_metadata` of an exchange.

use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket as FlightTicket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::dataset::{DataSpec, Epoch, Part};
use crate::message::training::CheckpointRef;
use crate::{Error, Result, limits};

/// Names of actions.
pub mod action {
    pub const HELLO: &str = "driver.hello";
    pub const REGISTER: &str = "executor.register";
    pub const EXECUTOR_LOG: &str = "executor.log";
    pub const CREATE_EXPERIMENT: &str = "experiment.create";
    pub const WATCH: &str = "experiment.watch";
    pub const PREPARED: &str = "experiment.prepared";
    pub const SUGGESTED: &str = "experiment.suggested";
    pub const CHECKED: &str = "experiment.checked";
    pub const CANCEL: &str = "experiment.cancel";
    pub const RESULT: &str = "experiment.result";
    pub const CREATE_DATASET: &str = "dataset.create";
    pub const ANNOUNCE: &str = "partition.announce";
    pub const SEAL: &str = "dataset.seal";
    pub const LOCATE: &str = "dataset.locate";
    pub const DESCRIBE: &str = "dataset.describe";
    pub const DROP: &str = "dataset.drop";
    pub const REPLACE_DATA: &str = "experiment.replace_data";
    pub const OPEN_SLOT: &str = "slot.open";
    pub const STORE: &str = "gang.store";
}

/// What DoGet can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ticket {
    /// From an executor: one partition as it was put, or `rows` of it.
    Partition {
        dataset: String,
        partition: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<RowRange>,
    },
    /// From an executor: rows of a part of the split in the order of their numbers. A column for each input,
    /// by its name, a fixed-size list of its row's elements; then `label` and `weight`, where there are.
    Rows { data: DataSpec, part: Part },
    /// From an executor: the training batches of an epoch, each a record batch with the columns of `Rows`, but for
    /// a weight that rows are sampled by. A rank's part of a batch may have no rows.
    Batches { data: DataSpec, epoch: Epoch },
    /// From an executor: what the view learned of its rows, and raw rows need before the model gets them. Columns
    /// `column: utf8`, `kind: utf8` (`mean`, `deviation`, `category`), `index: int64` (of the element, or the
    /// category's number), `number: float64`, `text: utf8`.
    Preprocessing { data: DataSpec },
    /// From the driver: a program, see [`crate::blob`].
    Program { hash: String },
    /// From the driver: a trial's initial weights, see [`crate::tensors`].
    Initial { experiment: String, trial: u32 },
    /// From the driver: the weights kept of a trial, see [`crate::tensors`].
    Weights { experiment: String, trial: u32 },
    /// From the driver: a checkpoint, see [`crate::tensors`].
    Checkpoint { experiment: String, checkpoint: CheckpointRef },
    /// From the driver: what a query of one statement, in DataFusion's SQL, finds in the experiment's tables
    /// `trials`, `metrics`, `slots` and `events`, as they are now.
    Sql { experiment: String, query: String },
}

/// Rows that follow each other, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRange {
    pub start: u64,
    pub rows: u64,
}

/// What DoPut can bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Put {
    /// To an executor. Atomic: the first complete put of a partition wins, later ones change nothing.
    Partition { dataset: String, partition: u32 },
    /// To the driver: a program, see [`crate::blob`].
    Program { hash: String },
    /// To the driver: a trial's initial weights, see [`crate::tensors`].
    Initial { experiment: String, trial: u32 },
    /// To the driver: the weights kept of a trial's attempt, see [`crate::tensors`].
    Weights { experiment: String, trial: u32, attempt: u32 },
    /// To the driver: a checkpoint that the running attempt has saved.
    Checkpoint { experiment: String, checkpoint: CheckpointRef },
}

/// What GetFlightInfo and GetSchema can ask of the driver. A descriptor with a path names a dataset likewise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Flight {
    /// A dataset: its schema, its rows, and an endpoint for each of its partitions.
    Dataset { dataset: String },
    /// The schema of what a chain of queries finds in it.
    Query { dataset: String, queries: Vec<String> },
}

/// # Errors
/// If the text is longer than [`limits::CONTROL_BYTES`] or not the message.
pub fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Result<M> {
    if bytes.len() > limits::CONTROL_BYTES {
        return Err(Error::Exhausted(format!(
            "a message of {} bytes exceeds the limit of {} bytes for control messages",
            bytes.len(),
            limits::CONTROL_BYTES
        )));
    }
    Ok(serde_json::from_slice(bytes)?)
}

pub fn render<M: Serialize>(message: &M) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(message)?)
}

pub fn action<M: Serialize>(kind: &str, message: &M) -> Result<Action> {
    Ok(Action { r#type: kind.into(), body: render(message)?.into() })
}

/// A message of an exchange.
pub fn frame<M: Serialize>(message: &M) -> Result<FlightData> {
    Ok(FlightData { app_metadata: render(message)?.into(), ..Default::default() })
}

/// The message of an exchange; None for a frame that carries only its descriptor, as pyarrow sends first.
pub fn unframe<M: DeserializeOwned>(data: &FlightData) -> Result<Option<M>> {
    if data.app_metadata.is_empty() {
        return Ok(None);
    }
    parse(&data.app_metadata).map(Some)
}

impl Ticket {
    pub fn render(&self) -> Result<FlightTicket> {
        Ok(FlightTicket { ticket: render(self)?.into() })
    }

    pub fn parse(ticket: &FlightTicket) -> Result<Self> {
        parse(&ticket.ticket)
    }
}

impl Put {
    pub fn render(&self) -> Result<FlightDescriptor> {
        Ok(FlightDescriptor::new_cmd(render(self)?))
    }

    /// # Errors
    /// If the descriptor is absent or not one of the puts.
    pub fn parse(descriptor: Option<&FlightDescriptor>) -> Result<Self> {
        let descriptor =
            descriptor.ok_or_else(|| Error::Invalid("a put's first message has no descriptor".into()))?;
        parse(&descriptor.cmd)
    }
}

impl Flight {
    pub fn render(&self) -> Result<FlightDescriptor> {
        Ok(FlightDescriptor::new_cmd(render(self)?))
    }

    /// # Errors
    /// If the descriptor is neither one of these nor a path of one name.
    pub fn parse(descriptor: &FlightDescriptor) -> Result<Self> {
        match &descriptor.path[..] {
            [dataset] => Ok(Self::Dataset { dataset: dataset.clone() }),
            [] => parse(&descriptor.cmd),
            more => Err(Error::Invalid(format!(
                "a descriptor's path names one dataset; this one has {} parts",
                more.len()
            ))),
        }
    }
}

/// Names come from outside and become parts of paths: letters, digits, `-`, `_` and `.`, not first a dot.
///
/// # Errors
/// If the name is empty, too long, or has other characters.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > limits::NAME_BYTES || name.starts_with('.') || !name.bytes().all(plain)
    {
        return Err(Error::Invalid(format!(
            "the name of {what}, {name:?}, must have 1 to {} letters, digits, '-', '_' or '.', and not start with a dot",
            limits::NAME_BYTES
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_message_over_the_limit_is_refused_unparsed() {
        let text = format!("\"{}\"", "x".repeat(limits::CONTROL_BYTES));
        assert!(matches!(parse::<String>(text.as_bytes()), Err(Error::Exhausted(_))));
        assert_eq!(parse::<String>(b"\"x\"").unwrap(), "x");
    }

    #[test]
    fn names_cannot_leave_their_folder() {
        for name in ["", ".", "..", "a/b", ".hidden", "a\0", &"x".repeat(300)] {
            assert!(check_name("a dataset", name).is_err(), "{name:?}");
        }
        check_name("a dataset", "digits-1.a_B").unwrap();
    }
}
