//! A checkpoint: what a trial goes on from, whichever process saved it.

use std::path::Path;

use lethe_flight::tensors::{self, NamedTensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The form that is written; others are refused.
const FORMAT: u32 = 1;
/// The tensor whose bytes are [`Meta`] as JSON.
const META: &str = "meta";

/// Where a trial stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub format: u32,
    /// The last epoch that was reported.
    pub epoch: u32,
    /// Steps taken in all.
    pub step: u64,
    /// The value of the moment whose weights the trial would keep; null where it is no number.
    pub best: Option<f64>,
    /// That moment's epoch.
    pub best_epoch: Option<u32>,
    /// Whatever else the function wrote.
    #[serde(flatten)]
    pub own: Map<String, Value>,
}

/// Tensors by name, and where the trial stood. What the tensors are is up to the function that saves them; the
/// protocol page says what the native loop's are.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub meta: Meta,
    pub tensors: Vec<NamedTensor>,
}

impl Checkpoint {
    pub(super) fn new(epoch: u32, moment: Option<(f64, u32)>, saved: Saved) -> Self {
        let meta = Meta {
            format: FORMAT,
            epoch,
            step: saved.step,
            best: moment.map(|(value, _)| value).filter(|value| value.is_finite()),
            best_epoch: moment.map(|(_, epoch)| epoch),
            own: saved.own,
        };
        Self { meta, tensors: saved.tensors }
    }

    /// Blocks.
    ///
    /// # Errors
    /// If the file is damaged, holds something else, or is of another format.
    pub fn read(path: &Path) -> Result<Self> {
        let mut tensors = tensors::read_file(path)?;
        let foreign = |why: String| Error::trial(format!("{} is not a checkpoint: {why}", path.display()));
        let at = tensors.iter().position(|t| t.name == META);
        let meta = at.map(|at| tensors.remove(at)).ok_or_else(|| foreign("it has no meta".into()))?;
        // The format first: what else there is depends on it.
        let value: Value =
            serde_json::from_slice(&meta.data).map_err(|e| foreign(format!("its meta is no JSON: {e}")))?;
        if value.get("format") != Some(&FORMAT.into()) {
            let found = value.get("format").cloned().unwrap_or_default();
            return Err(Error::trial(format!(
                "the checkpoint {} has format {found}, this trainer reads format {FORMAT}: go on with the version \
                 of lethe that saved it",
                path.display()
            )));
        }
        let meta =
            serde_json::from_value(value).map_err(|e| foreign(format!("its meta lacks a part: {e}")))?;
        Ok(Self { meta, tensors })
    }

    /// Writes the file, complete or not at all. Blocks.
    pub(super) fn write(mut self, path: &Path) -> Result<()> {
        let data = serde_json::to_vec(&self.meta)
            .map_err(|e| Error::Worker(format!("the checkpoint's meta cannot be written: {e}")))?;
        let shape = vec![data.len() as i64];
        self.tensors.push(NamedTensor { name: META.into(), dtype: "uint8".into(), shape, data });
        Ok(tensors::write_file(path, &self.tensors)?)
    }
}

/// What a function hands over to be saved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// Steps taken in all.
    pub step: u64,
    /// Of any names but `meta`.
    pub tensors: Vec<NamedTensor>,
    /// Small things, found again in [`Meta::own`].
    pub own: Map<String, Value>,
}
