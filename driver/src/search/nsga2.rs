//! A genetic algorithm for several objectives.
//!
//! Deb and others, "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002): parents are chosen by
//! tournaments over front and crowding distance, children by simulated binary crossover and polynomial
//! mutation. Own code: genetic crates of the registry drive their own loop over whole generations.
//!
//! Ended trials enter the population in runs as long as it is, by number; the best of both go on. There is no
//! generation to wait for: a child has the best parents that are known when it is asked for. Conditional
//! parameters are inherited also where they do not exist, as if they were recessive. Children that do not
//! fulfil the constraints are not born.

use std::cmp::Reverse;

use lethe_flight::message::Hparams;
use lethe_flight::{Error, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::domain::Kind;
use super::rank::{self, fronts};
use super::{Observation, Optimizer, SobolSearch, Space, Standing, Suggestion, rng};

/// Large: children are near their parents.
const CROSSOVER_INDEX: f64 = 15.0;
const MUTATION_INDEX: f64 = 20.0;
const CROSSOVER: f64 = 0.9;
const POPULATION: u32 = 100_000;
/// Children in a row that are like a trial before.
const TWINS: usize = 20;
/// Children of which none fulfils the constraints, before a random point is taken.
const BIRTHS: usize = 2000;

#[derive(Debug, Clone)]
pub struct Nsga2 {
    space: Space,
    population: usize,
    seed: u64,
}

impl Nsga2 {
    /// # Errors
    /// If the population is smaller than 2 or immense.
    pub fn new(space: Space, population: u32, seed: u64) -> Result<Self> {
        if !(2..=POPULATION).contains(&population) {
            return Err(Error::Invalid(format!(
                "NSGA-II needs a population of 2 to {POPULATION}, not {population}"
            )));
        }
        Ok(Self { space, population: population as usize, seed })
    }

    /// The best, with the number of each one's front; within a front, the loneliest first. Trials that ended early,
    /// whose costs are of fewer epochs, come after all that finished, those that got farthest before the others.
    fn population<'a>(&self, ended: &[&'a Observation]) -> Vec<(&'a Observation, usize)> {
        let mut best: Vec<(&Observation, usize)> = Vec::new();
        for run in ended.chunks(self.population) {
            let pool: Vec<&Observation> = best.iter().map(|(o, _)| *o).chain(run.iter().copied()).collect();
            let (whole, early): (Vec<&Observation>, Vec<&Observation>) =
                pool.into_iter().partition(|o| o.standing == Standing::Finished);
            best = self.ranked(whole);
            let behind = best.last().map_or(0, |(_, front)| front + 1);
            let mut early = self.ranked(early);
            early.sort_by_key(|(o, _)| Reverse(o.epochs));
            best.extend(early.into_iter().map(|(o, front)| (o, behind + front)));
            best.truncate(self.population);
        }
        best
    }

    fn ranked<'a>(&self, pool: Vec<&'a Observation>) -> Vec<(&'a Observation, usize)> {
        let costs: Vec<&[f64]> = pool.iter().map(|o| o.costs.as_slice()).collect();
        fronts(&costs, self.population).into_iter().map(|(i, front)| (pool[i], front)).collect()
    }

    fn child(&self, parents: &[Vec<f64>], rng: &mut ChaCha8Rng) -> Vec<f64> {
        // They are ranked: the smaller of two indices wins the tournament.
        let mut pick = || rng.random_range(0..parents.len()).min(rng.random_range(0..parents.len()));
        let (a, b) = (&parents[pick()], &parents[pick()]);
        let crossed = rng.random::<f64>() < CROSSOVER;
        let mutation = 1.0 / a.len() as f64;
        (0..a.len())
            .map(|place| {
                let (mut x, mut y) = (a[place], b[place]);
                if rng.random() {
                    (x, y) = (y, x);
                }
                let (x, y) = (if x.is_nan() { rng.random() } else { x }, if y.is_nan() { x } else { y });
                let y = if y.is_nan() { x } else { y };
                let category = matches!(self.space.kind(place), Kind::Category(_));
                let unit = match (category, crossed) {
                    (true, true) => x,
                    (false, true) => crossover(x, y, rng.random()),
                    (_, false) if a[place].is_nan() => x,
                    (_, false) => a[place],
                };
                if rng.random::<f64>() >= mutation {
                    unit
                } else if category {
                    rng.random()
                } else {
                    mutated(unit, rng.random())
                }
            })
            .collect()
    }
}

impl Optimizer for Nsga2 {
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion {
        let over = |o: &&Observation| !matches!(o.standing, Standing::Waiting | Standing::Running);
        let ended: Vec<&Observation> = observations.iter().filter(|o| over(o) && rank::valued(o)).collect();
        if ended.len() < self.population {
            return SobolSearch::new(self.space.clone(), self.seed).suggest(trial, draw, observations);
        }
        let population = self.population(&ended);
        let first = population.iter().filter(|(_, front)| *front == 0).count();
        let parents: Vec<_> = population.iter().map(|(o, _)| self.space.encode(&o.hparams)).collect();
        let mut rng = rng(self.seed, trial, draw);
        let mut born = || self.space.decode(&self.child(&parents, &mut rng));
        // A child that is like a trial before teaches nothing; in a small space there may be no other.
        let new = |child: &Hparams| !observations.iter().any(|o| o.hparams == *child);
        let mut child = |number: usize| {
            let found = (0..TWINS).map(|_| born()).find(new);
            (number < BIRTHS).then(|| found.unwrap_or_else(&mut born))
        };
        match self.space.first_fulfilled(&mut child) {
            Some(hparams) => Suggestion::Point {
                hparams,
                why: format!("child of {} trials, {first} of them on the front", parents.len()),
                note: None,
            },
            None => match self.space.draw(&mut rng) {
                Some(hparams) => {
                    let why = "random: no child fulfils the constraints".into();
                    Suggestion::Point { hparams, why, note: None }
                }
                None => Suggestion::Exhausted,
            },
        }
    }

