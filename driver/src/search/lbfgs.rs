//! Minimises smooth functions within bounds.
//!
//! L-BFGS (Nocedal, 1980) on the variables that are not held by a bound, with a backtracking search along the
//! projected path. Own code: `argmin` does not know bounds, and the problems here have a dozen variables.

const MEMORY: usize = 8;

/// The point with the smallest value that was found from `x` in so many iterations, and that value. `f`
/// gives the value and writes the gradient; a value that is not finite is worse than all others.
pub fn minimise(
    mut x: Vec<f64>,
    bounds: &[(f64, f64)],
    iterations: usize,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> (Vec<f64>, f64) {
    let n = x.len();
    let clip =
        |x: &mut [f64]| x.iter_mut().zip(bounds).for_each(|(x, (low, high))| *x = x.clamp(*low, *high));
    clip(&mut x);
    let mut gradient = vec![0.0; n];
    let mut value = f(&x, &mut gradient);
    let mut past: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
    if !value.is_finite() {
        return (x, value);
    }
    for _ in 0..iterations {
        let free: Vec<bool> = (0..n)
            .map(|i| {
                let (low, high) = bounds[i];
                !(x[i] <= low && gradient[i] > 0.0 || x[i] >= high && gradient[i] < 0.0)
            })
            .collect();
        let held = |v: &mut [f64]| {
            v.iter_mut().zip(&free).for_each(|(v, free)| {
                if !free {
                    *v = 0.0
                }
            })
        };
        let mut steepest: Vec<f64> = gradient.iter().map(|g| -g).collect();
        held(&mut steepest);
        let mut direction = two_loops(&past, &steepest);
        held(&mut direction);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            past.clear();
            direction.clone_from(&steepest);
            slope = dot(&direction, &gradient);
        }
        if slope > -1e-14 {
            break;
        }
        // The first step has no curvature to go by.
        let mut step =
            if past.is_empty() { (0.1 / dot(&direction, &direction).sqrt()).min(1.0) } else { 1.0 };
        let mut next = None;
        for _ in 0..20 {
            let mut to: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            clip(&mut to);
            let moved: f64 = to.iter().zip(&x).zip(&gradient).map(|((to, x), g)| (to - x) * g).sum();
            let mut there = vec![0.0; n];
            let found = f(&to, &mut there);
            if found.is_finite() && found <= value + 1e-4 * moved {
                next = Some((to, found, there));
                break;
            }
            step *= 0.4;
        }
        let Some((to, found, there)) = next else {
            if past.is_empty() {
                break;
            }
            past.clear();
            continue;
        };
        let s: Vec<f64> = to.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = there.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&s, &y);
        if curvature > 1e-10 * dot(&y, &y) {
            if past.len() == MEMORY {
                past.remove(0);
            }
            past.push((s, y, 1.0 / curvature));
        }
        let gained = value - found;
        (x, value, gradient) = (to, found, there);
        if gained < 1e-9 * (1.0 + value.abs()) {
            break;
        }
    }
    (x, value)
}

fn two_loops(past: &[(Vec<f64>, Vec<f64>, f64)], steepest: &[f64]) -> Vec<f64> {
    let mut q = steepest.to_vec();
    let mut shares = Vec::with_capacity(past.len());
    for (s, y, rho) in past.iter().rev() {
        let share = rho * dot(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= share * y);
        shares.push(share);
    }
    if let Some((_, y, rho)) = past.last() {
        let scale = 1.0 / (rho * dot(y, y));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((s, y, rho), share) in past.iter().zip(shares.into_iter().rev()) {
        let back = share - rho * dot(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += back * s);
    }
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
        let (a, b) = (x[0], x[1]);
        gradient[0] = -2.0 * (1.0 - a) - 400.0 * a * (b - a * a);
        gradient[1] = 200.0 * (b - a * a);
        (1.0 - a).powi(2) + 100.0 * (b - a * a).powi(2)
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end_and_bounds_hold() {
        let (x, value) = minimise(vec![-1.2, 1.0], &[(-2.0, 2.0), (-2.0, 2.0)], 200, rosenbrock);
        assert!(value < 1e-8 && (x[0] - 1.0).abs() < 1e-3, "{x:?} {value}");
        // Within these bounds the minimum is at a = 0.5, b = a².
        let (x, _) = minimise(vec![-1.2, 1.0], &[(-2.0, 0.5), (-2.0, 2.0)], 200, rosenbrock);
        assert!((x[0] - 0.5).abs() < 1e-6 && (x[1] - 0.25).abs() < 1e-3, "{x:?}");
    }
}
