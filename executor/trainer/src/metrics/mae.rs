//! Mean absolute error.

use super::{Metric, Outputs};
use crate::error::Result;

#[derive(Debug, Default)]
pub struct Mae {
    sum: f64,
    rows: u64,
}

impl Metric for Mae {
    fn update(&mut self, outputs: &Outputs) -> Result<()> {
        self.sum += outputs.pairs("mae")?.map(|(output, label)| (output - label).abs()).sum::<f64>();
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
    fn mae_is_the_mean_over_all_parts() {
        let mut metric = Mae::default();
        metric.update(&Outputs { values: &[1.0, 2.0], columns: 1, labels: &[0.0, 4.0] }).unwrap();
        metric.update(&Outputs { values: &[5.0], columns: 1, labels: &[5.0] }).unwrap();
        assert_eq!(metric.value(), 1.0);
        let wide = Outputs { values: &[1.0, 2.0], columns: 2, labels: &[0.0] };
        assert_eq!(
            metric.update(&wide).unwrap_err().to_string(),
            "the metric mae needs one output a row; the model has 2"
        );
    }
}
