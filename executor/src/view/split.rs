//! The random split: a function of the number of rows and the seed alone.

use lethe_flight::message::dataset::Split;
use lethe_flight::{Error, Result};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Row numbers of the two parts, each ascending. Without a split all rows train.
///
/// # Errors
/// If there are more than 2³² rows, or a part would have none.
pub fn split(rows: u64, split: Option<&Split>) -> Result<(Vec<u32>, Vec<u32>)> {
    let count = u32::try_from(rows).map_err(|_| {
        Error::Exhausted(format!("a dataset of {rows} rows: at most {} can be trained on", u32::MAX))
    })?;
    let mut order: Vec<u32> = (0..count).collect();
    let (share, seed) = match split {
        None => return Ok((order, Vec::new())),
        Some(Split::Random { validation, seed, .. }) => (*validation, *seed),
        Some(other) => return Err(Error::Invalid(format!("the split {other:?} is not known"))),
    };
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::Invalid(format!("split(validation={share}): the share must lie between 0 and 1")));
    }
    let held_out = (share * f64::from(count)).round() as usize;
    if held_out == 0 || held_out == order.len() {
        return Err(Error::Invalid(format!(
            "split(validation={share}) of {rows} rows leaves one part empty: give more rows or another share"
        )));
    }
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut train = order.split_off(held_out);
    let mut validation = order;
    train.sort_unstable();
    validation.sort_unstable();
    Ok((train, validation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u64, validation: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
        split(rows, Some(&Split::Random { validation, test: 0.0, seed }))
    }

    #[test]
    fn each_row_is_in_one_part() {
        let (train, validation) = of(1797, 0.2, 7).unwrap();
        assert_eq!((train.len(), validation.len()), (1438, 359));
        let mut all = [train, validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1797).collect::<Vec<_>>());
    }

    #[test]
    fn the_split_is_fixed_by_its_seed() {
        // Recorded: a change of these rows would change every experiment that is run again.
        assert_eq!(of(10, 0.3, 7).unwrap().1, RECORDED);
        assert_ne!(of(1000, 0.3, 7).unwrap(), of(1000, 0.3, 8).unwrap());
    }
    const RECORDED: [u32; 3] = [0, 5, 7];

    #[test]
    fn a_part_without_rows_is_an_error() {
        assert!(of(2, 0.2, 7).unwrap_err().to_string().contains("leaves one part empty"));
        assert!(of(10, 1.5, 7).is_err());
    }
}
