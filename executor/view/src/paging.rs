//! Which pages of a view are wanted: for data that memory does not hold, only those about to be read stay.

use std::ops::Range;
use std::sync::Arc;

use lethe_flight::message::dataset::{Part, Shuffle};

use crate::mapped::{Advice, MappedView};

/// A stretch of an order, and where in the view its rows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The place in the order where the next window begins.
    pub end: usize,
    /// Of the view's rows.
    pub spans: Vec<Range<u32>>,
}

/// Reads ahead by a window and gives back what lies behind, so that about two windows stay resident. Without
/// windows it does nothing.
#[derive(Debug)]
pub struct Paging {
    view: Arc<MappedView>,
    windows: Vec<Window>,
    /// Windows before this one were given back.
    first: usize,
    /// Windows before this one were asked for.
    asked: usize,
}

impl Paging {
    pub fn new(view: Arc<MappedView>, windows: Vec<Window>) -> Self {
        Self { view, windows, first: 0, asked: 0 }
    }

    /// For a part that is read in the order of its numbers, so many rows at a time; without windows unless the view's
    /// training rows are read in blocks too.
    pub fn sequential(view: Arc<MappedView>, part: Part, rows: usize) -> Self {
        if !matches!(view.view().order.shuffle, Shuffle::Blocks { .. }) {
            return Self::new(view, Vec::new());
        }
        let chunks = view.part(part).chunks(rows.max(1)).scan(0, |end, rows| {
            *end += rows.len();
            Some(Window { end: *end, spans: crate::blocks::span(rows).into_iter().collect() })
        });
        let windows = chunks.collect();
        Self::new(view, windows)
    }

    /// To be called before these places of the order are read, which follow those before.
    pub fn reach(&mut self, places: Range<usize>) {
        while self.windows.get(self.first).is_some_and(|window| window.end <= places.start) {
            self.advise(self.first, Advice::DontNeed);
            self.first += 1;
        }
        // The window of the last place, and the one after it.
        let last = self.windows.partition_point(|window| window.end < places.end);
        while self.asked < self.windows.len().min(last + 2) {
            self.advise(self.asked, Advice::WillNeed);
            self.asked += 1;
        }
    }

    fn advise(&self, window: usize, advice: Advice) {
        let spans = self.windows.get(window).map_or(&[][..], |window| &window.spans);
        spans.iter().for_each(|span| self.view.advise(span.clone(), advice));
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        (self.first..self.asked).for_each(|window| self.advise(window, Advice::DontNeed));
    }
}
