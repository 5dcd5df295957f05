//! Gaussian process regression: a Matérn 5/2 kernel with a length for each dimension, and noise.

use nalgebra::linalg::Cholesky;
use nalgebra::{DMatrix, DVector, Dyn};

use crate::search::lbfgs;

/// Logarithms' bounds: of lengths in units of the range, of the signal's and of the noise's variance in units
/// of the costs' variance.
const LENGTH: (f64, f64) = (-4.6, 4.6);
const SIGNAL: (f64, f64) = (-3.0, 4.6);
const NOISE: (f64, f64) = (-16.0, 0.0);
/// Mean and deviation of the prior of the logarithm of each.
const SIGNAL_PRIOR: (f64, f64) = (0.0, 1.0);
const NOISE_PRIOR: (f64, f64) = (-11.0, 3.0);

const SQRT_5: f64 = 2.236_067_977_499_79;

/// A process conditioned on points of the unit cube.
#[derive(Debug, Clone)]
pub struct Process {
    points: Vec<Vec<f64>>,
    /// Whether a dimension is a category: values are equal, or at distance 1.
    categories: Vec<bool>,
    settings: Settings,
    factor: Cholesky<f64, Dyn>,
    /// K⁻¹ y
    weights: DVector<f64>,
}

/// The kernel's hyperparameters.
#[derive(Debug, Clone)]
pub struct Settings {
    /// 1 / length², of each dimension.
    pub precisions: Vec<f64>,
    pub signal: f64,
    pub noise: f64,
}

impl Settings {
    fn of(theta: &[f64]) -> Self {
        let d = theta.len() - 2;
        let precisions = theta[..d].iter().map(|length| (-2.0 * length).exp()).collect();
        Self { precisions, signal: theta[d].exp(), noise: theta[d + 1].exp() }
    }
}

/// Squared distance of one dimension.
fn apart(a: f64, b: f64, category: bool) -> f64 {
    if category { f64::from(u8::from(a != b)) } else { (a - b) * (a - b) }
}

/// Kernel without its variance by squared scaled distance, and minus twice its derivative by that.
fn matern(squared: f64) -> (f64, f64) {
    let r = SQRT_5 * squared.sqrt();
    let e = (-r).exp();
    ((1.0 + r + r * r / 3.0) * e, 5.0 / 3.0 * (1.0 + r) * e)
}

/// The settings with the largest posterior density. The prior of lengths grows with the dimensions
/// (Hvarfner and others, "Vanilla Bayesian optimization performs great in high dimensions", 2024).
pub fn fit(
    points: &[Vec<f64>],
    categories: &[bool],
    y: &[f64],
    starts: usize,
    iterations: usize,
) -> Settings {
    let (n, d) = (points.len(), categories.len());
    let pairs: Vec<f64> = (0..n)
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .flat_map(|(i, j)| (0..d).map(move |k| (i, j, k)))
        .map(|(i, j, k)| apart(points[i][k], points[j][k], categories[k]))
        .collect();
    let y = DVector::from_column_slice(y);
    let middle = length_prior(d).0;
    let mut bounds = vec![LENGTH; d];
    bounds.extend([SIGNAL, NOISE]);
    let start = |length: f64, noise: f64| {
        let mut theta = vec![length; d];
        theta.extend([0.0, noise]);
        theta
    };
    let all = [start(middle.min(0.0), -9.0), start(-1.2, -4.0), start(middle, -6.0)];
    let runs = all.into_iter().take(starts).map(|start| {
        lbfgs::minimise(start, &bounds, iterations, |theta, gradient| {
            loss(theta, &pairs, &y, gradient).unwrap_or(f64::INFINITY)
        })
    });
    let best =
        runs.min_by(|a, b| a.1.total_cmp(&b.1)).map_or_else(|| start(middle, -6.0), |(theta, _)| theta);
    Settings::of(&best)
}

fn length_prior(d: usize) -> (f64, f64) {
    (-0.3 + 0.5 * (d as f64).ln(), 1.0)
}

