//! How population based training changes hyperparameters.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::search::Space;

const FACTORS: [f64; 2] = [0.8, 1.2];
/// Perturbations that are looked at, of which none fulfils the space's constraints.
const TRIES: usize = 20;

/// Perturbs the named parameters of a trial and keeps all others, on which the copied weights may depend.
///
/// | domain | perturbed |
/// |---|---|
/// | numbers | times 0.8 or 1.2, within the bounds; on a grid at least one step, where there is one |
/// | ordinal | the value before or after |
/// | choice | drawn anew |
///
/// With probability `resample` a parameter is drawn anew from its domain instead. One that the trial does not
/// have, because its condition does not hold, stays away. Where the space has constraints, a few perturbations are
/// tried; if none fulfils them, the trial keeps what it has.
#[derive(Debug, Clone)]
pub(super) struct Explorer {
    pub parameters: Vec<Parameter>,
    pub resample: f64,
    pub seed: u64,
    /// Whose constraints hold for what is perturbed too.
    pub space: Space,
}

impl Explorer {
    /// A function of the seed, `stream` and the hyperparameters alone.
    pub fn explore(&self, hparams: &Hparams, stream: u64) -> Hparams {
        let mut rng = generator(self.seed, stream);
        let tried = |number| (number < TRIES).then(|| self.perturbed(hparams, &mut rng));
        self.space.first_fulfilled(tried).unwrap_or_else(|| hparams.clone())
    }

    fn perturbed(&self, hparams: &Hparams, rng: &mut ChaCha8Rng) -> Hparams {
        let mut perturbed = hparams.clone();
        for Parameter { name, domain, .. } in &self.parameters {
            if let Some(value) = perturbed.get_mut(name) {
                let anew = rng.random::<f64>() < self.resample;
                *value = if anew { draw(domain, rng) } else { perturb(domain, value, rng) };
            }
        }
        perturbed
    }
}

pub(super) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn perturb(domain: &Domain, value: &Value, rng: &mut ChaCha8Rng) -> Value {
    let up = rng.random::<bool>();
    let factor = FACTORS[usize::from(up)];
    match (domain, value.as_f64()) {
        (Domain::Uniform { low, high, step: None } | Domain::LogUniform { low, high }, Some(number)) => {
            (number * factor).clamp(*low, *high).into()
        }
        (Domain::Uniform { low, high, step: Some(step) }, Some(number)) => {
            let last = ((high - low) / step + 1e-9).floor();
            let (from, to) = ((number - low) / step, (number * factor - low) / step);
            on_grid(*low, *step, at_least_one_step(from, to).clamp(0.0, last))
        }
        (Domain::Integer { low, high, step, .. }, Some(number)) => {
            let step = step.unwrap_or(1).max(1);
            let last = (high.abs_diff(*low) / step.unsigned_abs()) as f64;
            let low_number = *low as f64;
            let (from, to) =
                ((number - low_number) / step as f64, (number * factor - low_number) / step as f64);
            let steps = at_least_one_step(from, to).clamp(0.0, last) as i64;
            low.saturating_add(steps.saturating_mul(step)).into()
        }
        (Domain::Ordinal { values }, _) => {
            let at = values.iter().position(|other| other == value);
            let beside = at.map(|at| if up { at + 1 } else { at.saturating_sub(1) });
            beside.and_then(|beside| values.get(beside)).unwrap_or(value).clone()
        }
        (Domain::Choice { .. }, _) => draw(domain, rng),
        (Domain::Uniform { .. } | Domain::LogUniform { .. } | Domain::Integer { .. }, None) => value.clone(),
    }
}

/// The nearest whole number of steps to `to`; another than at `from` where `to` is another.
fn at_least_one_step(from: f64, to: f64) -> f64 {
    let (from, nearest) = (from.round(), to.round());
    if nearest != from || to == from { nearest } else { from + (to - from).signum() }
}

