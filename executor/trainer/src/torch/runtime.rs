//! Settings of the process and of the training thread.

use std::sync::OnceLock;

use tch::{Device, Tensor};

use super::{check, ffi};
use crate::error::Result;

/// Seeds libtorch's generators, on the CPU and on visible GPUs. They are the process's, not the trial's:
/// one trial at a time may run in a process.
pub fn seed(seed: u64) -> Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { ffi::lethe_seed(seed) })
}

/// The state of the default generator of a device, uint8 on the CPU. Dropout masks draw their seeds from it
/// too (see [`fast_dropout`]): nothing else in this process is random.
pub fn random_state(device: Device) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `out` is set to a tensor that is ours where no error is returned.
    check(unsafe { ffi::lethe_random_state(index(device), &mut out) })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// # Errors
/// If it is not the state of such a generator.
pub fn set_random_state(device: Device, state: &Tensor) -> Result<()> {
    // SAFETY: the tensor lives through the call, which copies it.
    check(unsafe { ffi::lethe_set_random_state(index(device), state.as_ptr()) })
}

pub(super) fn index(device: Device) -> i32 {
    match device {
        Device::Cuda(index) => i32::try_from(index).unwrap_or(0),
        _ => -1,
    }
}

/// Threads of one operation, for the calling thread; and one thread for operations side by side, which
/// libtorch lets a process set once.
pub fn set_threads(threads: u32) -> Result<()> {
    static INTER: OnceLock<()> = OnceLock::new();
    INTER.get_or_init(|| {
        // SAFETY: takes no pointers. Fails only if parallel work has begun already; it changes no result.
        _ = check(unsafe { ffi::lethe_inter_threads(1) });
    });
    let threads = i32::try_from(threads.max(1)).unwrap_or(i32::MAX);
    // SAFETY: takes no pointers.
    check(unsafe { ffi::lethe_intra_threads(threads) })
}

/// Whether TorchScript runs programs as written instead of profiling and specialising them first: the
/// batches of a trial come in two shapes, and small steps lose more to the profile's checks than they win.
pub fn plain_interpreter(on: bool) -> Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { ffi::lethe_plain_interpreter(i32::from(on)) })
}

/// Draws dropout masks on the CPU from a counter-based generator, seeded by the default one: many times as
/// fast as libtorch's own, of the same distribution, but not the same masks as in Python. For the process.
pub fn fast_dropout() -> Result<()> {
    // SAFETY: takes no pointers; the replacement is made once.
    check(unsafe { ffi::lethe_fast_dropout() })
}

/// All settings of a thread that trains.
pub fn prepare(threads: u32) -> Result<()> {
    set_threads(threads)?;
    plain_interpreter(true)?;
    fast_dropout()
}

/// Lets the C library keep freed memory for the next step. For a process whose work is training.
pub fn keep_memory() {
    // SAFETY: only sets the allocator's parameters.
    unsafe { ffi::lethe_keep_memory() };
}

/// Memory that a GPU reads by itself, in the shape and dtype of `like` with so many rows. Freed, it comes back once all
/// copies from it have ended.
pub fn pinned_rows(like: &Tensor, rows: i64) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `like` lives through the call; `out` is set to a tensor that is ours where no error is returned.
    check(unsafe { ffi::lethe_pinned_rows(like.as_ptr(), rows, &mut out) })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The value of a tensor of one element. Waits for the GPU if it lies there.
pub fn scalar(tensor: &Tensor) -> Result<f64> {
    let mut value = f64::NAN;
    // SAFETY: the tensor lives through the call, `value` is written before it returns without an error.
    check(unsafe { ffi::lethe_scalar(tensor.as_ptr(), &mut value) })?;
    Ok(value)
}

/// Ends the process without running destructors.
pub fn exit(code: i32) {
    // SAFETY: does not return.
    unsafe { ffi::lethe_exit(code) };
}
