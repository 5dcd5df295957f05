//! A generated module with its weights: the program's placeholders replaced by real tensors.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use lethe_flight::tensors::{self, NamedTensor};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::torch::Program;

/// A program whose parameters and buffers are the trial's own.
pub struct Model {
    pub program: Program,
    /// Distinct trainable tensors: a tied weight is here once.
    parameters: Vec<Tensor>,
    /// Under each of its `state_dict` names, with its dtype's name; in the order of the initial weights.
    state: Vec<(String, &'static str, Tensor)>,
}

impl Model {
    /// Puts the weights of a file (see [`lethe_flight::tensors`]) into a program, by `state_dict` name.
    ///
    /// Tensors that share memory in the program are one tensor here too: tied weights stay tied.
    ///
    /// # Errors
    /// If a name, shape or dtype of the file does not fit the program, or a placeholder gets no weights.
    pub fn new(program: Program, weights: &Path, device: Device) -> Result<Self> {
        let slots = program.slots()?;
        let given = tensors::read_file(weights)?;
        let mut by_name: BTreeMap<&str, &NamedTensor> = given.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut model = Self { program, parameters: Vec::new(), state: Vec::new() };
        let mut shared: HashMap<u64, Tensor> = HashMap::new();
        let mut bound: HashMap<&str, (&'static str, Tensor)> = HashMap::new();
        for slot in &slots {
            let Some(weights) = by_name.remove(slot.name.as_str()) else {
                if slot.is_placeholder || slot.is_parameter {
                    return Err(Error::trial(format!(
                        "there are no initial weights for {}: send each entry of the module's state_dict",
                        slot.name
                    )));
                }
                // A buffer outside the state_dict comes with its values in the program.
                continue;
            };
            let (kind, dtype) = kind_of(&weights.dtype)?;
            let expected = (slot.tensor.size(), slot.tensor.f_kind()?);
            if expected != (weights.shape.clone(), kind) {
                return Err(Error::trial(format!(
                    "the initial weights of {} have shape {:?} and dtype {}, the program has shape {:?} and dtype {:?}",
                    slot.name, weights.shape, weights.dtype, expected.0, expected.1
                )));
            }
            let tensor = match shared.get(&slot.storage) {
                Some(tensor) if slot.storage != 0 && tensor.size() == expected.0 => tensor.shallow_clone(),
                _ => {
                    let tensor =
                        Tensor::f_from_data_size(&weights.data, &weights.shape, kind)?.f_to(device)?;
                    let trains = slot.is_parameter && slot.tensor.requires_grad();
                    let tensor = tensor.f_set_requires_grad(trains)?;
                    if trains {
                        model.parameters.push(tensor.shallow_clone());
                    }
                    shared.insert(slot.storage, tensor.shallow_clone());
                    tensor
                }
            };
            model.program.bind(&slot.name, &tensor)?;
            bound.insert(&slot.name, (dtype, tensor));
        }
        if let Some(name) = by_name.keys().next() {
            return Err(Error::trial(format!("the initial weights have {name}, which the program has not")));
        }
        for tensor in &given {
            if let Some((dtype, bound)) = bound.remove(tensor.name.as_str()) {
                model.state.push((tensor.name.clone(), dtype, bound));
            }
        }
        Ok(model)
    }

    /// Distinct trainable parameters.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// A copy of all parameters and buffers, by name, as they are now.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        self.state
            .iter()
            .map(|(name, dtype, tensor)| {
                let tensor = tensor.f_detach()?.f_to(Device::Cpu)?.f_contiguous()?;
                let mut data = vec![0; tensor.numel() * tensors::element_bytes(dtype)?];
                tensor.f_copy_data_u8(&mut data, tensor.numel())?;
                Ok(NamedTensor { name: name.clone(), dtype: (*dtype).into(), shape: tensor.size(), data })
            })
            .collect()
    }
}

fn kind_of(dtype: &str) -> Result<(Kind, &'static str)> {
    Ok(match dtype {
        "float64" => (Kind::Double, "float64"),
        "float32" => (Kind::Float, "float32"),
        "float16" => (Kind::Half, "float16"),
        "bfloat16" => (Kind::BFloat16, "bfloat16"),
        "int64" => (Kind::Int64, "int64"),
        "int32" => (Kind::Int, "int32"),
        "int16" => (Kind::Int16, "int16"),
        "int8" => (Kind::Int8, "int8"),
        "uint8" => (Kind::Uint8, "uint8"),
        "bool" => (Kind::Bool, "bool"),
        other => return Err(Error::trial(format!("weights of dtype {other} cannot be trained"))),
    })
}
