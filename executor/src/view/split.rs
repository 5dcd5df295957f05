//! The split: a function of the rows in the order of their numbers, and of the seed.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lethe_flight::message::dataset::Split;
use lethe_flight::{Error, Result};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::numbering::{comparable, ids};

/// Places of the rows of each part, in the order of the rows' numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
    pub test: Vec<u32>,
}

/// On which side of the split a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Train,
    Validation,
    Test,
}

/// How many rows validate and test.
struct Held {
    validation: usize,
    test: usize,
}

/// `places`: of the rows in the order of their numbers; `values`: of the column by which is split, by place.
///
/// # Errors
/// If a part that is asked for would have no rows, or the shares leave none to train.
pub fn split(places: &[u32], split: Option<&Split>, values: Option<&ArrayRef>) -> Result<Parts> {
    let of = sides(places, split, values)?;
    let only = |side: Side| -> Vec<u32> {
        let of = of.iter().zip(places);
        of.filter(|(own, _)| **own == side).map(|(_, &place)| place).collect()
    };
    Ok(Parts { train: only(Side::Train), validation: only(Side::Validation), test: only(Side::Test) })
}

/// Of each row, by its number; arguments and errors as of [`split`].
pub fn sides(places: &[u32], split: Option<&Split>, values: Option<&ArrayRef>) -> Result<Vec<Side>> {
    let rows = places.len();
    let Some(split) = split else { return Ok(vec![Side::Train; rows]) };
    let column = || values.ok_or_else(|| Error::Invalid("the split's column was not read".into()));
    let of = match split {
        Split::Random { validation, test, seed } => random(rows, &held(rows, *validation, *test)?, *seed),
        Split::Column { column: name } => by_column(name, places, column()?)?,
        Split::Stratified { validation, test, seed, .. } => {
            stratified(places, column()?, *validation, *test, *seed)?
        }
        Split::Grouped { validation, test, seed, column: name } => {
            grouped(name, places, column()?, &held(rows, *validation, *test)?, *seed)?
        }
        Split::Time { validation, test, .. } => by_time(places, column()?, &held(rows, *validation, *test)?)?,
    };
    check(&of, split)?;
    Ok(of)
}

fn check(of: &[Side], split: &Split) -> Result<()> {
    let (validation, test) = match split {
        Split::Column { .. } => (0.0, 0.0),
        Split::Random { validation, test, .. }
        | Split::Stratified { validation, test, .. }
        | Split::Grouped { validation, test, .. }
        | Split::Time { validation, test, .. } => (*validation, *test),
    };
    let lacks = |side: Side| !of.contains(&side);
    let empty = [
        ("train", lacks(Side::Train)),
        ("validation", validation > 0.0 && lacks(Side::Validation)),
        ("test", test > 0.0 && lacks(Side::Test)),
    ];
    match empty.iter().find(|(_, empty)| *empty) {
        None => Ok(()),
        Some((part, _)) => Err(Error::Invalid(format!(
            "split of {} rows leaves one part empty: {part} has no rows; give more rows or other shares",
            of.len()
        ))),
    }
}

fn held(rows: usize, validation: f64, test: f64) -> Result<Held> {
    let is_share = |share: f64| (0.0..1.0).contains(&share);
    if !is_share(validation) || !is_share(test) || validation + test >= 1.0 {
        return Err(Error::Invalid(format!(
            "split(validation={validation}, test={test}): shares lie between 0 and 1, and leave some to train"
        )));
    }
    let of = |share: f64| (share * rows as f64).round() as usize;
    Ok(Held { validation: of(validation), test: of(test) })
}

/// The first rows of a permutation validate, the next ones test.
fn random(rows: usize, held: &Held, seed: u64) -> Vec<Side> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut of = vec![Side::Train; rows];
    for (i, &row) in order.iter().enumerate() {
        of[row as usize] = part_at(i, held);
    }
    of
}

fn part_at(i: usize, held: &Held) -> Side {
    if i < held.validation {
        Side::Validation
    } else if i < held.validation + held.test {
        Side::Test
    } else {
        Side::Train
    }
}

