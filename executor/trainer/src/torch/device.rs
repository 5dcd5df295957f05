//! Where tensors live: the GPU that this process was given, else the CPU.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::Device;

use super::{check, ffi};

/// The first GPU of CUDA_VISIBLE_DEVICES. One that is asked for and is not there is a warning in the log,
/// and the trial runs on the CPU. Call it once, before anything else asks libtorch for CUDA: libtorch keeps
/// the first answer for the life of the process.
pub fn find_device() -> Device {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    if visible.trim().is_empty() || visible.trim() == "-1" {
        return Device::Cpu;
    }
    match cuda() {
        Ok(()) => Device::Cuda(0),
        Err(reason) => {
            tracing::warn!("CUDA_VISIBLE_DEVICES={visible}, but training runs on the CPU: {reason}");
            Device::Cpu
        }
    }
}

/// `cpu` or `cuda:0`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

fn cuda() -> Result<(), String> {
    // The driver first: without it, loading libtorch's half a gigabyte of kernels is a waste.
    open("libcuda.so.1").map_err(|e| format!("there is no CUDA driver ({e})"))?;
    open("libtorch_cuda.so").map_err(|e| format!("libtorch's CUDA library cannot be loaded ({e})"))?;
    let mut count = 0;
    // SAFETY: `count` outlives the call.
    check(unsafe { ffi::lethe_cuda_devices(&mut count) }).map_err(|e| e.to_string())?;
    if count == 0 { Err("libtorch sees no GPU".into()) } else { Ok(()) }
}

fn open(name: &str) -> Result<(), String> {
    // SAFETY: the initialisers of NVIDIA's driver and of libtorch_cuda have no preconditions.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }.map_err(reason)?;
    // libtorch holds pointers into them from here on.
    std::mem::forget(library);
    Ok(())
}

/// What the loader says: the error's own text does not tell.
pub(super) fn reason(error: libloading::Error) -> String {
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}
