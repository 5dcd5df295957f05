//! Tensors as the bytes that travel.

use lethe_flight::tensors::{NamedTensor, element_bytes};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// A copy of a tensor as it is now, wherever it lies.
pub fn to_named(name: String, tensor: &Tensor) -> Result<NamedTensor> {
    let tensor = tensor.f_detach()?.f_to(Device::Cpu)?.f_contiguous()?;
    let dtype = dtype_of(tensor.f_kind()?)?;
    let mut data = vec![0; tensor.numel() * element_bytes(dtype)?];
    tensor.f_copy_data_u8(&mut data, tensor.numel())?;
    Ok(NamedTensor { name, dtype: dtype.into(), shape: tensor.size(), data })
}

/// A tensor with memory of its own.
pub fn from_named(named: &NamedTensor, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_from_data_size(&named.data, &named.shape, kind_of(&named.dtype)?)?.f_to(device)?)
}

const KINDS: [(Kind, &str); 10] = [
    (Kind::Double, "float64"),
    (Kind::Float, "float32"),
    (Kind::Half, "float16"),
    (Kind::BFloat16, "bfloat16"),
    (Kind::Int64, "int64"),
    (Kind::Int, "int32"),
    (Kind::Int16, "int16"),
    (Kind::Int8, "int8"),
    (Kind::Uint8, "uint8"),
    (Kind::Bool, "bool"),
];

/// # Errors
/// If tensors of that dtype cannot travel.
pub fn kind_of(dtype: &str) -> Result<Kind> {
    let found = KINDS.iter().find(|(_, name)| *name == dtype);
    found
        .map(|(kind, _)| *kind)
        .ok_or_else(|| Error::trial(format!("weights of dtype {dtype} cannot be trained")))
}

fn dtype_of(kind: Kind) -> Result<&'static str> {
    let found = KINDS.iter().find(|(known, _)| *known == kind);
    found
        .map(|(_, name)| *name)
        .ok_or_else(|| Error::trial(format!("weights of dtype {kind:?} cannot be sent")))
}
