//! Programs that earlier trials have loaded: parsing one costs more than many a small step.

use std::path::{Path, PathBuf};

use tch::Device;

use crate::error::Result;
use crate::torch::Program;

/// Programs kept; the one unused for the longest goes first.
const KEPT: usize = 8;

/// Programs by file. An executor names the file by the program's hash and never changes it.
#[derive(Default)]
pub struct Programs {
    /// Last used last; never run, only copied.
    loaded: Vec<(PathBuf, Device, Program)>,
}

impl Programs {
    /// A copy of the program, with attributes of its own.
    pub fn load(&mut self, path: &Path, device: Device) -> Result<Program> {
        let found = self.loaded.iter().position(|(p, d, _)| p == path && *d == device);
        let entry = match found {
            Some(at) => self.loaded.remove(at),
            None => (path.to_owned(), device, Program::load(path, device)?),
        };
        let copy = entry.2.copy()?;
        self.loaded.push(entry);
        if self.loaded.len() > KEPT {
            self.loaded.remove(0);
        }
        Ok(copy)
    }
}
