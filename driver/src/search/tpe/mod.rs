//! Tree-structured Parzen estimator.
//!
//! Bergstra and others, "Algorithms for hyper-parameter optimization" (2011), with multivariate densities
//! (Falkner and others, BOHB, 2018), and the details that Watanabe compares ("Tree-structured Parzen
//! estimator", 2023). Own code: the crates `tpe` and `optimizer` have one parameter at a time, and neither
//! conditional parameters nor trials that run or were stopped.
//!
//! - Parameters that always exist together have one joint density; groups are drawn from the root of the
//!   tree of conditions outwards, each by the trials in which it exists.
//! - A stopped or paused trial ranks after all finished ones, by the epochs it reached and then by its cost,
//!   as in Optuna. Failed trials are bad ones, and so are running ones (the constant liar): parallel
//!   suggestions keep away from each other.
//! - Several objectives: trials rank by fronts and crowding distance.
//! - Bounded: the good trials are at most 25, of the bad ones the 500 most recent are looked at.

mod parzen;

use parzen::Parzen;
use rand_chacha::ChaCha8Rng;

use super::rank::{self, Order};
use super::{Observation, Optimizer, Space, Suggestion, domain, rng};

const GOOD: usize = 25;
const BAD: usize = 500;
/// Of all trials, the good ones.
const SHARE: f64 = 0.1;
/// Of the components' deviations, in units of the distance to their neighbours. Optuna has 1; narrower ones
/// gain on all functions of the search benchmark, and from 0.5 on lose in the worse quartile of Hartmann's.
const WIDTH: f64 = 0.6;
const CANDIDATES: usize = 24;
/// Rounds of candidates of which none fulfils the constraints, before a random point is taken.
const ROUNDS: usize = 50;

#[derive(Debug, Clone)]
pub struct Tpe {
    space: Space,
    startup: u32,
    seed: u64,
    /// Parameters with the same condition, parents first.
    groups: Vec<Vec<usize>>,
}

/// The two densities of a group.
struct Model<'a> {
    group: &'a [usize],
    good: Parzen,
    bad: Parzen,
}

impl Tpe {
    pub fn new(space: Space, startup: u32, seed: u64) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for &place in space.order() {
            let condition = |p: usize| &space.parameters()[p].condition;
            match groups.iter_mut().find(|group| condition(group[0]) == condition(place)) {
                Some(group) => group.push(place),
                None => groups.push(vec![place]),
            }
        }
        Self { space, startup, seed, groups }
    }

    fn model<'a>(&self, group: &'a [usize], order: &Order, units: &[Vec<f64>]) -> Model<'a> {
        let exists = |i: &&usize| !units[**i][group[0]].is_nan();
        let ranked: Vec<usize> = order.ranked.iter().filter(exists).copied().collect();
        let n = ranked.len() + order.failed.iter().filter(exists).count();
        let split = ((SHARE * n as f64).ceil() as usize).min(GOOD).min(ranked.len());
        let (good, rest) = ranked.split_at(split);
        let mut bad: Vec<usize> =
            rest.iter().chain(order.failed.iter().chain(&order.open).filter(exists)).copied().collect();
        bad.sort_unstable();
        let bad = &bad[bad.len().saturating_sub(BAD)..];
        let mut good = good.to_vec();
        good.sort_unstable();
        let kinds = || group.iter().map(|&place| self.space.kind(place)).collect::<Vec<_>>();
        let parzen = |members: &[usize]| {
            let rows: Vec<Vec<f64>> =
                members.iter().map(|&i| group.iter().map(|&place| units[i][place]).collect()).collect();
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            let cell = |j: usize, unit: f64| domain::width(self.space.domain(group[j]), unit);
            Parzen::new(kinds(), &rows, &recency(rows.len()), WIDTH, cell)
        };
        Model { group, good: parzen(&good), bad: parzen(bad) }
    }

    /// The group's candidate with the largest ratio of densities, of `n`; with the ratio's logarithm.
    fn best(&self, model: &Model<'_>, n: usize, rng: &mut ChaCha8Rng) -> (Vec<f64>, f64) {
        let mut best = (vec![0.5; model.group.len()], f64::NEG_INFINITY);
        for _ in 0..n {
            let mut point = model.good.draw(rng);
            for (unit, &place) in point.iter_mut().zip(model.group) {
                *unit = domain::snapped(&self.space.parameters()[place].domain, *unit);
            }
            let ratio = model.good.log_density(&point) - model.bad.log_density(&point);
            if ratio > best.1 {
                best = (point, ratio);
            }
        }
        best
    }

    /// Walks through the groups; of each, the best of `n` candidates.
    fn point(&self, models: &[Model<'_>], n: usize, rng: &mut ChaCha8Rng) -> (Vec<f64>, f64) {
        let mut units = vec![f64::NAN; self.space.parameters().len()];
        let mut total = 0.0;
        for model in models {
            if self.space.exists(model.group[0], &self.space.decode(&units)) {
                let (found, ratio) = self.best(model, n, rng);
                for (unit, &place) in found.into_iter().zip(model.group) {
                    units[place] = unit;
                }
                total += ratio;
            }
        }
        (units, total)
    }

    /// A point by the model, and its ratio's logarithm.
    fn guess(
        &self,
        observations: &[Observation],
        order: &Order,
        rng: &mut ChaCha8Rng,
    ) -> Option<(Vec<f64>, f64)> {
        let units: Vec<_> = observations.iter().map(|o| self.space.encode(&o.hparams)).collect();
        let models: Vec<_> = self.groups.iter().map(|group| self.model(group, order, &units)).collect();
        if !self.space.constrained() {
            return Some(self.point(&models, CANDIDATES, rng));
        }
        // Constraints hold for whole points: whole candidates are drawn and compared.
        for _ in 0..ROUNDS {
            let candidates: Vec<_> = (0..CANDIDATES).map(|_| self.point(&models, 1, rng)).collect();
            let points: Vec<_> = candidates.iter().map(|(units, _)| self.space.decode(units)).collect();
            let fulfilled = self.space.fulfilled(&points);
            let allowed = candidates.into_iter().zip(fulfilled).filter(|(_, f)| *f).map(|(c, _)| c);
            if let Some(best) = allowed.max_by(|a, b| a.1.total_cmp(&b.1)) {
                return Some(best);
            }
        }
        None
    }
}

impl Optimizer for Tpe {
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion {
        let mut rng = rng(self.seed, trial, draw);
        let order = rank::order(observations);
        let known = order.ranked.len() + order.failed.len();
        if known >= self.startup as usize
            && !order.ranked.is_empty()
            && let Some((units, ratio)) = self.guess(observations, &order, &mut rng)
        {
            return Suggestion::Point {
                hparams: self.space.decode(&units),
                why: format!("{:.1e} times as likely among good trials, by {known}", ratio.exp()),
                note: None,
            };
        }
        match self.space.draw(&mut rng) {
            Some(hparams) => Suggestion::Point { hparams, why: "random, to begin with".into(), note: None },
            None => Suggestion::Exhausted,
        }
    }

    fn learns(&self) -> bool {
        true
    }
}

/// The 25 most recent count fully, those before ever less.
fn recency(n: usize) -> Vec<f64> {
    let old = n.saturating_sub(25);
    (0..n).map(|i| if i >= old { 1.0 } else { (1 + i) as f64 / (old + 1) as f64 }).collect()
}
