//! The area under the receiver operating characteristic, exact, for two classes.

use super::{Metric, Outputs};
use crate::error::{Error, Result};

/// The probability that a row of class 1 scores higher than a row of class 0, ties counting half: the
/// Mann-Whitney statistic from ranks, ties by their middle rank. The score is the one output (a logit), or
/// the second minus the first of two.
#[derive(Debug, Default)]
pub struct RocAuc {
    scores: Vec<(f32, bool)>,
}

impl Metric for RocAuc {
    fn update(&mut self, outputs: &Outputs) -> Result<()> {
        if !(1..=2).contains(&outputs.columns) {
            return Err(Error::trial(format!(
                "the metric roc_auc is for two classes, with one or two outputs a row; the model has {}",
                outputs.columns
            )));
        }
        for (row, &label) in outputs.values.chunks_exact(outputs.columns).zip(outputs.labels) {
            if label != 0.0 && label != 1.0 {
                return Err(Error::trial(format!(
                    "the metric roc_auc needs labels 0 and 1; there is a {label}"
                )));
            }
            let score = match row {
                [first, second] => second - first,
                _ => row[0],
            };
            self.scores.push((score, label == 1.0));
        }
        Ok(())
    }

    fn value(&self) -> f64 {
        let mut scores = self.scores.clone();
        if scores.iter().any(|(score, _)| score.is_nan()) {
            return f64::NAN;
        }
        scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut rank_sum = 0.0;
        let mut below = 0;
        // `==` and not the sort's order: -0 and 0 are a tie.
        for tie in scores.chunk_by(|a, b| a.0 == b.0) {
            let ones = tie.iter().filter(|(_, one)| *one).count();
            rank_sum += ones as f64 * (below as f64 + (tie.len() as f64 + 1.0) / 2.0);
            below += tie.len();
        }
        let ones = scores.iter().filter(|(_, one)| *one).count() as f64;
        let zeros = scores.len() as f64 - ones;
        (rank_sum - ones * (ones + 1.0) / 2.0) / (ones * zeros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auc(scores: &[f32], labels: &[f64]) -> f64 {
        let mut metric = RocAuc::default();
        for (values, labels) in scores.chunks(3).zip(labels.chunks(3)) {
            metric.update(&Outputs { values, columns: 1, labels }).unwrap();
        }
        metric.value()
    }

    #[test]
    fn the_area_is_the_share_of_ordered_pairs() {
        assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[0.0, 0.0, 1.0, 1.0]), 0.75);
        assert_eq!(auc(&[-1.0, 1.0], &[1.0, 0.0]), 0.0);
        // Each of the two ones beats both zeros at 0 and ties with the one at 0.5.
        assert!((auc(&[0.5, 0.5, -0.0, 0.0, 0.5], &[0.0, 1.0, 0.0, 0.0, 1.0]) - 5.0 / 6.0).abs() < 1e-15);
        assert_eq!(auc(&[2.0; 10], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]), 0.5);
    }

    #[test]
    fn it_equals_the_count_over_all_pairs() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let rows: Vec<(f32, f64)> = (0..300).map(|_| ((next() % 40) as f32, (next() % 2) as f64)).collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for one in rows.iter().filter(|r| r.1 == 1.0) {
            for zero in rows.iter().filter(|r| r.1 == 0.0) {
                pairs += 1.0;
                won += if one.0 > zero.0 {
                    1.0
                } else if one.0 == zero.0 {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let (scores, labels): (Vec<f32>, Vec<f64>) = rows.into_iter().unzip();
        assert!((auc(&scores, &labels) - won / pairs).abs() < 1e-12);
    }

    #[test]
    fn one_class_alone_has_no_area_and_three_are_refused() {
        assert!(auc(&[1.0, 2.0], &[1.0, 1.0]).is_nan());
        let mut metric = RocAuc::default();
        assert!(metric.update(&Outputs { values: &[1.0], columns: 1, labels: &[2.0] }).is_err());
        assert!(metric.update(&Outputs { values: &[1.0; 3], columns: 3, labels: &[1.0] }).is_err());
    }
}
