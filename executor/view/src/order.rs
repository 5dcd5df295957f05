//! The order of rows within an epoch.
//!
//! Everything here is a function of the view's training rows, the trial's seed and the epoch (from 1) alone, the
//! same on every machine. Random numbers are those of ChaCha8 streams keyed by 32 bytes: the seed and the epoch as
//! little-endian u64, then 16 bytes of ASCII text that say what is drawn. A number below `n` is
//! `floor(x n / 2^64)`, `x` the stream's next u64.

use std::sync::Arc;

use lethe_flight::message::dataset::{Order, Sampling, Shuffle};
use lethe_flight::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::blocks::{self, Blocks};
use crate::draws::Draws;
use crate::mapped::MappedView;
use crate::paging::Window;

/// The orders of a trial's epochs.
///
/// With [`Sampling::Each`] an epoch has each training row once, else as many as train, drawn with replacement (see
/// [`Draws`]). With [`Shuffle::Full`] they come as [`epoch_order`] permutes them, or as they were drawn; with
/// [`Shuffle::Blocks`] as [`blocks`] describes it; with [`Shuffle::Off`] in the order of their numbers.
#[derive(Debug)]
pub struct EpochOrder {
    view: Arc<MappedView>,
    seed: u64,
    draws: Option<Draws>,
    blocks: Option<Blocks>,
}

impl EpochOrder {
    /// # Errors
    /// If the order asks for labels or weights that are not there or cannot be drawn by, or for empty blocks.
    pub fn new(view: Arc<MappedView>, seed: u64) -> Result<Self> {
        let Order { sampling, shuffle } = view.view().order;
        let draws = match sampling {
            Sampling::Each => None,
            Sampling::Balanced => Some(Draws::balanced(&view)?),
            Sampling::Weighted => Some(Draws::weighted(&view)?),
        };
        let blocks = match shuffle {
            Shuffle::Full | Shuffle::Off => None,
            Shuffle::Blocks { rows, window } if rows == 0 || window == 0 => {
                return Err(Error::Invalid(format!(
                    "a shuffle of blocks of {rows} rows, {window} at a time: both must be at least 1"
                )));
            }
            Shuffle::Blocks { rows, window } => Some(Blocks { rows, window }),
        };
        Ok(Self { view, seed, draws, blocks })
    }

    pub fn view(&self) -> &Arc<MappedView> {
        &self.view
    }

    /// Puts the epoch's rows into `order`, as many as train, and says which part of them needs which part of the
    /// view, if the shuffle keeps to parts.
    pub fn fill(&self, epoch: u32, order: &mut Vec<u32>) -> Vec<Window> {
        let train = self.view.train();
        if self.draws.is_none() && self.view.view().order.shuffle == Shuffle::Full {
            epoch_order(train, self.seed, epoch, order);
            return Vec::new();
        }
        // First places among the training rows, then the rows there.
        order.clear();
        if let Some(draws) = &self.draws {
            draws.fill(&self.view, &mut stream(self.seed, epoch, b"lethe.batchdraws"), order);
        }
        let drawn = self.draws.is_some();
        let mut windows = Vec::new();
        match (self.blocks, drawn) {
            (Some(blocks), _) => {
                let chosen = drawn.then(|| {
                    order.sort_unstable();
                    std::mem::take(order)
                });
                let stream = &mut stream(self.seed, epoch, b"lethe.blockorder");
                windows = blocks::shuffle(blocks, train, chosen.as_deref(), stream, order);
            }
            (None, false) => order.extend(0..train.len() as u32),
            (None, true) if self.view.view().order.shuffle == Shuffle::Off => order.sort_unstable(),
            (None, true) => {}
        }
        order.iter_mut().for_each(|place| *place = train[*place as usize]);
        windows
    }
}

/// The permutation of `rows` for an epoch (from 1): a function of the trial's seed and the epoch alone, the
/// same on every machine.
///
/// A ChaCha8 stream keyed by 32 bytes (the seed and the epoch as little-endian u64, then the ASCII text
/// `lethe.batchorder`), and Fisher-Yates from the last place down: place `i` is exchanged with place
/// `floor(x (i + 1) / 2^64)`, `x` the stream's next u64.
pub fn epoch_order(rows: &[u32], seed: u64, epoch: u32, order: &mut Vec<u32>) {
    order.clear();
    order.extend_from_slice(rows);
    permute(order, &mut stream(seed, epoch, b"lethe.batchorder"));
}

