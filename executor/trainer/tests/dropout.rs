//! The trainer's own dropout masks on the CPU.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::alone;
use lethe_trainer::torch;
use tch::{Device, Kind, Tensor};

fn mask(n: i64, p: f64) -> Vec<f32> {
    Vec::try_from(Tensor::zeros([n], (Kind::Float, Device::Cpu)).f_bernoulli_float_(p).unwrap()).unwrap()
}

#[test]
fn a_mask_is_a_function_of_the_seed_and_never_the_same_twice() {
    let _alone = alone();
    torch::seed(3).unwrap();
    let (first, second) = (mask(1001, 0.5), mask(1001, 0.5));
    assert_ne!(first, second);
    torch::seed(3).unwrap();
    assert_eq!(mask(1001, 0.5), first);
    torch::seed(4).unwrap();
    assert_ne!(mask(1001, 0.5), first);
}

#[test]
fn a_mask_has_the_share_that_is_asked_for() {
    let _alone = alone();
    torch::seed(3).unwrap();
    let n = 1_000_001;
    for p in [0.1, 0.5, 0.9] {
        let drawn = mask(n, p);
        assert!(drawn.iter().all(|&v| v == 0.0 || v == 1.0));
        let count = |values: &mut dyn Iterator<Item = &f32>| values.filter(|&&v| v == 1.0).count() as f64;
        let deviation = (n as f64 * p * (1.0 - p)).sqrt();
        assert!((count(&mut drawn.iter()) - n as f64 * p).abs() < 5.0 * deviation, "{p}");
        // The halves of one draw, and neighbouring draws, are independent of each other.
        for distance in 1..4 {
            let pairs = drawn.iter().zip(&drawn[distance..]).filter(|(a, b)| **a + **b == 2.0).count() as f64;
            let expected = n as f64 * p * p;
            assert!((pairs - expected).abs() < 6.0 * expected.sqrt(), "{p} at distance {distance}");
        }
    }
    assert_eq!(mask(9, 0.0), [0.0; 9]);
    assert_eq!(mask(9, 1.0), [1.0; 9]);
}
