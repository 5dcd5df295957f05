//! The distribution that CMA-ES draws from, and how a generation changes it.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Mean and covariance in the unit cube, with their evolution paths.
#[derive(Debug, Clone)]
pub struct State {
    constants: Constants,
    pub generation: u32,
    pub mean: DVector<f64>,
    pub sigma: f64,
    covariance: DMatrix<f64>,
    sigma_path: DVector<f64>,
    covariance_path: DVector<f64>,
    /// Covariance = basis · diag(scales²) · basisᵀ.
    basis: DMatrix<f64>,
    scales: DVector<f64>,
}

/// Learning rates by dimension and population, as in Hansen's tutorial (2016), table 1.
#[derive(Debug, Clone)]
struct Constants {
    population: usize,
    /// Of the ranks; those of the worse half are negative.
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// Expected length of a standard normal vector.
    chi: f64,
}

impl Constants {
    fn new(d: usize, population: usize) -> Self {
        let (n, half) = (d as f64, population / 2);
        let raw: Vec<f64> =
            (1..=population).map(|i| ((population as f64 + 1.0) / 2.0).ln() - (i as f64).ln()).collect();
        let effective =
            |w: &[f64]| w.iter().sum::<f64>().powi(2) / w.iter().map(|w| w * w).sum::<f64>().max(1e-300);
        let mu_eff = effective(&raw[..half]);
        let mu_eff_negative = effective(&raw[half..]);
        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu =
            (2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0).powi(2) + mu_eff)).min(1.0 - c_1).max(1e-12);
        let bound = (1.0 + c_1 / c_mu).min(1.0 + 2.0 * mu_eff_negative / (mu_eff + 2.0));
        let bound = bound.min((1.0 - c_1 - c_mu) / (n * c_mu)).max(0.0);
        let positive: f64 = raw.iter().filter(|w| **w > 0.0).sum();
        let negative: f64 = -raw.iter().filter(|w| **w < 0.0).sum::<f64>();
        let weights = raw
            .iter()
            .map(|w| if *w >= 0.0 { w / positive } else { w * bound / negative.max(1e-300) })
            .collect();
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            population,
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).max(0.0).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

impl State {
    pub fn new(d: usize, population: usize, sigma: f64) -> Self {
        Self {
            constants: Constants::new(d, population),
            generation: 0,
            mean: DVector::from_element(d, 0.5),
            sigma,
            covariance: DMatrix::identity(d, d),
            sigma_path: DVector::zeros(d),
            covariance_path: DVector::zeros(d),
            basis: DMatrix::identity(d, d),
            scales: DVector::from_element(d, 1.0),
        }
    }

    /// The point that belongs to a standard normal vector.
    pub fn point(&self, z: &DVector<f64>) -> DVector<f64> {
        &self.mean + self.sigma * (&self.basis * self.scales.component_mul(z))
    }

    /// Standard deviation of one dimension.
    pub fn deviation(&self, dimension: usize) -> f64 {
        self.sigma * self.covariance[(dimension, dimension)].max(0.0).sqrt()
    }

    /// The next generation, from this one's points, the best first.
    pub fn update(&mut self, ranked: &[DVector<f64>]) {
        let c = self.constants.clone();
        if ranked.len() != c.population {
            return;
        }
        let d = self.mean.len() as f64;
        let steps: Vec<DVector<f64>> = ranked.iter().map(|x| (x - &self.mean) / self.sigma).collect();
        let mut step = DVector::zeros(self.mean.len());
        for (w, y) in c.weights.iter().zip(&steps).filter(|(w, _)| **w > 0.0) {
            step += *w * y;
        }
        self.mean += self.sigma * &step;
        let inverse =
            |y: &DVector<f64>| &self.basis * (self.basis.transpose() * y).component_div(&self.scales);
        self.sigma_path = (1.0 - c.c_sigma) * &self.sigma_path
            + (c.c_sigma * (2.0 - c.c_sigma) * c.mu_eff).sqrt() * inverse(&step);
        let length = self.sigma_path.norm();
        self.generation += 1;
        let settled = (1.0 - (1.0 - c.c_sigma).powf(2.0 * f64::from(self.generation))).sqrt();
        let rising = length / settled < (1.4 + 2.0 / (d + 1.0)) * c.chi;
        let h = if rising { 1.0 } else { 0.0 };
        self.covariance_path =
            (1.0 - c.c_c) * &self.covariance_path + h * (c.c_c * (2.0 - c.c_c) * c.mu_eff).sqrt() * &step;
        let mut by_rank = DMatrix::zeros(self.mean.len(), self.mean.len());
        let mut kept = 0.0;
        for (w, y) in c.weights.iter().zip(&steps) {
            // Negative updates are as long as the positive ones are on average: the matrix stays definite.
            let w_here = if *w >= 0.0 { *w } else { w * d / inverse(y).norm_squared().max(1e-12) };
            by_rank += w_here * y * y.transpose();
            kept += w;
        }
        let lost = (1.0 - h) * c.c_c * (2.0 - c.c_c);
        self.covariance = (1.0 + c.c_1 * lost - c.c_1 - c.c_mu * kept) * &self.covariance
            + c.c_1 * &self.covariance_path * self.covariance_path.transpose()
            + c.c_mu * by_rank;
        self.sigma =
            (self.sigma * ((c.c_sigma / c.d_sigma) * (length / c.chi - 1.0)).exp()).clamp(1e-12, 1.0);
        self.decompose();
    }

    fn decompose(&mut self) {
        self.covariance = (&self.covariance + self.covariance.transpose()) * 0.5;
        let eigen = SymmetricEigen::new(self.covariance.clone());
        self.scales = eigen.eigenvalues.map(|v| v.max(1e-16).sqrt());
        self.basis = eigen.eigenvectors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{normal, rng};

    #[test]
    fn a_rotated_ellipse_is_followed_to_its_middle() {
        let cost = |x: &DVector<f64>| {
            let (a, b) = (x[0] - 0.7, x[1] - 0.2);
            (a + b).powi(2) + 1e4 * (a - b).powi(2) + (x[2] - 0.4).powi(2)
        };
        let (mut state, mut rng) = (State::new(3, 8, 0.2), rng(3, 0, 0));
        for _ in 0..120 {
            let mut points: Vec<_> =
                (0..8).map(|_| state.point(&DVector::from_fn(3, |_, _| normal::draw(&mut rng)))).collect();
            points.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
            state.update(&points);
        }
        assert!(cost(&state.mean) < 1e-10, "{}", cost(&state.mean));
    }
}
