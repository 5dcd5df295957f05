//! Batches gathered from a view into buffers that are used again.

use std::sync::Arc;

use lethe_flight::message::dataset::{Dtype, Sampling, Section};
use lethe_view::MappedView;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::torch::pinned_rows;

/// One batch on the trial's device. On the CPU its tensors are views of the gatherer's buffers: the next batch
/// overwrites them.
#[derive(Debug)]
pub struct Batch {
    /// `[rows, ..shape]`, of each input of the view in their order.
    pub inputs: Vec<Tensor>,
    /// int64 or float32 `[rows]`; an empty tensor where the view has no label.
    pub labels: Tensor,
    /// float32 `[rows]`, where rows have weights and these are not what they were sampled by.
    pub weights: Option<Tensor>,
    pub rows: usize,
    /// The sum of the weights; without any, the rows.
    pub weight: f64,
}

/// Gathers batches of up to `capacity` rows.
pub struct Batches {
    view: Arc<MappedView>,
    device: Device,
    capacity: usize,
    inputs: Vec<Buffer>,
    label: Option<Buffer>,
    weight: Option<Buffer>,
}

/// Where rows of one section are gathered.
struct Buffer {
    section: Section,
    device: Device,
    /// On the CPU as many rows as a batch may have; for a GPU none, each batch has pinned memory of its own there.
    tensor: Tensor,
}

impl Batches {
    pub fn new(view: Arc<MappedView>, capacity: usize, device: Device) -> Result<Self> {
        let description = view.view();
        let buffer = |section: &Section| Buffer::new(section, capacity, device);
        let inputs = description.inputs.iter().map(buffer).collect::<Result<_>>()?;
        let label = description.label.as_ref().map(buffer).transpose()?;
        let counts = description.order.sampling != Sampling::Weighted;
        let weight = description.weight.as_ref().filter(|_| counts).map(buffer).transpose()?;
        Ok(Self { view, device, capacity, inputs, label, weight })
    }

    pub fn view(&self) -> &Arc<MappedView> {
        &self.view
    }

    /// The sum of the weights of these rows; without any, or where rows were sampled by them, their number.
    pub fn weight_of(&self, rows: &[u32]) -> f64 {
        match self.view.weights().filter(|_| self.weight.is_some()) {
            Some(weights) => rows.iter().map(|&row| f64::from(weights[row as usize])).sum(),
            None => rows.len() as f64,
        }
    }

    /// Whether rows count by their weights.
    pub fn is_weighted(&self) -> bool {
        self.weight.is_some()
    }

    /// Gathers these rows of the view, at most the capacity.
    pub fn gather(&mut self, rows: &[u32]) -> Result<Batch> {
        let Self { view, device, capacity, inputs, label, weight } = self;
        let rows = &rows[..rows.len().min(*capacity)];
        let gather = |buffer: &mut Buffer| buffer.gather(view, rows, *capacity);
        let inputs = inputs.iter_mut().map(&gather).collect::<Result<_>>()?;
        let labels = match label {
            Some(buffer) => gather(buffer)?,
            None => Tensor::f_zeros([0], (Kind::Float, *device))?,
        };
        let weights = weight.as_mut().map(gather).transpose()?;
        let weight = self.weight_of(rows);
        Ok(Batch { inputs, labels, weights, rows: rows.len(), weight })
    }
}

impl Buffer {
    fn new(section: &Section, capacity: usize, device: Device) -> Result<Self> {
        let rows = if device == Device::Cpu { capacity as i64 } else { 0 };
        let shape: Vec<i64> = [rows].into_iter().chain(section.shape.iter().map(|&n| n as i64)).collect();
        let tensor = Tensor::f_zeros(shape, (kind(section.dtype), Device::Cpu))?;
        Ok(Self { section: section.clone(), device, tensor })
    }

    fn gather(&mut self, view: &MappedView, rows: &[u32], capacity: usize) -> Result<Tensor> {
        if self.device != Device::Cpu {
            // The copy waits for the steps before it, and nothing here waits for the copy.
            let tensor = pinned_rows(&self.tensor, rows.len() as i64)?;
            self.fill(&tensor, view, rows);
            return Ok(tensor.f_to_device_(self.device, tensor.f_kind()?, true, false)?);
        }
        self.fill(&self.tensor, view, rows);
        if rows.len() == capacity {
            return Ok(self.tensor.shallow_clone());
        }
        Ok(self.tensor.f_narrow(0, 0, rows.len() as i64)?)
    }

    fn fill(&self, tensor: &Tensor, view: &MappedView, rows: &[u32]) {
        let bytes = rows.len() * self.section.row_bytes() as usize;
        // SAFETY: a contiguous CPU tensor of at least so many rows: either this batch's alone, or this object's, which
        // batches handed out earlier see too; nothing reads those while the next batch is gathered.
        let out = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), bytes) };
        view.gather(&self.section, rows, out);
    }
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
        Dtype::Int8 => Kind::Int8,
        Dtype::Int16 => Kind::Int16,
        Dtype::Int32 => Kind::Int,
        Dtype::Int64 => Kind::Int64,
        Dtype::Uint8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
    }
}
