//! The median stopping rule.
//!
//! Golovin, Solnik, Moitra, Kochanski, Karro, Sculley: "Google Vizier: A Service for Black-Box Optimization",
//! KDD 2017, section 3.2.2: a trial is stopped at epoch e if its best value so far is strictly worse than the
//! median of the running averages up to epoch e of the completed trials. Completed are here all that have
//! ended and reported at epoch e, those that this rule stopped among them; without these the median would be of
//! survivors alone and rise with every stop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use lethe_flight::message::Hparams;
use lethe_flight::message::training::Direction;

use super::cost::{Cost, short};
use super::standing::Standing;
use super::{Decision, Rungs, StoppingRule};

/// Averages are by epoch, not by when reports arrive. A trial whose values are all NaN is worse than every
/// number; one NaN makes a running average NaN from there on. A decision costs O(1), a trial's end O(log n)
/// for each epoch that it reported.
#[derive(Debug, Clone)]
pub struct Median {
    min_trials: usize,
    min_epochs: u32,
    direction: Direction,
    standing: Standing,
    curves: BTreeMap<u32, Vec<Point>>,
    /// Of the ended trials' running averages, by epoch.
    middles: BTreeMap<u32, Middle>,
}

/// A trial up to this epoch.
#[derive(Debug, Clone, Copy)]
struct Point {
    epoch: u32,
    sum: f64,
    best: Cost,
}

/// Costs, the better half and the others.
#[derive(Debug, Clone, Default)]
struct Middle {
    better: BinaryHeap<Cost>,
    worse: BinaryHeap<Reverse<Cost>>,
}

impl Median {
    /// `min_epochs` is at least 1.
    pub fn new(min_trials: u32, min_epochs: u32, direction: Direction, trials: Option<u32>) -> Self {
        Self {
            min_trials: min_trials.max(1) as usize,
            min_epochs,
            direction,
            standing: Standing::new(trials),
            curves: BTreeMap::new(),
            middles: BTreeMap::new(),
        }
    }
}

impl Middle {
    fn push(&mut self, cost: Cost) {
        self.better.push(cost);
        self.worse.extend(self.better.pop().map(Reverse));
        if self.worse.len() > self.better.len() {
            self.better.extend(self.worse.pop().map(|Reverse(cost)| cost));
        }
    }

    fn len(&self) -> usize {
        self.better.len() + self.worse.len()
    }

    /// Of an even number the mean of the two in the middle.
    fn median(&self) -> Option<f64> {
        let lower = self.better.peek()?.get();
        match self.worse.peek() {
            Some(Reverse(upper)) if self.worse.len() == self.better.len() => {
                Some(lower / 2.0 + upper.get() / 2.0)
            }
            _ => Some(lower),
        }
    }
}

impl StoppingRule for Median {
    /// All reports, so that averages are of all of them.
    fn rungs(&self, _: u32, _: u32) -> Rungs {
        Rungs { at: Vec::new(), every: Some(1) }
    }

    fn expects(&mut self, trials: Option<u32>) {
        self.standing.expects(trials);
    }

    fn began(&mut self, trial: u32, _: &Hparams) {
        self.standing.began(trial);
    }

    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision {
        if !self.standing.reports(trial) {
            return Decision::stop("the trial has ended before".into());
        }
        let cost = Cost::new(value, self.direction);
        let curve = self.curves.entry(trial).or_default();
        curve.truncate(curve.partition_point(|point| point.epoch < epoch));
        let (sum, best) = match curve.last() {
            Some(before) => (before.sum + cost.get(), before.best.min(cost)),
            None => (cost.get(), cost),
        };
        curve.push(Point { epoch, sum, best });
        if epoch < self.min_epochs || self.standing.is_last(trial) {
            return Decision::go_on();
        }
        let Some(middle) = self.middles.get(&epoch).filter(|middle| middle.len() >= self.min_trials) else {
            return Decision::go_on();
        };
        let Some(median) = middle.median().filter(|&median| best > Cost::new(median, Direction::Min)) else {
            return Decision::go_on();
        };
        self.standing.stopped(trial);
        let value_of = |cost: f64| short(Cost::new(cost, Direction::Min).value(self.direction));
        Decision::stop(format!(
            "epoch {epoch}: the best value {} is worse than {}, the median of {} trials' averages",
            short(best.value(self.direction)),
            value_of(median),
            middle.len()
        ))
    }

