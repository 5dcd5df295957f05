//! The mistakes that are found when a space is made.

use std::collections::BTreeMap;

use lethe_flight::message::experiment::{Domain, Parameter};
use lethe_flight::{Error, Result, limits};

use super::domain::{Kind, kind, same, unit};

/// Beyond, one step more is the same number.
const MOST_STEPS: f64 = 9_007_199_254_740_992.0;

/// The parameters' places in an order in which parents come before what depends on them.
///
/// # Errors
/// For a name that is empty, too long or there twice, a domain without values or with one twice, a condition
/// that can never hold or goes in a circle; names the parameter.
pub fn order(parameters: &[Parameter]) -> Result<Vec<usize>> {
    let mut places = BTreeMap::new();
    for (place, Parameter { name, domain, .. }) in parameters.iter().enumerate() {
        if name.is_empty() || name.len() > limits::NAME_BYTES {
            return Err(Error::Invalid(format!(
                "the name of parameter {name:?} must have 1 to {} bytes",
                limits::NAME_BYTES
            )));
        }
        if places.insert(name.as_str(), place).is_some() {
            return Err(Error::Invalid(format!("parameter {name:?} is in the search space twice")));
        }
        if let Some(fault) = fault(domain) {
            return Err(Error::Invalid(format!("parameter {name:?}: {fault}")));
        }
    }
    for parameter in parameters {
        condition(parameter, parameters, &places)?;
    }
    let mut order: Vec<usize> = Vec::with_capacity(parameters.len());
    let mut done = vec![false; parameters.len()];
    while order.len() < parameters.len() {
        let before = order.len();
        for (place, parameter) in parameters.iter().enumerate() {
            let parent = parameter.condition.as_ref().and_then(|c| places.get(c.parent.as_str()));
            if !done[place] && parent.is_none_or(|&parent| done[parent]) {
                done[place] = true;
                order.push(place);
            }
        }
        if order.len() == before {
            let name = parameters.iter().zip(&done).find(|(_, done)| !**done).map_or("", |(p, _)| &p.name);
            return Err(Error::Invalid(format!(
                "parameter {name:?}: its condition depends on itself, through those of its parents"
            )));
        }
    }
    Ok(order)
}

fn condition(parameter: &Parameter, all: &[Parameter], places: &BTreeMap<&str, usize>) -> Result<()> {
    let Some(condition) = &parameter.condition else { return Ok(()) };
    let refuse = |fault: String| Err(Error::Invalid(format!("parameter {:?}: {fault}", parameter.name)));
    let Some(parent) = places.get(condition.parent.as_str()).map(|&place| &all[place]) else {
        return refuse(format!("it depends on {:?}, which is not in the search space", condition.parent));
    };
    if condition.values.is_empty() {
        return refuse(format!("it depends on {:?}, but on no value of it", condition.parent));
    }
    if kind(&parent.domain) == Kind::Real {
        return refuse(format!(
            "it depends on single values of {:?}, which is continuous; give that a step",
            condition.parent
        ));
    }
    match condition.values.iter().find(|value| unit(&parent.domain, value).is_none()) {
        Some(value) => {
            refuse(format!("it exists where {:?} is {value}, which that cannot be", condition.parent))
        }
        None => Ok(()),
    }
}

fn fault(domain: &Domain) -> Option<String> {
    match domain {
        Domain::Uniform { low, high, .. } | Domain::LogUniform { low, high }
            if !(low.is_finite() && high.is_finite()) =>
        {
            Some(format!("the bounds {low} and {high} must be finite"))
        }
        Domain::LogUniform { low, .. } if *low <= 0.0 => {
            Some(format!("a log scale needs a lower bound above 0, not {low}"))
        }
        Domain::Integer { low, log: true, .. } if *low < 1 => {
            Some(format!("a log scale of integers needs a lower bound of 1 or more, not {low}"))
        }
        Domain::Uniform { low, high, .. } | Domain::LogUniform { low, high } if low > high => {
            Some(format!("the range from {low} to {high} is empty; give the lower bound first"))
        }
        Domain::Integer { low, high, .. } if low > high => {
            Some(format!("the range from {low} to {high} is empty; give the lower bound first"))
        }
        Domain::Integer { step: Some(_), log: true, .. } => Some("a log scale cannot have a step".into()),
        Domain::Uniform { step: Some(step), .. } if !(*step > 0.0 && step.is_finite()) => {
            Some(format!("the step must be above 0, not {step}"))
        }
        Domain::Integer { step: Some(step), .. } if *step <= 0 => {
            Some(format!("the step must be above 0, not {step}"))
        }
        Domain::Uniform { low, high, step: Some(step) } if *step > (high - low) * (1.0 + 1e-12) => {
            Some(format!("the step {step} is larger than the range from {low} to {high}"))
        }
        Domain::Uniform { low, high, step: Some(step) } if high / step - low / step > MOST_STEPS => {
            Some(format!("the step {step} is too small for the range from {low} to {high}; leave it out"))
        }
        Domain::Integer { low, high, step: Some(step), .. }
            if i128::from(*step) > i128::from(*high) - i128::from(*low) =>
        {
            Some(format!("the step {step} is larger than the range from {low} to {high}"))
        }
        Domain::Choice { values } | Domain::Ordinal { values } if values.is_empty() => {
            Some("a choice needs at least one value".into())
        }
        Domain::Choice { values } | Domain::Ordinal { values } => {
            let twice =
                |(i, value): &(usize, &serde_json::Value)| values[..*i].iter().any(|v| same(v, value));
            values
                .iter()
                .enumerate()
                .find(twice)
                .map(|(_, value)| format!("the value {value} is there twice"))
        }
        _ => None,
    }
}
