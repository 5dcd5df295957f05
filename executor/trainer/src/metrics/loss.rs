//! The mean loss, weighted by rows.

/// A mean of batch means, each weighted by its rows; also used for the training loss.
#[derive(Debug, Default, Clone, Copy)]
pub struct MeanLoss {
    sum: f64,
    rows: u64,
}

impl MeanLoss {
    /// `mean` over `rows` rows.
    pub fn add(&mut self, mean: f64, rows: usize) {
        self.sum += mean * rows as f64;
        self.rows += rows as u64;
    }

    /// NaN without rows.
    pub fn value(&self) -> f64 {
        self.sum / self.rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_batch_weighs_less() {
        let mut loss = MeanLoss::default();
        assert!(loss.value().is_nan());
        loss.add(1.0, 3);
        loss.add(5.0, 1);
        assert_eq!(loss.value(), 2.0);
    }
}
