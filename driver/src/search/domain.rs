//! One parameter's values: which there are, their exact form, and their place on the unit interval.
//!
//! On the unit interval a real parameter lies by its (logarithmic) share of the range. One of n values lies in
//! the middle of its cell, so that a uniform draw takes each equally often.

use lethe_flight::message::experiment::Domain;
use serde_json::Value;

/// How a model sees a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Real,
    /// So many values in an order.
    Grid(u64),
    /// So many values without an order.
    Category(u64),
}

pub fn kind(domain: &Domain) -> Kind {
    match domain {
        Domain::Uniform { low, high, step: None } | Domain::LogUniform { low, high } if low < high => {
            Kind::Real
        }
        Domain::Uniform { step: None, .. } | Domain::LogUniform { .. } => Kind::Grid(1),
        Domain::Uniform { low, high, step: Some(step) } => Kind::Grid(steps(*low, *high, *step)),
        Domain::Integer { low, high, step, .. } => {
            let n = (i128::from(*high) - i128::from(*low)) / i128::from(step.unwrap_or(1).max(1)) + 1;
            Kind::Grid(u64::try_from(n).unwrap_or(u64::MAX))
        }
        Domain::Choice { values } => Kind::Category(values.len() as u64),
        Domain::Ordinal { values } => Kind::Grid(values.len() as u64),
    }
}

/// The value at this place.
pub fn value(domain: &Domain, unit: f64) -> Value {
    let unit = if unit.is_nan() { 0.5 } else { unit.clamp(0.0, 1.0) };
    match domain {
        Domain::Uniform { low, high, step: None } => between(*low, *high, unit).clamp(*low, *high).into(),
        // The logarithm does not lead back to the bounds exactly.
        Domain::LogUniform { low, .. } if unit == 0.0 => (*low).into(),
        Domain::LogUniform { high, .. } if unit == 1.0 => (*high).into(),
        Domain::LogUniform { low, high } => {
            between(low.ln(), high.ln(), unit).exp().clamp(*low, *high).into()
        }
        Domain::Integer { low, high, log: true, .. } => {
            let (a, b) = edges(*low, *high);
            (between(a, b, unit).exp().round() as i64).clamp(*low, *high).into()
        }
        _ => nth(domain, cell(unit, kind(domain))),
    }
}

/// The number of the value of a discrete parameter at this place.
pub fn index(domain: &Domain, unit: f64) -> u64 {
    match domain {
        Domain::Integer { low, log: true, .. } => {
            value(domain, unit).as_i64().map_or(0, |value| value.abs_diff(*low))
        }
        _ => cell(unit, kind(domain)),
    }
}

/// How much of the unit interval belongs to the value at this place, of values in an order; 0 of others.
pub fn width(domain: &Domain, unit: f64) -> f64 {
    match (domain, kind(domain)) {
        (Domain::Integer { low, high, log: true, .. }, _) => {
            let (a, b) = edges(*low, *high);
            let own = value(domain, unit).as_f64().unwrap_or(1.0);
            ((own + 0.5).ln() - (own - 0.5).ln()) / (b - a)
        }
        (_, Kind::Grid(n)) => 1.0 / n as f64,
        (_, Kind::Real | Kind::Category(_)) => 0.0,
    }
}

/// The `k`-th of a domain's values, in order. Of a real parameter, its lower bound.
pub fn nth(domain: &Domain, k: u64) -> Value {
    match domain {
        Domain::Uniform { low, step: Some(step), .. } => stepped(*low, *step, k).into(),
        Domain::Uniform { low, .. } | Domain::LogUniform { low, .. } => (*low).into(),
        Domain::Integer { low, high, step, .. } => {
            let value = i128::from(*low) + i128::from(k) * i128::from(step.unwrap_or(1));
            i64::try_from(value).unwrap_or(*high).min(*high).into()
        }
        Domain::Choice { values } | Domain::Ordinal { values } => {
            values.get(usize::try_from(k).unwrap_or(usize::MAX)).cloned().unwrap_or(Value::Null)
        }
    }
}

/// The place of a value; None if the domain does not have it.
pub fn unit(domain: &Domain, value: &Value) -> Option<f64> {
    let middle = |k: u64, n: u64| (k as f64 + 0.5) / n as f64;
    match (domain, kind(domain)) {
        (Domain::Choice { values } | Domain::Ordinal { values }, _) => {
            let k = values.iter().position(|one| same(one, value))?;
            Some(middle(k as u64, values.len() as u64))
        }
        (Domain::Integer { low, high, step, log }, Kind::Grid(n)) => {
            let v = integer(value).filter(|v| (low..=high).contains(&v))?;
            let (distance, step) = (i128::from(v) - i128::from(*low), i128::from(step.unwrap_or(1).max(1)));
            if *log {
                let (a, b) = edges(*low, *high);
                return Some((((v as f64).ln() - a) / (b - a)).clamp(0.0, 1.0));
            }
            (distance % step == 0).then(|| middle(u64::try_from(distance / step).unwrap_or(u64::MAX), n))
        }
        (Domain::Uniform { low, step: Some(step), .. }, Kind::Grid(n)) => {
            let v = value.as_f64()?;
            let k = ((v - low) / step).round();
            let near = (low + k * step - v).abs() <= 1e-9 * step.max(v.abs());
            (near && k >= 0.0 && k < n as f64).then(|| middle(k as u64, n))
        }
        (Domain::Uniform { low, high, .. }, _) => {
            let v = value.as_f64().filter(|v| (low..=high).contains(&v))?;
            // Halves, whose difference cannot overflow.
            Some(if low < high { (v / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.5 })
        }
        (Domain::LogUniform { low, high }, _) => {
            let v = value.as_f64().filter(|v| (low..=high).contains(&v))?;
            Some(if low < high { (v.ln() - low.ln()) / (high.ln() - low.ln()) } else { 0.5 })
        }
        _ => None,
    }
}

/// A value as the domain writes it: 1 given for a real parameter is 1.0. None if the domain does not have it.
pub fn exact(domain: &Domain, given: &Value) -> Option<Value> {
    let place = unit(domain, given)?;
    match domain {
        Domain::Uniform { step: None, .. } | Domain::LogUniform { .. } => given.as_f64().map(Value::from),
        Domain::Integer { .. } => integer(given).map(Value::from),
        _ => Some(nth(domain, cell(place, kind(domain)))),
    }
}

/// The place nearest to this one that is a value's.
pub fn snapped(domain: &Domain, place: f64) -> f64 {
    match kind(domain) {
        Kind::Real => place.clamp(0.0, 1.0),
        _ => unit(domain, &value(domain, place)).unwrap_or(0.5),
    }
}

/// Equal as values: 1 and 1.0 are, `true` and 1 are not.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) if a.is_f64() || b.is_f64() => x == y,
        _ => a == b,
    }
}

