//! Mixed precision.

use tch::Device;

use super::{check, ffi, runtime};
use crate::error::Result;

/// PyTorch's autocast to bfloat16, on this thread and until it is dropped. For forward passes; a backward pass follows
/// the dtypes of its forward pass.
pub struct Autocast {
    device: i32,
}

impl Autocast {
    pub fn new(device: Device) -> Result<Self> {
        let device = runtime::index(device);
        // SAFETY: takes no pointers.
        check(unsafe { ffi::lethe_autocast(device, 1) })?;
        Ok(Self { device })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: takes no pointers. It only fails where it could not begin.
        _ = check(unsafe { ffi::lethe_autocast(self.device, 0) });
    }
}
