//! An order that keeps to a few parts of the view at a time, for data that memory does not hold.
//!
//! The training rows, in the order of their numbers, fall into blocks of `rows` neighbours, the last one maybe
//! shorter. The blocks are permuted. Each `window` of them that follow each other are put together, each
//! block's rows (or what was drawn of them) in the order of their numbers, and permuted. All permutations are
//! Fisher-Yates, and take their numbers from one stream (`lethe.blockorder`), the blocks' first.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::order::permute;
use crate::paging::Window;

/// How many rows a block has, and how many blocks a window.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    pub rows: u32,
    pub window: u32,
}

/// Spans of the view with fewer than one training row in so many are not worth reading ahead.
const SPARSE: usize = 8;

/// Puts places among the training rows into `order`: all of them, or those that were chosen, ascending.
pub(crate) fn shuffle(
    blocks: Blocks,
    train: &[u32],
    chosen: Option<&[u32]>,
    stream: &mut ChaCha8Rng,
    order: &mut Vec<u32>,
) -> Vec<Window> {
    let size = blocks.rows as usize;
    let mut numbers: Vec<u32> = (0..train.len().div_ceil(size) as u32).collect();
    permute(&mut numbers, stream);
    let mut windows = Vec::new();
    for numbers in numbers.chunks(blocks.window as usize) {
        let begin = order.len();
        let mut spans = Vec::new();
        for &number in numbers {
            let places = number as usize * size..train.len().min((number as usize + 1) * size);
            match chosen {
                None => order.extend(places.start as u32..places.end as u32),
                Some(chosen) => {
                    let at = |place: usize| chosen.partition_point(|&chosen| (chosen as usize) < place);
                    order.extend_from_slice(&chosen[at(places.start)..at(places.end)]);
                }
            }
            spans.extend(span(&train[places]));
        }
        permute(&mut order[begin..], stream);
        windows.push(Window { end: order.len(), spans });
    }
    windows
}

/// The part of the view where these rows lie, if they lie together. With a `key` neighbours by number may be
/// anywhere.
pub(crate) fn span(rows: &[u32]) -> Option<Range<u32>> {
    let (first, last) = (*rows.iter().min()?, *rows.iter().max()?);
    ((last - first) as usize / SPARSE <= rows.len()).then(|| first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::stream;
    use proptest::prelude::*;

    fn shuffled(train: &[u32], blocks: Blocks, seed: u64) -> (Vec<u32>, Vec<Window>) {
        let mut order = Vec::new();
        let windows = shuffle(blocks, train, None, &mut stream(seed, 1, b"lethe.blockorder"), &mut order);
        (order, windows)
    }

    proptest! {
        #[test]
        fn each_row_comes_once_and_each_window_has_its_blocks(
            n in 0u32..300, rows in 1u32..40, window in 1u32..7, seed: u64,
        ) {
            let train: Vec<u32> = (0..n).map(|place| 1000 + place).collect();
            let (order, windows) = shuffled(&train, Blocks { rows, window }, seed);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            prop_assert_eq!(windows.last().map_or(0, |window| window.end), n as usize);
            let mut begin = 0;
            for found in &windows {
                prop_assert!(found.spans.len() <= window as usize);
                for &place in &order[begin..found.end] {
                    prop_assert!(found.spans.iter().any(|span| span.contains(&train[place as usize])));
                }
                begin = found.end;
            }
        }
    }

    /// Computed by `tests/make_order.py`: a change here changes every user's results.
    #[test]
    fn the_order_is_the_documented_function() {
        let train: Vec<u32> = (0..12).collect();
        assert_eq!(shuffled(&train, Blocks { rows: 3, window: 2 }, 7).0, RECORDED);
    }
    const RECORDED: [u32; 12] = [8, 3, 5, 7, 4, 6, 0, 2, 9, 11, 10, 1];

    #[test]
    fn rows_that_lie_far_from_each_other_are_not_read_ahead() {
        assert_eq!(span(&[5, 9, 7]), Some(5..10));
        assert_eq!(span(&[5, 900, 7]), None);
        assert_eq!(span(&[]), None);
    }
}
