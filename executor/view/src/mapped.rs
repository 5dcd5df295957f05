//! A view file, mapped: its sections row by row, and the rows of the split.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use lethe_flight::message::dataset::{Dtype, LocalRows, Part, Section, View};
use lethe_flight::{Error, Result};
use memmap2::{Mmap, UncheckedAdvice};

use crate::gather::{copy_rows, copy_runs};

/// Labels, one a row.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    Class(&'a [i64]),
    Value(&'a [f32]),
}

/// What becomes of rows' pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// They are read soon.
    WillNeed,
    /// This process gives them back; who reads them again gets them from the file.
    DontNeed,
}

/// A view whose file is mapped and whose bounds have been checked. The file must not shrink while it is.
#[derive(Debug)]
pub struct MappedView {
    view: View,
    map: Mmap,
    /// Smallest and largest class, of all rows.
    classes: Option<(i64, i64)>,
}

impl MappedView {
    /// # Errors
    /// If the file cannot be mapped, or is shorter than the view says, or names rows that it does not have, or if a
    /// weight is no number from 0.
    pub fn open(view: &View) -> Result<Self> {
        let path = Path::new(&view.path);
        let file = File::open(path).map_err(|e| Error::file(path, e))?;
        // SAFETY: the executor writes a view once, by a rename, and never changes it while workers live.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(path, e))?;
        let mut mapped = Self { view: view.clone(), map, classes: None };
        mapped.check()?;
        if let Some(Labels::Class(labels)) = mapped.labels() {
            let least = labels.iter().copied().min();
            let most = labels.iter().copied().max();
            mapped.classes = least.zip(most);
        }
        let wrong = |weight: &f32| !(weight.is_finite() && *weight >= 0.0);
        if let Some(weight) = mapped.weights().unwrap_or_default().iter().find(|weight| wrong(weight)) {
            return Err(Error::Invalid(format!(
                "the weight column has {weight}: weights are finite numbers from 0; filter such rows, or mend the \
                 column"
            )));
        }
        Ok(mapped)
    }

    fn check(&self) -> Result<()> {
        let damaged =
            |what: &str| Err(Error::Invalid(format!("the view {} is damaged: {what}", self.view.path)));
        let View { rows, inputs, label, weight, train, validation, test, split_offset, .. } = &self.view;
        let fits = |offset: u64, bytes: Option<u64>| {
            let end = bytes.and_then(|bytes| offset.checked_add(bytes));
            offset.is_multiple_of(8) && end.is_some_and(|end| end <= self.map.len() as u64)
        };
        for section in inputs.iter().chain(label).chain(weight) {
            let gathered = section.shape.iter().try_fold(1, |all: u64, &n| all.checked_mul(n));
            let width = match &section.taken {
                None => gathered,
                Some(taken) if gathered.is_some_and(|width| taken.has(width)) => Some(taken.width),
                Some(_) => return damaged(&format!("what is taken of its {} is not in a row", section.name)),
            };
            let bytes = width.and_then(|n| n.checked_mul(section.dtype.bytes())?.checked_mul(*rows));
            if !fits(section.offset, bytes) {
                return damaged(&format!("its {} does not fit into {} bytes", section.name, self.map.len()));
            }
        }
        let scalar =
            |section: &Section, kinds: &[Dtype]| section.shape.is_empty() && kinds.contains(&section.dtype);
        if label.as_ref().is_some_and(|label| !scalar(label, &[Dtype::Int64, Dtype::Float32])) {
            return damaged("its label is neither one int64 nor one float32 a row");
        }
        if weight.as_ref().is_some_and(|weight| !scalar(weight, &[Dtype::Float32])) {
            return damaged("its weight is not one float32 a row");
        }
        let split = train.checked_add(*validation).and_then(|n| n.checked_add(*test));
        if !fits(*split_offset, split.and_then(|n| n.checked_mul(4))) {
            return damaged(&format!("its split does not fit into {} bytes", self.map.len()));
        }
        if [Part::Train, Part::Validation, Part::Test]
            .iter()
            .any(|&part| self.part(part).iter().any(|&row| u64::from(row) >= *rows))
        {
            return damaged(&format!("its split names a row beyond its {rows} rows"));
        }
        if let Some(LocalRows { rank, train: all, validation: held }) = &self.view.local {
            let rank = *rank as usize;
            let own = |rows: &[u64]| rows.get(rank).copied();
            if all.len() != held.len() || own(all) != Some(*train) || own(held) != Some(*validation) {
                return damaged("the rows of its rank are not those it has");
            }
        }
        Ok(())
    }

