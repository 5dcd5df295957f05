//! Batches gathered from a view into buffers that are used again.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::view::{Labels, MappedView};
use crate::error::Result;

/// Rows ahead of the copy whose memory is asked for: a gathered row is rarely in the cache.
const AHEAD: usize = 8;

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
        let shape = [capacity as i64, view.width() as i64];
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
        let width = self.view.width();
        // SAFETY: both tensors are contiguous CPU tensors of at least `n` rows that only this object and
        // batches handed out earlier see; nothing reads those while `self` is borrowed mutably.
        let out =
            unsafe { std::slice::from_raw_parts_mut(self.features.data_ptr().cast::<f32>(), n * width) };
        copy_rows(self.view.features(), width, rows, out);
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

/// Copies the chosen rows of a row-major matrix, one after the other.
fn copy_rows(matrix: &[f32], width: usize, rows: &[u32], out: &mut [f32]) {
    if width == 0 {
        return;
    }
    for (i, (&row, out)) in rows.iter().zip(out.chunks_exact_mut(width)).enumerate() {
        if let Some(&next) = rows.get(i + AHEAD) {
            prefetch(matrix, next as usize * width);
        }
        let start = row as usize * width;
        out.copy_from_slice(&matrix[start..start + width]);
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch(matrix: &[f32], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    if let Some(value) = matrix.get(at) {
        // SAFETY: a prefetch reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: &[f32], _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_in_the_order_asked() {
        let matrix: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let rows = [19, 0, 7, 7, 3, 18, 1, 2, 4, 5, 6];
        let mut out = vec![0.0; rows.len() * 3];
        copy_rows(&matrix, 3, &rows, &mut out);
        for (row, copied) in rows.iter().zip(out.chunks(3)) {
            assert_eq!(copied, [*row as f32 * 3.0, *row as f32 * 3.0 + 1.0, *row as f32 * 3.0 + 2.0]);
        }
    }
}
