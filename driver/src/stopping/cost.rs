//! Values of both directions, NaN among them, in one total order.

use std::cmp::Ordering;

use lethe_flight::message::training::Direction;

/// The smaller the better. NaN is worse than every number and equal to itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost(f64);

impl Cost {
    pub fn new(value: f64, direction: Direction) -> Self {
        match direction {
            Direction::Min => Self(value),
            Direction::Max => Self(-value),
        }
    }

    /// As it was reported.
    pub fn value(self, direction: Direction) -> f64 {
        match direction {
            Direction::Min => self.0,
            Direction::Max => -self.0,
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }

    pub fn is_nan(self) -> bool {
        self.0.is_nan()
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0.is_nan(), other.0.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cost {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cost {}

/// A value as users read it: five digits.
pub(super) fn short(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if !(-4.0..15.0).contains(&magnitude) && value != 0.0 {
        return format!("{value:.4e}");
    }
    let decimals = (4.0 - magnitude).clamp(0.0, 8.0) as usize;
    let mut text = format!("{value:.decimals$}");
    if decimals > 0 {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_ordered_best_first_with_nan_last() {
        let values = [f64::NAN, 1.0, f64::INFINITY, -2.0, -f64::NAN, f64::NEG_INFINITY];
        let sorted = |direction| {
            let mut costs: Vec<_> = values.iter().map(|&value| Cost::new(value, direction)).collect();
            costs.sort();
            costs.iter().map(|cost| cost.value(direction).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(Direction::Min), ["-inf", "-2", "1", "inf", "NaN", "NaN"]);
        assert_eq!(sorted(Direction::Max), ["inf", "1", "-2", "-inf", "NaN", "NaN"]);
        assert_eq!(Cost::new(0.0, Direction::Max), Cost::new(-0.0, Direction::Max));
    }

    #[test]
    fn a_value_is_shown_with_five_digits() {
        let shown = [0.812_345_678, -1234.56, 1.0, 0.0, 120_000.0, 0.000_123_456, 1e-30, f64::NAN].map(short);
        assert_eq!(shown, ["0.81235", "-1234.6", "1", "0", "120000", "0.00012346", "1.0000e-30", "NaN"]);
    }
}
