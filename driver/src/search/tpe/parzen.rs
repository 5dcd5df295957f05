//! A density over some parameters: a mixture with one component for each observation, and a flat prior.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::search::domain::{Kind, cell};
use crate::search::normal;

/// Each component is a product: over ordered parameters of a normal distribution cut off at the unit
/// interval's ends, over categories of a distribution that prefers the observed one.
#[derive(Debug)]
pub struct Parzen {
    kinds: Vec<Kind>,
    /// Row by row: of each component, its means.
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// Of each component, the logarithm of its weight and of all that does not depend on the point.
    constants: Vec<f64>,
    /// Cumulated.
    weights: Vec<f64>,
    /// Share of a category's component that is spread over all categories.
    spread: f64,
}

impl Parzen {
    /// `points` row by row, the oldest first; each with its weight. The prior has weight 1. `cell` says how wide
    /// the cell is in which a place of a dimension lies.
    pub fn new(
        kinds: Vec<Kind>,
        points: &[&[f64]],
        weights: &[f64],
        scale: f64,
        cell: impl Fn(usize, f64) -> f64,
    ) -> Self {
        let (n, d) = (points.len(), kinds.len());
        let mut means = vec![0.5; d];
        let mut deviations = vec![1.0; d];
        let floor = 1.0 / (2.0 + n as f64).min(100.0);
        let widths: Vec<Vec<f64>> = (0..d).map(|j| widths(points, j)).collect();
        for (i, point) in points.iter().enumerate() {
            means.extend_from_slice(point);
            deviations.extend(widths.iter().enumerate().map(|(j, widths)| {
                // Never narrower than half a cell: the neighbours of a value stay in reach.
                (widths[i] * scale).max(floor * scale).max(0.5 * cell(j, point[j])).min(1.0)
            }));
        }
        let spread = 1.0 / (2.0 + n as f64);
        let total: f64 = 1.0 + weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let mut cumulated = Vec::with_capacity(n + 1);
        let mut constants = Vec::with_capacity(n + 1);
        for (row, weight) in std::iter::once(&1.0).chain(weights).enumerate() {
            let weight = weight / total;
            sum += weight;
            cumulated.push(sum);
            let mut constant = weight.ln();
            for (j, kind) in kinds.iter().enumerate() {
                if !matches!(kind, Kind::Category(_)) {
                    let (mean, deviation) = (means[row * d + j], deviations[row * d + j]);
                    let inside = normal::mass((1.0 - mean) / deviation) - normal::mass(-mean / deviation);
                    constant -= (deviation * inside).ln();
                }
            }
            constants.push(constant);
        }
        Self { kinds, means, deviations, constants, weights: cumulated, spread }
    }

    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let (d, at): (usize, f64) = (self.kinds.len(), rng.random());
        let row = self.weights.iter().position(|sum| at < *sum).unwrap_or(self.weights.len() - 1);
        let parameters = self.kinds.iter().enumerate();
        parameters
            .map(|(j, kind)| {
                let mean = self.means[row * d + j];
                match kind {
                    Kind::Category(n) if row == 0 || rng.random::<f64>() < self.spread => {
                        (rng.random_range(0..*n) as f64 + 0.5) / *n as f64
                    }
                    Kind::Category(_) => mean,
                    _ => normal::draw_unit(rng, mean, self.deviations[row * d + j]),
                }
            })
            .collect()
    }

    pub fn log_density(&self, point: &[f64]) -> f64 {
        let d = self.kinds.len();
        let logs = self.constants.iter().enumerate().map(|(row, constant)| {
            let mut log = *constant;
            for (j, kind) in self.kinds.iter().enumerate() {
                let mean = self.means[row * d + j];
                match kind {
                    Kind::Category(n) => {
                        let own = cell(point[j], *kind) == cell(mean, *kind);
                        let spread = if row == 0 { 1.0 } else { self.spread };
                        let p = spread / *n as f64 + if own && row > 0 { 1.0 - spread } else { 0.0 };
                        log += p.ln();
                    }
                    _ => {
                        let z = (point[j] - mean) / self.deviations[row * d + j];
                        log -= 0.5 * z * z;
                    }
                }
            }
            log
        });
        // In one pass: the largest so far is taken out of the sum.
        let (largest, sum) = logs.fold((f64::NEG_INFINITY, 0.0), |(largest, sum): (f64, f64), log| {
            if log > largest {
                (log, sum * (largest - log).exp() + 1.0)
            } else {
                (largest, sum + (log - largest).exp())
            }
        });
        largest + sum.ln()
    }
}

/// Of each point, the larger distance in one dimension to its neighbours on both sides; the ends have one.
fn widths(points: &[&[f64]], dimension: usize) -> Vec<f64> {
    let at = |i: usize| points[i][dimension];
    let mut line: Vec<usize> = (0..points.len()).collect();
    line.sort_by(|&a, &b| at(a).total_cmp(&at(b)));
    let mut widths = vec![0.0; points.len()];
    match line.as_slice() {
        // Alone, it reaches to the farther end.
        [one] => widths[*one] = at(*one).max(1.0 - at(*one)),
        _ => {
            for two in line.windows(2) {
                let distance = at(two[1]) - at(two[0]);
                widths[two[0]] = distance.max(widths[two[0]]);
                widths[two[1]] = distance.max(widths[two[1]]);
            }
        }
    }
    widths
}