fn by_column(name: &str, places: &[u32], values: &ArrayRef) -> Result<Vec<Side>> {
    let values = cast(values, &DataType::Utf8)?;
    let values = values.as_string::<i32>();
    let part = |&place: &u32| match values.value(place as usize).to_ascii_lowercase().as_str() {
        "train" | "training" => Ok(Side::Train),
        "validation" | "val" | "valid" => Ok(Side::Validation),
        "test" => Ok(Side::Test),
        other => Err(Error::Invalid(format!(
            "the split's column {name:?} has the value {other:?}: it says train, validation or test"
        ))),
    };
    places.iter().map(part).collect()
}

fn stratified(places: &[u32], values: &ArrayRef, validation: f64, test: f64, seed: u64) -> Result<Vec<Side>> {
    let (of, strata) = ids(values, places)?;
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); strata as usize];
    of.iter().enumerate().for_each(|(row, &stratum)| rows[stratum as usize].push(row as u32));
    let mut parts = vec![Side::Train; places.len()];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for stratum in &mut rows {
        stratum.shuffle(&mut random);
        let held = held(stratum.len(), validation, test)?;
        stratum.iter().enumerate().for_each(|(i, &row)| parts[row as usize] = part_at(i, &held));
    }
    Ok(parts)
}

fn grouped(name: &str, places: &[u32], values: &ArrayRef, held: &Held, seed: u64) -> Result<Vec<Side>> {
    let (of, groups) = ids(values, places)?;
    if groups < 2 {
        return Err(Error::Invalid(format!(
            "the column {name:?} has one value in all rows: a split by groups needs more"
        )));
    }
    let mut sizes = vec![0; groups as usize];
    of.iter().for_each(|&group| sizes[group as usize] += 1);
    let mut order: Vec<u32> = (0..groups).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut parts = vec![Side::Train; groups as usize];
    let (mut validation, mut test) = (0, 0);
    for group in order {
        let part = &mut parts[group as usize];
        if validation < held.validation {
            *part = Side::Validation;
            validation += sizes[group as usize];
        } else if test < held.test {
            *part = Side::Test;
            test += sizes[group as usize];
        }
    }
    Ok(of.into_iter().map(|group| parts[group as usize]).collect())
}