    fn ended(&mut self, trial: u32) {
        self.standing.ended(trial);
        for (count, point) in (1u32..).zip(self.curves.remove(&trial).unwrap_or_default()) {
            let average = Cost::new(point.sum / f64::from(count), Direction::Min);
            self.middles.entry(point.epoch).or_default().push(average);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{GoOn, Stop};
    use super::*;

    fn run(median: &mut Median, trial: u32, values: &[f64]) {
        for (epoch, &value) in (1..).zip(values) {
            median.decide(trial, epoch, value);
        }
        median.ended(trial);
    }

    fn with(curves: &[&[f64]]) -> Median {
        let mut median = Median::new(curves.len() as u32, 1, Direction::Max, None);
        for (trial, values) in (100..).zip(curves) {
            run(&mut median, trial, values);
        }
        median
    }

    #[test]
    fn a_trial_ends_below_the_median_of_running_averages_at_its_epoch() {
        // Averages: 1: 0.2 0.4 0.9; 2: 0.4 0.5 0.9. Values at 2 alone would have the median 0.6.
        let median = || with(&[&[0.2, 0.6], &[0.4, 0.6], &[0.9, 0.9]]);
        assert_eq!(median().decide(0, 1, 0.39).verdict, Stop);
        assert_eq!(median().decide(0, 1, 0.4).verdict, GoOn, "no worse than the median");
        assert_eq!(median().decide(0, 2, 0.55).verdict, GoOn);
        let decision = median().decide(0, 2, 0.45);
        let why = "epoch 2: the best value 0.45 is worse than 0.5, the median of 3 trials' averages";
        assert_eq!((decision.verdict, decision.why.as_deref()), (Stop, Some(why)));
    }

    #[test]
    fn the_best_value_so_far_counts() {
        let mut median = with(&[&[0.5, 0.5]]);
        assert_eq!(median.decide(0, 1, 0.6).verdict, GoOn);
        assert_eq!(median.decide(0, 2, 0.1).verdict, GoOn);
    }

    #[test]
    fn curves_are_compared_by_epoch_and_not_by_arrival() {
        // The slow trial's second report comes after ten of the others; it is compared with second reports.
        let long: Vec<f64> = (1..=10).map(|epoch| f64::from(epoch) / 10.0).collect();
        let mut median = Median::new(1, 1, Direction::Max, None);
        median.decide(0, 1, 0.2);
        run(&mut median, 1, &long);
        assert_eq!(median.decide(0, 2, 0.2).verdict, GoOn, "the average up to epoch 2 is 0.15");
    }

    #[test]
    fn the_median_is_of_enough_ended_trials_that_reached_the_epoch() {
        let mut median = Median::new(2, 2, Direction::Max, None);
        run(&mut median, 100, &[0.9, 0.9, 0.9]);
        run(&mut median, 101, &[0.9, 0.9]);
        median.decide(102, 3, 0.9);
        assert_eq!(median.decide(0, 1, 0.1).verdict, GoOn, "before min_epochs");
        assert_eq!(median.decide(1, 3, 0.1).verdict, GoOn, "one of the two that got there runs");
        assert_eq!(median.decide(0, 2, 0.1).verdict, Stop);
    }

    #[test]
    fn of_an_even_number_the_median_lies_between() {
        let mut median = with(&[&[0.2], &[0.4], &[0.6], &[0.8]]);
        assert_eq!(median.decide(0, 1, 0.51).verdict, GoOn);
        assert_eq!(median.decide(1, 1, 0.49).verdict, Stop);
    }

    #[test]
    fn a_trial_that_is_run_again_is_averaged_over_its_last_run() {
        let mut median = Median::new(1, 1, Direction::Max, None);
        for (epoch, value) in [(1, 0.9), (2, 0.9), (1, 0.1), (2, 0.3)] {
            median.decide(100, epoch, value);
        }
        median.ended(100);
        assert_eq!(median.decide(0, 2, 0.2).verdict, GoOn, "the average up to epoch 2 is 0.2");
        assert_eq!(median.decide(1, 2, 0.19).verdict, Stop);
    }

    #[test]
    fn nan_is_worse_than_every_median_and_stops_no_other() {
        let mut median = with(&[&[0.5], &[f64::NAN], &[f64::NAN]]);
        assert_eq!(median.decide(0, 1, f64::NEG_INFINITY).verdict, GoOn);
        let mut median = with(&[&[f64::NEG_INFINITY]]);
        assert_eq!(median.decide(0, 1, f64::NAN).verdict, Stop);
    }
}
