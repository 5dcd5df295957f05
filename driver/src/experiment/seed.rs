//! Seeds of trials.

/// The seed of a trial: output number `trial + 1` of SplitMix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014) started at the experiment's seed, without its lowest bit: 63 bits,
/// which Python, NumPy and torch all take.
///
/// ```
/// use lethe_driver::experiment::trial_seed;
/// assert_eq!(trial_seed(0, 0), 0xE220_A839_7B1D_CDAF >> 1);
/// ```
pub fn trial_seed(experiment: u64, trial: u32) -> u64 {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut z = experiment.wrapping_add(GAMMA.wrapping_mul(u64::from(trial) + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 1
}