/// Minus the logarithm of likelihood times prior, and its gradient. None where the matrix is not definite.
fn loss(theta: &[f64], pairs: &[f64], y: &DVector<f64>, gradient: &mut [f64]) -> Option<f64> {
    let (n, d) = (y.len(), theta.len() - 2);
    let Settings { precisions, signal, noise } = Settings::of(theta);
    let mut k = DMatrix::from_diagonal_element(n, n, signal + noise);
    let mut slopes = Vec::with_capacity(n * n / 2);
    let mut pair = pairs.chunks_exact(d);
    for i in 0..n {
        for j in 0..i {
            let squared = pair.next()?.iter().zip(&precisions).map(|(a, p)| a * p).sum();
            let (value, slope) = matern(squared);
            k[(i, j)] = signal * value;
            k[(j, i)] = k[(i, j)];
            slopes.push(slope);
        }
    }
    let factor = Cholesky::new(k.clone())?;
    let weights = factor.solve(y);
    let inverse = factor.inverse();
    let log_determinant: f64 = 2.0 * factor.l_dirty().diagonal().iter().map(|v| v.ln()).sum::<f64>();
    let mut value = 0.5 * y.dot(&weights) + 0.5 * log_determinant;
    gradient.fill(0.0);
    let mut pair = pairs.chunks_exact(d);
    let mut slope = slopes.iter();
    for i in 0..n {
        for j in 0..i {
            // Both halves of the symmetric matrix.
            let outer = inverse[(i, j)] - weights[i] * weights[j];
            let by_length = outer * signal * slope.next()?;
            for ((g, a), p) in gradient.iter_mut().zip(pair.next()?).zip(&precisions) {
                *g += by_length * a * p;
            }
            gradient[d] += outer * k[(i, j)];
        }
        let outer = inverse[(i, i)] - weights[i] * weights[i];
        gradient[d] += 0.5 * outer * signal;
        gradient[d + 1] += 0.5 * outer * noise;
    }
    let priors = std::iter::repeat_n(length_prior(d), d).chain([SIGNAL_PRIOR, NOISE_PRIOR]);
    for (i, (mean, deviation)) in priors.enumerate() {
        let z = (theta[i] - mean) / deviation;
        value += 0.5 * z * z;
        gradient[i] += z / deviation;
    }
    Some(value)
}

impl Process {
    /// None if the points' matrix is not definite even with more noise.
    pub fn new(points: Vec<Vec<f64>>, categories: Vec<bool>, y: &[f64], settings: Settings) -> Option<Self> {
        let n = points.len();
        let mut k = DMatrix::from_diagonal_element(n, n, settings.signal + settings.noise);
        for i in 0..n {
            for j in 0..i {
                let parts = points[i].iter().zip(&points[j]).zip(&categories).zip(&settings.precisions);
                let squared = parts.map(|(((a, b), c), p)| apart(*a, *b, *c) * p).sum();
                k[(i, j)] = settings.signal * matern(squared).0;
                k[(j, i)] = k[(i, j)];
            }
        }
        let factor = (0..8).find_map(|attempt| {
            let more = if attempt == 0 { 0.0 } else { settings.signal * 1e-10 * 10f64.powi(attempt) };
            Cholesky::new(&k + DMatrix::from_diagonal_element(n, n, more))
        })?;
        let weights = factor.solve(&DVector::from_column_slice(y));
        Some(Self { points, categories, settings, factor, weights })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Mean and variance of the cost without noise.
    pub fn predict(&self, point: &[f64]) -> (f64, f64) {
        let (k, _) = self.towards(point);
        let mean = k.dot(&self.weights);
        let mut v = k;
        self.factor.l_dirty().solve_lower_triangular_mut(&mut v);
        (mean, (self.settings.signal - v.norm_squared()).max(1e-14 * self.settings.signal))
    }

    /// Besides, both gradients; 0 in categories.
    pub fn predict_with_gradient(&self, point: &[f64]) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let (k, slopes) = self.towards(point);
        let mean = k.dot(&self.weights);
        let solved = self.factor.solve(&k);
        let variance = (self.settings.signal - k.dot(&solved)).max(1e-14 * self.settings.signal);
        let (mut by_mean, mut by_variance) = (vec![0.0; point.len()], vec![0.0; point.len()]);
        for (i, other) in self.points.iter().enumerate() {
            let by_distance = -self.settings.signal * slopes[i];
            let (m, v) = (by_distance * self.weights[i], by_distance * -2.0 * solved[i]);
            for j in 0..point.len() {
                if !self.categories[j] {
                    let difference = (point[j] - other[j]) * self.settings.precisions[j];
                    by_mean[j] += m * difference;
                    by_variance[j] += v * difference;
                }
            }
        }
        (mean, variance, by_mean, by_variance)
    }

