//! A TorchScript program: loaded from a file, its tensors set by name, its methods called.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::{Autocast, check, ffi, text};
use crate::error::Result;

/// A module with its attributes. Calls take the grad mode of the calling thread.
pub struct Program {
    raw: *mut ffi::RawProgram,
    /// Where it computes in bfloat16.
    mixed: Option<Device>,
}

// SAFETY: the object is used by one thread at a time (methods that run it take `&mut self`).
unsafe impl Send for Program {}

/// A parameter or buffer as the module holds it.
#[derive(Debug)]
pub struct Slot {
    /// Dotted, as in `state_dict`.
    pub name: String,
    pub is_parameter: bool,
    /// One stored element stands for all: the tensor carries only a shape and a dtype.
    pub is_placeholder: bool,
    /// Equal for tensors that share memory, as tied weights do.
    pub storage: u64,
    pub tensor: Tensor,
}

impl Program {
    /// # Errors
    /// If the file is not a TorchScript program that this version of libtorch can read.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let name = text(&path.to_string_lossy())?;
        let device = match device {
            Device::Cuda(index) => i32::try_from(index).unwrap_or(0),
            _ => -1,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: `name` lives through the call; `raw` is set where no error is returned.
        check(unsafe { ffi::lethe_program_load(name.as_ptr(), device, &mut raw) })
            .map_err(|e| e.during(&format!("cannot load the program {}", path.display())))?;
        Ok(Self { raw, mixed: None })
    }

    /// A copy with attributes of its own that shares the compiled methods.
    pub fn copy(&self) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `self.raw` is valid until drop; `raw` is set where no error is returned.
        check(unsafe { ffi::lethe_program_copy(self.raw, &mut raw) })?;
        Ok(Self { raw, mixed: self.mixed })
    }

    /// Lets its methods compute in mixed precision on this device. What they return is float32 all the same.
    pub fn set_mixed(&mut self, device: Option<Device>) {
        self.mixed = device;
    }

    /// Parameters, then buffers, each in the module's order; a tied weight appears under each of its names.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        let mut slots: Vec<Slot> = Vec::new();
        // SAFETY: the callback gets `slots` back as its context, and only during the call.
        check(unsafe { ffi::lethe_program_tensors(self.raw, (&raw mut slots).cast(), push_slot) })?;
        Ok(slots)
    }

    /// Puts a tensor in place of the parameter or buffer of that dotted name.
    pub fn bind(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let c_name = text(name)?;
        // SAFETY: both arguments live through the call; the module takes its own reference.
        check(unsafe { ffi::lethe_program_bind(self.raw, c_name.as_ptr(), tensor.as_ptr()) })
            .map_err(|e| e.during(&format!("cannot set {name}")))
    }

    pub fn methods(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        // SAFETY: as for `slots`.
        check(unsafe { ffi::lethe_program_methods(self.raw, (&raw mut names).cast(), push_name) })?;
        Ok(names)
    }

    /// Training mode or evaluation mode, as `module.train(on)`.
    pub fn train(&mut self, on: bool) -> Result<()> {
        // SAFETY: `self.raw` is valid until drop.
        check(unsafe { ffi::lethe_program_train(self.raw, i32::from(on)) })
    }

    /// `forward(…)` with an argument for each input, which must return one tensor.
    pub fn forward(&mut self, inputs: &[Tensor]) -> Result<Tensor> {
        let inputs: Vec<_> = inputs.iter().map(|tensor| tensor.as_ptr()).collect();
        let _mixed = self.mixed.map(Autocast::new).transpose()?;
        let mut out = std::ptr::null_mut();
        // SAFETY: the array has as many elements as is said and lives through the call; `out` is set to a tensor
        // that is ours where no error is returned.
        check(unsafe { ffi::lethe_program_forward(self.raw, inputs.as_ptr(), inputs.len(), &mut out) })?;
        self.full(unsafe { Tensor::from_ptr(out) })
    }

    fn full(&self, tensor: Tensor) -> Result<Tensor> {
        match self.mixed {
            Some(_) if tensor.f_kind()? == Kind::BFloat16 => Ok(tensor.f_to_kind(Kind::Float)?),
            _ => Ok(tensor),
        }
    }

    /// `method(batch)` with `batch: Dict[str, Tensor]`; the answer's entries, with an empty name if it was
    /// one tensor.
    pub fn step(&mut self, method: &str, batch: &[(&CStr, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let method = text(method)?;
        let names: Vec<_> = batch.iter().map(|(name, _)| name.as_ptr()).collect();
        let tensors: Vec<_> = batch.iter().map(|(_, tensor)| tensor.as_ptr()).collect();
        let _mixed = self.mixed.map(Autocast::new).transpose()?;
        let mut entries: Vec<(String, Tensor)> = Vec::new();
        // SAFETY: the arrays have `batch.len()` elements and live through the call, as does the context.
        check(unsafe {
            ffi::lethe_program_step(
                self.raw,
                method.as_ptr(),
                names.as_ptr(),
                tensors.as_ptr(),
                batch.len(),
                (&raw mut entries).cast(),
                push_entry,
            )
        })?;
        entries.into_iter().map(|(name, tensor)| Ok((name, self.full(tensor)?))).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by the bridge, freed once.
        unsafe { ffi::lethe_program_free(self.raw) };
    }
}

extern "C" fn push_slot(
    context: *mut c_void,
    name: *const c_char,
    is_parameter: c_int,
    is_placeholder: c_int,
    storage: u64,
    tensor: *mut C_tensor,
) {
    // SAFETY: `context` is the Vec that `slots` gave, `name` a C string, `tensor` one that is ours.
    let slots = unsafe { &mut *context.cast::<Vec<Slot>>() };
    slots.push(Slot {
        name: unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(),
        is_parameter: is_parameter != 0,
        is_placeholder: is_placeholder != 0,
        storage,
        tensor: unsafe { Tensor::from_ptr(tensor) },
    });
}

extern "C" fn push_name(context: *mut c_void, name: *const c_char) {
    // SAFETY: as in `push_slot`.
    let names = unsafe { &mut *context.cast::<Vec<String>>() };
    names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
}

extern "C" fn push_entry(context: *mut c_void, name: *const c_char, tensor: *mut C_tensor) {
    // SAFETY: as in `push_slot`.
    let entries = unsafe { &mut *context.cast::<Vec<(String, Tensor)>>() };
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    entries.push((name, unsafe { Tensor::from_ptr(tensor) }));
}
