//! The search space: named domains under conditions and constraints, checked when it is made.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter};
use lethe_flight::{Error, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::check;
use super::constraint::Constraints;
use super::domain::{self, Kind};

/// Draws after which a point that fulfils the constraints is given up.
const DRAWS: usize = 100_000;
/// Points that are drawn at once where there are constraints.
const BATCH: usize = 256;

/// Parameters with distinct names and domains that are not empty, of which some exist only where others have
/// certain values.
#[derive(Debug, Clone)]
pub struct Space {
    parameters: Vec<Parameter>,
    /// Parents first.
    order: Vec<usize>,
    /// Of each parameter, its parent.
    parents: Vec<Option<usize>>,
    /// Of each parameter, the places on the unit interval of the parent's values with which it exists.
    conditions: Vec<Vec<f64>>,
    constraints: Constraints,
}

impl Space {
    /// # Errors
    /// If the space makes no sense: names the parameter or the constraint. If constraints are so strict that
    /// random draws do not find a point.
    pub fn new(parameters: Vec<Parameter>, constraints: Vec<String>) -> Result<Self> {
        let order = check::order(&parameters)?;
        let constraints = Constraints::new(&parameters, &constraints)?;
        let place = |name: &str| parameters.iter().position(|p| p.name == name);
        let parents: Vec<_> = parameters.iter().map(|p| place(&p.condition.as_ref()?.parent)).collect();
        let conditions = parameters.iter().zip(&parents).map(|(p, parent)| {
            let Some((condition, parent)) = p.condition.as_ref().zip(*parent) else { return Vec::new() };
            condition
                .values
                .iter()
                .filter_map(|value| domain::unit(&parameters[parent].domain, value))
                .collect()
        });
        let conditions = conditions.collect();
        let space = Self { parameters, order, parents, conditions, constraints };
        let mut rng = super::rng(0, 0, 0);
        if space.draw(&mut rng).is_none() {
            return Err(Error::Invalid(format!(
                "none of {DRAWS} random points fulfils all constraints; loosen them, or narrow the ranges"
            )));
        }
        Ok(space)
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameters' places in an order in which parents come first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    pub fn parent(&self, place: usize) -> Option<usize> {
        self.parents[place]
    }

    pub fn domain(&self, place: usize) -> &Domain {
        &self.parameters[place].domain
    }

    pub fn kind(&self, place: usize) -> Kind {
        domain::kind(&self.parameters[place].domain)
    }

    /// Whether the parameter at this place exists beside these values of its parents.
    pub fn exists(&self, place: usize, hparams: &Hparams) -> bool {
        let Some(condition) = &self.parameters[place].condition else { return true };
        let Some(value) = hparams.get(&condition.parent) else { return false };
        condition.values.iter().any(|one| domain::same(one, value))
    }

    /// Of each point, whether it fulfils the constraints.
    pub fn fulfilled(&self, points: &[Hparams]) -> Vec<bool> {
        self.constraints.fulfilled(points)
    }

    /// The first constraint that the point does not fulfil, in its own words.
    pub fn violated(&self, point: &Hparams) -> Option<&str> {
        self.constraints.violated(point)
    }

    /// Whether points of one are points of the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.parameters == other.parameters && self.constraints.texts() == other.constraints.texts()
    }

    pub fn constrained(&self) -> bool {
        !self.constraints.is_empty()
    }

    /// A random point that fulfils the constraints. None if none was found in many draws.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Option<Hparams> {
        let mut one = || {
            let units: Vec<f64> = self.parameters.iter().map(|_| rng.random()).collect();
            self.decode(&units)
        };
        self.first_fulfilled(|_| Some(one()))
    }

    /// The first of the points made from 0, 1, … that fulfils the constraints. None if there is none among
    /// many, or once no more are made.
    pub fn first_fulfilled(&self, mut point: impl FnMut(usize) -> Option<Hparams>) -> Option<Hparams> {
        if !self.constrained() {
            return point(0);
        }
        let mut made = 0;
        while made < DRAWS {
            // Most constraints are loose: the first few are tried alone.
            let size = if made < 4 { 1 } else { BATCH };
            let mut points: Vec<_> = (made..made + size).map_while(&mut point).collect();
            made += size;
            if let Some(good) = self.fulfilled(&points).iter().position(|good| *good) {
                return Some(points.swap_remove(good));
            }
            if points.len() < size {
                return None;
            }
        }
        tracing::warn!("none of {DRAWS} points fulfils all constraints");
        None
    }

    /// Each parameter's place on the unit interval, NaN where it does not exist.
    pub fn encode(&self, hparams: &Hparams) -> Vec<f64> {
        let place = |p: &Parameter| domain::unit(&p.domain, hparams.get(&p.name)?);
        self.parameters.iter().map(|p| place(p).unwrap_or(f64::NAN)).collect()
    }

    /// Each place as [`Self::encode`] gives it of the point that is decoded from these.
    pub fn canonical(&self, units: &[f64]) -> Vec<f64> {
        let mut found = vec![f64::NAN; units.len()];
        for &place in &self.order {
            let exists =
                self.parents[place].is_none_or(|parent| self.conditions[place].contains(&found[parent]));
            if exists {
                found[place] = domain::snapped(&self.parameters[place].domain, units[place]);
            }
        }
        found
    }

    /// The point whose parameters lie there; those that do not exist beside the others are left out.
    pub fn decode(&self, units: &[f64]) -> Hparams {
        let mut hparams = Hparams::new();
        for &place in &self.order {
            if self.exists(place, &hparams) {
                let Parameter { name, domain, .. } = &self.parameters[place];
                hparams.insert(name.clone(), domain::value(domain, units[place]));
            }
        }
        hparams
    }

    /// A whole point from what a user gave of it: what is missing is drawn.
    ///
    /// # Errors
    /// If a name is not known, a value not in its domain, a parameter does not exist beside the others, or the
    /// constraints cannot be fulfilled so.
    pub fn complete(&self, partial: &Hparams, rng: &mut ChaCha8Rng) -> Result<Hparams> {
        let mut given = Hparams::new();
        for (name, value) in partial {
            let Some(parameter) = self.parameters.iter().find(|p| p.name == *name) else {
                return Err(Error::Invalid(format!(
                    "the given point has {name:?}, which is not in the space"
                )));
            };
            let Some(exact) = domain::exact(&parameter.domain, value) else {
                return Err(Error::Invalid(format!(
                    "parameter {name:?} cannot be {value}, as the given point has it"
                )));
            };
            given.insert(name.clone(), exact);
        }
        let mut misfit = None;
        let mut whole = None;
        let point = |_: usize| {
            // Where nothing is left to be drawn there is one point, and one look at it.
            if whole.is_some() {
                return None;
            }
            let mut tries = 0..1000;
            tries.find_map(|_| {
                let point = self.filled(&given, rng);
                misfit = given.keys().find(|name| !point.contains_key(*name)).cloned();
                if misfit.is_none() && point.len() == given.len() {
                    whole = Some(point.clone());
                }
                misfit.is_none().then_some(point)
            })
        };
        let found = self.first_fulfilled(point);
        if let Some(name) = misfit {
            return Err(Error::Invalid(format!(
                "parameter {name:?} does not exist beside the given point's other values"
            )));
        }
        found.ok_or_else(|| {
            let violated = whole.as_ref().and_then(|point| self.violated(point));
            let given = serde_json::Value::from(given);
            Error::Invalid(match violated {
                Some(constraint) => {
                    format!("the given point {given} does not fulfil the constraint {constraint:?}")
                }
                None => format!("no point with the given values {given} fulfils all constraints"),
            })
        })
    }

    fn filled(&self, given: &Hparams, rng: &mut ChaCha8Rng) -> Hparams {
        let mut hparams = Hparams::new();
        for &place in &self.order {
            let Parameter { name, domain, .. } = &self.parameters[place];
            let unit = rng.random();
            if self.exists(place, &hparams) {
                let value = given.get(name).cloned().unwrap_or_else(|| domain::value(domain, unit));
                hparams.insert(name.clone(), value);
            }
        }
        hparams
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn space(parameters: Value, constraints: &[&str]) -> Result<Space> {
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        Space::new(serde_json::from_value(parameters).unwrap(), constraints)
    }

    fn refusal(domain: Value) -> String {
        let found = space(json!([{"name": "lr", "domain": domain}]), &[]);
        found.unwrap_err().to_string()
    }

    #[test]
    fn a_domain_that_makes_no_sense_is_refused_by_the_name_of_its_parameter() {
        let refused = [
            (json!({"type": "uniform", "low": 1.0, "high": 0.0}), "from 1 to 0 is empty"),
            (json!({"type": "integer", "low": 2, "high": 1}), "from 2 to 1 is empty"),
            (json!({"type": "log_uniform", "low": 0.0, "high": 1.0}), "above 0"),
            (json!({"type": "integer", "low": 0, "high": 1, "log": true}), "1 or more"),
            (json!({"type": "integer", "low": 1, "high": 9, "log": true, "step": 2}), "cannot have a step"),
            (json!({"type": "uniform", "low": 0.0, "high": 1.0, "step": 0.0}), "step must be above 0"),
            (json!({"type": "integer", "low": 0, "high": 9, "step": -1}), "step must be above 0"),
            (json!({"type": "uniform", "low": 0.0, "high": 1.0, "step": 1.5}), "larger than the range"),
            (json!({"type": "integer", "low": 0, "high": 3, "step": 4}), "larger than the range"),
            (json!({"type": "uniform", "low": 0.0, "high": 1.0, "step": 1e-20}), "too small"),
            (json!({"type": "choice", "values": []}), "at least one value"),
            (json!({"type": "ordinal", "values": [1, 2, 1.0]}), "1.0 is there twice"),
        ];
        for (domain, fault) in refused {
            let text = refusal(domain);
            assert!(text.contains("\"lr\"") && text.contains(fault), "{text}");
        }
        let infinite = Parameter {
            name: "lr".into(),
            domain: Domain::Uniform { low: f64::NAN, high: 1.0, step: None },
            condition: None,
        };
        assert!(Space::new(vec![infinite.clone()], vec![]).unwrap_err().to_string().contains("finite"));
        let unnamed = Parameter { name: String::new(), ..infinite };
        assert!(Space::new(vec![unnamed], vec![]).unwrap_err().to_string().contains("name"));
    }

    #[test]
    fn a_condition_that_cannot_hold_is_refused() {
        let two = |condition: Value, kind: Value| {
            let lr = json!({"type": "uniform", "low": 0.0, "high": 1.0});
            let found = space(
                json!([{"name": "lr", "domain": lr, "condition": condition}, {"name": "kind", "domain": kind}]),
                &[],
            );
            found.unwrap_err().to_string()
        };
        let choice = json!({"type": "choice", "values": ["a", "b"]});
        assert!(two(json!({"parent": "kin", "values": ["a"]}), choice.clone()).contains("\"kin\""));
        assert!(two(json!({"parent": "kind", "values": ["a", "c"]}), choice.clone()).contains("\"c\""));
        assert!(two(json!({"parent": "kind", "values": []}), choice.clone()).contains("no value"));
        assert!(two(json!({"parent": "lr", "values": [0.5]}), choice).contains("continuous"));
        let real = json!({"type": "uniform", "low": 0.0, "high": 1.0});
        assert!(two(json!({"parent": "kind", "values": [0.5]}), real).contains("give that a step"));
        let one = json!({"type": "integer", "low": 1, "high": 3});
        let circle = space(
            json!([{"name": "a", "domain": one, "condition": {"parent": "b", "values": [1]}},
                   {"name": "b", "domain": one, "condition": {"parent": "a", "values": [1]}}]),
            &[],
        );
        assert!(circle.unwrap_err().to_string().contains("depends on itself"));
        let twice = space(json!([{"name": "a", "domain": one}, {"name": "a", "domain": one}]), &[]);
        assert!(twice.unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn constraints_that_nothing_fulfils_are_refused_and_do_not_hang() {
        let a = json!([{"name": "a", "domain": {"type": "integer", "low": 1, "high": 3}}]);
        assert!(space(a.clone(), &["a > 3"]).unwrap_err().to_string().contains("fulfils"));
        assert!(space(a, &["a > 2"]).is_ok());
    }

    #[test]
    fn a_given_point_is_checked_and_completed() {
        let space = space(
            json!([
                {"name": "momentum", "domain": {"type": "uniform", "low": 0.0, "high": 0.9, "step": 0.1},
                 "condition": {"parent": "kind", "values": ["sgd"]}},
                {"name": "kind", "domain": {"type": "choice", "values": ["adam", "sgd"]}},
                {"name": "lr", "domain": {"type": "uniform", "low": 0.0, "high": 1.0}}
            ]),
            &["momentum < 0.5 OR lr < 0.1"],
        )
        .unwrap();
        let complete = |given: Value, seed: u64| {
            space.complete(given.as_object().unwrap(), &mut crate::search::rng(seed, 0, 0))
        };
        for seed in 0..20 {
            let point = complete(json!({"momentum": 0.9}), seed).unwrap();
            assert_eq!((&point["momentum"], &point["kind"]), (&json!(0.9), &json!("sgd")));
            assert!(point["lr"].as_f64().unwrap() < 0.1, "the constraint holds for what is drawn");
        }
        assert_eq!(
            complete(json!({"kind": "adam", "lr": 1}), 0).unwrap(),
            *json!({"kind": "adam", "lr": 1.0}).as_object().unwrap()
        );
        let refused = |given: Value| complete(given, 0).unwrap_err().to_string();
        assert!(refused(json!({"mom": 0.9})).contains("\"mom\""));
        assert!(refused(json!({"momentum": 0.95})).contains("0.95"));
        assert!(refused(json!({"kind": "adam", "momentum": 0.3})).contains("does not exist"));
        let whole = refused(json!({"kind": "sgd", "momentum": 0.9, "lr": 0.5}));
        assert!(whole.contains("0.9") && whole.contains("\"momentum < 0.5 OR lr < 0.1\""), "{whole}");
        assert!(refused(json!({"momentum": 0.9, "lr": 0.5})).contains("constraints"));
    }

    #[test]
    fn the_encoding_agrees_with_the_point() {
        let space = space(
            json!([
                {"name": "deep", "domain": {"type": "choice", "values": [1, 2]}, "condition": {"parent": "n", "values": [2, 3]}},
                {"name": "n", "domain": {"type": "integer", "low": 1, "high": 5}},
                {"name": "x", "domain": {"type": "uniform", "low": 0.0, "high": 1.0, "step": 0.25}, "condition": {"parent": "deep", "values": [2]}}
            ]),
            &[],
        )
        .unwrap();
        for i in 0..200 {
            let units = crate::search::sobol::units(i, 3, 1, 0);
            let (canonical, encoded) = (space.canonical(&units), space.encode(&space.decode(&units)));
            assert_eq!(format!("{canonical:?}"), format!("{encoded:?}"));
        }
    }
}
