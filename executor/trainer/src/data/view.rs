//! A view file, mapped: float32 features row by row, labels, and the rows of the split.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use lethe_flight::message::dataset::{LabelKind, View};
use memmap2::Mmap;

use crate::error::{Error, Result};

/// Labels, one a row.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    Class(&'a [i64]),
    Value(&'a [f32]),
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
    /// If the file cannot be mapped, or is shorter than the view says, or names rows that it does not have.
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
        Ok(mapped)
    }

    fn check(&self) -> Result<()> {
        let damaged =
            |what: &str| Err(Error::Worker(format!("the view {} is damaged: {what}", self.view.path)));
        let View { rows, width, train, validation, .. } = self.view;
        let features = rows.checked_mul(width).and_then(|n| n.checked_mul(4));
        let label_bytes = match self.view.label {
            None => 0,
            Some(LabelKind::Class) => 8,
            Some(LabelKind::Value) => 4,
        };
        let labels = rows.checked_mul(label_bytes);
        let split = train.checked_add(validation).and_then(|n| n.checked_mul(4));
        for (offset, bytes, what) in [
            (self.view.features_offset, features, "features"),
            (self.view.labels_offset, labels, "labels"),
            (self.view.split_offset, split, "split"),
        ] {
            let end = bytes.and_then(|bytes| offset.checked_add(bytes));
            if end.is_none_or(|end| end > self.map.len() as u64) || offset % 8 != 0 {
                return damaged(&format!("its {what} do not fit into {} bytes", self.map.len()));
            }
        }
        if self.train().iter().chain(self.validation()).any(|&row| u64::from(row) >= rows) {
            return damaged(&format!("its split names a row beyond its {rows} rows"));
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

    /// `rows * width` values, row-major.
    pub fn features(&self) -> &[f32] {
        self.slice(self.view.features_offset, self.view.rows * self.view.width)
    }

    pub fn labels(&self) -> Option<Labels<'_>> {
        let (offset, rows) = (self.view.labels_offset, self.view.rows);
        self.view.label.map(|kind| match kind {
            LabelKind::Class => Labels::Class(self.slice(offset, rows)),
            LabelKind::Value => Labels::Value(self.slice(offset, rows)),
        })
    }

    pub fn label_kind(&self) -> Option<LabelKind> {
        self.view.label
    }

    /// Smallest and largest class; None without class labels or rows.
    pub fn classes(&self) -> Option<(i64, i64)> {
        self.classes
    }

    pub fn width(&self) -> usize {
        self.view.width as usize
    }

    /// Row numbers of the training split, ascending.
    pub fn train(&self) -> &[u32] {
        self.slice(self.view.split_offset, self.view.train)
    }

    /// Row numbers of the validation split, ascending.
    pub fn validation(&self) -> &[u32] {
        self.slice(self.view.split_offset + 4 * self.view.train, self.view.validation)
    }
}

/// The view that the last trial used: the trials of an experiment share one.
#[derive(Debug, Default)]
pub struct ViewCache {
    last: Option<Arc<MappedView>>,
}

impl ViewCache {
    pub fn open(&mut self, view: &View) -> Result<Arc<MappedView>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.view == *view) {
            return Ok(last.clone());
        }
        let opened = Arc::new(MappedView::open(view)?);
        self.last = Some(opened.clone());
        Ok(opened)
    }
}
