//! Which trials end early. A rule looks at a trial's reports at rungs and says whether it goes on.

mod asha;
mod none;

pub use asha::Asha;
pub use none::NoStopping;

use lethe_flight::message::experiment::Stopping;
use lethe_flight::message::training::Direction;
use lethe_flight::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    GoOn,
    Stop,
}

/// A rule is part of the state machine: it must be a pure function of the calls made to it.
pub trait StoppingRule: Send {
    /// After which epochs of a trial of so many epochs it wants to be asked; ascending, from 1.
    fn rungs(&self, epochs: u32) -> Vec<u32>;

    /// The trial has reported this value at this rung. A trial that is run again reports again.
    fn decide(&mut self, trial: u32, rung: u32, value: f64) -> Verdict;
}

/// # Errors
/// If the rule's settings make no sense.
pub fn rule(stopping: &Stopping, direction: Direction) -> Result<Box<dyn StoppingRule>> {
    match *stopping {
        Stopping::None => Ok(Box::new(NoStopping)),
        Stopping::Asha { reduction, .. } if reduction < 2 => {
            Err(Error::Invalid(format!("ASHA's reduction is {reduction}; it must be 2 or more")))
        }
        Stopping::Asha { min_epochs: 0, .. } => {
            Err(Error::Invalid("ASHA's min_epochs is 0; it must be 1 or more".into()))
        }
        Stopping::Asha { reduction, min_epochs } => Ok(Box::new(Asha::new(reduction, min_epochs, direction))),
    }
}
