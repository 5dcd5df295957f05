//! Covariance matrix adaptation.
//!
//! Hansen, "The CMA evolution strategy: a tutorial" (2016), with a full covariance matrix and negative weights.
//! Own code: the crate `cmaes` drives its own loop, in which a generation's points are all evaluated before
//! the next is asked for, and keeps a state that cannot be restored.
//!
//! - A trial's note holds its generation, its point before rounding, and the trials that its generation came
//!   from. So an instance made anew walks through the same generations. A generation is over as soon as as
//!   many of its trials have ended as the population has; slots never wait for the last one.
//! - Discrete parameters keep a margin (after Hamano and others, "CMA-ES with margin", 2022): where the
//!   distribution has become narrower than a cell, it is widened so far that a neighbour is still drawn.
//! - A point out of bounds is drawn again, and moved to the bound after many draws.
//! - Trials without a note, which the user gave, do not count.
//! - Failed trials rank last, and before them those that ended early.
//! - Categories and conditional parameters have no covariance: these are [`Tpe`](super::Tpe)'s.

mod state;

use nalgebra::DVector;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use state::State;

use lethe_flight::{Error, Result};

use super::domain::{self, Kind};
use super::rank;
use super::{Observation, Optimizer, Space, Standing, Suggestion, Tpe, normal, rng};

const REDRAWS: usize = 100;
/// Points of the distribution of which none fulfils the constraints, before a random one is taken.
const DRAWS: usize = 10_000;
/// Trials of a generation: more than any search has.
const POPULATION: u32 = 100_000;
/// Trials before the parameters that TPE chooses are chosen by results.
const STARTUP: u32 = 10;

#[derive(Debug, Clone)]
pub struct Cmaes {
    space: Space,
    seed: u64,
    sigma: f64,
    population: usize,
    /// The parameters that the distribution is over.
    places: Vec<usize>,
    others: Option<Tpe>,
    /// The generations walked through at the last call, with the results that made each; saves time only.
    walked: (Vec<Generation>, State),
}

/// Its trials and their costs.
type Generation = Vec<(u32, Option<f64>)>;

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    generation: u32,
    /// The trials whose results made this generation from the one before.
    of: Vec<u32>,
    x: Vec<f64>,
}

impl Cmaes {
    /// # Errors
    /// If `sigma` is not between 0 and 1, or the population smaller than 3 or immense.
    pub fn new(space: Space, sigma: f64, population: Option<u32>, seed: u64) -> Result<Self> {
        if !(sigma > 0.0 && sigma <= 1.0) {
            return Err(Error::Invalid(format!(
                "sigma is a share of the ranges, above 0 and at most 1, not {sigma}; 0.2 is usual"
            )));
        }
        if let Some(n) = population.filter(|n| !(3..=POPULATION).contains(n)) {
            return Err(Error::Invalid(format!(
                "CMA-ES needs a population of 3 to {POPULATION}, not {n}; leave it out for the usual one"
            )));
        }
        let all = space.parameters().len();
        let numeric = |&p: &usize| space.parent(p).is_none() && !matches!(space.kind(p), Kind::Category(_));
        let places: Vec<usize> = (0..all).filter(numeric).collect();
        let usual = 4 + (3.0 * (places.len().max(1) as f64).ln()) as u32;
        let population = population.unwrap_or(usual) as usize;
        let others = (places.len() < all).then(|| Tpe::new(space.clone(), STARTUP, seed));
        let walked = (Vec::new(), State::new(places.len().max(1), population, sigma));
        Ok(Self { space, seed, sigma, population, places, others, walked })
    }

    /// The distribution after the generations that the trials have made, and the trials of the last step.
    fn walk(&mut self, observations: &[Observation]) -> (State, Vec<u32>) {
        let noted: Vec<(&Observation, Note)> = observations
            .iter()
            .filter_map(|o| Some((o, Note::deserialize(o.note.as_ref()?).ok()?)))
            .filter(|(_, note)| note.x.len() == self.places.len())
            .collect();
        let latest = noted.iter().map(|(_, note)| note.generation).max().unwrap_or(0);
        let mut steps: Vec<Vec<u32>> = vec![Vec::new(); latest as usize];
        for (_, note) in &noted {
            if let Some(step) = (note.generation as usize).checked_sub(1).and_then(|g| steps.get_mut(g)) {
                step.clone_from(&note.of);
            }
        }
        let over = |o: &Observation| !matches!(o.standing, Standing::Waiting | Standing::Running);
        let ended: Vec<u32> = noted
            .iter()
            .filter(|(o, note)| note.generation == latest && over(o))
            .map(|(o, _)| o.trial)
            .take(self.population)
            .collect();
        if ended.len() == self.population {
            steps.push(ended);
        }
        let find = |trial: u32| noted.binary_search_by_key(&trial, |(o, _)| o.trial).ok().map(|i| &noted[i]);
        let results: Vec<Vec<(u32, Option<f64>)>> = steps
            .iter()
            .map(|of| of.iter().map(|&trial| (trial, find(trial).and_then(|(o, _)| rank::cost(o)))).collect())
            .collect();
        let same = self.walked.0.len() <= results.len() && results[..self.walked.0.len()] == self.walked.0;
        let (mut state, from) = match same {
            true => (self.walked.1.clone(), self.walked.0.len()),
            false => (State::new(self.places.len(), self.population, self.sigma), 0),
        };
        for of in &results[from..] {
            let members: Vec<_> = of.iter().filter_map(|(trial, _)| find(*trial)).collect();
            let own: Vec<Observation> = members.iter().map(|(o, _)| (*o).clone()).collect();
            let order = rank::order(&own);
            let ranked = order.ranked.iter().chain(&order.failed).chain(&order.open);
            let points: Vec<_> = ranked.map(|&i| DVector::from_column_slice(&members[i].1.x)).collect();
            state.update(&points);
        }
        self.walked = (results, state.clone());
        (state, steps.pop().unwrap_or_default())
    }

