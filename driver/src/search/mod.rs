//! Where the hyperparameters of trials come from.
//!
//! One file or folder is one optimizer. They share the [`Space`] with its encoding on the unit cube, in which
//! models think, and the order of trials ([`rank`](self)).
//!
//! | optimizer | learns | several objectives | what grows with the trials |
//! |---|---|---|---|
//! | [`RandomSearch`], [`SobolSearch`], [`GridSearch`] | no | any | nothing |
//! | [`Tpe`] | yes | yes | sorting; its densities have at most 25 and 500 components |
//! | [`GaussianProcess`] | yes | no | sorting; its model has at most 200 points |
//! | [`Cmaes`] | yes | no | one pass over the notes |
//! | [`Nsga2`] | yes | yes | one pass over the results |

mod check;
mod cmaes;
mod constraint;
#[cfg(test)]
mod contract;
mod domain;
mod gp;
mod grid;
mod lbfgs;
mod listed;
mod normal;
mod nsga2;
mod random;
mod rank;
mod record;
mod sobol;
mod space;
mod tpe;

pub use cmaes::Cmaes;
pub use gp::GaussianProcess;
pub use grid::GridSearch;
pub use listed::Listed;
pub use nsga2::Nsga2;
pub use random::RandomSearch;
pub use record::{Observation, Standing, Suggestion};
pub use sobol::SobolSearch;
pub use space::Space;
pub use tpe::Tpe;

use lethe_flight::message::experiment::Optimizer as Choice;
use lethe_flight::message::training::Objective;
use lethe_flight::{Error, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Stands outside the state machine: it is asked by an action and answers by a journalled event.
///
/// An answer is a pure function of the optimizer's settings, its seed, the trial's number, `draw` and the
/// observations. What an optimizer keeps between calls is only there to save time: one that is made anew
/// goes on as if it had never been away, which is how a resumed search goes on.
pub trait Optimizer: Send {
    /// The hyperparameters of this trial. `draw` counts from 0 the answers for this trial that were refused
    /// by the user's predicate. `observations` are all trials that were suggested so far, by number: after a refusal
    /// this one too, as it was refused, and later ones.
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion;

    /// Whether a suggestion gains from the results of the trials before: it is then made as late as can be.
    fn learns(&self) -> bool;

    /// Whether a suggestion in a space without constraints takes microseconds, however many trials there are. All
    /// others are made on a thread of their own.
    fn is_quick(&self) -> bool {
        false
    }
}

/// # Errors
/// If the optimizer's settings make no sense, or it cannot search this space.
pub fn optimizer(
    choice: &Choice,
    space: Space,
    objective: &Objective,
    seed: u64,
) -> Result<Box<dyn Optimizer>> {
    let single = |name: &str| match objective.further.len() {
        0 => Ok(()),
        n => Err(Error::Invalid(format!(
            "{name} has one objective, not {}; use the optimizer nsga2 or tpe for several",
            n + 1
        ))),
    };
    match choice {
        Choice::Random => Ok(Box::new(RandomSearch::new(space, seed))),
        Choice::Grid { points } => Ok(Box::new(GridSearch::new(space, *points)?)),
        Choice::Sobol => Ok(Box::new(SobolSearch::new(space, seed))),
        Choice::Tpe { startup } => Ok(Box::new(Tpe::new(space, *startup, seed))),
        Choice::Gp { startup } => {
            single("gp")?;
            Ok(Box::new(GaussianProcess::new(space, *startup, seed)))
        }
        Choice::Cmaes { sigma, population } => {
            single("cmaes")?;
            Ok(Box::new(Cmaes::new(space, *sigma, *population, seed)?))
        }
        Choice::Nsga2 { population } => Ok(Box::new(Nsga2::new(space, *population, seed)?)),
        Choice::External { name, .. } => {
            Err(Error::Invalid(format!("the optimizer {name:?} is asked in the user's process, not here")))
        }
    }
}

/// A generator for this draw of this trial, independent of all others.
pub fn rng(seed: u64, trial: u32, draw: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(trial) | u64::from(draw) << 32);
    rng
}