fn by_time(places: &[u32], values: &ArrayRef, held: &Held) -> Result<Vec<Side>> {
    let values = comparable(values)?;
    let value = |row: u32| values.row(places[row as usize] as usize);
    let mut order: Vec<u32> = (0..places.len() as u32).collect();
    order.sort_by(|&a, &b| value(a).cmp(&value(b)));
    // A later part begins where a new value does.
    let from = |mut first: usize| {
        while first > 0 && first < order.len() && value(order[first]) == value(order[first - 1]) {
            first += 1;
        }
        first
    };
    let test = from(order.len() - held.test);
    let validation = from(order.len() - held.test - held.validation);
    let mut parts = vec![Side::Train; places.len()];
    for (i, &row) in order.iter().enumerate() {
        if i >= test {
            parts[row as usize] = Side::Test;
        } else if i >= validation {
            parts[row as usize] = Side::Validation;
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray};
    use std::sync::Arc;

    fn rows(rows: u32) -> Vec<u32> {
        (0..rows).collect()
    }

    fn of(count: u32, validation: f64, seed: u64) -> Result<Parts> {
        split(&rows(count), Some(&Split::Random { validation, test: 0.0, seed }), None)
    }

    fn all(parts: &Parts) -> Vec<u32> {
        let mut all = [&parts.train[..], &parts.validation, &parts.test].concat();
        all.sort_unstable();
        all
    }

    fn column(values: &[i32]) -> ArrayRef {
        Arc::new(Int32Array::from(values.to_vec()))
    }

    #[test]
    fn each_row_is_in_one_part() {
        let parts = of(1797, 0.2, 7).unwrap();
        assert_eq!((parts.train.len(), parts.validation.len()), (1438, 359));
        assert_eq!(all(&parts), rows(1797));
        let three = Split::Random { validation: 0.2, test: 0.1, seed: 7 };
        let parts = split(&rows(100), Some(&three), None).unwrap();
        assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (70, 20, 10));
        assert_eq!(all(&parts), rows(100));
    }

    #[test]
    fn the_split_is_fixed_by_its_seed() {
        // Recorded: a change of these rows would change every experiment that is run again.
        assert_eq!(of(10, 0.3, 7).unwrap().validation, RECORDED);
        assert_ne!(of(1000, 0.3, 7).unwrap(), of(1000, 0.3, 8).unwrap());
    }
    const RECORDED: [u32; 3] = [0, 5, 7];

    #[test]
    fn rows_that_lie_elsewhere_are_split_by_their_numbers() {
        let places: Vec<u32> = (0..10).rev().collect();
        let parts =
            split(&places, Some(&Split::Random { validation: 0.3, test: 0.0, seed: 7 }), None).unwrap();
        assert_eq!(parts.validation, RECORDED.map(|row| places[row as usize]));
    }

    #[test]
    fn a_part_without_rows_is_an_error() {
        assert!(of(2, 0.2, 7).unwrap_err().to_string().contains("leaves one part empty"));
        assert!(of(10, 1.5, 7).is_err());
        let split_all = Split::Random { validation: 0.5, test: 0.5, seed: 1 };
        assert!(split(&rows(10), Some(&split_all), None).is_err());
    }

    #[test]
    fn strata_have_their_share_in_each_part() {
        let values: Vec<i32> = (0..1000).map(|row| i32::from(row % 10 == 0)).collect();
        let by = Split::Stratified { column: "y".into(), validation: 0.2, test: 0.1, seed: 3 };
        let parts = split(&rows(1000), Some(&by), Some(&column(&values))).unwrap();
        let rare = |part: &[u32]| part.iter().filter(|&&row| values[row as usize] == 1).count();
        assert_eq!([rare(&parts.train), rare(&parts.validation), rare(&parts.test)], [70, 20, 10]);
        assert_eq!(all(&parts), rows(1000));
    }

    #[test]
    fn groups_stay_together() {
        let values: Vec<i32> = (0..1000).map(|row| row % 37).collect();
        let by = Split::Grouped { column: "g".into(), validation: 0.2, test: 0.2, seed: 3 };
        let parts = split(&rows(1000), Some(&by), Some(&column(&values))).unwrap();
        let groups = |part: &[u32]| {
            part.iter().map(|&row| values[row as usize]).collect::<std::collections::BTreeSet<_>>()
        };
        let (train, validation, test) =
            (groups(&parts.train), groups(&parts.validation), groups(&parts.test));
        assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
        assert!((200..=230).contains(&parts.validation.len()) && (200..=230).contains(&parts.test.len()));
        let one = split(&rows(5), Some(&by), Some(&column(&[1; 5]))).unwrap_err().to_string();
        assert!(one.contains("\"g\" has one value"), "{one}");
    }

    #[test]
    fn the_last_rows_in_time_are_held_out_and_equal_times_stay_together() {
        let values: Vec<i32> = (0..10).map(|row| (9 - row) / 2).collect();
        let by = Split::Time { column: "t".into(), validation: 0.3, test: 0.3 };
        let parts = split(&rows(10), Some(&by), Some(&column(&values))).unwrap();
        let times = |part: &[u32]| part.iter().map(|&row| values[row as usize]).collect::<Vec<_>>();
        assert_eq!(times(&parts.test), [4, 4]);
        assert_eq!(times(&parts.validation), [3, 3, 2, 2]);
        assert_eq!(times(&parts.train), [1, 1, 0, 0]);
    }

    #[test]
    fn a_column_may_say_it() {
        let values: ArrayRef =
            Arc::new(StringArray::from(vec!["train", "val", "Test", "validation", "train"]));
        let by = Split::Column { column: "part".into() };
        let parts = split(&rows(5), Some(&by), Some(&values)).unwrap();
        assert_eq!(parts, Parts { train: vec![0, 4], validation: vec![1, 3], test: vec![2] });
        let wrong: ArrayRef = Arc::new(StringArray::from(vec!["train", "dev"]));
        let error = split(&rows(2), Some(&by), Some(&wrong)).unwrap_err().to_string();
        assert!(error.contains("\"part\" has the value \"dev\""), "{error}");
    }
}