fn draw(domain: &Domain, rng: &mut ChaCha8Rng) -> Value {
    let u: f64 = rng.random();
    match domain {
        Domain::Uniform { low, high, step: None } => between(*low, *high, u).clamp(*low, *high).into(),
        Domain::Uniform { low, high, step: Some(step) } => {
            let last = ((high - low) / step + 1e-9).floor();
            on_grid(*low, *step, (u * (last + 1.0)).floor().min(last))
        }
        Domain::LogUniform { low, high } => between(low.ln(), high.ln(), u).exp().clamp(*low, *high).into(),
        Domain::Integer { low, high, step, log } => {
            let step = step.unwrap_or(1).max(1);
            let last = high.abs_diff(*low) / step.unsigned_abs();
            let steps = if *log {
                // Each whole number has the stretch of the log scale from it to the next.
                let drawn = between((*low as f64).ln(), (*high as f64 + 1.0).ln(), u).exp();
                (((drawn - *low as f64) / step as f64).max(0.0) as u64).min(last)
            } else {
                rng.random_range(0..=last)
            };
            low.saturating_add(step.saturating_mul(i64::try_from(steps).unwrap_or(i64::MAX))).into()
        }
        Domain::Choice { values } | Domain::Ordinal { values } => {
            values.get((u * values.len() as f64) as usize).or(values.last()).cloned().unwrap_or_default()
        }
    }
}

/// Not `low + u * (high - low)`, whose difference can overflow.
fn between(low: f64, high: f64, u: f64) -> f64 {
    low * (1.0 - u) + high * u
}

