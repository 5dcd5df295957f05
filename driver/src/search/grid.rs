//! Every combination once.

use super::domain::{self, Kind};
use super::{Observation, Optimizer, Space, Suggestion};
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::Parameter;
use lethe_flight::{Error, Result};
use serde_json::Value;

/// Values of all parameters together.
const VALUES: u64 = 1_000_000;
/// Combinations of a space with constraints: so many may have to be looked at for one suggestion.
const LOOKED_AT: u128 = 10_000_000;
const BATCH: u128 = 1024;

/// Grid search. Combinations are numbered in a mixed radix: parameters form a forest, in which a conditional
/// one counts only beneath the values of its parent that it exists with. So each combination of what exists
/// has one number, found without walking through the others. The number is the trial's note: the next trial
/// goes on after the last one's.
#[derive(Debug, Clone)]
pub struct GridSearch {
    space: Space,
    /// Of each parameter, its values in order.
    values: Vec<Vec<Value>>,
    /// Of each value of each parameter, the combinations beneath it.
    beneath: Vec<Vec<u128>>,
}

impl GridSearch {
    /// # Errors
    /// If `points` is 0, there are more than a million values, or constraints over too many combinations to look
    /// through them.
    pub fn new(space: Space, points: u32) -> Result<Self> {
        if points == 0 {
            return Err(Error::Invalid("a grid needs at least one point of a continuous parameter".into()));
        }
        check_size(&space, points)?;
        let values: Vec<_> = (0..space.parameters().len()).map(|p| values(&space, p, points)).collect();
        let mut grid = Self { beneath: vec![Vec::new(); values.len()], space, values };
        for &place in grid.space.order().to_vec().iter().rev() {
            grid.beneath[place] = grid.values[place]
                .iter()
                .map(|value| {
                    grid.children(Some(place), Some(value))
                        .map(|child| grid.count(child))
                        .fold(1, u128::saturating_mul)
                })
                .collect();
        }
        let combinations = grid.combinations();
        if grid.space.constrained() && combinations > LOOKED_AT {
            return Err(Error::Invalid(format!(
                "the grid has {combinations} combinations, and {LOOKED_AT} is the limit where constraints are to be looked at; give it fewer points or larger steps"
            )));
        }
        Ok(grid)
    }

    /// All combinations, without regard to constraints.
    pub fn combinations(&self) -> u128 {
        self.children(None, None).map(|root| self.count(root)).fold(1, u128::saturating_mul)
    }

    fn count(&self, place: usize) -> u128 {
        self.beneath[place].iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The parameters that exist directly because this one has this value.
    fn children(&self, parent: Option<usize>, value: Option<&Value>) -> impl Iterator<Item = usize> {
        let holds = move |child: &usize| {
            let condition = self.space.parameters()[*child].condition.as_ref();
            condition.zip(value).is_none_or(|(c, value)| c.values.iter().any(|one| domain::same(one, value)))
        };
        let order = self.space.order().iter().copied();
        order.filter(move |child| self.space.parent(*child) == parent).filter(holds)
    }

    fn combination(&self, number: u128) -> Hparams {
        let mut hparams = Hparams::new();
        self.place(None, None, number, &mut hparams);
        hparams
    }

    /// Sets what exists because `parent` has this value, by the digits of `number`: the last one turns fastest.
    fn place(&self, parent: Option<usize>, value: Option<&Value>, mut number: u128, hparams: &mut Hparams) {
        let children: Vec<_> = self.children(parent, value).collect();
        for &child in children.iter().rev() {
            let count = self.count(child);
            let mut digit = number % count;
            number /= count;
            for (value, &beneath) in self.values[child].iter().zip(&self.beneath[child]) {
                if digit < beneath {
                    hparams.insert(self.space.parameters()[child].name.clone(), value.clone());
                    self.place(Some(child), Some(value), digit, hparams);
                    break;
                }
                digit -= beneath;
            }
        }
    }

    /// The number and the combination of the `nth` from `from` on that fulfils the constraints.
    fn fulfilled(&self, from: u128, mut nth: u32) -> Option<(u128, Hparams)> {
        let end = self.combinations();
        let mut at = from;
        while at < end {
            let size = if self.space.constrained() { BATCH } else { u128::from(nth) + 1 };
            let numbers = at..(at.saturating_add(size)).min(end);
            at = numbers.end;
            let mut points: Vec<_> = numbers.clone().map(|number| self.combination(number)).collect();
            for (i, fulfilled) in self.space.fulfilled(&points).into_iter().enumerate() {
                if fulfilled && nth == 0 {
                    return Some((numbers.start + i as u128, points.swap_remove(i)));
                }
                nth -= u32::from(fulfilled);
            }
        }
        None
    }
}

impl Optimizer for GridSearch {
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion {
        let number = |o: &Observation| o.note.as_ref()?.as_str()?.parse::<u128>().ok();
        let from = observations.iter().filter_map(number).max().map_or(0, |last| last + 1);
        // What was refused last is among the observations, unless nobody has noted it.
        let noted = observations.iter().any(|o| o.trial == trial && o.note.is_some());
        match self.fulfilled(from, if noted { 0 } else { draw }) {
            Some((number, hparams)) => Suggestion::Point {
                hparams,
                why: format!("combination {number} of {}", self.combinations()),
                // As text: it may have more digits than a number in JSON.
                note: Some(number.to_string().into()),
            },
            None => Suggestion::Exhausted,
        }
    }