    fn learns(&self) -> bool {
        true
    }
}

/// Simulated binary crossover (Deb and Agrawal, 1995).
fn crossover(x: f64, y: f64, u: f64) -> f64 {
    let power = 1.0 / (CROSSOVER_INDEX + 1.0);
    let spread = if u <= 0.5 { (2.0 * u).powf(power) } else { (0.5 / (1.0 - u).max(1e-12)).powf(power) };
    (0.5 * ((1.0 + spread) * x + (1.0 - spread) * y)).clamp(0.0, 1.0)
}

/// Polynomial mutation (Deb and Goyal, 1996).
fn mutated(x: f64, u: f64) -> f64 {
    let power = 1.0 / (MUTATION_INDEX + 1.0);
    let step = if u < 0.5 { (2.0 * u).powf(power) - 1.0 } else { 1.0 - (2.0 * (1.0 - u)).powf(power) };
    (x + step).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lethe_flight::message::experiment::{Domain, Parameter};

    /// Both objectives are smallest somewhere on the line between (0.2, 0.5) and (0.8, 0.5), in ten dimensions.
    fn costs(hparams: &Hparams) -> Vec<f64> {
        let x: Vec<f64> = hparams.values().filter_map(serde_json::Value::as_f64).collect();
        let rest: f64 = x[1..].iter().map(|x| (x - 0.5).powi(2)).sum();
        vec![(x[0] - 0.2).powi(2) + rest, (x[0] - 0.8).powi(2) + rest]
    }

    fn observed(trial: u32, x: f64, standing: Standing, costs: [f64; 2], epochs: u32) -> Observation {
        let hparams = Hparams::from_iter([("x0".to_owned(), x.into())]);
        Observation { trial, hparams, standing, costs: costs.into(), epochs, note: None }
    }

    fn line(constraints: &[&str]) -> Space {
        let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
        let parameter = Parameter { name: "x0".into(), domain, condition: None };
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        Space::new(vec![parameter], constraints).unwrap()
    }

    #[test]
    fn trials_that_ended_early_come_after_those_that_finished() {
        use Standing::{Finished, Paused, Stopped};
        let search = Nsga2::new(line(&[]), 4, 1).unwrap();
        let trials = [
            observed(0, 0.1, Stopped, [0.0, 0.0], 1),
            observed(1, 0.2, Paused, [0.1, 0.1], 3),
            observed(2, 0.3, Finished, [5.0, 5.0], 9),
            observed(3, 0.4, Finished, [4.0, 4.0], 9),
        ];
        let ranked = search.population(&trials.iter().collect::<Vec<_>>());
        assert_eq!(ranked.iter().map(|(o, _)| o.trial).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert_eq!(ranked.iter().filter(|(_, front)| *front == 0).count(), 1);
    }

    /// All parents are the user's own points, far from what is allowed.
    #[test]
    fn where_no_child_is_allowed_a_random_point_is_taken() {
        let mut search = Nsga2::new(line(&["x0 > 0.999"]), 4, 1).unwrap();
        let trials: Vec<_> =
            (0..4).map(|trial| observed(trial, 0.0, Standing::Finished, [1.0, 2.0], 9)).collect();
        for trial in 4..9 {
            let Suggestion::Point { hparams, .. } = search.suggest(trial, 0, &trials) else { panic!() };
            assert!(hparams["x0"].as_f64().unwrap() > 0.999);
        }
    }

    #[test]
    fn the_front_is_approached_and_covered() {
        let uniform = Domain::Uniform { low: 0.0, high: 1.0, step: None };
        let parameter = |i| Parameter { name: format!("x{i}"), domain: uniform.clone(), condition: None };
        let space = Space::new((0..10).map(parameter).collect(), vec![]).unwrap();
        let mut search = Nsga2::new(space, 20, 1).unwrap();
        let mut observations: Vec<Observation> = Vec::new();
        for trial in 0..800 {
            let Suggestion::Point { hparams, note, .. } = search.suggest(trial, 0, &observations) else {
                panic!()
            };
            let (standing, costs) = (Standing::Finished, costs(&hparams));
            observations.push(Observation { trial, hparams, standing, costs, epochs: 1, note });
        }
        let late = &observations[700..];
        let rest =
            late.iter().map(|o| o.costs[0] - (o.hparams["x0"].as_f64().unwrap() - 0.2).powi(2)).sum::<f64>();
        assert!(rest / 100.0 < 0.05, "uniform draws have 0.75, these {}", rest / 100.0);
        let x0: Vec<_> = late.iter().map(|o| o.hparams["x0"].as_f64().unwrap()).collect();
        assert!(x0.iter().any(|x| *x < 0.3) && x0.iter().any(|x| *x > 0.7), "{x0:?}");
    }
}