/// `0.1 + 2 * 0.1` without its last digit's noise.
fn on_grid(low: f64, step: f64, steps: f64) -> Value {
    let value = low + steps * step;
    format!("{value:.12e}").parse::<f64>().unwrap_or(value).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn domains() -> Vec<(Domain, Value)> {
        vec![
            (Domain::Uniform { low: -1.0, high: 1.0, step: None }, json!(-0.9)),
            (Domain::Uniform { low: 0.1, high: 0.7, step: Some(0.1) }, json!(0.3)),
            (Domain::LogUniform { low: 1e-4, high: 1e-1 }, json!(1e-1)),
            (Domain::Integer { low: 1, high: 1000, step: None, log: true }, json!(100)),
            (Domain::Integer { low: -10, high: 10, step: Some(5), log: false }, json!(5)),
            (Domain::Integer { low: 1, high: 9, step: None, log: false }, json!(2)),
            (Domain::Ordinal { values: vec![json!("s"), json!("m"), json!("l")] }, json!("m")),
            (Domain::Choice { values: vec![json!("a"), json!("b")] }, json!("a")),
        ]
    }

    fn explorer(parameters: Vec<Parameter>, constraints: &[&str], resample: f64, seed: u64) -> Explorer {
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        let space = Space::new(parameters.clone(), constraints).unwrap();
        Explorer { parameters, resample, seed, space }
    }

    fn explored(domain: &Domain, value: &Value, resample: f64) -> Vec<Value> {
        let parameters = vec![Parameter { name: "p".into(), domain: domain.clone(), condition: None }];
        let explorer = explorer(parameters, &[], resample, 7);
        let hparams = Hparams::from_iter([("p".into(), value.clone()), ("width".into(), json!(64))]);
        (0..200)
            .map(|stream| {
                let explored = explorer.explore(&hparams, stream);
                assert_eq!((explored.len(), &explored["width"]), (2, &json!(64)));
                explored["p"].clone()
            })
            .collect()
    }

    fn distinct(values: Vec<Value>) -> Vec<String> {
        let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
        texts.sort();
        texts.dedup();
        texts
    }

    #[test]
    fn each_kind_of_domain_is_perturbed_in_its_way() {
        let expected: [&[&str]; 8] = [
            &["-0.72", "-1.0"],
            &["0.2", "0.4"],
            &["0.08", "0.1"],
            &["120", "80"],
            &["0", "10"],
            &["1", "3"],
            &["\"l\"", "\"s\""],
            &["\"a\"", "\"b\""],
        ];
        for ((domain, value), expected) in domains().iter().zip(expected) {
            let found = distinct(explored(domain, value, 0.0));
            let close = found.iter().zip(expected).all(|(found, expected)| {
                let numbers = found.parse::<f64>().ok().zip(expected.parse::<f64>().ok());
                numbers.map_or(found == expected, |(found, expected)| (found - expected).abs() < 1e-9)
            });
            assert!(close && found.len() == expected.len(), "{domain:?}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn perturbed_numbers_stay_within_their_bounds() {
        let tenths = Domain::Uniform { low: 0.1, high: 0.7, step: Some(0.1) };
        assert_eq!(distinct(explored(&tenths, &json!(0.7), 0.0)), ["0.6", "0.7"]);
        let digits = Domain::Integer { low: 1, high: 9, step: None, log: false };
        assert_eq!(distinct(explored(&digits, &json!(9), 0.0)), ["7", "9"]);
        assert_eq!(distinct(explored(&digits, &json!(1), 0.0)), ["1", "2"]);
    }

    #[test]
    fn draws_stay_in_their_domain_and_on_its_grid() {
        for (domain, value) in domains() {
            let drawn = explored(&domain, &value, 1.0);
            let numbers = || drawn.iter().map(|value| value.as_f64().unwrap());
            match &domain {
                Domain::Uniform { low, high, step: None } | Domain::LogUniform { low, high } => {
                    assert!(numbers().all(|number| (*low..=*high).contains(&number)), "{drawn:?}");
                    assert!(distinct(drawn).len() > 150);
                }
                Domain::Uniform { .. } => {
                    assert_eq!(distinct(drawn), ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]);
                }
                Domain::Integer { log: true, .. } => {
                    assert!(drawn.iter().all(|value| (1..=1000).contains(&value.as_i64().unwrap())));
                    let low = numbers().filter(|&number| number <= 31.0).count();
                    assert!((70..=130).contains(&low), "{low} of 200 lie in the lower half of the log scale");
                }
                Domain::Integer { step: Some(_), .. } => {
                    assert_eq!(distinct(drawn), ["-10", "-5", "0", "10", "5"]);
                }
                Domain::Integer { .. } => assert_eq!(distinct(drawn).len(), 9),
                Domain::Ordinal { values } | Domain::Choice { values } => {
                    assert_eq!(distinct(drawn).len(), values.len());
                }
            }
        }
    }

    #[test]
    fn a_parameter_that_the_trial_does_not_have_stays_away() {
        let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
        let parameters = vec![Parameter { name: "momentum".into(), domain, condition: None }];
        let explorer = explorer(parameters, &[], 0.5, 1);
        assert!((0..20).all(|stream| explorer.explore(&Hparams::new(), stream).is_empty()));
    }

    #[test]
    fn constraints_hold_for_what_is_perturbed_and_what_cannot_be_stays() {
        let integer = |name: &str| {
            let domain = Domain::Integer { low: 1, high: 100, step: None, log: false };
            Parameter { name: name.into(), domain, condition: None }
        };
        let given = Hparams::from_iter([("a".into(), json!(50)), ("b".into(), json!(50))]);
        let within = explorer(vec![integer("a"), integer("b")], &["a + b <= 100"], 0.0, 1);
        let found: Vec<_> = (0..50).map(|stream| within.explore(&given, stream)).collect();
        let sum = |point: &Hparams| point["a"].as_i64().unwrap() + point["b"].as_i64().unwrap();
        assert!(found.iter().all(|point| sum(point) <= 100 && *point != given), "{found:?}");
        assert!(found.iter().any(|point| sum(point) == 100), "one up, one down");
        let alone = explorer(vec![integer("a"), integer("b")], &["a + b = 100"], 0.0, 1);
        let alone = Explorer { parameters: vec![integer("a")], ..alone };
        assert_eq!(alone.explore(&given, 0), given, "neither 40 nor 60 is allowed beside 50");
    }
}
