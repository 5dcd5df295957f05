//! The search space: named domains, checked when it is made.

use std::collections::BTreeSet;

use lethe_flight::message::experiment::{Domain, Parameter};
use lethe_flight::{Error, Result, limits};

/// Parameters with distinct names and domains that are not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Space(Vec<Parameter>);

impl Space {
    /// # Errors
    /// If a name is empty, too long or there twice, or a domain holds no value; names the parameter.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self> {
        let mut names = BTreeSet::new();
        for Parameter { name, domain } in &parameters {
            if name.is_empty() || name.len() > limits::NAME_BYTES {
                return Err(Error::Invalid(format!(
                    "the name of parameter {name:?} must have 1 to {} bytes",
                    limits::NAME_BYTES
                )));
            }
            if !names.insert(name) {
                return Err(Error::Invalid(format!("parameter {name:?} is in the search space twice")));
            }
            if let Some(fault) = fault(domain) {
                return Err(Error::Invalid(format!("parameter {name:?}: {fault}")));
            }
        }
        Ok(Self(parameters))
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.0
    }
}

fn fault(domain: &Domain) -> Option<String> {
    match domain {
        Domain::Uniform { low, high } | Domain::LogUniform { low, high }
            if !(low.is_finite() && high.is_finite()) =>
        {
            Some(format!("the bounds {low} and {high} must be finite"))
        }
        Domain::LogUniform { low, .. } if *low <= 0.0 => {
            Some(format!("loguniform needs a lower bound above 0, not {low}"))
        }
        Domain::Uniform { low, high } | Domain::LogUniform { low, high } if low > high => {
            Some(format!("the range from {low} to {high} is empty; give the lower bound first"))
        }
        Domain::Integer { low, high } if low > high => {
            Some(format!("the range from {low} to {high} is empty; give the lower bound first"))
        }
        Domain::Choice { values } if values.is_empty() => Some("a choice needs at least one value".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(domains: Vec<(&str, Domain)>) -> String {
        let parameters = domains.into_iter().map(|(name, domain)| Parameter { name: name.into(), domain });
        Space::new(parameters.collect()).unwrap_err().to_string()
    }

    #[test]
    fn a_domain_without_values_is_refused_by_the_name_of_its_parameter() {
        let empty = refusal(vec![("lr", Domain::Uniform { low: 1.0, high: 0.0 })]);
        assert!(empty.contains("\"lr\"") && empty.contains("from 1 to 0 is empty"), "{empty}");
        assert!(refusal(vec![("n", Domain::Integer { low: 2, high: 1 })]).contains("\"n\""));
        assert!(refusal(vec![("lr", Domain::LogUniform { low: 0.0, high: 1.0 })]).contains("above 0"));
        assert!(refusal(vec![("c", Domain::Choice { values: vec![] })]).contains("\"c\""));
        assert!(refusal(vec![("u", Domain::Uniform { low: f64::NAN, high: 1.0 })]).contains("finite"));
        let one = || Domain::Integer { low: 1, high: 1 };
        assert!(refusal(vec![("a", one()), ("a", one())]).contains("twice"));
        assert!(refusal(vec![("", one())]).contains("name"));
    }
}
