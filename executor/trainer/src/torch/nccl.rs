//! The bridge to libtorch's process group over NCCL: a library of its own inside this one's file, because it needs
//! symbols of libtorch_cuda, which is loaded where there is a GPU and nowhere else.

use std::ffi::c_char;

use super::ffi::RawGroup;
use crate::error::{Error, Result};

/// `lethe_nccl_join` of `bridge/nccl.cpp`.
pub(super) type Join = unsafe extern "C" fn(*mut RawGroup, i64) -> *mut c_char;

/// Loads the bridge, once in a process. libtorch_cuda is loaded before it.
///
/// # Errors
/// If this build has none, or a symbol is missing.
#[cfg(nccl)]
pub(super) fn join() -> Result<Join> {
    use std::sync::{Mutex, PoisonError};

    static LOADED: Mutex<Option<Join>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let join = match *loaded {
        Some(join) => join,
        None => load().map_err(|reason| {
            Error::trial(format!(
                "NCCL's part cannot be loaded, is the installed torch whole? Or take slots without GPUs ({reason})"
            ))
        })?,
    };
    Ok(*loaded.insert(join))
}

#[cfg(not(nccl))]
pub(super) fn join() -> Result<Join> {
    Err(Error::trial(
        "this build of lethe trains on several GPUs with Python functions only: build its wheel anew (cargo clean -p \
         lethe-trainer) where torch's CUDA packages, nvidia-cuda-crt and nvidia-cuda-cccl are installed, or use slots \
         without GPUs",
    ))
}

#[cfg(nccl)]
fn load() -> std::result::Result<Join, String> {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::device::reason;

    const BRIDGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liblethe_nccl.so"));

    let file = memfd_create("lethe-nccl", MemfdFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let mut file = std::fs::File::from(file);
    file.write_all(BRIDGE).map_err(|e| e.to_string())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: its initialisers are those of libstdc++'s headers.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(reason)?;
    // SAFETY: the function has this type.
    let join = unsafe { library.get::<Join>(b"lethe_nccl_join\0") }.map_err(reason)?;
    let join = *join;
    // The function is called for as long as the process lives.
    std::mem::forget(library);
    Ok(join)
}
