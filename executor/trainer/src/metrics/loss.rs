//! The mean loss.

use crate::error::Result;
use crate::gang::Gang;

/// A mean of batch means, each weighted by its rows or by their weights; also used for the training loss.
#[derive(Debug, Default, Clone, Copy)]
pub struct MeanLoss {
    sum: f64,
    weight: f64,
    any: bool,
}

impl MeanLoss {
    /// `mean` over so many rows, or over rows whose weights have this sum.
    pub fn add(&mut self, mean: f64, weight: f64) {
        // What counts nothing may be no number.
        if weight != 0.0 {
            self.sum += mean * weight;
            self.weight += weight;
        }
        self.any = true;
    }

    /// Each over the rows of all ranks.
    pub fn share<'a>(means: impl IntoIterator<Item = &'a mut Self>, gang: &Gang) -> Result<()> {
        let means: Vec<&mut Self> = means.into_iter().collect();
        let mut parts: Vec<f64> =
            means.iter().flat_map(|mean| [mean.sum, mean.weight, f64::from(u8::from(mean.any))]).collect();
        gang.sum(&mut parts)?;
        for (mean, part) in means.into_iter().zip(parts.chunks_exact(3)) {
            *mean = Self { sum: part[0], weight: part[1], any: part[2] > 0.0 };
        }
        Ok(())
    }

    /// NaN without rows, 0 where all of them have weight 0.
    pub fn value(&self) -> f64 {
        if self.any && self.weight == 0.0 { 0.0 } else { self.sum / self.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_batch_weighs_less() {
        let mut loss = MeanLoss::default();
        assert!(loss.value().is_nan());
        loss.add(0.0, 0.0);
        assert_eq!(loss.value(), 0.0);
        loss.add(1.0, 3.0);
        loss.add(5.0, 1.0);
        assert_eq!(loss.value(), 2.0);
    }
}
