//! A bound that every trial has to reach.

use lethe_flight::message::training::Direction;

use super::cost::{Cost, short};
use super::{Decision, Rungs, StoppingRule};

/// A trial ends that is worse than `bound` at epoch `min_epochs` or later, or NaN there. Each report stands for
/// itself: no other trial and no earlier epoch counts.
#[derive(Debug, Clone, Copy)]
pub struct Threshold {
    bound: f64,
    min_epochs: u32,
    direction: Direction,
}

impl Threshold {
    /// `bound` is a number.
    pub fn new(bound: f64, min_epochs: u32, direction: Direction) -> Self {
        Self { bound, min_epochs, direction }
    }
}

impl StoppingRule for Threshold {
    fn rungs(&self, _: u32, _: u32) -> Rungs {
        Rungs { at: Vec::new(), every: Some(1) }
    }

    fn decide(&mut self, _: u32, epoch: u32, value: f64) -> Decision {
        let cost = |value| Cost::new(value, self.direction);
        if epoch < self.min_epochs || cost(value) <= cost(self.bound) {
            return Decision::go_on();
        }
        Decision::stop(format!(
            "epoch {epoch}: {} is worse than the bound {}",
            short(value),
            short(self.bound)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{GoOn, Stop};
    use super::*;

    #[test]
    fn a_trial_ends_that_is_worse_than_the_bound_from_min_epochs_on() {
        let mut threshold = Threshold::new(0.5, 3, Direction::Max);
        assert_eq!(threshold.decide(0, 2, 0.1).verdict, GoOn);
        assert_eq!(threshold.decide(0, 3, 0.5).verdict, GoOn);
        let decision = threshold.decide(0, 3, 0.49);
        assert_eq!(decision.verdict, Stop);
        assert_eq!(decision.why.unwrap(), "epoch 3: 0.49 is worse than the bound 0.5");
        assert_eq!(threshold.decide(0, 7, f64::NAN).verdict, Stop);
        let mut threshold = Threshold::new(0.5, 1, Direction::Min);
        assert_eq!(threshold.decide(0, 1, 0.49).verdict, GoOn);
        assert_eq!(threshold.decide(0, 1, 0.51).verdict, Stop);
    }
}
