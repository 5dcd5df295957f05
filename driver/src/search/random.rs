//! Independent draws.

use super::{Observation, Optimizer, Space, Suggestion, rng};

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
    fn suggest(&mut self, trial: u32, draw: u32, _: &[Observation]) -> Suggestion {
        match self.space.draw(&mut rng(self.seed, trial, draw)) {
            Some(hparams) => Suggestion::Point { hparams, why: "random".into(), note: None },
            None => Suggestion::Exhausted,
        }
    }

    fn learns(&self) -> bool {
        false
    }

    fn is_quick(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lethe_flight::message::Hparams;
    use lethe_flight::message::experiment::{Domain, Parameter};

    fn search(seed: u64) -> RandomSearch {
        let parameter = |name: &str, domain| Parameter { name: name.into(), domain, condition: None };
        let wide = Domain::Uniform { low: -f64::MAX, high: f64::MAX, step: None };
        let space = Space::new(
            vec![
                parameter("lr", Domain::LogUniform { low: 1e-4, high: 1e-1 }),
                parameter("width", Domain::Integer { low: -3, high: 3, step: None, log: false }),
                parameter("layers", Domain::Integer { low: 1, high: 64, step: None, log: true }),
                parameter("dropout", Domain::Uniform { low: 0.2, high: 0.6, step: None }),
                parameter("share", Domain::Uniform { low: 0.1, high: 0.5, step: Some(0.1) }),
                parameter("wide", wide),
                parameter("kind", Domain::Choice { values: vec!["a".into(), 1.into()] }),
                parameter("fixed", Domain::LogUniform { low: 0.3, high: 0.3 }),
            ],
            vec![],
        );
        RandomSearch::new(space.unwrap(), seed)
    }

    fn point(search: &mut RandomSearch, trial: u32) -> Hparams {
        let Suggestion::Point { hparams, .. } = search.suggest(trial, 0, &[]) else { panic!("exhausted") };
        hparams
    }

    #[test]
    fn a_trials_draws_depend_on_seed_and_number_alone() {
        let forth: Vec<_> = (0..20).map(|trial| point(&mut search(1), trial)).collect();
        let mut one = search(1);
        let mut back: Vec<_> = (0..20).rev().map(|trial| point(&mut one, trial)).collect();
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth[0], forth[1]);
        assert_ne!(point(&mut search(2), 0), forth[0]);
    }

    #[test]
    fn draws_fill_their_domains_and_stay_in_them() {
        let mut search = search(3);
        let trials: Vec<_> = (0..2000).map(|trial| point(&mut search, trial)).collect();
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
        for value in [0.1, 0.2, 0.3, 0.4, 0.5] {
            let n = trials.iter().filter(|h| h["share"] == value).count();
            assert!((300..500).contains(&n), "{value} was drawn {n} times of 2000");
        }
        let eight = numbers("layers").iter().filter(|&&v| v <= 8.0).count();
        assert!((1050..1400).contains(&eight), "1 to 8 are 58 % on a log scale, not {eight} of 2000");
        assert!(trials.iter().any(|h| h["kind"] == "a") && trials.iter().any(|h| h["kind"] == 1));
    }
}
