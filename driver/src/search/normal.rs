//! The standard normal distribution.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A draw, by Box and Muller.
pub fn draw(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
}

/// A draw of mean and deviation within the unit interval.
pub fn draw_unit(rng: &mut ChaCha8Rng, mean: f64, deviation: f64) -> f64 {
    for _ in 0..100 {
        let x = mean + deviation * draw(rng);
        if (0.0..=1.0).contains(&x) {
            return x;
        }
    }
    mean.clamp(0.0, 1.0)
}

pub fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / TAU.sqrt()
}

/// Below `z`.
pub fn mass(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// ln(φ(z) + z Φ(z)), the logarithm of expected improvement in units of the deviation, and its derivative.
/// Exact also where the improvement itself would be 0 in floating point (Ament and others, "Unexpected
/// improvements to expected improvement for Bayesian optimization", 2023).
pub fn log_improvement(z: f64) -> (f64, f64) {
    if z > -1.0 {
        let h = density(z) + z * mass(z);
        return (h.ln(), mass(z) / h);
    }
    // Of t = -z: Mills' ratio m, and 1 - t m.
    let t = -z;
    let (m, rest) = if t < 20.0 {
        let m = mass(z) / density(z);
        (m, 1.0 - t * m)
    } else {
        let s = 1.0 / (t * t);
        let rest = s * (1.0 - s * (3.0 - s * (15.0 - s * (105.0 - s * 945.0))));
        ((1.0 - rest) / t, rest)
    };
    (-0.5 * t * t - 0.5 * (2.0 * PI).ln() + rest.ln(), m / rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_of_improvement_is_smooth_far_into_the_tail() {
        // φ(z) + z Φ(z) from a table of both; the last by the asymptotic series.
        for (z, known) in [(0.0, -0.918_938_533_204_672_7), (-3.0, -7.869_979_5), (-10.0, -55.553_124)] {
            assert!((log_improvement(z).0 - known).abs() < 1e-3, "{z}: {}", log_improvement(z).0);
        }
        for i in 1..400 {
            let z = 2.0 - f64::from(i) * 0.1;
            let slope = (log_improvement(z + 1e-5).0 - log_improvement(z - 1e-5).0) / 2e-5;
            let found = log_improvement(z).1;
            assert!((slope / found - 1.0).abs() < 1e-4, "{z}: {slope} {found}");
        }
    }
}
