//! One rung of successive halving: what the trials reported at it, and which are among the best.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::Cost;

/// Every change costs O(log n), whatever order the values come in: the best `kept()` and the rest are two
/// ordered maps, and an element moves between them when their number changes.
#[derive(Debug, Clone)]
pub(super) struct Rung {
    reduction: usize,
    /// So many are kept even of fewer than `reduction`.
    least: usize,
    costs: BTreeMap<u32, Cost>,
    /// With each trial, whether it is paused here.
    best: BTreeMap<Place, bool>,
    rest: BTreeMap<Place, bool>,
    /// Those of the best that are paused.
    waiting: BTreeSet<Place>,
}

/// Of equal ones the trial with the lower number comes first.
type Place = (Cost, u32);

impl Rung {
    pub fn new(reduction: u32, least: usize) -> Self {
        Self {
            reduction: reduction as usize,
            least,
            costs: BTreeMap::new(),
            best: BTreeMap::new(),
            rest: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// The trial has not reported here, or it was forgotten.
    pub fn record(&mut self, trial: u32, cost: Cost, paused: bool) {
        self.costs.insert(trial, cost);
        let place = (cost, trial);
        if self.best.last_key_value().is_some_and(|(last, _)| place < *last) {
            self.keep(place, paused);
        } else {
            self.rest.insert(place, paused);
        }
        self.balance();
    }

    pub fn forget(&mut self, trial: u32) {
        if let Some(cost) = self.costs.remove(&trial) {
            let place = (cost, trial);
            self.waiting.remove(&place);
            _ = self.best.remove(&place).or_else(|| self.rest.remove(&place));
            self.balance();
        }
    }

    /// It is no longer paused here.
    pub fn resume(&mut self, trial: u32) {
        if let Some(&cost) = self.costs.get(&trial) {
            let place = (cost, trial);
            self.waiting.remove(&place);
            if let Some(paused) = self.best.get_mut(&place).or_else(|| self.rest.get_mut(&place)) {
                *paused = false;
            }
        }
    }

    /// How many have reported.
    pub fn len(&self) -> usize {
        self.costs.len()
    }

    /// How many of them are the best.
    pub fn kept(&self) -> usize {
        (self.len() / self.reduction).max(self.least)
    }

    /// Among the best, or equal to one of them.
    pub fn keeps(&self, cost: Cost) -> bool {
        self.best.last_key_value().is_some_and(|((worst, _), _)| cost <= *worst)
    }

    /// The first of the best that are paused.
    pub fn promotable(&self) -> Option<u32> {
        self.waiting.first().map(|place| place.1)
    }

    /// The best trial with a number of those that have not failed, and whether it is paused.
    pub fn leader(&self, failed: impl Fn(u32) -> bool) -> Option<(u32, bool)> {
        let all = self.best.iter().chain(&self.rest);
        let numbers = all.take_while(|((cost, _), _)| !cost.is_nan());
        numbers.map(|(place, paused)| (place.1, *paused)).find(|(trial, _)| !failed(*trial))
    }

    fn keep(&mut self, place: Place, paused: bool) {
        self.best.insert(place, paused);
        if paused {
            self.waiting.insert(place);
        }
    }

    fn balance(&mut self) {
        while self.best.len() < self.kept() {
            let Some((place, paused)) = self.rest.pop_first() else { return };
            self.keep(place, paused);
        }
        while self.best.len() > self.kept() {
            let Some((place, paused)) = self.best.pop_last() else { return };
            self.waiting.remove(&place);
            self.rest.insert(place, paused);
        }
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::training::Direction;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is kept is what sorting all values each time would keep.
        #[test]
        fn the_best_are_those_that_sorting_finds(
            changes in prop::collection::vec((0u32..12, prop::option::of((-3i8..3, any::<bool>()))), 1..80),
            reduction in 2u32..5,
            least in 0usize..2,
        ) {
            let mut rung = Rung::new(reduction, least);
            let mut all = BTreeMap::new();
            for (trial, value) in changes {
                match value {
                    Some((value, paused)) => {
                        // One of the values stands for NaN.
                        let value = if value == -3 { f64::NAN } else { f64::from(value) };
                        let cost = Cost::new(value, Direction::Min);
                        rung.forget(trial);
                        rung.record(trial, cost, true);
                        if !paused {
                            rung.resume(trial);
                        }
                        all.insert(trial, (cost, paused));
                    }
                    None => {
                        all.remove(&trial);
                        rung.forget(trial);
                    }
                }
                let mut sorted: Vec<_> =
                    all.iter().map(|(&trial, &(cost, paused))| ((cost, trial), paused)).collect();
                sorted.sort();
                let kept = (sorted.len() / reduction as usize).max(least).min(sorted.len());
                let (best, rest) = sorted.split_at(kept);
                prop_assert_eq!(rung.best.iter().map(|(&place, &paused)| (place, paused)).collect::<Vec<_>>(), best);
                prop_assert_eq!(rung.rest.iter().map(|(&place, &paused)| (place, paused)).collect::<Vec<_>>(), rest);
                prop_assert_eq!(rung.promotable(), best.iter().find(|(_, paused)| *paused).map(|(place, _)| place.1));
                for failed in [99, 3] {
                    let first = sorted.iter().find(|((cost, trial), _)| !cost.is_nan() && *trial != failed);
                    let leader = rung.leader(|trial| trial == failed);
                    prop_assert_eq!(leader, first.map(|(place, paused)| (place.1, *paused)));
                }
            }
        }
    }
}
