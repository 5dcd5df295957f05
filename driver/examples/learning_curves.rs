//! How many epochs a stopping rule spends until the best value it has found is within 1 % of the best
//! configuration's: the driver's rules on simulated learning curves, printed as a line of JSON for each rule.
//!
//! A seed draws 1,000 configurations. A configuration's accuracy after `x` of 81 epochs is one of two curves with
//! equal probability, of those that Domhan, Springenberg and Hutter ("Speeding up Automatic Hyperparameter
//! Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI 2015, table 1) fit to real ones:
//!
//! - pow4: `c - (c - 0.1) (1 + x / t)^-a`, a power law, `a` uniform in 0.5..2
//! - Janoschek: `c - (c - 0.1) exp(-(x / t)^d)`, a stretched exponential, `d` uniform in 0.7..1.3
//!
//! They begin at a tenth, the chance of ten classes. The limit `c` is uniform in 0.1..0.95: one configuration of a
//! hundred is within 1 % of the best possible. The time scale `t` is 0.5 to 40 epochs, on a log scale:
//!
//! - `independent`: uniform, whatever `c`. Slow good configurations look bad at first.
//! - `slow`: halfway between that and growing with `c`, as low learning rates do: the good are slow, as a rule.
//!
//! `correlation` is the mean rank correlation of the reports after 1, 3, 9 and 27 epochs with the last values.
//! Reports have Gaussian noise of deviation 0.01. Rules see the reports; what was found is judged by the curve
//! itself, at the last report of each trial, because the best of a thousand noisy values is mostly noise. A search
//! that ends without is `missed`.
//!
//! Eight slots train at once; an epoch takes a time that is log-normal over the configurations (sigma 0.5), so
//! that reports come in no order. Random search is the same loop without a rule.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::f64::consts::TAU;

use lethe_driver::search::Space;
use lethe_driver::stopping::{Rungs, StoppingRule, Verdict, rule};
use lethe_flight::Result;
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter, Stopping};
use lethe_flight::message::training::Direction;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const CONFIGURATIONS: u32 = 1000;
const EPOCHS: u32 = 81;
const SLOTS: u32 = 8;
const SEEDS: u64 = 20;
const CHANCE: f64 = 0.1;
const BEST: f64 = 0.95;
const NOISE: f64 = 0.01;
const WITHIN: f64 = 0.01;

struct Configuration {
    limit: f64,
    scale: f64,
    shape: Shape,
    /// Of an epoch.
    duration: f64,
    seed: u64,
}

enum Shape {
    Power(f64),
    Exponential(f64),
}

impl Configuration {
    /// `coupling` says how far the time scale follows the limit: from 0, not at all, to 1.
    fn draw(coupling: f64, rng: &mut ChaCha8Rng) -> Self {
        let quality = rng.random::<f64>();
        Self {
            limit: CHANCE + quality * (BEST - CHANCE),
            scale: 0.5 * 80f64.powf((1.0 - coupling) * rng.random::<f64>() + coupling * quality),
            shape: if rng.random() {
                Shape::Power(rng.random_range(0.5..2.0))
            } else {
                Shape::Exponential(rng.random_range(0.7..1.3))
            },
            duration: (0.5 * gaussian(rng)).exp(),
            seed: rng.random(),
        }
    }

    fn curve(&self, epoch: u32) -> f64 {
        let x = f64::from(epoch) / self.scale;
        let to_go = match self.shape {
            Shape::Power(exponent) => (1.0 + x).powf(-exponent),
            Shape::Exponential(exponent) => (-x.powf(exponent)).exp(),
        };
        self.limit - (self.limit - CHANCE) * to_go
    }

    /// The same however often it is asked: an epoch that is trained again reports what it did before.
    fn report(&self, epoch: u32) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::from(epoch));
        self.curve(epoch) + NOISE * gaussian(&mut rng)
    }
}

/// Box and Muller.
fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

struct Search<'a> {
    rule: Box<dyn StoppingRule>,
    configurations: &'a [Configuration],
    rungs: BTreeMap<u32, Rungs>,
    epochs: BTreeMap<u32, u32>,
    /// The end of an epoch, as the bits of its time, and its trial.
    training: BinaryHeap<Reverse<(u64, u32)>>,
    next: u32,
    now: f64,
}

