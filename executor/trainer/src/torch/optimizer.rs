//! Optimizer steps over all parameters in one call.

use std::ffi::{CStr, c_char, c_void};

use tch::Tensor;
use torch_sys::C_tensor;

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

/// One tensor of an optimizer's state.
pub struct StateTensor {
    /// As in PyTorch: `exp_avg`, `exp_avg_sq`, `step`, `momentum_buffer`, `square_avg`.
    pub state: String,
    /// Its parameter's place among those that the optimizer was made with.
    pub place: usize,
    /// The optimizer's own: what is copied into it is its state from then on.
    pub tensor: Tensor,
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

    /// All of the state, in an order that depends on the parameters alone.
    pub fn state(&self) -> Result<Vec<StateTensor>> {
        let mut tensors: Vec<StateTensor> = Vec::new();
        // SAFETY: the callback gets `tensors` back as its context, and only during the call.
        check(unsafe { ffi::lethe_optimizer_state(self.raw, (&raw mut tensors).cast(), push_state) })?;
        Ok(tensors)
    }
}

extern "C" fn push_state(context: *mut c_void, state: *const c_char, place: usize, tensor: *mut C_tensor) {
    // SAFETY: `context` is the Vec that `state` gave, the text a C string, the tensor one that is ours.
    let tensors = unsafe { &mut *context.cast::<Vec<StateTensor>>() };
    let state = unsafe { CStr::from_ptr(state) }.to_string_lossy().into_owned();
    tensors.push(StateTensor { state, place, tensor: unsafe { Tensor::from_ptr(tensor) } });
}

impl Drop for Optimizer {
    fn drop(&mut self) {
        // SAFETY: made by lethe_optimizer_new, freed once.
        unsafe { ffi::lethe_optimizer_free(self.raw) };
    }
}
