//! Bayesian optimization with a Gaussian process.
//!
//! Jones and others, "Efficient global optimization" (1998), with the logarithm of expected improvement
//! (Ament and others, 2023), a Matérn 5/2 kernel with a length for each parameter and fitted noise (Snoek and
//! others, 2012), whose hyperparameters are those of the largest posterior density. Own code: the crate
//! `egobox-gp` brings ndarray, linfa and, by default, BLAS, and does not give the gradient of the improvement
//! by its logarithm; `optimizer`'s process has fixed hyperparameters.
//!
//! - Inputs lie in the unit cube, after the logarithm where there is one. Discrete parameters enter by their
//!   rounded values (Garrido-Merchán and Hernández-Lobato, 2020), categories are equal or at distance 1.
//! - Running trials are taken to end as predicted (the kriging believer of Ginsbourger and others, 2010):
//!   there is nothing more to expect near them, so parallel suggestions differ.
//! - Failed trials count as the worst. One that was stopped or paused has its last cost, but none below the
//!   median of the finished: it was judged by fewer epochs.
//! - Bounded: the process has the 100 best and the 100 most recent points, and at most 50 running ones.

mod acquisition;
mod model;

use acquisition::{Acquisition, Candidate, input};
use model::Process;

use super::domain::Kind;
use super::rank::{self, Order};
use super::{Observation, Optimizer, SobolSearch, Space, Standing, Suggestion, rng};

const BEST: usize = 100;
const RECENT: usize = 100;
const OPEN: usize = 50;

#[derive(Debug, Clone)]
pub struct GaussianProcess {
    space: Space,
    startup: u32,
    seed: u64,
    categories: Vec<bool>,
}

impl GaussianProcess {
    pub fn new(space: Space, startup: u32, seed: u64) -> Self {
        let categories =
            (0..space.parameters().len()).map(|p| matches!(space.kind(p), Kind::Category(_))).collect();
        Self { space, startup, seed, categories }
    }

    /// The points' places and costs that the process is fitted to, the best first.
    fn data(&self, observations: &[Observation], order: &Order) -> (Vec<Vec<f64>>, Vec<f64>) {
        let finished: Vec<f64> = order
            .ranked
            .iter()
            .map(|&i| &observations[i])
            .filter(|o| o.standing == Standing::Finished)
            .filter_map(rank::cost)
            .collect();
        let median = finished.get(finished.len() / 2).copied().unwrap_or(f64::NEG_INFINITY);
        let cost = |&i: &usize| match observations[i].standing {
            Standing::Finished => rank::cost(&observations[i]),
            _ => rank::cost(&observations[i]).map(|cost| cost.max(median)),
        };
        let worst = order.ranked.iter().filter_map(cost).fold(f64::NEG_INFINITY, f64::max);
        let mut known: Vec<(usize, f64)> = order.ranked.iter().filter_map(|i| Some((*i, cost(i)?))).collect();
        known.extend(order.failed.iter().map(|&i| (i, worst)));
        if known.len() > BEST + RECENT {
            let mut rest = known.split_off(BEST);
            rest.sort_unstable_by_key(|(i, _)| std::cmp::Reverse(*i));
            known.extend(rest.into_iter().take(RECENT));
        }
        known.iter().map(|(i, cost)| (self.space.encode(&observations[*i].hparams), *cost)).unzip()
    }

    fn guess(&self, observations: &[Observation], order: &Order, trial: u32, draw: u32) -> Option<Candidate> {
        let mut rng = rng(self.seed, trial, draw);
        let (units, costs) = self.data(observations, order);
        let y = standardised(&costs);
        let mut inputs: Vec<_> = units.iter().map(|units| input(units)).collect();
        let (starts, iterations) = if inputs.len() <= 100 { (2, 60) } else { (1, 30) };
        let settings = model::fit(&inputs, &self.categories, &y, starts, iterations);
        let mut process = Process::new(inputs.clone(), self.categories.clone(), &y, settings)?;
        // With noise, the best cost may be luck.
        let best = inputs.iter().map(|x| process.predict(x).0).fold(f64::INFINITY, f64::min);
        let open = &order.open[order.open.len().saturating_sub(OPEN)..];
        let mut taken: Vec<_> = units.clone();
        if !open.is_empty() {
            let mut y = y;
            for &i in open {
                let running = self.space.encode(&observations[i].hparams);
                inputs.push(input(&running));
                y.push(process.predict(&input(&running)).0);
                taken.push(running);
            }
            process = Process::new(inputs, self.categories.clone(), &y, process.settings().clone())?;
        }
        let acquisition = Acquisition { space: &self.space, process: &process, best };
        let candidates = acquisition.candidates(&units[..units.len().min(5)], &mut rng);
        let new = |candidate: &&Candidate| {
            let own = input(&self.space.canonical(&candidate.units));
            !taken.iter().any(|units| input(units) == own)
        };
        candidates.iter().find(new).or(candidates.first()).cloned()
    }
}

impl Optimizer for GaussianProcess {
    fn suggest(&mut self, trial: u32, draw: u32, observations: &[Observation]) -> Suggestion {
        let order = rank::order(observations);
        let known = order.ranked.len() + order.failed.len();
        if known >= self.startup as usize
            && !order.ranked.is_empty()
            && let Some(found) = self.guess(observations, &order, trial, draw)
        {
            return Suggestion::Point {
                hparams: self.space.decode(&found.units),
                why: format!("expected improvement {:.2e} deviations, by {known} trials", found.value.exp()),
                note: None,
            };
        }
        SobolSearch::new(self.space.clone(), self.seed).suggest(trial, draw, observations)
    }

    fn learns(&self) -> bool {
        true
    }
}

/// Mean 0 and deviation 1; costs that are far above the others are drawn nearer, or they would hide all
/// differences among good ones.
fn standardised(costs: &[f64]) -> Vec<f64> {
    let mut sorted = costs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let (median, spread) = (at(0.5), at(0.5) - at(0.0));
    let near = |cost: f64| {
        let limit = median + 2.0 * spread.max(1e-300);
        if cost > limit { limit + spread * ((cost - limit) / spread.max(1e-300)).ln_1p() } else { cost }
    };
    let near: Vec<f64> = costs.iter().map(|c| near(*c)).collect();
    let n = near.len() as f64;
    let mean = near.iter().map(|c| c / n).sum::<f64>();
    let deviation = near.iter().map(|c| (c - mean) * (c - mean) / n).sum::<f64>().sqrt();
    let scale = if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 };
    near.into_iter().map(|c| (c - mean) / scale).collect()
}