    fn towards(&self, point: &[f64]) -> (DVector<f64>, Vec<f64>) {
        let mut slopes = Vec::with_capacity(self.points.len());
        let mut k = DVector::zeros(self.points.len());
        for (i, other) in self.points.iter().enumerate() {
            let mut squared = 0.0;
            for j in 0..point.len() {
                squared += apart(point[j], other[j], self.categories[j]) * self.settings.precisions[j];
            }
            let (value, slope) = matern(squared);
            k[i] = self.settings.signal * value;
            slopes.push(slope);
        }
        (k, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(x: &[f64]) -> f64 {
        (5.0 * x[0]).sin() + x[1] * x[1] + f64::from(u8::from(x[2] > 0.5))
    }

    fn points() -> Vec<Vec<f64>> {
        (0..25)
            .map(|i| crate::search::sobol::units(i, 3, 5, 0))
            .map(|x| vec![x[0], x[1], x[2].round()])
            .collect()
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (points, categories) = (points(), vec![false, false, true]);
        let y: Vec<f64> = points.iter().map(|x| wave(x)).collect();
        let pairs: Vec<f64> = (0..25)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .flat_map(|(i, j)| [0, 1, 2].map(|k| (i, j, k)))
            .map(|(i, j, k)| apart(points[i][k], points[j][k], categories[k]))
            .collect();
        let theta = [-0.7, 0.2, 0.4, 0.3, -5.0];
        let target = DVector::from_column_slice(&y);
        let at = |theta: &[f64]| loss(theta, &pairs, &target, &mut [0.0; 5]).unwrap();
        let mut gradient = [0.0; 5];
        loss(&theta, &pairs, &target, &mut gradient).unwrap();
        for i in 0..5 {
            let (mut up, mut down) = (theta, theta);
            up[i] += 1e-5;
            down[i] -= 1e-5;
            let slope = (at(&up) - at(&down)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-4 * (1.0 + slope.abs()), "{i}: {slope} {}", gradient[i]);
        }
        let process = Process::new(points, categories, &y, Settings::of(&theta)).unwrap();
        let x = [0.31, 0.64, 1.0];
        let (mean, variance, by_mean, by_variance) = process.predict_with_gradient(&x);
        assert!(
            (process.predict(&x).0 - mean).abs() < 1e-12 && (process.predict(&x).1 - variance).abs() < 1e-9
        );
        for i in 0..2 {
            let (mut up, mut down) = (x, x);
            up[i] += 1e-6;
            down[i] -= 1e-6;
            let (up, down) = (process.predict(&up), process.predict(&down));
            assert!(((up.0 - down.0) / 2e-6 - by_mean[i]).abs() < 1e-5);
            assert!(((up.1 - down.1) / 2e-6 - by_variance[i]).abs() < 1e-5);
        }
    }

    #[test]
    fn a_fitted_process_predicts_between_its_points() {
        let (points, categories) = (points(), vec![false, false, true]);
        let y: Vec<f64> = points.iter().map(|x| wave(x)).collect();
        let settings = fit(&points, &categories, &y, 3, 100);
        assert!(settings.noise < 1e-3, "there is no noise, yet {} was found", settings.noise);
        let process = Process::new(points, categories, &y, settings).unwrap();
        for x in [[0.4, 0.5, 0.0], [0.6, 0.3, 1.0], [0.5, 0.7, 1.0]] {
            assert!((process.predict(&x).0 - wave(&x)).abs() < 0.15, "{x:?}");
        }
    }
}
