//! Training rows drawn with replacement: classes equally often, or by weight.

use std::collections::BTreeMap;

use lethe_flight::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::mapped::{Labels, MappedView};
use crate::order::below;

/// Rows that share a stored sum of weights: the memory is an eighth of a byte a row.
const CHUNK: usize = 64;

/// What is drawn: places among the training rows, as many as there are.
#[derive(Debug)]
pub enum Draws {
    /// A class below the number of classes, then a place below the number of its rows, both as the stream gives
    /// them. Classes count from 0 to the largest of the view.
    Balanced {
        /// Places by class, each ascending.
        places: Vec<u32>,
        /// Where each class begins in them, and the end.
        starts: Vec<usize>,
    },
    /// The first place where the sum of the weights up to it exceeds `(x >> 11) 2^-53` of the sum of all, `x` the
    /// stream's next u64, sums added in f64 from the first row on.
    Weighted {
        /// Sums up to the end of each chunk.
        sums: Vec<f64>,
        /// The last place with a weight.
        last: u32,
    },
}

impl Draws {
    /// # Errors
    /// If the view has no classes, or one of them has no rows that train.
    pub fn balanced(view: &MappedView) -> Result<Self> {
        let Some(Labels::Class(labels)) = view.labels() else {
            return Err(Error::Invalid(
                "balanced sampling draws each class of the label equally often: it needs a label of classes"
                    .into(),
            ));
        };
        let (least, most) = view.classes().unwrap_or((0, -1));
        if least < 0 {
            return Err(Error::Invalid(format!(
                "label {least} is out of range: balanced sampling needs classes that count from 0"
            )));
        }
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        view.train().iter().for_each(|&row| *counts.entry(labels[row as usize]).or_default() += 1);
        if let Some(missing) = (0..=most).find(|class| !counts.contains_key(class)) {
            return Err(Error::Invalid(format!(
                "class {missing} has no rows that train, and balanced sampling draws each class equally often: \
                 split by another seed or stratified, or number the classes without gaps"
            )));
        }
        // All of 0..=most are there: no more classes than rows.
        let mut starts = vec![0];
        counts.values().for_each(|count| starts.push(starts[starts.len() - 1] + count));
        let mut next = starts.clone();
        let mut places = vec![0; view.train().len()];
        for (place, &row) in view.train().iter().enumerate() {
            let next = &mut next[labels[row as usize] as usize];
            places[*next] = place as u32;
            *next += 1;
        }
        Ok(Self::Balanced { places, starts })
    }

    /// # Errors
    /// If the view has no weights, or none above 0 among the rows that train.
    pub fn weighted(view: &MappedView) -> Result<Self> {
        let weights = view.weights().ok_or_else(|| {
            Error::Invalid(
                "weighted sampling draws rows by their weights: name the dataset's weight column".into(),
            )
        })?;
        let (mut sum, mut last, mut sums) = (0.0, None, Vec::new());
        for (chunk, rows) in view.train().chunks(CHUNK).enumerate() {
            for (i, &row) in rows.iter().enumerate() {
                let weight = f64::from(weights[row as usize]);
                sum += weight;
                if weight > 0.0 {
                    last = Some((chunk * CHUNK + i) as u32);
                }
            }
            sums.push(sum);
        }
        let last = last.ok_or_else(|| {
            Error::Invalid(
                "the weights of all rows that train are 0: weighted sampling has nothing to draw from".into(),
            )
        })?;
        Ok(Self::Weighted { sums, last })
    }

