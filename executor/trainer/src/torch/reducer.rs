//! Gradients averaged over the ranks of a group.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};

use super::group::{Group, told, waited};
use super::{check, ffi};
use crate::error::{Error, Result};
use crate::gang::Shared;

/// `c10d::Reducer`, as `DistributedDataParallel` uses it: gradients are averaged in buckets, while the backward pass
/// goes on.
pub struct Reducer<'a> {
    raw: *mut ffi::RawReducer,
    _group: &'a Group,
}

impl<'a> Reducer<'a> {
    /// `finds_unused`: whether a loss may not depend on all parameters; looking for them costs time in each step. All
    /// ranks say the same. `shared`, where there is one, takes the means in place of the group, if all gradients are
    /// float32.
    pub fn new(
        group: &'a Group,
        parameters: &[Tensor],
        finds_unused: bool,
        shared: Option<&'a Mutex<Shared>>,
    ) -> Result<Self> {
        let shared = shared.filter(|_| parameters.iter().all(|parameter| parameter.kind() == Kind::Float));
        let mean = match shared {
            Some(shared) => {
                let context: *const Mutex<Shared> = shared;
                ffi::MeanCall { context: context.cast_mut().cast(), mean: Some(mean) }
            }
            None => ffi::MeanCall { context: std::ptr::null_mut(), mean: None },
        };
        let pointers: Vec<_> = parameters.iter().map(Tensor::as_ptr).collect();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the pointers are of live tensors, of which the bridge takes its own references; what `mean` is called
        // with outlives this object.
        waited(unsafe {
            ffi::lethe_reducer_new(
                group.raw(),
                pointers.as_ptr(),
                pointers.len(),
                i32::from(finds_unused),
                mean,
                &mut raw,
            )
        })?;
        Ok(Self { raw, _group: group })
    }

    /// Says that the next backward pass, from this loss, is to average the gradients: those that it adds to too.
    pub fn prepare(&mut self, loss: &Tensor) -> Result<()> {
        // SAFETY: both live through the call.
        waited(unsafe { ffi::lethe_reducer_prepare(self.raw, loss.as_ptr()) }).map_err(|error| match error {
            Error::Torch(text) if text.contains("finished reduction") => Error::trial(format!(
                "the loss depends on other parameters in one step than in another, which several workers cannot average: \
                 let each step use all of them (add 0.0 * parameter.sum()), or none of the others ever\n{text}"
            )),
            other => other,
        })
    }
}

impl Drop for Reducer<'_> {
    fn drop(&mut self) {
        // SAFETY: made by the bridge, freed once, before its group.
        unsafe { ffi::lethe_reducer_free(self.raw) };
    }
}

extern "C" fn mean(context: *mut c_void, values: *mut f32, count: usize) -> *mut c_char {
    // SAFETY: the context is that of `Reducer::new`, which is borrowed as long as the reducer is there.
    let shared = unsafe { &*context.cast::<Mutex<Shared>>() };
    // SAFETY: so many numbers of a bucket that nobody else reads meanwhile.
    let values = if count == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(values, count) } };
    told(shared.lock().unwrap_or_else(PoisonError::into_inner).mean(values), |()| ())
}

/// How many of the parameters the loss does not depend on.
pub fn unused(loss: &Tensor, parameters: &[Tensor]) -> Result<usize> {
    let pointers: Vec<_> = parameters.iter().map(Tensor::as_ptr).collect();
    let mut count = 0;
    // SAFETY: all live through the call.
    check(unsafe { ffi::lethe_unused(loss.as_ptr(), pointers.as_ptr(), pointers.len(), &mut count) })?;
    Ok(count)
}
