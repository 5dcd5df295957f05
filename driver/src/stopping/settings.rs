//! Rules from the messages that name them.

use lethe_flight::message::experiment::{Parameter, Stopping};
use lethe_flight::message::training::Direction;
use lethe_flight::{Error, Result};

use super::explore::Explorer;
use super::halving::Settings;
use super::{Asha, Hyperband, Median, NoStopping, Patience, Pbt, StoppingRule, Threshold};
use crate::search::Space;

/// `trials` is how many there will be in all, where that is known.
///
/// # Errors
/// If the rule's settings make no sense; says which.
pub fn rule(
    stopping: &Stopping,
    direction: Direction,
    space: &Space,
    trials: Option<u32>,
    seed: u64,
) -> Result<Box<dyn StoppingRule>> {
    Ok(match *stopping {
        Stopping::None => Box::new(NoStopping),
        Stopping::Asha { reduction, min_epochs, pause } => {
            Box::new(Asha::new(halving("ASHA", reduction, min_epochs, direction, pause, trials)?))
        }
        Stopping::Hyperband { reduction, min_epochs, pause } => {
            let settings = halving("Hyperband", reduction, min_epochs, direction, pause, trials)?;
            Box::new(Hyperband::new(settings, seed))
        }
        Stopping::Median { min_trials, min_epochs } => {
            check(min_trials >= 1, || {
                format!("the median rule's min_trials is {min_trials}; it must be 1 or more")
            })?;
            check(min_epochs >= 1, || {
                format!("the median rule's min_epochs is {min_epochs}; it must be 1 or more")
            })?;
            Box::new(Median::new(min_trials, min_epochs, direction, trials))
        }
        Stopping::Threshold { bound, min_epochs } => {
            check(!bound.is_nan(), || "the threshold's bound is NaN; it must be a number".into())?;
            Box::new(Threshold::new(bound, min_epochs, direction))
        }
        Stopping::Patience { epochs, min_delta } => {
            check(epochs >= 1, || format!("the patience is {epochs} epochs; it must be 1 or more"))?;
            check(min_delta >= 0.0, || {
                format!("the patience's min_delta is {min_delta}; it must be 0 or more")
            })?;
            Box::new(Patience::new(epochs, min_delta, direction))
        }
        Stopping::Pbt { every, quantile, resample, ref parameters } => {
            check(every >= 1, || {
                format!("population based training's every is {every}; it must be 1 or more")
            })?;
            check(quantile > 0.0 && quantile <= 0.5, || {
                format!(
                    "population based training's quantile is {quantile}; it must be above 0 and at most 0.5"
                )
            })?;
            check((0.0..=1.0).contains(&resample), || {
                format!("population based training's resample is {resample}; it must be a probability")
            })?;
            let population = trials.filter(|&trials| trials >= 2).ok_or_else(|| {
                Error::Invalid(
                    "population based training needs a number of trials, 2 or more: they are the population"
                        .into(),
                )
            })?;
            let parameters = perturbed(parameters, space)?;
            let explorer = Explorer { parameters, resample, seed, space: space.clone() };
            Box::new(Pbt::new(every, quantile, direction, population, explorer))
        }
    })
}

fn halving(
    name: &str,
    reduction: u32,
    min_epochs: u32,
    direction: Direction,
    pause: bool,
    trials: Option<u32>,
) -> Result<Settings> {
    check(reduction >= 2, || format!("{name}'s reduction is {reduction}; it must be 2 or more"))?;
    check(min_epochs >= 1, || format!("{name}'s min_epochs is {min_epochs}; it must be 1 or more"))?;
    Ok(Settings { reduction, min_epochs, direction, pause, trials })
}

/// The parameters of these names. One that decides whether another exists cannot be perturbed: the other would
/// come or go with it.
fn perturbed(names: &[String], space: &Space) -> Result<Vec<Parameter>> {
    check(!names.is_empty(), || "population based training perturbs parameters; name at least one".into())?;
    let find = |name: &String| {
        let conditions =
            || space.parameters().iter().filter_map(|other| Some((other, other.condition.as_ref()?)));
        if let Some((child, _)) = conditions().find(|(_, condition)| condition.parent == *name) {
            return Err(Error::Invalid(format!(
                "population based training cannot perturb {name:?}: whether {:?} exists depends on it",
                child.name
            )));
        }
        space.parameters().iter().find(|parameter| parameter.name == *name).cloned().ok_or_else(|| {
            let names: Vec<_> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
            Error::Invalid(format!(
                "population based training cannot perturb {name:?}, which is not in the search space; it has {}",
                names.join(", ")
            ))
        })
    };
    names.iter().map(find).collect()
}

fn check(holds: bool, fault: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Invalid(fault())) }
}
