//! Batches gathered from a view into buffers that are used again.

use std::sync::Arc;

use lethe_view::gather::copy_rows;
use lethe_view::{Labels, MappedView};
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// One batch on the trial's device. Its tensors are views of the gatherer's buffers: the next batch
/// overwrites them.
#[derive(Debug)]
pub struct Batch {
    /// float32 `[rows, width]`.
    pub features: Tensor,
    /// int64 or float32 `[rows]`; an empty tensor where the view has no label.
    pub labels: Tensor,
    pub rows: usize,
}

/// Gathers batches of up to `capacity` rows.
pub struct Batches {
    view: Arc<MappedView>,
    device: Device,
    capacity: usize,
    features: Tensor,
    labels: Tensor,
}

impl Batches {
    pub fn new(view: Arc<MappedView>, capacity: usize, device: Device) -> Result<Self> {
        let width = view.view().inputs[0].width();
        let shape = [capacity as i64, width as i64];
        let features = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
        let labels = match view.labels() {
            None => Tensor::f_zeros([0], (Kind::Float, Device::Cpu))?,
            Some(Labels::Class(_)) => Tensor::f_zeros([shape[0]], (Kind::Int64, Device::Cpu))?,
            Some(Labels::Value(_)) => Tensor::f_zeros([shape[0]], (Kind::Float, Device::Cpu))?,
        };
        Ok(Self { view, device, capacity, features, labels })
    }

    pub fn view(&self) -> &MappedView {
        &self.view
    }

    /// Gathers these rows of the view, at most the capacity.
    pub fn gather(&mut self, rows: &[u32]) -> Result<Batch> {
        let rows = &rows[..rows.len().min(self.capacity)];
        let n = rows.len();
        let input = &self.view.view().inputs[0];
        let row_bytes = input.row_bytes() as usize;
        // SAFETY: both tensors are contiguous CPU tensors of at least `n` rows that only this object and
        // batches handed out earlier see; nothing reads those while `self` is borrowed mutably.
        let out =
            unsafe { std::slice::from_raw_parts_mut(self.features.data_ptr().cast::<u8>(), n * row_bytes) };
        copy_rows(self.view.section(input), row_bytes, rows, out);
        match self.view.labels() {
            None => {}
            Some(Labels::Class(labels)) => {
                // SAFETY: as above.
                let out = unsafe { std::slice::from_raw_parts_mut(self.labels.data_ptr().cast::<i64>(), n) };
                rows.iter().zip(out).for_each(|(&row, out)| *out = labels[row as usize]);
            }
            Some(Labels::Value(labels)) => {
                // SAFETY: as above.
                let out = unsafe { std::slice::from_raw_parts_mut(self.labels.data_ptr().cast::<f32>(), n) };
                rows.iter().zip(out).for_each(|(&row, out)| *out = labels[row as usize]);
            }
        }
        let (mut features, mut labels) = if n == self.capacity {
            (self.features.shallow_clone(), self.labels.shallow_clone())
        } else {
            let labels = n.min(self.labels.size().first().map_or(0, |&l| l as usize));
            (self.features.f_narrow(0, 0, n as i64)?, self.labels.f_narrow(0, 0, labels as i64)?)
        };
        if self.device != Device::Cpu {
            features = features.f_to(self.device)?;
            labels = labels.f_to(self.device)?;
        }
        Ok(Batch { features, labels, rows: n })
    }
}