/// The number of the cell of a discrete parameter in which a place lies.
pub fn cell(unit: f64, kind: Kind) -> u64 {
    match kind {
        Kind::Real => 0,
        Kind::Grid(n) | Kind::Category(n) => ((unit * n as f64) as u64).min(n.saturating_sub(1)),
    }
}

fn integer(value: &Value) -> Option<i64> {
    let whole = |v: f64| (v.fract() == 0.0 && v.abs() < 9e15).then_some(v as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}

/// Not `low + u * (high - low)`, whose difference can overflow.
fn between(low: f64, high: f64, u: f64) -> f64 {
    low * (1.0 - u) + high * u
}

/// Of a logarithmic integer: half a value is added at both ends, so that the outer values are not rarer.
fn edges(low: i64, high: i64) -> (f64, f64) {
    ((low as f64 - 0.5).ln(), (high as f64 + 0.5).ln())
}

fn steps(low: f64, high: f64, step: f64) -> u64 {
    (((high / step - low / step) * (1.0 + 1e-12) + 1e-9).floor() as u64).saturating_add(1)
}

/// `low + k * step` without the dust of binary fractions: 0.3, not 0.30000000000000004.
fn stepped(low: f64, step: f64, k: u64) -> f64 {
    let value = low + k as f64 * step;
    let Some(decimals) = decimals(low).zip(decimals(step)).map(|(a, b)| a.max(b)) else { return value };
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

/// How many decimals write this number exactly; None if it has more than any that a person would write.
fn decimals(value: f64) -> Option<usize> {
    (0..=12).find(|&n| format!("{value:.n$}").parse() == Ok(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values_of_a_step_are_written_as_a_person_would() {
        let domain = Domain::Uniform { low: 0.0, high: 1.0, step: Some(0.1) };
        let values: Vec<_> = (0..11).map(|k| nth(&domain, k)).collect();
        assert_eq!(json!(values).to_string(), "[0.0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0]");
        assert_eq!(kind(&domain), Kind::Grid(11));
        let odd = Domain::Uniform { low: -0.25, high: 0.6, step: Some(0.3) };
        assert_eq!((kind(&odd), nth(&odd, 2)), (Kind::Grid(3), json!(0.35)));
    }

    #[test]
    fn the_values_of_a_logarithmic_integer_share_the_unit_interval_by_their_logarithms() {
        let domain = Domain::Integer { low: 1, high: 1000, step: None, log: true };
        let mut sum = 0.0;
        for k in 0..1000 {
            let place = unit(&domain, &nth(&domain, k)).unwrap();
            assert_eq!(index(&domain, place), k);
            let width = width(&domain, place);
            assert_eq!(index(&domain, place + 0.3 * width), k, "not yet its neighbour");
            sum += width;
        }
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert!(width(&domain, 0.0) > 0.1 && width(&domain, 1.0) < 2e-4);
        let even = Domain::Ordinal { values: vec![json!(1), json!(2), json!(4), json!(8)] };
        assert_eq!((width(&even, 0.9), index(&even, 0.9)), (0.25, 3));
    }

    proptest! {
        #[test]
        fn a_value_lies_where_it_was_read_from(place in 0.0..=1.0f64, low in -50i64..50, span in 1i64..2000) {
            let high = low + span;
            let domains = [
                Domain::Uniform { low: low as f64, high: high as f64, step: None },
                Domain::Uniform { low: low as f64, high: high as f64, step: Some(0.3) },
                Domain::LogUniform { low: (low + 51) as f64, high: (high + 51) as f64 },
                Domain::Integer { low, high, step: None, log: false },
                Domain::Integer { low, high, step: Some(span.min(3)), log: false },
                Domain::Integer { low: low + 51, high: high + 51, step: None, log: true },
                Domain::Choice { values: vec![json!(true), json!("a"), json!(1), json!(null)] },
                Domain::Ordinal { values: vec![json!(8), json!(4), json!(2)] },
            ];
            for domain in domains {
                let found = value(&domain, place);
                prop_assert_eq!(exact(&domain, &found), Some(found.clone()), "{:?}", &domain);
                let back = unit(&domain, &found).unwrap();
                let again = value(&domain, back);
                if kind(&domain) == Kind::Real {
                    prop_assert!((back - place).abs() < 1e-9);
                } else {
                    prop_assert_eq!(&again, &found, "{:?}", &domain);
                    prop_assert_eq!(snapped(&domain, back), back);
                }
            }
        }
    }
}
