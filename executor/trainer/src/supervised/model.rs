//! A generated module with its weights: the program's placeholders replaced by real tensors.

use std::collections::{BTreeMap, HashMap, HashSet};

use lethe_flight::tensors::NamedTensor;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::gang::Gang;
use crate::torch::{Program, Slot, from_named, kind_of, to_named};

/// Where weights come from, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub what: &'static str,
    /// What to do if they do not fit the program.
    pub remedy: &'static str,
}

/// A program whose parameters and buffers are the trial's own.
pub struct Model {
    pub program: Program,
    /// Distinct trainable tensors, each under the first of its names: a tied weight is here once.
    parameters: Vec<Tensor>,
    names: Vec<String>,
    /// Names of the `state_dict`, in the order in which they were given.
    state: Vec<String>,
}

impl Model {
    /// Puts weights into a program, by `state_dict` name.
    ///
    /// Tensors that share memory in the program are one tensor here too: tied weights stay tied.
    ///
    /// # Errors
    /// If a name, shape or dtype does not fit the program, or a placeholder gets no weights.
    pub fn new(program: Program, given: &[NamedTensor], origin: Origin, device: Device) -> Result<Self> {
        let Origin { what, remedy } = origin;
        let slots = program.slots()?;
        let mut by_name: BTreeMap<&str, &NamedTensor> = given.iter().map(|t| (t.name.as_str(), t)).collect();
        let state = given.iter().map(|t| t.name.clone()).collect();
        let mut model = Self { program, parameters: Vec::new(), names: Vec::new(), state };
        let mut shared: HashMap<u64, Tensor> = HashMap::new();
        for slot in &slots {
            let Some(weights) = by_name.remove(slot.name.as_str()) else {
                if slot.is_placeholder || slot.is_parameter {
                    return Err(Error::trial(format!("there are no {what} for {}: {remedy}", slot.name)));
                }
                // A buffer outside the state_dict comes with its values in the program.
                continue;
            };
            let expected = (slot.tensor.size(), slot.tensor.f_kind()?);
            if expected != (weights.shape.clone(), kind_of(&weights.dtype)?) {
                return Err(Error::trial(format!(
                    "the {what} of {} have shape {:?} and dtype {}, the program has shape {:?} and dtype {:?}: {remedy}",
                    slot.name, weights.shape, weights.dtype, expected.0, expected.1
                )));
            }
            let tensor = match shared.get(&slot.storage) {
                Some(tensor) if slot.storage != 0 && tensor.size() == expected.0 => tensor.shallow_clone(),
                _ => {
                    let tensor = from_named(weights, device)?;
                    let trains = slot.is_parameter && slot.tensor.requires_grad();
                    let tensor = tensor.f_set_requires_grad(trains)?;
                    if trains {
                        model.parameters.push(tensor.shallow_clone());
                        model.names.push(slot.name.clone());
                    }
                    shared.insert(slot.storage, tensor.shallow_clone());
                    tensor
                }
            };
            model.program.bind(&slot.name, &tensor)?;
        }
        if let Some(name) = by_name.keys().next() {
            return Err(Error::trial(format!("the {what} have {name}, which the program has not: {remedy}")));
        }
        Ok(model)
    }

    /// Gives all ranks the parameters and buffers of rank 0.
    pub fn share(&self, gang: &Gang) -> Result<()> {
        gang.group().broadcast(&self.tensors(|_| true)?)
    }

    /// Gives all ranks the buffers of rank 0, which each has changed by its own rows.
    pub fn share_buffers(&self, gang: &Gang) -> Result<()> {
        let buffers = self.tensors(|slot| !slot.is_parameter)?;
        if buffers.is_empty() { Ok(()) } else { gang.group().broadcast(&buffers) }
    }

    /// A number that is another one where a weight differs in a bit: ranks compare theirs.
    pub fn fingerprint(&self) -> Result<i64> {
        let of = |tensor: &Tensor| -> Result<i64> {
            let bits = match tensor.f_kind()? {
                Kind::Float => Kind::Int,
                Kind::Half | Kind::BFloat16 => Kind::Int16,
                _ => Kind::Int64,
            };
            let bits = tensor.f_detach()?.f_contiguous()?.f_view_dtype(bits)?;
            Ok(bits.f_sum(Kind::Int64)?.f_to(Device::Cpu)?.f_int64_value(&[])?)
        };
        self.parameters.iter().try_fold(0, |all: i64, tensor| Ok(all.wrapping_add(of(tensor)?)))
    }

    /// Distinct tensors of the program as it is now.
    fn tensors(&self, wanted: impl Fn(&Slot) -> bool) -> Result<Vec<Tensor>> {
        let mut seen = HashSet::new();
        let slots = self.program.slots()?.into_iter();
        let distinct = slots.filter(|slot| wanted(slot) && (slot.storage == 0 || seen.insert(slot.storage)));
        Ok(distinct.map(|slot| slot.tensor).collect())
    }

    /// Distinct trainable parameters.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The name of each of them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A copy of the `state_dict` as it is now.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        // Asked of the program, for a method may put another tensor in place of a buffer.
        let slots = self.program.slots()?;
        let by_name: HashMap<&str, &Tensor> = slots.iter().map(|s| (s.name.as_str(), &s.tensor)).collect();
        let held = self.state.iter().filter_map(|name| by_name.get_key_value(name.as_str()));
        held.map(|(name, tensor)| to_named((*name).to_owned(), tensor)).collect()
    }

    /// A copy of the buffers that the `state_dict` leaves out, as they are now.
    pub fn hidden(&self) -> Result<Vec<NamedTensor>> {
        let slots = self.program.slots()?;
        let hidden = slots.into_iter().filter(|slot| !self.state.contains(&slot.name));
        hidden.map(|slot| to_named(slot.name, &slot.tensor)).collect()
    }

    /// Sets such buffers.
    pub fn set_hidden(&mut self, buffers: &[NamedTensor], device: Device) -> Result<()> {
        buffers.iter().try_for_each(|buffer| self.program.bind(&buffer.name, &from_named(buffer, device)?))
    }
}
