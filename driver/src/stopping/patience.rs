//! Trials that no longer become better.

use std::collections::BTreeMap;

use lethe_flight::message::training::Direction;

use super::cost::{Cost, short};
use super::{Decision, Rungs, StoppingRule};

/// A trial ends once `epochs` epochs have gone by since it last became better by more than `min_delta` than
/// it had been when it last did. Its first number is better than nothing; NaN never is.
#[derive(Debug, Clone)]
pub struct Patience {
    epochs: u32,
    min_delta: f64,
    direction: Direction,
    improvements: BTreeMap<u32, Vec<Improvement>>,
}

#[derive(Debug, Clone, Copy)]
struct Improvement {
    epoch: u32,
    cost: Cost,
}

impl Patience {
    /// `epochs` is at least 1, `min_delta` at least 0.
    pub fn new(epochs: u32, min_delta: f64, direction: Direction) -> Self {
        Self { epochs, min_delta, direction, improvements: BTreeMap::new() }
    }
}

impl StoppingRule for Patience {
    fn rungs(&self, _: u32, _: u32) -> Rungs {
        Rungs { at: Vec::new(), every: Some(1) }
    }

    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision {
        let cost = Cost::new(value, self.direction);
        let improvements = self.improvements.entry(trial).or_default();
        improvements.truncate(improvements.partition_point(|improvement| improvement.epoch < epoch));
        let better = match improvements.last() {
            Some(last) => last.cost.get() - cost.get() > self.min_delta,
            None => !cost.is_nan(),
        };
        if better {
            improvements.push(Improvement { epoch, cost });
        }
        let last = improvements.last();
        let since = last.map_or(0, |last| last.epoch);
        if epoch - since < self.epochs {
            return Decision::go_on();
        }
        Decision::stop(match last {
            Some(last) => format!(
                "epoch {epoch}: not better by more than {} than {} at epoch {since}",
                short(self.min_delta),
                short(last.cost.value(self.direction))
            ),
            None => format!("epoch {epoch}: the value has been NaN from the beginning"),
        })
    }

    fn ended(&mut self, trial: u32) {
        self.improvements.remove(&trial);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::Stop;
    use super::*;

    /// The epoch at which a trial with these values is stopped.
    fn stopped(patience: &mut Patience, values: &[f64]) -> Option<u32> {
        let mut epochs = (1..).zip(values);
        epochs
            .find(|&(epoch, &value)| patience.decide(0, epoch, value).verdict == Stop)
            .map(|(epoch, _)| epoch)
    }

    #[test]
    fn a_trial_ends_after_so_many_epochs_without_getting_better() {
        let mut patience = Patience::new(2, 0.0, Direction::Max);
        assert_eq!(stopped(&mut patience, &[0.1, 0.2, 0.2, 0.3, 0.25, 0.3]), Some(6));
        let mut patience = Patience::new(2, 0.0, Direction::Min);
        assert_eq!(stopped(&mut patience, &[0.5, 0.4, 0.45, 0.39, 0.38]), None);
    }

    #[test]
    fn small_steps_add_up_to_an_improvement_in_time() {
        let creeping = [0.0, 0.06, 0.12, 0.18, 0.24, 0.30];
        assert_eq!(stopped(&mut Patience::new(2, 0.1, Direction::Max), &creeping), None);
        assert_eq!(stopped(&mut Patience::new(1, 0.1, Direction::Max), &creeping), Some(2));
    }

    #[test]
    fn nan_is_no_improvement() {
        let nan = f64::NAN;
        assert_eq!(stopped(&mut Patience::new(3, 0.0, Direction::Min), &[nan, nan, nan]), Some(3));
        assert_eq!(stopped(&mut Patience::new(3, 0.0, Direction::Min), &[nan, nan, 1.0, nan, 0.9]), None);
        let decision = Patience::new(1, 0.0, Direction::Min).decide(0, 1, nan);
        assert_eq!(decision.why.unwrap(), "epoch 1: the value has been NaN from the beginning");
    }

    #[test]
    fn a_trial_that_is_run_again_is_judged_by_its_last_run() {
        let mut patience = Patience::new(2, 0.0, Direction::Max);
        patience.decide(0, 1, 0.1);
        patience.decide(0, 2, 0.9);
        // Again from the checkpoint of epoch 1: the 0.9 is gone.
        patience.decide(0, 2, 0.2);
        patience.decide(0, 3, 0.3);
        assert_ne!(patience.decide(0, 4, 0.25).verdict, Stop);
        assert_eq!(patience.decide(0, 5, 0.3).verdict, Stop);
    }
}
