//! Where a process expects the largest improvement.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::model::Process;
use crate::search::domain::{self, Kind};
use crate::search::{Space, lbfgs, normal, sobol};

/// Points at which the search begins: spread evenly, and around the best known ones.
const SPREAD: u32 = 768;
const AROUND: usize = 256;
/// Of which so many are climbed from.
const CLIMBS: usize = 6;
const ITERATIONS: usize = 40;
/// Rounds of climbing in the continuous parameters and stepping through the others.
const ROUNDS: usize = 2;
/// Values of a discrete parameter of which all are tried; of more, only near ones.
const ALL: u64 = 12;

pub struct Acquisition<'a> {
    pub space: &'a Space,
    pub process: &'a Process,
    /// The cost to improve on.
    pub best: f64,
}

/// A place for each parameter, also for those that do not exist there, and the logarithm of its expected
/// improvement.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub units: Vec<f64>,
    pub value: f64,
}

impl Acquisition<'_> {
    /// Candidates, the best first; they fulfil the constraints.
    pub fn candidates(&self, around: &[Vec<f64>], rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        let mut all: Vec<_> =
            self.seeds(around, rng).into_iter().map(|units| self.candidate(units)).collect();
        all = self.fulfilling(all);
        all.sort_by(|a, b| b.value.total_cmp(&a.value));
        let mut starts: Vec<Candidate> = Vec::new();
        for candidate in &all {
            // Not all from one hill.
            let near =
                |one: &Candidate| one.units.iter().zip(&candidate.units).all(|(a, b)| (a - b).abs() < 0.05);
            if starts.len() < CLIMBS && !starts.iter().any(near) {
                starts.push(candidate.clone());
            }
        }
        let climbed: Vec<_> = starts.into_iter().map(|start| self.climb(start)).collect();
        all.extend(self.fulfilling(climbed));
        all.sort_by(|a, b| b.value.total_cmp(&a.value));
        all
    }

    fn seeds(&self, around: &[Vec<f64>], rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
        let d = self.space.parameters().len();
        let scrambling = rng.random();
        let mut seeds: Vec<_> = (0..SPREAD).map(|i| sobol::units(i, d, scrambling, 0)).collect();
        for i in 0..if around.is_empty() { 0 } else { AROUND } {
            let width = [0.2, 0.05, 0.01, 0.002][i % 4];
            let mut units = around[(i / 4) % around.len()].clone();
            for (place, unit) in units.iter_mut().enumerate() {
                let other = match self.space.kind(place) {
                    Kind::Category(_) => rng.random::<f64>() < 0.1,
                    _ => unit.is_nan(),
                };
                if other {
                    *unit = rng.random();
                } else if !matches!(self.space.kind(place), Kind::Category(_)) {
                    *unit = (*unit + width * normal::draw(rng)).clamp(0.0, 1.0);
                }
            }
            seeds.push(units);
        }
        seeds
    }

    fn fulfilling(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        if !self.space.constrained() {
            return candidates;
        }
        let points: Vec<_> = candidates.iter().map(|c| self.space.decode(&c.units)).collect();
        candidates
            .into_iter()
            .zip(self.space.fulfilled(&points))
            .filter(|(_, f)| *f)
            .map(|(c, _)| c)
            .collect()
    }

    fn candidate(&self, units: Vec<f64>) -> Candidate {
        let (mean, variance) = self.process.predict(&input(&self.space.canonical(&units)));
        let deviation = variance.sqrt();
        let value = deviation.ln() + normal::log_improvement((self.best - mean) / deviation).0;
        Candidate { units, value }
    }

    fn climb(&self, mut at: Candidate) -> Candidate {
        for _ in 0..ROUNDS {
            let before = at.value;
            at = self.climb_continuous(at);
            at = self.step_discrete(at);
            if at.value <= before + 1e-6 {
                break;
            }
        }
        at
    }

    /// Discrete parameters with many values are climbed as if they were continuous.
    fn climb_continuous(&self, at: Candidate) -> Candidate {
        let canonical = self.space.canonical(&at.units);
        let free: Vec<usize> = (0..canonical.len())
            .filter(|&place| !canonical[place].is_nan())
            .filter(|&place| match self.space.kind(place) {
                Kind::Real => true,
                Kind::Grid(n) => n > ALL,
                Kind::Category(_) => false,
            })
            .collect();
        if free.is_empty() {
            return at;
        }
        let mut full = input(&canonical);
        let start = free.iter().map(|&place| full[place]).collect();
        let (found, _) = lbfgs::minimise(start, &vec![(0.0, 1.0); free.len()], ITERATIONS, |x, gradient| {
            for (&place, x) in free.iter().zip(x) {
                full[place] = *x;
            }
            let (mean, variance, by_mean, by_variance) = self.process.predict_with_gradient(&full);
            let deviation = variance.sqrt();
            let z = (self.best - mean) / deviation;
            let (log, slope) = normal::log_improvement(z);
            for (g, &place) in gradient.iter_mut().zip(&free) {
                let by_deviation = by_variance[place] / (2.0 * deviation);
                *g = -(by_deviation / deviation + slope * (-by_mean[place] - z * by_deviation) / deviation);
            }
            -(deviation.ln() + log)
        });
        let mut units = at.units.clone();
        for (&place, x) in free.iter().zip(found) {
            units[place] = x;
        }
        let climbed = self.candidate(units);
        if climbed.value > at.value { climbed } else { at }
    }

    fn step_discrete(&self, mut at: Candidate) -> Candidate {
        for place in 0..at.units.len() {
            if self.space.canonical(&at.units)[place].is_nan() {
                continue;
            }
            let (Kind::Grid(n) | Kind::Category(n)) = self.space.kind(place) else { continue };
            let domain = self.space.domain(place);
            let own = domain::index(domain, at.units[place]);
            let others = if n <= ALL { 0..n } else { own.saturating_sub(2)..(own + 3).min(n) };
            for other in others.filter(|other| *other != own) {
                let mut units = at.units.clone();
                units[place] = domain::unit(domain, &domain::nth(domain, other)).unwrap_or(0.5);
                let found = self.candidate(units);
                if found.value > at.value {
                    at = found;
                }
            }
        }
        at
    }
}

/// The process' input: a parameter that does not exist lies in the middle. What it depends on tells such
/// points apart.
pub fn input(canonical: &[f64]) -> Vec<f64> {
    canonical.iter().map(|unit| if unit.is_nan() { 0.5 } else { *unit }).collect()
}
