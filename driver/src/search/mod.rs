//! Where the hyperparameters of trials come from.

mod random;
mod space;

pub use random::RandomSearch;
pub use space::Space;

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::Optimizer as Choice;

/// Stands outside the state machine: it is asked by an action and answers by an event.
pub trait Optimizer: Send {
    /// The hyperparameters of this trial.
    fn suggest(&mut self, trial: u32) -> Hparams;
}

pub fn optimizer(choice: &Choice, space: Space, seed: u64) -> Box<dyn Optimizer> {
    match choice {
        Choice::Random => Box::new(RandomSearch::new(space, seed)),
    }
}
