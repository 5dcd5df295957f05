//! The order of rows within an epoch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The permutation of `rows` for an epoch (from 1): a function of the trial's seed and the epoch alone, the
/// same on every machine.
///
/// A ChaCha8 stream keyed by 32 bytes (the seed and the epoch as little-endian u64, then the ASCII text
/// `lethe.batchorder`), and Fisher-Yates from the last place down: place `i` is exchanged with place
/// `floor(x (i + 1) / 2^64)`, `x` the stream's next u64.
pub fn epoch_order(rows: &[u32], seed: u64, epoch: u32, order: &mut Vec<u32>) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&u64::from(epoch).to_le_bytes());
    key[16..].copy_from_slice(b"lethe.batchorder");
    let mut stream = ChaCha8Rng::from_seed(key);
    order.clear();
    order.extend_from_slice(rows);
    for i in (1..order.len()).rev() {
        let j = (u128::from(stream.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u32, seed: u64, epoch: u32) -> Vec<u32> {
        let mut order = vec![9; 3];
        epoch_order(&(0..n).collect::<Vec<_>>(), seed, epoch, &mut order);
        order
    }

    #[test]
    fn an_order_is_a_permutation_that_depends_on_seed_and_epoch() {
        let first = order(100, 7, 1);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order(100, 7, 1));
        assert_ne!(first, order(100, 7, 2));
        assert_ne!(first, order(100, 8, 1));
        assert!(order(0, 7, 1).is_empty());
    }

    /// Computed by an independent implementation of ChaCha8 (see `tests/fixtures/make_order.py`): a change
    /// here changes every user's results.
    #[test]
    fn the_order_is_the_documented_function() {
        assert_eq!(order(10, 7, 1), [0, 2, 5, 8, 3, 4, 9, 7, 1, 6]);
    }

    #[test]
    fn every_place_is_about_equally_likely() {
        let mut counts = [0u32; 5];
        for seed in 0..5000 {
            counts[order(5, seed, 1).iter().position(|&row| row == 0).unwrap()] += 1;
        }
        // Standard deviation 28 around 1000.
        assert!(counts.iter().all(|&c| (850..1150).contains(&c)), "{counts:?}");
    }
}
