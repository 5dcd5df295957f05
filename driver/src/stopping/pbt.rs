//! Population based training.
//!
//! Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan, Fernando,
//! Kavukcuoglu: "Population Based Training of Neural Networks", 2017 (arXiv:1711.09846): truncation selection
//! with copied weights and hyperparameters (exploit), then perturbed ones (explore), asynchronously.
//!
//! The population is all trials of the search, however few slots there are: a trial pauses after every `every`
//! epochs, and a free slot takes the one that has got least far, trials that have not begun before all others.
//! With a slot for each trial that is the paper's algorithm; with fewer, the population advances in step.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::Hparams;
use lethe_flight::message::training::Direction;
use rand::RngExt;

use super::cost::{Cost, short};
use super::explore::{Explorer, generator};
use super::{Decision, Promotion, Rungs, StoppingRule};

/// When a trial goes on it is compared with all that live, each by its last report. Among the worst `quantile` it
/// goes on from the last checkpoint of a random one of the best `quantile`, if that one was better: with its
/// weights, its epoch and its hyperparameters, of which `parameters` are perturbed. Until it reports again it
/// keeps its rank and lends its checkpoint to nobody. Ended trials, whose checkpoints may be gone, are no longer
/// compared.
///
/// Nothing is stopped. A promotion costs O(log n), and O(n) where it exploits.
#[derive(Debug, Clone)]
pub struct Pbt {
    every: u32,
    quantile: f64,
    direction: Direction,
    /// Trials in all.
    population: usize,
    explorer: Explorer,
    members: BTreeMap<u32, Member>,
    ranked: BTreeSet<(Cost, u32)>,
    /// By the epochs they have trained.
    paused: BTreeSet<(u32, u32)>,
}

#[derive(Debug, Clone, Default)]
struct Member {
    hparams: Hparams,
    /// At its last pause.
    last: Option<(u32, Cost)>,
    /// It has gone on from another's checkpoint since: its own is of what it no longer is.
    exchanged: bool,
    /// How often it went on from another's checkpoint.
    exploits: u32,
    ended: bool,
}

impl Pbt {
    /// `every` is at least 1, `quantile` in (0, 0.5].
    pub(super) fn new(
        every: u32,
        quantile: f64,
        direction: Direction,
        population: u32,
        explorer: Explorer,
    ) -> Self {
        Self {
            every,
            quantile,
            direction,
            population: population as usize,
            explorer,
            members: BTreeMap::new(),
            ranked: BTreeSet::new(),
            paused: BTreeSet::new(),
        }
    }

    /// It is no longer compared, and no longer waits.
    fn withdraw(&mut self, trial: u32) {
        if let Some((epoch, cost)) = self.members.get_mut(&trial).and_then(|member| member.last.take()) {
            self.ranked.remove(&(cost, trial));
            self.paused.remove(&(epoch, trial));
        }
    }

    /// How many are the best, and how many the worst.
    fn truncation(&self) -> usize {
        let share = (self.ranked.len() as f64 * self.quantile).ceil() as usize;
        share.min(self.ranked.len() / 2)
    }

    fn lends(&self, trial: u32) -> bool {
        self.members.get(&trial).is_some_and(|member| !member.exchanged)
    }

    /// Whose checkpoint this trial goes on from.
    fn donor(&self, trial: u32, cost: Cost, exploits: u32) -> Option<(u32, Cost)> {
        let truncation = self.truncation();
        let among_the_worst = self.ranked.iter().rev().take(truncation).any(|&(_, other)| other == trial);
        if !among_the_worst && !cost.is_nan() {
            return None;
        }
        let best = self.ranked.iter().take(truncation).take_while(|(other, _)| *other < cost);
        let better: Vec<_> = best.filter(|(_, other)| self.lends(*other)).collect();
        if better.is_empty() {
            return None;
        }
        let mut rng = generator(self.explorer.seed ^ DONORS, stream(trial, exploits));
        let &&(cost, donor) = better.get(rng.random_range(0..better.len()))?;
        Some((donor, cost))
    }

