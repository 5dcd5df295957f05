//! Asynchronous Hyperband: ASHA in several brackets, of which each begins to choose later than the one before.
//!
//! Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
//! Optimization", JMLR 2018, with the brackets of section 3.2 of the ASHA paper (see [`super::halving`]): bracket
//! `s` has rungs after `min_epochs * reduction^(s + k)` epochs. It is given trials in proportion to
//! `ceil(brackets / (brackets - s) * reduction^(brackets - 1 - s))`, the number that it begins with in
//! Hyperband; so does Optuna's `HyperbandPruner`.

use std::collections::BTreeMap;

use lethe_flight::message::Hparams;

use super::halving::{Halving, Settings};
use super::{Decision, Promotion, Rungs, StoppingRule};

#[derive(Debug, Clone)]
pub struct Hyperband {
    halving: Halving,
    /// Where the sequence of shares begins, in 1/2^64.
    offset: u64,
    /// The first rung of a trial's bracket.
    brackets: BTreeMap<u32, u32>,
}

impl Hyperband {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self { halving: Halving::new(settings), offset: seed, brackets: BTreeMap::new() }
    }

    /// The bracket of this trial, whose budget is so many epochs.
    fn bracket(&self, trial: u32, epochs: u32) -> u32 {
        let Settings { reduction, min_epochs, .. } = self.halving.settings;
        // The last one has its first rung at the budget or less than `reduction` below it.
        let brackets = self.halving.rungs_from(min_epochs, epochs.saturating_add(1)).count().max(1) as u32;
        let begun = |bracket: u32| {
            let halvings = brackets - 1 - bracket;
            (f64::from(brackets) / f64::from(halvings + 1) * f64::from(reduction).powi(halvings as i32))
                .ceil()
        };
        let share = share(trial, self.offset) * (0..brackets).map(begun).sum::<f64>();
        let mut sum = 0.0;
        (0..brackets)
            .find(|&bracket| {
                sum += begun(bracket);
                share < sum
            })
            .unwrap_or(brackets - 1)
    }
}

/// Spread evenly over [0, 1) by every run of consecutive trials: multiples of the golden ratio.
fn share(trial: u32, offset: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let turned = offset.wrapping_add(GOLDEN.wrapping_mul(u64::from(trial) + 1));
    (turned >> 11) as f64 / (1u64 << 53) as f64
}

impl StoppingRule for Hyperband {
    fn rungs(&self, trial: u32, epochs: u32) -> Rungs {
        let Settings { reduction, min_epochs, .. } = self.halving.settings;
        let first = reduction
            .checked_pow(self.bracket(trial, epochs))
            .and_then(|factor| min_epochs.checked_mul(factor))
            .unwrap_or(u32::MAX);
        Rungs { at: self.halving.rungs_from(first, epochs).collect(), every: None }
    }

    fn expects(&mut self, trials: Option<u32>) {
        self.halving.expects(trials);
    }

    fn began(&mut self, trial: u32, _: &Hparams) {
        self.halving.began(trial);
    }

    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision {
        if !self.halving.is_rung(epoch) {
            return Decision::go_on();
        }
        // Bracket s begins at rung s: the first rung at which a trial reports says which bracket it is in.
        let first =
            *self.brackets.entry(trial).and_modify(|first| *first = epoch.min(*first)).or_insert(epoch);
        let decision = self.halving.decide(first, trial, epoch, value);
        Decision { why: decision.why.map(|why| format!("bracket from {first}, {why}")), ..decision }
    }

    fn promote(&mut self, _: bool) -> Option<Promotion> {
        let promotion = self.halving.promote()?;
        let first = self.brackets.get(&promotion.trial)?;
        Some(Promotion { why: format!("bracket from {first}, {}", promotion.why), ..promotion })
    }

    fn again(&mut self, trial: u32) {
        self.halving.resume(trial);
    }

    fn failed(&mut self, trial: u32) {
        self.halving.failed(trial);
    }

    fn ended(&mut self, trial: u32) {
        self.halving.ended(trial);
        self.brackets.remove(&trial);
    }

    fn pauses(&self) -> bool {
        self.halving.settings.pause
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::training::Direction;

    use super::super::Verdict;
    use super::*;

    fn hyperband(seed: u64) -> Hyperband {
        let settings =
            Settings { reduction: 3, min_epochs: 1, direction: Direction::Min, pause: true, trials: None };
        Hyperband::new(settings, seed)
    }

    #[test]
    fn brackets_begin_later_and_get_hyperbands_share_of_every_run_of_trials() {
        // For 27 epochs Hyperband begins with 27, 12, 6 and 4 trials.
        for (seed, from) in [(0, 0), (1, 1000), (u64::MAX, 77)] {
            let hyperband = hyperband(seed);
            let mut count = BTreeMap::new();
            for trial in from..from + 490 {
                *count.entry(hyperband.rungs(trial, 27).at).or_insert(0i32) += 1;
            }
            let expected = [(vec![1, 3, 9], 270), (vec![3, 9], 120), (vec![9], 60), (vec![], 40)];
            for (rungs, share) in expected {
                assert!((count[&rungs] - share).abs() <= 5, "{rungs:?} {count:?}");
            }
            assert_eq!(count.len(), 4);
        }
    }

    #[test]
    fn one_epoch_has_one_bracket_without_rungs() {
        assert!((0..50).all(|trial| hyperband(3).rungs(trial, 1) == Rungs::default()));
        assert!((0..50).all(|trial| hyperband(3).rungs(trial, 2).at == [1]));
    }

    #[test]
    fn trials_of_one_bracket_do_not_compete_with_anothers() {
        let mut hyperband = hyperband(0);
        // Three in the bracket from 1 would promote the best; the two from 3 are no help to it.
        hyperband.decide(0, 1, 0.1);
        hyperband.decide(1, 1, 0.2);
        hyperband.decide(2, 3, 0.3);
        hyperband.decide(3, 3, 0.4);
        assert_eq!(hyperband.promote(true), None);
        let why = hyperband.decide(4, 1, 0.3).why.unwrap();
        assert_eq!(why, "bracket from 1, rung 1: 0.3 is not among the best 1 of 3");
        assert_eq!(hyperband.promote(true).map(|promotion| promotion.trial), Some(0));
        assert_eq!(hyperband.decide(5, 3, 0.2).verdict, Verdict::GoOn, "the best of three from 3");
    }
}
