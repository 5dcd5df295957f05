//! Asynchronous successive halving, in its form with stopping rungs.
//!
//! Li, Jamieson, Rostamizadeh, Gonina, Hardt, Recht, Talwalkar: "A System for Massively Parallel
//! Hyperparameter Tuning", 2018 (arXiv:1810.05934). There a trial is paused at each rung and promoted when it
//! is among the best `1/reduction`; here it is asked once, when it gets there, and ends if it is not.

use std::collections::BTreeMap;

use lethe_flight::message::training::Direction;

use super::{StoppingRule, Verdict};

/// Rungs after `min_epochs * reduction^k` epochs, below the trial's own. A trial goes on if its value is among
/// the best `max(1, floor(n / reduction))` of the `n` recorded at that rung so far, its own included; ties go
/// on. NaN always ends a trial, and counts as the worst value of its rung.
#[derive(Debug, Clone)]
pub struct Asha {
    reduction: u32,
    min_epochs: u32,
    direction: Direction,
    rungs: BTreeMap<u32, Rung>,
}

/// Costs: the smaller the better; NaN is infinite.
#[derive(Debug, Clone, Default)]
struct Rung {
    by_trial: BTreeMap<u32, f64>,
    /// Ascending.
    sorted: Vec<f64>,
}

impl Asha {
    /// `reduction` is at least 2, `min_epochs` at least 1.
    pub fn new(reduction: u32, min_epochs: u32, direction: Direction) -> Self {
        Self { reduction: reduction.max(2), min_epochs: min_epochs.max(1), direction, rungs: BTreeMap::new() }
    }
}

impl Rung {
    /// A trial that is run again replaces what it reported before: it counts once, and with the value that
    /// stands in its history (on a GPU the two may differ).
    fn record(&mut self, trial: u32, cost: f64) {
        if let Some(former) = self.by_trial.insert(trial, cost) {
            let at = self.sorted.partition_point(|&other| other < former);
            self.sorted.remove(at);
        }
        self.sorted.insert(self.better_than(cost), cost);
    }

    /// How many are strictly better.
    fn better_than(&self, cost: f64) -> usize {
        self.sorted.partition_point(|&other| other < cost)
    }
}

impl StoppingRule for Asha {
    fn rungs(&self, epochs: u32) -> Vec<u32> {
        std::iter::successors(Some(self.min_epochs), |rung| rung.checked_mul(self.reduction))
            .take_while(|&rung| rung < epochs)
            .collect()
    }

    fn decide(&mut self, trial: u32, rung: u32, value: f64) -> Verdict {
        let cost = match self.direction {
            _ if value.is_nan() => f64::INFINITY,
            Direction::Min => value,
            Direction::Max => -value,
        };
        let rung = self.rungs.entry(rung).or_default();
        rung.record(trial, cost);
        let kept = (rung.sorted.len() / self.reduction as usize).max(1);
        if !value.is_nan() && rung.better_than(cost) < kept { Verdict::GoOn } else { Verdict::Stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(direction: Direction, values: &[f64]) -> Vec<bool> {
        let mut asha = Asha::new(3, 1, direction);
        (0..).zip(values).map(|(trial, &value)| asha.decide(trial, 1, value) == Verdict::GoOn).collect()
    }

    #[test]
    fn rungs_grow_by_the_reduction_and_stay_below_the_budget() {
        let asha = Asha::new(3, 1, Direction::Min);
        assert_eq!(asha.rungs(27), [1, 3, 9]);
        assert_eq!(asha.rungs(28), [1, 3, 9, 27]);
        assert_eq!(asha.rungs(1), [0; 0]);
        assert_eq!(Asha::new(2, 5, Direction::Min).rungs(u32::MAX).last(), Some(&(5 << 29)));
    }

    #[test]
    fn the_best_third_goes_on_in_both_directions() {
        // One value: kept. Of 2 and 3 the best one, of 6 the best two.
        let up = [0.1, 0.2, 0.15, 0.3, 0.05, 0.25];
        let expected = [true, true, false, true, false, true];
        assert_eq!(decisions(Direction::Max, &up), expected);
        let down: Vec<f64> = up.iter().map(|value| -value).collect();
        assert_eq!(decisions(Direction::Min, &down), expected);
    }

    #[test]
    fn ties_go_on() {
        assert_eq!(decisions(Direction::Max, &[0.5; 4]), [true; 4]);
        assert_eq!(decisions(Direction::Min, &[0.0, -0.0]), [true; 2]);
    }

    #[test]
    fn nan_always_ends_a_trial_and_is_worse_than_all() {
        assert_eq!(decisions(Direction::Max, &[f64::NAN, f64::NAN, -1e300]), [false, false, true]);
        assert_eq!(decisions(Direction::Min, &[f64::NAN, 1e300, f64::NAN]), [false, true, false]);
    }

    #[test]
    fn a_trial_that_is_run_again_counts_once_with_its_last_value() {
        let mut asha = Asha::new(2, 1, Direction::Max);
        assert_eq!(asha.decide(0, 1, 0.9), Verdict::GoOn);
        assert_eq!(asha.decide(0, 1, 0.1), Verdict::GoOn);
        assert_eq!(asha.decide(1, 1, 0.2), Verdict::GoOn, "0.9 no longer counts");
        // Three values, not four: one is kept.
        assert_eq!(asha.decide(2, 1, 0.15), Verdict::Stop);
    }

    #[test]
    fn rungs_do_not_mix() {
        let mut asha = Asha::new(3, 1, Direction::Max);
        asha.decide(0, 1, 0.9);
        assert_eq!(asha.decide(1, 3, 0.1), Verdict::GoOn);
    }
}
