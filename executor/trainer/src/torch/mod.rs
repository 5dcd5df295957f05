//! libtorch: what tch has, through its fallible calls, and what it lacks, through the C++ bridge.
//! Every error is returned; nothing panics or throws across the boundary.

mod device;
mod ffi;
mod group;
mod nccl;
mod optimizer;
mod precision;
mod program;
mod raw;
mod reducer;
mod runtime;

use std::ffi::{CStr, CString, c_char};

use crate::error::{Error, Result, plain};

pub use device::{find_device, name as device_name};
pub use group::{Group, SharedBatchNorm, StandIn};
pub use optimizer::{Optimizer, OptimizerOptions, StateTensor};
pub use precision::Autocast;
pub use program::{Program, Slot};
pub use raw::{from_named, kind_of, to_named};
pub use reducer::{Reducer, unused};
pub use runtime::{
    exit, fast_dropout, keep_memory, pinned_rows, plain_interpreter, prepare, random_state, scalar, seed,
    set_random_state, set_threads,
};

/// Turns what a bridge function returned into a result, and frees the text.
fn check(text: *mut c_char) -> Result<()> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: the bridge returns null or a NUL-terminated text that is ours to free, once, here.
    let message = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    unsafe { ffi::lethe_text_free(text) };
    Err(Error::Torch(plain(&message)))
}

fn text(value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::trial(format!("{value:?} must not contain a NUL character")))
}
