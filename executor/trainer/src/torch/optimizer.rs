//! Optimizer steps over all parameters in one call.

use tch::Tensor;

use lethe_flight::message::training::Optimizer as Kind;

use super::{check, ffi};
use crate::error::Result;

/// What stays the same over a trial's steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerOptions {
    pub kind: Kind,
    pub weight_decay: f64,
    /// Largest norm of all gradients together.
    pub grad_clip: Option<f64>,
    /// Whether SGD and RMSprop keep momentum buffers: a momentum other than 0 at any step.
    pub keeps_momentum: bool,
}

/// An optimizer with its state: PyTorch's formulas, by libtorch's fused kernels where there are any.
/// Defaults without a setting are PyTorch's: Adam's beta2 0.999 and eps 1e-8, RMSprop's alpha 0.99 and eps 1e-8.
pub struct Optimizer {
    raw: *mut ffi::RawOptimizer,
}

// SAFETY: the object is used by one thread at a time (`&mut self`) and libtorch's tensors may change threads.
unsafe impl Send for Optimizer {}

impl Optimizer {
    /// `parameters` must be distinct: a tied weight comes once.
    pub fn new(parameters: &[Tensor], options: &OptimizerOptions) -> Result<Self> {
        let pointers: Vec<_> = parameters.iter().map(Tensor::as_ptr).collect();
        let kind = match options.kind {
            Kind::Adam => 0,
            Kind::Adamw => 1,
            Kind::Sgd => 2,
            Kind::Rmsprop => 3,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the pointers are of live tensors, of which the bridge takes its own references.
        check(unsafe {
            ffi::lethe_optimizer_new(
                kind,
                pointers.as_ptr(),
                pointers.len(),
                options.weight_decay,
                options.grad_clip.unwrap_or(0.0),
                i32::from(options.keeps_momentum),
                &mut raw,
            )
        })?;
        Ok(Self { raw })
    }

    /// Clips the gradients, takes one step with them, and drops them (as `zero_grad(set_to_none=True)`).
    /// `momentum` is the first beta of Adam and AdamW. Parameters without a gradient are left as they are.
    pub fn step(&mut self, lr: f64, momentum: f64) -> Result<()> {
        // SAFETY: `raw` is valid until drop.
        check(unsafe { ffi::lethe_optimizer_step(self.raw, lr, momentum) })
    }
}

impl Drop for Optimizer {
    fn drop(&mut self) {
        // SAFETY: made by lethe_optimizer_new, freed once.
        unsafe { ffi::lethe_optimizer_free(self.raw) };
    }
}