    fn exploit(&mut self, trial: u32, epoch: u32, cost: Cost) -> Option<Promotion> {
        let exploits = self.members.get(&trial)?.exploits;
        let (donor, donors_cost) = self.donor(trial, cost, exploits)?;
        let hparams = self.explorer.explore(&self.members.get(&donor)?.hparams, stream(trial, exploits));
        let why = format!(
            "epoch {epoch}: {} is among the worst {} of {}; trial {donor} has {}",
            short(cost.value(self.direction)),
            self.truncation(),
            self.ranked.len(),
            short(donors_cost.value(self.direction))
        );
        self.paused.remove(&(epoch, trial));
        let member = self.members.get_mut(&trial)?;
        member.exchanged = true;
        member.exploits += 1;
        member.hparams.clone_from(&hparams);
        Some(Promotion { trial, donor: Some(donor), hparams: Some(hparams), why })
    }
}

/// Donors are drawn apart from perturbations.
const DONORS: u64 = 0x646f_6e6f_7273;

fn stream(trial: u32, exploits: u32) -> u64 {
    u64::from(trial) << 32 | u64::from(exploits)
}

impl StoppingRule for Pbt {
    fn rungs(&self, _: u32, _: u32) -> Rungs {
        Rungs { at: Vec::new(), every: Some(self.every) }
    }

    fn expects(&mut self, trials: Option<u32>) {
        // Without a number of trials there is no population; the plan was refused then.
        self.population = trials.map_or(self.population, |trials| trials as usize);
    }

    fn began(&mut self, trial: u32, hparams: &Hparams) {
        self.members.entry(trial).or_insert_with(|| Member { hparams: hparams.clone(), ..Member::default() });
    }

    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision {
        if !epoch.is_multiple_of(self.every) {
            return Decision::go_on();
        }
        self.withdraw(trial);
        let member = self.members.entry(trial).or_default();
        if member.ended {
            return Decision::stop("the trial has ended before".into());
        }
        let cost = Cost::new(value, self.direction);
        member.last = Some((epoch, cost));
        member.exchanged = false;
        self.ranked.insert((cost, trial));
        self.paused.insert((epoch, trial));
        Decision::pause(format!(
            "epoch {epoch}: {}, one of {} that are compared",
            short(value),
            self.ranked.len()
        ))
    }

    fn promote(&mut self, ready: bool) -> Option<Promotion> {
        if ready || self.members.len() < self.population {
            return None;
        }
        let &(epoch, trial) = self.paused.first()?;
        let (_, cost) = self.members.get(&trial)?.last?;
        if let Some(promotion) = self.exploit(trial, epoch, cost) {
            return Some(promotion);
        }
        self.paused.remove(&(epoch, trial));
        let why = format!("epoch {epoch}: {} is not exchanged", short(cost.value(self.direction)));
        Some(Promotion { trial, donor: None, hparams: None, why })
    }

    fn again(&mut self, trial: u32) {
        if let Some((epoch, _)) = self.members.get(&trial).and_then(|member| member.last) {
            self.paused.remove(&(epoch, trial));
        }
    }

    fn ended(&mut self, trial: u32) {
        self.withdraw(trial);
        let member = self.members.entry(trial).or_default();
        *member = Member { ended: true, ..Member::default() };
    }