    /// Elements `offset/size_of::<T>()..` of the file. The range was checked by `check`.
    fn slice<T>(&self, offset: u64, count: u64) -> &[T] {
        let bytes = &self.map[offset as usize..offset as usize + count as usize * size_of::<T>()];
        // SAFETY: in bounds (sliced above), aligned (the map is page-aligned, offsets are multiples of 8),
        // and every bit pattern is a value of u32, i64 and f32. Little-endian hosts only, as is libtorch's.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), count as usize) }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where these are one rank's rows alone: how many each rank has.
    pub fn local(&self) -> Option<&LocalRows> {
        self.view.local.as_ref()
    }

    /// Rows of the first part that has some: a rank may have none that trains.
    pub fn some_rows(&self) -> &[u32] {
        let parts = [Part::Train, Part::Validation, Part::Test].map(|part| self.part(part));
        parts.into_iter().find(|rows| !rows.is_empty()).unwrap_or_default()
    }

    /// Whether any rank has rows that train.
    pub fn trains(&self) -> bool {
        self.local().map_or(self.view.train > 0, |local| local.train.iter().any(|&rows| rows > 0))
    }

    /// Whether any rank has rows that validate.
    pub fn validates(&self) -> bool {
        self.local().map_or(self.view.validation > 0, |local| local.validation.iter().any(|&rows| rows > 0))
    }

    pub fn rows(&self) -> usize {
        self.view.rows as usize
    }

    /// The bytes of one of this view's sections, row by row.
    pub fn section(&self, section: &Section) -> &[u8] {
        self.slice(section.offset, self.view.rows * section.stored_row_bytes())
    }

    /// Copies rows of one of this view's sections, one after the other: `rows * section.row_bytes()` bytes.
    ///
    /// # Panics
    /// If a row lies beyond the view; those of its parts do not.
    pub fn gather(&self, section: &Section, rows: &[u32], out: &mut [u8]) {
        let (matrix, row_bytes) = (self.section(section), section.stored_row_bytes() as usize);
        match &section.taken {
            None => copy_rows(matrix, row_bytes, rows, out),
            Some(taken) => {
                let size = section.dtype.bytes();
                let run = |&(start, end): &(u64, u64)| (start * size) as usize..(end * size) as usize;
                let runs: Vec<Range<usize>> = taken.runs.iter().map(run).collect();
                copy_runs(matrix, row_bytes, &runs, rows, out);
            }
        }
    }

    /// Says how these rows will be read. A hint: what the system makes of it changes no value.
    pub fn advise(&self, rows: Range<u32>, advice: Advice) {
        let (start, count) = (u64::from(rows.start), u64::from(rows.end.saturating_sub(rows.start)));
        let View { inputs, label, weight, .. } = &self.view;
        for section in inputs.iter().chain(label).chain(weight) {
            let start = (section.offset + start * section.stored_row_bytes()) as usize;
            let bytes = (count * section.stored_row_bytes()) as usize;
            if start + bytes > self.map.len() {
                return;
            }
            _ = match advice {
                Advice::WillNeed => self.map.advise_range(memmap2::Advice::WillNeed, start, bytes),
                // SAFETY: the map is shared and read-only: its pages come again from the file, as they were.
                Advice::DontNeed => unsafe {
                    self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes)
                },
            };
        }
    }

    pub fn labels(&self) -> Option<Labels<'_>> {
        let label = self.view.label.as_ref()?;
        Some(match label.dtype {
            Dtype::Int64 => Labels::Class(self.slice(label.offset, self.view.rows)),
            _ => Labels::Value(self.slice(label.offset, self.view.rows)),
        })
    }

    /// Smallest and largest class; None without class labels or rows.
    pub fn classes(&self) -> Option<(i64, i64)> {
        self.classes
    }

    /// One a row; None without a weight.
    pub fn weights(&self) -> Option<&[f32]> {
        self.view.weight.as_ref().map(|weight| self.slice(weight.offset, self.view.rows))
    }

    /// Places of a part's rows in the sections, in the order of the rows' numbers.
    pub fn part(&self, part: Part) -> &[u32] {
        let View { split_offset, train, validation, test, .. } = self.view;
        let (skipped, count) = match part {
            Part::Train => (0, train),
            Part::Validation => (train, validation),
            Part::Test => (train + validation, test),
        };
        self.slice(split_offset + 4 * skipped, count)
    }

    pub fn train(&self) -> &[u32] {
        self.part(Part::Train)
    }

    pub fn validation(&self) -> &[u32] {
        self.part(Part::Validation)
    }
}
