//! Sobol's low-discrepancy sequence.
//!
//! The crate `sobol_burley` serves: Joe and Kuo's directions (2008) with Owen's scrambling by hashes (Burley,
//! 2020), each point computed by its number alone, without state. It has 65,536 points of 256 dimensions:
//! further ones come from the same sequence under another scrambling.

use super::{Observation, Optimizer, Space, Suggestion};
use lethe_flight::message::Hparams;

const POINTS: u32 = 1 << 16;
const DIMENSIONS: u32 = 256;

/// Every parameter has a dimension of its own, also where it does not exist in some points.
#[derive(Debug, Clone)]
pub struct SobolSearch {
    space: Space,
    seed: u64,
}

impl SobolSearch {
    pub fn new(space: Space, seed: u64) -> Self {
        Self { space, seed }
    }

    /// Point by number. Where it is refused (`draw`), or does not fulfil the constraints, its place in another
    /// scrambling of the sequence is tried.
    pub fn point(&self, number: u32, draw: u32) -> Option<Hparams> {
        self.space.first_fulfilled(|attempt| {
            let units = units(
                number,
                self.space.parameters().len(),
                self.seed,
                (u64::from(draw) << 32) + attempt as u64,
            );
            Some(self.space.decode(&units))
        })
    }
}

impl Optimizer for SobolSearch {
    fn suggest(&mut self, trial: u32, draw: u32, _: &[Observation]) -> Suggestion {
        match self.point(trial, draw) {
            Some(hparams) => Suggestion::Point { hparams, why: "Sobol".into(), note: None },
            None => Suggestion::Exhausted,
        }
    }

    fn learns(&self) -> bool {
        false
    }

    fn is_quick(&self) -> bool {
        true
    }
}

/// A point of the unit cube.
pub fn units(number: u32, dimensions: usize, seed: u64, scrambling: u64) -> Vec<f64> {
    let block = u64::from(number / POINTS);
    (0..dimensions as u32)
        .map(|dimension| {
            let set = u64::from(dimension / DIMENSIONS);
            let seed = mix(mix(mix(mix(seed) ^ block) ^ scrambling) ^ set) as u32;
            f64::from(sobol_burley::sample(number % POINTS, dimension % DIMENSIONS, seed))
        })
        .collect()
}

/// Splitmix64's last step.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_sixteen_points_fills_all_sixteenths_of_each_dimension() {
        for first in [0, 16, POINTS, POINTS + 32] {
            for dimension in 0..5 {
                let mut cells: Vec<_> =
                    (first..first + 16).map(|n| (units(n, 5, 7, 0)[dimension] * 16.0) as u32).collect();
                cells.sort_unstable();
                assert_eq!(cells, (0..16).collect::<Vec<_>>());
            }
        }
        assert_ne!(units(3, 2, 7, 0), units(3 + POINTS, 2, 7, 0));
        assert_ne!(units(3, 2, 7, 0), units(3, 2, 8, 0));
    }
}
