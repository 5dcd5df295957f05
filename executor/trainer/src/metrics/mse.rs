//! Mean squared error.

use super::{Metric, Outputs};
use crate::error::Result;

#[derive(Debug, Default)]
pub struct Mse {
    sum: f64,
    rows: u64,
}

impl Metric for Mse {
    fn update(&mut self, outputs: &Outputs) -> Result<()> {
        self.sum += outputs.pairs("mse")?.map(|(output, label)| (output - label).powi(2)).sum::<f64>();
        self.rows += outputs.labels.len() as u64;
        Ok(())
    }

    fn value(&self) -> f64 {
        self.sum / self.rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mse_is_the_mean_over_all_parts() {
        let mut metric = Mse::default();
        metric.update(&Outputs { values: &[1.0, 2.0], columns: 1, labels: &[0.0, 4.0] }).unwrap();
        metric.update(&Outputs { values: &[5.0], columns: 1, labels: &[4.0] }).unwrap();
        assert_eq!(metric.value(), 2.0);
    }
}