impl Search<'_> {
    fn train(&mut self, trial: u32) {
        let end = self.now + self.configurations[trial as usize].duration;
        self.training.push(Reverse((end.to_bits(), trial)));
    }

    /// A free slot takes what goes on, or a new trial, or nothing.
    fn fill(&mut self) {
        let ready = self.next < CONFIGURATIONS;
        if let Some(promotion) = self.rule.promote(ready) {
            self.train(promotion.trial);
        } else if ready {
            let trial = self.next;
            self.next += 1;
            self.rule.began(trial, &Hparams::new());
            self.rungs.insert(trial, self.rule.rungs(trial, EPOCHS));
            self.train(trial);
        }
    }

    /// The epochs that were trained until a trial's last report was this good, if one ever was.
    fn run(mut self, goal: f64) -> Option<u32> {
        let mut spent = 0;
        loop {
            // Also slots that found nothing before: a report may have given them something.
            while self.training.len() < SLOTS as usize {
                let training = self.training.len();
                self.fill();
                if self.training.len() == training {
                    break;
                }
            }
            let Reverse((end, trial)) = self.training.pop()?;
            self.now = f64::from_bits(end);
            spent += 1;
            let epoch = self.epochs.entry(trial).or_default();
            *epoch += 1;
            let epoch = *epoch;
            let configuration = &self.configurations[trial as usize];
            if configuration.curve(epoch) >= goal {
                return Some(spent);
            }
            if epoch == EPOCHS {
                self.rule.ended(trial);
                continue;
            }
            let asked = self.rungs.get(&trial).is_some_and(|rungs| rungs.contains(epoch));
            let verdict = if asked {
                self.rule.decide(trial, epoch, configuration.report(epoch)).verdict
            } else {
                Verdict::GoOn
            };
            match verdict {
                Verdict::GoOn => self.train(trial),
                Verdict::Stop => self.rule.ended(trial),
                Verdict::Pause => {}
            }
        }
    }
}

fn configurations(coupling: f64, seed: u64) -> Vec<Configuration> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..CONFIGURATIONS).map(|_| Configuration::draw(coupling, &mut rng)).collect()
}

/// Spearman's, of the reports after this epoch and the curves' ends.
fn correlation(configurations: &[Configuration], epoch: u32) -> f64 {
    let ranks = |value: &dyn Fn(&Configuration) -> f64| {
        let mut order: Vec<_> = (0..configurations.len()).collect();
        order.sort_by(|&a, &b| value(&configurations[a]).total_cmp(&value(&configurations[b])));
        let mut ranks = vec![0.0; order.len()];
        for (rank, at) in order.into_iter().enumerate() {
            ranks[at] = rank as f64;
        }
        ranks
    };
    let (early, last) = (ranks(&|one| one.report(epoch)), ranks(&|one| one.curve(EPOCHS)));
    let n = early.len() as f64;
    let squares: f64 = early.iter().zip(&last).map(|(a, b)| (a - b) * (a - b)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

/// The median of the epochs spent, which does not exist where half of the searches missed, and how many did.
fn measure(stopping: &Stopping, space: &Space, drawn: &[Vec<Configuration>]) -> Result<(Option<f64>, usize)> {
    let mut spent = Vec::new();
    for (seed, configurations) in (0..).zip(drawn) {
        let best = configurations.iter().map(|one| one.curve(EPOCHS)).fold(CHANCE, f64::max);
        let search = Search {
            rule: rule(stopping, Direction::Max, space, Some(CONFIGURATIONS), seed)?,
            configurations,
            rungs: BTreeMap::new(),
            epochs: BTreeMap::new(),
            training: BinaryHeap::new(),
            next: 0,
            now: 0.0,
        };
        spent.push(search.run(best * (1.0 - WITHIN)));
    }
    let missed = spent.iter().filter(|spent| spent.is_none()).count();
    // None comes last.
    spent.sort_by_key(|spent| spent.unwrap_or(u32::MAX));
    let middle = spent.len() / 2;
    let median = spent[middle - 1].zip(spent[middle]).map(|(a, b)| (f64::from(a) + f64::from(b)) / 2.0);
    Ok((median, missed))
}

fn main() -> Result<()> {
    let domain = Domain::Integer { low: 0, high: i64::from(CONFIGURATIONS) - 1, step: None, log: false };
    let number = Parameter { name: "configuration".into(), domain, condition: None };
    let space = Space::new(vec![number], Vec::new())?;
    let rules = [
        ("random", Stopping::None),
        ("asha", Stopping::Asha { reduction: 3, min_epochs: 1, pause: true }),
        ("asha_stopping", Stopping::Asha { reduction: 3, min_epochs: 1, pause: false }),
        ("hyperband", Stopping::Hyperband { reduction: 3, min_epochs: 1, pause: true }),
        ("median", Stopping::Median { min_trials: 5, min_epochs: 1 }),
    ];
    for (curves, coupling) in [("independent", 0.0), ("slow", 0.5)] {
        let drawn: Vec<_> = (0..SEEDS).map(|seed| configurations(coupling, seed)).collect();
        let mean = |epoch| drawn.iter().map(|drawn| correlation(drawn, epoch)).sum::<f64>() / SEEDS as f64;
        let correlation = [1, 3, 9, 27].map(mean);
        println!("{}", json!({"curves": curves, "correlation": correlation}));
        for (name, stopping) in &rules {
            let (epochs, missed) = measure(stopping, &space, &drawn)?;
            let line =
                json!({"curves": curves, "rule": name, "epochs": epochs, "missed": missed, "seeds": SEEDS});
            println!("{line}");
        }
    }
    Ok(())
}
