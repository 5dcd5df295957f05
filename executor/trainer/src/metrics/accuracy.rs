//! Accuracy: the share of rows whose class is right.

use super::{Metric, Outputs};
use crate::error::{Error, Result};

/// With several outputs a row the class is the first largest one; with one output (a logit) it is 1 where
/// the output is above 0.
#[derive(Debug, Default)]
pub struct Accuracy {
    right: u64,
    rows: u64,
}

impl Metric for Accuracy {
    fn update(&mut self, outputs: &Outputs) -> Result<()> {
        if outputs.columns == 0 {
            return Err(Error::trial(
                "the metric accuracy needs at least one output a row; the model has none",
            ));
        }
        for (row, &label) in outputs.values.chunks_exact(outputs.columns).zip(outputs.labels) {
            let class = match row {
                [logit] => usize::from(*logit > 0.0),
                _ => first_largest(row),
            };
            self.right += u64::from(class as f64 == label);
        }
        self.rows += outputs.labels.len() as u64;
        Ok(())
    }

    fn value(&self) -> f64 {
        self.right as f64 / self.rows as f64
    }
}

/// As `torch.argmax` on the CPU: the first of equals, and a NaN above everything.
fn first_largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &value) in row.iter().enumerate() {
        if row[best].is_nan() {
            break;
        }
        if value > row[best] || value.is_nan() {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_over_all_parts() {
        let mut metric = Accuracy::default();
        assert!(metric.value().is_nan());
        let part = Outputs { values: &[0.1, 0.9, 0.0, 0.5, 0.5, 0.4], columns: 3, labels: &[1.0, 0.0] };
        metric.update(&part).unwrap();
        metric.update(&Outputs { values: &[3.0, 1.0, 2.0], columns: 3, labels: &[2.0] }).unwrap();
        assert_eq!(metric.value(), 2.0 / 3.0);
    }

    #[test]
    fn one_output_is_a_logit() {
        let mut metric = Accuracy::default();
        let labels = [1.0, 0.0, 0.0, 1.0];
        metric.update(&Outputs { values: &[0.2, -3.0, 0.1, -0.1], columns: 1, labels: &labels }).unwrap();
        assert_eq!(metric.value(), 0.5);
    }

    #[test]
    fn nan_is_taken_as_torch_argmax_takes_it() {
        assert_eq!(first_largest(&[1.0, f32::NAN, 2.0, f32::NAN]), 1);
    }
}
