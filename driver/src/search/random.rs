//! Independent draws.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Optimizer, Space};

/// Random search (Bergstra and Bengio, 2012). A trial's draws are a function of the seed and the trial's number
/// alone: its number chooses the stream of a ChaCha8 generator.
#[derive(Debug, Clone)]
pub struct RandomSearch {
    space: Space,
    seed: u64,
}

impl RandomSearch {
    pub fn new(space: Space, seed: u64) -> Self {
        Self { space, seed }
    }
}

impl Optimizer for RandomSearch {
    fn suggest(&mut self, trial: u32) -> Hparams {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::from(trial));
        self.space
            .parameters()
            .iter()
            .map(|Parameter { name, domain }| (name.clone(), draw(domain, &mut rng)))
            .collect()
    }
}

fn draw(domain: &Domain, rng: &mut ChaCha8Rng) -> Value {
    match domain {
        Domain::Uniform { low, high } => between(*low, *high, rng.random()).clamp(*low, *high).into(),
        Domain::LogUniform { low, high } => {
            between(low.ln(), high.ln(), rng.random()).exp().clamp(*low, *high).into()
        }
        Domain::Integer { low, high } => rng.random_range(*low..=*high).into(),
        Domain::Choice { values } => values[rng.random_range(0..values.len())].clone(),
    }
}

/// Not `low + u * (high - low)`, whose difference can overflow.
fn between(low: f64, high: f64, u: f64) -> f64 {
    low * (1.0 - u) + high * u
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(seed: u64) -> RandomSearch {
        let parameter = |name: &str, domain| Parameter { name: name.into(), domain };
        let space = Space::new(vec![
            parameter("lr", Domain::LogUniform { low: 1e-4, high: 1e-1 }),
            parameter("width", Domain::Integer { low: -3, high: 3 }),
            parameter("dropout", Domain::Uniform { low: 0.2, high: 0.6 }),
            parameter("wide", Domain::Uniform { low: -f64::MAX, high: f64::MAX }),
            parameter("kind", Domain::Choice { values: vec!["a".into(), 1.into()] }),
            parameter("fixed", Domain::LogUniform { low: 0.3, high: 0.3 }),
        ]);
        RandomSearch::new(space.unwrap(), seed)
    }

    #[test]
    fn a_trials_draws_depend_on_seed_and_number_alone() {
        let forth: Vec<_> = (0..20).map(|trial| search(1).suggest(trial)).collect();
        let mut one = search(1);
        let mut back: Vec<_> = (0..20).rev().map(|trial| one.suggest(trial)).collect();
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth[0], forth[1]);
        assert_ne!(search(2).suggest(0), forth[0]);
    }

    #[test]
    fn draws_fill_their_domains_and_stay_in_them() {
        let mut search = search(3);
        let trials: Vec<_> = (0..2000).map(|trial| search.suggest(trial)).collect();
        let numbers = |name: &str| trials.iter().map(|h| h[name].as_f64().unwrap()).collect::<Vec<_>>();
        let lr = numbers("lr");
        assert!(lr.iter().all(|v| (1e-4..=1e-1).contains(v)));
        let low = lr.iter().filter(|&&v| v < 10f64.powf(-2.5)).count();
        assert!((900..1100).contains(&low), "half of the draws lie below the geometric middle, not {low}");
        assert!(numbers("dropout").iter().all(|v| (0.2..=0.6).contains(v)));
        assert!(numbers("wide").iter().all(|v| v.is_finite()));
        assert!(numbers("fixed").iter().all(|&v| v == 0.3));
        for value in -3..=3 {
            let n = trials.iter().filter(|h| h["width"] == value).count();
            assert!((200..370).contains(&n), "{value} was drawn {n} times of 2000");
        }
        assert!(trials.iter().any(|h| h["kind"] == "a") && trials.iter().any(|h| h["kind"] == 1));
    }
}
