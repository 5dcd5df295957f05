//! The coefficient of determination: 1 - (squared errors) / (squared distances of the labels from their mean).

use super::{Metric, Outputs};
use crate::error::Result;

/// The labels' mean and squared distances are updated one by one (Welford 1962), as a difference of large
/// sums would lose the digits. Equal labels give 0, or 1 where all outputs are right, as scikit-learn does.
#[derive(Debug, Default)]
pub struct R2 {
    rows: u64,
    mean: f64,
    spread: f64,
    errors: f64,
}

impl Metric for R2 {
    fn update(&mut self, outputs: &Outputs) -> Result<()> {
        for (output, label) in outputs.pairs("r2")? {
            self.rows += 1;
            let distance = label - self.mean;
            self.mean += distance / self.rows as f64;
            self.spread += distance * (label - self.mean);
            self.errors += (output - label).powi(2);
        }
        Ok(())
    }

    fn value(&self) -> f64 {
        if self.rows == 0 || self.errors.is_nan() {
            f64::NAN
        } else if self.spread > 0.0 {
            1.0 - self.errors / self.spread
        } else if self.errors == 0.0 {
            1.0
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r2(outputs: &[f32], labels: &[f64]) -> f64 {
        let mut metric = R2::default();
        for (values, labels) in outputs.chunks(2).zip(labels.chunks(2)) {
            metric.update(&Outputs { values, columns: 1, labels }).unwrap();
        }
        metric.value()
    }

    #[test]
    fn r2_is_that_of_scikit_learn() {
        // r2_score([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]) from its documentation.
        assert!((r2(&[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]) - 0.948_608_137_044_967_9).abs() < 1e-12);
        assert_eq!(r2(&[1.0, 1.0], &[1.0, 1.0]), 1.0);
        assert_eq!(r2(&[1.0, 2.0], &[1.0, 1.0]), 0.0);
        assert!(r2(&[], &[]).is_nan());
    }

    #[test]
    fn labels_far_from_zero_keep_their_digits() {
        // Multiples of 64 near 10^9 are float32 numbers; so is the mean.
        let labels = [1e9, 1e9 + 64.0, 1e9 + 192.0, 1e9 + 256.0];
        let exact: Vec<f32> = labels.iter().map(|&l| l as f32).collect();
        assert_eq!(r2(&exact, &labels), 1.0);
        let mean = [(1e9 + 128.0) as f32; 4];
        assert!(r2(&mean, &labels).abs() < 1e-9);
    }
}