    fn pauses(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::experiment::{Domain, Parameter};
    use serde_json::json;

    use super::super::Verdict::{Pause, Stop};
    use super::*;
    use crate::search::Space;

    fn pbt(population: u32, quantile: f64, seed: u64) -> Pbt {
        let domain = Domain::LogUniform { low: 1e-5, high: 1.0 };
        let parameters = vec![Parameter { name: "lr".into(), domain, condition: None }];
        let space = Space::new(parameters.clone(), Vec::new()).unwrap();
        let explorer = Explorer { parameters, resample: 0.0, seed, space };
        Pbt::new(5, quantile, Direction::Max, population, explorer)
    }

    fn hparams(lr: f64) -> Hparams {
        Hparams::from_iter([("lr".into(), json!(lr)), ("width".into(), json!((lr * 1000.0) as u32))])
    }

    /// Trials 0.. have paused at epoch 5 with these values and lr 0.01, 0.02, ….
    fn paused(values: &[f64], quantile: f64) -> Pbt {
        let mut pbt = pbt(values.len() as u32, quantile, 1);
        for (trial, &value) in (0u32..).zip(values) {
            pbt.began(trial, &hparams(0.01 * f64::from(trial + 1)));
            assert_eq!(pbt.decide(trial, 5, value).verdict, Pause);
        }
        pbt
    }

    #[test]
    fn the_worst_go_on_from_the_best_with_their_hyperparameters_perturbed() {
        let mut pbt = paused(&[0.1, 0.5, 0.9, 0.6], 0.25);
        let promotion = pbt.promote(false).unwrap();
        assert_eq!((promotion.trial, promotion.donor), (0, Some(2)));
        assert_eq!(promotion.why, "epoch 5: 0.1 is among the worst 1 of 4; trial 2 has 0.9");
        let explored = promotion.hparams.unwrap();
        let lr = explored["lr"].as_f64().unwrap();
        assert!((lr - 0.024).abs() < 1e-9 || (lr - 0.036).abs() < 1e-9, "{lr}");
        assert_eq!(explored["width"], 30, "the weights are of the donor's width");
        for trial in [1, 2, 3] {
            let promotion = pbt.promote(false).unwrap();
            assert_eq!((promotion.trial, promotion.donor, promotion.hparams), (trial, None, None));
        }
        assert_eq!(pbt.promote(false), None);
    }

    #[test]
    fn what_was_perturbed_is_perturbed_further() {
        let mut pbt = paused(&[0.1, 0.5, 0.9, 0.6], 0.25);
        let first = pbt.promote(false).unwrap().hparams.unwrap();
        // Trial 0 has become the best, and 1 the worst.
        pbt.decide(0, 10, 0.95);
        let second = pbt.promote(false).unwrap();
        assert_eq!((second.trial, second.donor), (1, Some(0)));
        let ratio = second.hparams.unwrap()["lr"].as_f64().unwrap() / first["lr"].as_f64().unwrap();
        assert!((ratio - 0.8).abs() < 1e-9 || (ratio - 1.2).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn the_trial_that_has_got_least_far_goes_first_and_new_ones_before_it() {
        let mut pbt = paused(&[0.5, 0.5, 0.5], 0.25);
        pbt.decide(0, 10, 0.5);
        assert_eq!(pbt.promote(true), None);
        let order: Vec<_> =
            std::iter::from_fn(|| pbt.promote(false)).map(|promotion| promotion.trial).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn nobody_goes_on_before_the_whole_population_has_begun() {
        let mut pbt = pbt(2, 0.5, 1);
        pbt.began(0, &hparams(0.1));
        pbt.decide(0, 5, 0.5);
        assert_eq!(pbt.promote(false), None);
        pbt.began(1, &hparams(0.1));
        assert_eq!(pbt.promote(false).map(|promotion| promotion.trial), Some(0));
    }

    #[test]
    fn an_exchanged_trial_lends_nothing_until_it_reports_again() {
        let mut pbt = paused(&[0.3, 0.2, 0.9, 0.1], 0.5);
        // 1 and 3 are among the worst two; 0 and 2 are the best.
        while pbt.promote(false).is_some() {}
        pbt.ended(0);
        pbt.ended(2);
        // Best of those that live is 1, which trains on another's weights now: what it saved is no longer it.
        pbt.began(4, &hparams(0.1));
        pbt.decide(4, 5, 0.05);
        assert_eq!(pbt.promote(false).map(|promotion| (promotion.trial, promotion.donor)), Some((4, None)));
        pbt.decide(1, 10, 0.2);
        pbt.decide(4, 10, 0.05);
        pbt.promote(false);
        assert_eq!(
            pbt.promote(false).map(|promotion| (promotion.trial, promotion.donor)),
            Some((4, Some(1)))
        );
    }

    #[test]
    fn each_round_exchanges_the_quantile_and_no_more() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let mut pbt = paused(&values, 0.2);
        let exchanged =
            std::iter::from_fn(|| pbt.promote(false)).filter(|promotion| promotion.donor.is_some());
        assert_eq!(exchanged.map(|promotion| promotion.trial).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn ended_trials_are_neither_donors_nor_compared() {
        let mut pbt = paused(&[0.1, 0.9, 0.2], 0.34);
        pbt.ended(1);
        assert_eq!(
            pbt.promote(false).map(|promotion| (promotion.trial, promotion.donor)),
            Some((0, Some(2)))
        );
        pbt.ended(2);
        assert_eq!(pbt.promote(false), None);
        assert_eq!(pbt.decide(1, 10, 0.9).verdict, Stop);
    }

    #[test]
    fn equal_trials_are_not_exchanged_and_nan_ones_always() {
        let mut equal = paused(&[0.5; 4], 0.25);
        assert!(std::iter::from_fn(|| equal.promote(false)).all(|promotion| promotion.donor.is_none()));
        let mut pbt = paused(&[f64::NAN, f64::NAN, 0.5, f64::NAN], 0.25);
        let donors: Vec<_> =
            std::iter::from_fn(|| pbt.promote(false)).map(|promotion| promotion.donor).collect();
        assert_eq!(donors, [Some(2), Some(2), None, Some(2)]);
    }

    /// The toy problem of the paper's section 4: trials ascend a surrogate of 1.2 - x^2 - y^2 in which each sees
    /// but one of the two variables.
    #[test]
    fn a_population_solves_what_none_of_its_members_can() {
        let parameter = |name: &str| {
            let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
            Parameter { name: name.into(), domain, condition: None }
        };
        let weights = [(1.0, 0.0), (0.0, 1.0)];
        let hparams =
            weights.map(|(x, y)| Hparams::from_iter([("x".into(), json!(x)), ("y".into(), json!(y))]));
        let train = |point: &mut [f64; 2], hparams: &Hparams| {
            for (at, name) in point.iter_mut().zip(["x", "y"]) {
                *at -= 0.02 * hparams[name].as_f64().unwrap() * *at;
            }
        };
        let value = |point: &[f64; 2]| 1.2 - point[0] * point[0] - point[1] * point[1];
        let best = |exchange: bool| {
            let parameters = vec![parameter("x"), parameter("y")];
            let space = Space::new(parameters.clone(), Vec::new()).unwrap();
            let explorer = Explorer { parameters, resample: 1.0, seed: 3, space };
            let mut pbt = Pbt::new(10, 0.5, Direction::Max, 2, explorer);
            let (mut points, mut own) = ([[0.9; 2]; 2], hparams.clone());
            for (trial, hparams) in (0..).zip(&hparams) {
                pbt.began(trial, hparams);
            }
            for epoch in 1..=600 {
                for (point, hparams) in points.iter_mut().zip(&own) {
                    train(point, hparams);
                }
                if epoch % 10 != 0 || !exchange {
                    continue;
                }
                let saved = points;
                for (trial, point) in (0..).zip(&points) {
                    pbt.decide(trial, epoch, value(point));
                }
                for Promotion { trial, donor, hparams, .. } in std::iter::from_fn(|| pbt.promote(false)) {
                    let Some(donor) = donor else { continue };
                    points[trial as usize] = saved[donor as usize];
                    own[trial as usize] = hparams.unwrap();
                }
            }
            points.iter().map(value).fold(f64::MIN, f64::max)
        };
        assert!((best(false) - 0.39).abs() < 1e-6);
        assert!(best(true) > 1.19, "{}", best(true));
    }
}
