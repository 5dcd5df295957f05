//! The training loss of an epoch, and the watch that it stays finite.

use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::gang::Gang;
use crate::metrics::MeanLoss;
use crate::torch::scalar;

/// Losses of a GPU that may wait to be read: reading one waits for all work before it.
const WAITING: usize = 32;

/// Collects the loss of each step. On the CPU each is read at once, from a GPU many together.
pub struct TrainLoss {
    mean: MeanLoss,
    /// Loss, the weight of its batch, and step (from 1 over the whole trial).
    waiting: Vec<(Tensor, f64, u64)>,
    epoch: u32,
}

impl TrainLoss {
    pub fn new(epoch: u32) -> Self {
        Self { mean: MeanLoss::default(), waiting: Vec::new(), epoch }
    }

    /// # Errors
    /// If this loss, or one of those that waited, is NaN or infinite: names the step.
    pub fn add(&mut self, loss: &Tensor, weight: f64, step: u64) -> Result<()> {
        if loss.device() == Device::Cpu {
            return self.count(scalar(loss)?, weight, step);
        }
        self.waiting.push((loss.f_detach()?, weight, step));
        if self.waiting.len() < WAITING { Ok(()) } else { self.read() }
    }

    /// The mean of the epoch, by rows or their weights; of a gang, over all ranks.
    pub fn finish(mut self, gang: Option<&Gang>) -> Result<f64> {
        self.read()?;
        if let Some(gang) = gang {
            MeanLoss::share([&mut self.mean], gang)?;
        }
        Ok(self.mean.value())
    }

    fn read(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let losses: Vec<&Tensor> = self.waiting.iter().map(|(loss, _, _)| loss).collect();
        let stacked =
            Tensor::f_stack(&losses, 0)?.f_reshape([-1])?.f_to_kind(tch::Kind::Double)?.f_to(Device::Cpu)?;
        let values = Vec::<f64>::try_from(&stacked)?;
        let waiting = std::mem::take(&mut self.waiting);
        for (value, (_, weight, step)) in values.into_iter().zip(waiting) {
            self.count(value, weight, step)?;
        }
        Ok(())
    }

    fn count(&mut self, loss: f64, weight: f64, step: u64) -> Result<()> {
        if !loss.is_finite() {
            let what = if loss.is_nan() { "NaN" } else { "not finite" };
            return Err(Error::trial(format!(
                "the loss is {what} at step {step} (epoch {}): lower lr, set grad_clip, or look for NaN in the features",
                self.epoch
            )));
        }
        self.mean.add(loss, weight);
        Ok(())
    }
}