    /// Puts as many places as there are training rows at the end of `places`.
    pub(crate) fn fill(&self, view: &MappedView, stream: &mut ChaCha8Rng, places: &mut Vec<u32>) {
        let (train, weights) = (view.train(), view.weights().unwrap_or_default());
        places.extend(train.iter().map(|_| match self {
            Self::Balanced { places, starts } => {
                let class = below(stream, starts.len() - 1);
                let of_class = &places[starts[class]..starts[class + 1]];
                of_class[below(stream, of_class.len())]
            }
            Self::Weighted { sums, last } => {
                let share = (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                let target = share * sums.last().copied().unwrap_or_default();
                let chunk = sums.partition_point(|&sum| sum <= target);
                let mut sum = if chunk == 0 { 0.0 } else { sums[chunk - 1] };
                let first = (chunk * CHUNK).min(train.len());
                let exceeds = |&row: &u32| {
                    sum += f64::from(weights[row as usize]);
                    sum > target
                };
                let within = train[first..].iter().take(CHUNK).position(exceeds);
                within.map_or(*last, |within| (first + within) as u32)
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewFile;
    use crate::order::stream;

    fn open(file: ViewFile) -> (MappedView, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (MappedView::open(&file.write(folder.path())).unwrap(), folder)
    }

    fn drawn(draws: &Draws, view: &MappedView) -> Vec<u32> {
        let mut places = Vec::new();
        draws.fill(view, &mut stream(7, 1, b"lethe.batchdraws"), &mut places);
        places
    }

    #[test]
    fn balanced_sampling_draws_each_class_equally_often_and_rows_of_a_class_alike() {
        // Of 30,000 rows a hundredth has class 1, a tenth class 2.
        let class = |row: i64| if row % 100 == 0 { 1 } else { 2 * i64::from(row % 10 == 1) };
        let mut file = ViewFile::new(30_000);
        file.classes((0..30_000).map(class).collect());
        let (view, _folder) = open(file);
        let rows = drawn(&Draws::balanced(&view).unwrap(), &view);
        let mut counts = [0; 3];
        rows.iter().for_each(|&row| counts[class(row.into()) as usize] += 1);
        // Standard deviation 82 around 10,000.
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        let mut of_one = [0; 300];
        rows.iter().filter(|row| *row % 100 == 0).for_each(|row| of_one[*row as usize / 100] += 1);
        // About 33 each, standard deviation 6.
        assert!(of_one.iter().all(|count| (5..75).contains(count)), "{of_one:?}");
    }

    #[test]
    fn weighted_sampling_draws_rows_in_proportion_and_never_one_of_weight_0() {
        let weight = |row: u32| [0.0, 1.0, 0.0, 3.0][row as usize % 4];
        // Rows beyond the training rows have weights that count for nothing.
        let mut file = ViewFile::new(40_400).split(100..40_100, 0..100);
        file.weights((0..40_400).map(weight).collect());
        let (view, _folder) = open(file);
        let places = drawn(&Draws::weighted(&view).unwrap(), &view);
        assert_eq!(places.len(), 40_000);
        let mut counts = [0; 4];
        places.iter().for_each(|place| counts[*place as usize % 4] += 1);
        assert_eq!((counts[0], counts[2]), (0, 0));
        // Standard deviation 87 around 10,000.
        assert!((9_600..10_400).contains(&counts[1]), "{counts:?}");
        // A single row that counts is drawn every time, wherever it lies.
        for row in [0, 63, 64, 199] {
            let mut file = ViewFile::new(200);
            file.weights((0..200).map(|r| f32::from(u8::from(r == row)) * 1e-30).collect());
            let (view, _folder) = open(file);
            assert_eq!(drawn(&Draws::weighted(&view).unwrap(), &view), vec![row; 200]);
        }
    }

    /// Computed by `tests/make_order.py`: a change here changes every user's results.
    #[test]
    fn draws_are_the_documented_functions() {
        let mut file = ViewFile::new(10);
        file.classes((0..10).map(|row| row % 3).collect());
        file.weights((0..10).map(|row| row as f32).collect());
        let (view, _folder) = open(file);
        assert_eq!(drawn(&Draws::balanced(&view).unwrap(), &view), BALANCED);
        assert_eq!(drawn(&Draws::weighted(&view).unwrap(), &view), WEIGHTED);
    }
    const BALANCED: [u32; 10] = [9, 9, 8, 4, 4, 2, 2, 4, 0, 7];
    const WEIGHTED: [u32; 10] = [2, 9, 5, 9, 9, 9, 8, 7, 7, 8];

    #[test]
    fn what_cannot_be_drawn_from_is_named() {
        let balanced = |classes: Option<Vec<i64>>| {
            let mut file = ViewFile::new(10).split(2..10, 0..2);
            classes.into_iter().for_each(|classes| file.classes(classes));
            Draws::balanced(&open(file).0).unwrap_err().to_string()
        };
        let gap = balanced(Some(vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 2]));
        assert!(gap.starts_with("class 1 has no rows that train"), "{gap}");
        let far = balanced(Some(vec![i64::MAX; 10]));
        assert!(far.starts_with("class 0 has no rows that train"), "{far}");
        let negative = balanced(Some(vec![-3; 10]));
        assert!(negative.starts_with("label -3 is out of range"), "{negative}");
        assert!(balanced(None).contains("needs a label of classes"));

        let weighted = |weights: Option<Vec<f32>>| {
            let mut file = ViewFile::new(10).split(2..10, 0..2);
            weights.into_iter().for_each(|weights| file.weights(weights));
            Draws::weighted(&open(file).0).unwrap_err().to_string()
        };
        let zero = weighted(Some(vec![1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert!(zero.starts_with("the weights of all rows that train are 0"), "{zero}");
        assert!(weighted(None).ends_with("name the dataset's weight column"));
    }
}