    fn learns(&self) -> bool {
        false
    }
}

/// Before any value is made.
fn check_size(space: &Space, points: u32) -> Result<()> {
    let mut all: u64 = 0;
    for (place, Parameter { name, .. }) in space.parameters().iter().enumerate() {
        let (n, remedy) = match space.kind(place) {
            Kind::Real => (points.into(), "give the grid fewer points"),
            Kind::Grid(n) | Kind::Category(n) => (n, "give it a larger step"),
        };
        all = all.saturating_add(n);
        if all > VALUES {
            return Err(Error::Invalid(format!(
                "parameter {name:?} has {n} values, too many for a grid, which has {VALUES} at most of all parameters together; {remedy}"
            )));
        }
    }
    Ok(())
}

fn values(space: &Space, place: usize, points: u32) -> Vec<Value> {
    let domain = &space.parameters()[place].domain;
    match space.kind(place) {
        Kind::Real if points == 1 => vec![domain::value(domain, 0.5)],
        Kind::Real => {
            (0..points).map(|i| domain::value(domain, f64::from(i) / f64::from(points - 1))).collect()
        }
        Kind::Grid(n) | Kind::Category(n) => (0..n).map(|k| domain::nth(domain, k)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Standing;
    use lethe_flight::message::experiment::{Condition, Domain};
    use serde_json::json;
    use std::collections::BTreeSet;

    fn parameter(name: &str, domain: Value, under: Option<(&str, Value)>) -> Parameter {
        let condition = under.map(|(parent, value)| Condition { parent: parent.into(), values: vec![value] });
        Parameter { name: name.into(), domain: serde_json::from_value::<Domain>(domain).unwrap(), condition }
    }

    fn all(mut grid: GridSearch) -> Vec<Hparams> {
        let mut observations: Vec<Observation> = Vec::new();
        loop {
            let trial = observations.len() as u32;
            let Suggestion::Point { hparams, note, .. } = grid.suggest(trial, 0, &observations) else {
                break;
            };
            let (standing, costs) = (Standing::Finished, vec![1.0]);
            observations.push(Observation { trial, hparams, standing, costs, epochs: 1, note });
        }
        observations.into_iter().map(|o| o.hparams).collect()
    }

    #[test]
    fn every_combination_of_what_exists_comes_once_without_those_that_are_constrained_away() {
        let parameters = vec![
            parameter(
                "momentum",
                json!({"type": "uniform", "low": 0.0, "high": 0.3, "step": 0.1}),
                Some(("kind", json!("sgd"))),
            ),
            parameter("kind", json!({"type": "choice", "values": ["adam", "sgd"]}), None),
            parameter("lr", json!({"type": "log_uniform", "low": 1e-3, "high": 1e-1}), None),
        ];
        let points = all(GridSearch::new(Space::new(parameters.clone(), vec![]).unwrap(), 3).unwrap());
        assert_eq!(points.len(), (1 + 4) * 3);
        let distinct: BTreeSet<_> = points.iter().map(|p| serde_json::to_string(p).unwrap()).collect();
        assert_eq!(distinct.len(), points.len());
        assert!(points.iter().any(|p| p.get("momentum") == Some(&json!(0.3)) && p["lr"] == 1e-3));
        assert!(points.iter().all(|p| p.contains_key("momentum") == (p["kind"] == "sgd")));

        let constraint = vec!["momentum < 0.15".to_owned()];
        let points = all(GridSearch::new(Space::new(parameters, constraint).unwrap(), 3).unwrap());
        assert_eq!(points.len(), (1 + 2) * 3, "an Adam without momentum stays");
    }

    fn numbers(constraints: &[&str], points: u32) -> Result<GridSearch> {
        let number = |name| parameter(name, json!({"type": "integer", "low": 1, "high": 1500}), None);
        let real = parameter("r", json!({"type": "uniform", "low": 0.0, "high": 1.0}), None);
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        GridSearch::new(Space::new(vec![number("a"), number("b"), real], constraints).unwrap(), points)
    }

    #[test]
    fn what_lies_behind_very_many_that_are_constrained_away_is_found() {
        // More than a million combinations come before.
        let mut grid = numbers(&["a >= 700"], 1).unwrap();
        let Suggestion::Point { hparams, .. } = grid.suggest(0, 0, &[]) else { panic!("it gave up") };
        assert_eq!((&hparams["a"], &hparams["b"]), (&json!(700), &json!(1)));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_made() {
        let refusal = |constraints: &[&str], points| numbers(constraints, points).unwrap_err().to_string();
        let values = refusal(&[], 1_000_000_000);
        assert!(values.contains("\"r\"") && values.contains("fewer points"), "{values}");
        let combinations = refusal(&["a < b"], 10);
        assert!(combinations.contains("22500000 combinations"), "{combinations}");
        assert!(numbers(&[], 10).is_ok());
    }
}
