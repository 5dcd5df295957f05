//! Writes view files for tests.
#![allow(dead_code, reason = "each test uses its own part")]

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use lethe_flight::message::dataset::{Dtype, Order, Section, View};

/// A view under construction: all its rows train, and it has no inputs, until it is told otherwise.
pub struct ViewFile {
    pub view: View,
    bytes: Vec<u8>,
    split: Vec<u32>,
}

impl ViewFile {
    pub fn new(rows: u32) -> Self {
        let view = View {
            path: String::new(),
            rows: rows.into(),
            inputs: Vec::new(),
            label: None,
            weight: None,
            split_offset: 0,
            train: rows.into(),
            validation: 0,
            test: 0,
            order: Order::default(),
            local: None,
        };
        Self { view, bytes: Vec::new(), split: (0..rows).collect() }
    }

    pub fn split(mut self, train: Range<u32>, validation: Range<u32>) -> Self {
        (self.view.train, self.view.validation) = (train.len() as u64, validation.len() as u64);
        self.split = train.chain(validation).collect();
        self
    }

    /// Adds an input of these bytes, row by row.
    pub fn input(&mut self, name: &str, dtype: Dtype, shape: &[u64], bytes: &[u8]) {
        let section = self.section(name, dtype, shape, bytes);
        assert_eq!(section.row_bytes() * self.view.rows, bytes.len() as u64);
        self.view.inputs.push(section);
    }

    pub fn floats(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.input(name, Dtype::Float32, shape, &bytes);
    }

    pub fn classes(&mut self, classes: Vec<i64>) {
        let bytes: Vec<u8> = classes.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.view.label = Some(self.section("label", Dtype::Int64, &[], &bytes));
    }

    pub fn values(&mut self, values: Vec<f32>) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.view.label = Some(self.section("label", Dtype::Float32, &[], &bytes));
    }

    pub fn weights(&mut self, weights: Vec<f32>) {
        let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.view.weight = Some(self.section("weight", Dtype::Float32, &[], &bytes));
    }

    fn section(&mut self, name: &str, dtype: Dtype, shape: &[u64], bytes: &[u8]) -> Section {
        let offset = self.aligned();
        self.bytes.extend_from_slice(bytes);
        Section { name: name.into(), dtype, shape: shape.to_vec(), offset, taken: None }
    }

    fn aligned(&mut self) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        self.bytes.len() as u64
    }

    /// Writes it into the folder, under a name of its own.
    pub fn write(mut self, folder: &Path) -> View {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.view.split_offset = self.aligned();
        self.split.iter().for_each(|row| self.bytes.extend(row.to_le_bytes()));
        let path = folder.join(format!("{}.view", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, &self.bytes).unwrap();
        self.view.path = path.to_str().unwrap().into();
        self.view
    }
}

/// Adds a float32 input of zeros to a view that has been written, as a hole of its file.
pub fn add_zeros(view: &mut View, name: &str, shape: &[u64]) {
    let file = std::fs::File::options().write(true).open(&view.path).unwrap();
    let offset = file.metadata().unwrap().len().next_multiple_of(64);
    let section =
        Section { name: name.into(), dtype: Dtype::Float32, shape: shape.to_vec(), offset, taken: None };
    file.set_len(offset + view.rows * section.row_bytes()).unwrap();
    view.inputs.push(section);
}