    fn draw(&self, state: &State, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut x = DVector::zeros(self.places.len());
        for _ in 0..REDRAWS {
            let z = DVector::from_fn(self.places.len(), |_, _| normal::draw(rng));
            x = state.point(&z);
            if x.iter().all(|x| (0.0..=1.0).contains(x)) {
                break;
            }
        }
        for (j, &place) in self.places.iter().enumerate() {
            if let Kind::Grid(_) = self.space.kind(place) {
                let cell = domain::width(self.space.domain(place), state.mean[j]);
                x[j] += self.margin(state.deviation(j), cell) * normal::draw(rng);
            }
            x[j] = x[j].clamp(0.0, 1.0);
        }
        x.iter().copied().collect()
    }

    /// What is to be added to a deviation, so that cells beside the mean's, which is so wide, are drawn about once
    /// in a generation and dimension.
    fn margin(&self, deviation: f64, cell: f64) -> f64 {
        let least = 0.5 * cell / (1.0 + (self.population * self.places.len()) as f64).ln().sqrt();
        (least * least - deviation * deviation).max(0.0).sqrt()
    }
}

impl Optimizer for Cmaes {
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion {
        let others = match &mut self.others {
            None => None,
            Some(tpe) => match tpe.suggest(trial, draw, observations) {
                Suggestion::Point { hparams, .. } => Some(self.space.encode(&hparams)),
                Suggestion::Exhausted => return Suggestion::Exhausted,
            },
        };
        let mut units = others.unwrap_or_else(|| vec![0.5; self.space.parameters().len()]);
        if self.places.is_empty() {
            let (hparams, why) = (self.space.decode(&units), "TPE: there are only categories".to_owned());
            return Suggestion::Point { hparams, why, note: None };
        }
        let (state, of) = self.walk(observations);
        let mut rng = rng(self.seed, trial, draw);
        let mut drawn = Vec::new();
        let found = self.space.first_fulfilled(|number| {
            if number >= DRAWS {
                return None;
            }
            let x = self.draw(&state, &mut rng);
            for (x, &place) in x.iter().zip(&self.places) {
                units[place] = domain::snapped(&self.space.parameters()[place].domain, *x);
            }
            drawn.push(x);
            Some(self.space.decode(&units))
        });
        let Some(hparams) = found else {
            // Without a note: it is none of the distribution's.
            return match self.space.draw(&mut rng) {
                Some(hparams) => {
                    let why = "random: the distribution misses what the constraints allow".into();
                    Suggestion::Point { hparams, why, note: None }
                }
                None => Suggestion::Exhausted,
            };
        };
        // Of the points that were made, the one that fulfils the constraints.
        let place = |x: &Vec<f64>| {
            for (x, &place) in x.iter().zip(&self.places) {
                units[place] = domain::snapped(&self.space.parameters()[place].domain, *x);
            }
            self.space.decode(&units) == hparams
        };
        let x = drawn.into_iter().find(place).unwrap_or_default();
        let note = Note { generation: state.generation, of, x };
        Suggestion::Point {
            why: format!("generation {}, step size {:.2e}", state.generation, state.sigma),
            hparams,
            note: serde_json::to_value(note).ok(),
        }
    }

    fn learns(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::Hparams;
    use lethe_flight::message::experiment::{Domain, Parameter};

    use super::*;

    /// A distribution that results have drawn to one corner, and a constraint that allows the other.
    #[test]
    fn where_the_distribution_misses_the_constraints_a_random_point_is_taken() {
        let parameter = |name: &str| {
            let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
            Parameter { name: name.into(), domain, condition: None }
        };
        let space = Space::new(vec![parameter("x"), parameter("y")], vec!["x > 0.99 AND y > 0.9".into()]);
        let mut search = Cmaes::new(space.unwrap(), 1e-3, Some(4), 1).unwrap();
        let x = Hparams::from_iter([("x".to_owned(), 0.5.into()), ("y".to_owned(), 0.5.into())]);
        let observations: Vec<_> = (0..4)
            .map(|trial| Observation {
                trial,
                hparams: x.clone(),
                standing: Standing::Finished,
                costs: vec![f64::from(trial)],
                epochs: 1,
                note: serde_json::to_value(Note { generation: 0, of: vec![], x: vec![0.5, 0.5] }).ok(),
            })
            .collect();
        let Suggestion::Point { hparams, note, .. } = search.suggest(4, 0, &observations) else { panic!() };
        assert!(hparams["x"].as_f64().unwrap() > 0.99 && note.is_none());
    }
}