/// The random numbers of one purpose.
pub(crate) fn stream(seed: u64, epoch: u32, purpose: &[u8; 16]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&u64::from(epoch).to_le_bytes());
    key[16..].copy_from_slice(purpose);
    ChaCha8Rng::from_seed(key)
}

/// Fisher-Yates from the last place down.
pub(crate) fn permute(values: &mut [u32], stream: &mut ChaCha8Rng) {
    for i in (1..values.len()).rev() {
        values.swap(i, below(stream, i + 1));
    }
}

pub(crate) fn below(stream: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(stream.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewFile;

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

    /// Computed by an independent implementation of ChaCha8 (see `tests/make_order.py`): a change
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

    /// Rows 40..240 of 300 train: class `row % 3` for the most part, weight `row % 2`.
    fn epochs(sampling: Sampling, shuffle: Shuffle) -> (EpochOrder, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ViewFile::new(300).split(40..240, 0..40);
        file.classes((0..300).map(|row| if row % 10 == 0 { 2 } else { row % 2 }).collect());
        file.weights((0..300).map(|row| (row % 2) as f32).collect());
        file.view.order = Order { sampling, shuffle };
        let view = MappedView::open(&file.write(folder.path())).unwrap();
        (EpochOrder::new(Arc::new(view), 7).unwrap(), folder)
    }

    fn filled(sampling: Sampling, shuffle: Shuffle, epoch: u32) -> (Vec<u32>, Vec<Window>) {
        let (epochs, _folder) = epochs(sampling, shuffle);
        let mut rows = vec![1; 7];
        let windows = epochs.fill(epoch, &mut rows);
        (rows, windows)
    }

    #[test]
    fn the_default_order_of_a_view_is_the_documented_permutation_of_its_training_rows() {
        let mut expected = Vec::new();
        epoch_order(&(40..240).collect::<Vec<_>>(), 7, 3, &mut expected);
        assert_eq!(filled(Sampling::Each, Shuffle::Full, 3), (expected, Vec::new()));
        assert_eq!(filled(Sampling::Each, Shuffle::Off, 3).0, (40..240).collect::<Vec<_>>());
    }

    #[test]
    fn every_order_has_as_many_rows_as_train_and_is_a_function_of_seed_and_epoch() {
        for sampling in [Sampling::Each, Sampling::Balanced, Sampling::Weighted] {
            for shuffle in [Shuffle::Full, Shuffle::Blocks { rows: 16, window: 3 }, Shuffle::Off] {
                let what = format!("{sampling:?} {shuffle:?}");
                let (first, _) = filled(sampling, shuffle, 1);
                assert_eq!(first.len(), 200, "{what}");
                assert!(first.iter().all(|row| (40..240).contains(row)), "{what}");
                assert_eq!(first, filled(sampling, shuffle, 1).0, "{what}");
                let fixed = sampling == Sampling::Each && shuffle == Shuffle::Off;
                assert_eq!(first == filled(sampling, shuffle, 2).0, fixed, "{what}");
                if shuffle == Shuffle::Off {
                    assert!(first.is_sorted(), "{what}");
                }
            }
        }
    }

    #[test]
    fn a_shuffle_changes_the_order_of_what_is_drawn_and_nothing_else() {
        for sampling in [Sampling::Balanced, Sampling::Weighted] {
            let sorted = |shuffle| {
                let mut rows = filled(sampling, shuffle, 4).0;
                rows.sort_unstable();
                rows
            };
            let off = sorted(Shuffle::Off);
            assert_eq!(sorted(Shuffle::Full), off);
            assert_eq!(sorted(Shuffle::Blocks { rows: 9, window: 2 }), off);
        }
    }

    #[test]
    fn empty_blocks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ViewFile::new(4);
        file.view.order.shuffle = Shuffle::Blocks { rows: 0, window: 3 };
        let view = Arc::new(MappedView::open(&file.write(folder.path())).unwrap());
        let error = EpochOrder::new(view, 1).unwrap_err().to_string();
        assert!(error.starts_with("a shuffle of blocks of 0 rows"), "{error}");
    }
}
