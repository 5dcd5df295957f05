//! The native loop's checkpoints: all that a trial needs to go on, in any process, to the bit as if it had not
//! been interrupted. `docs/protocol.md` lists their tensors.
//!
//! What a trial is told anew is not in them: hyperparameters are those of the attempt that goes on, and the place
//! in the schedule follows from its epoch. What a module keeps in attributes that are no tensors is not in them
//! either, as it is in no `state_dict`.

use std::collections::BTreeMap;

use lethe_flight::message::training::Optimizer as Kind;
use lethe_flight::tensors::NamedTensor;
use serde_json::{Map, Value};
use tch::Device;

use super::model::{Model, Origin};
use crate::error::{Error, Result};
use crate::function::{Checkpoint, Saved};
use crate::gang::Gang;
use crate::torch::{self, Optimizer, Program, from_named, kind_of, to_named};

const STATE: &str = "model/";
/// Buffers outside the `state_dict`.
const HIDDEN: &str = "buffer/";
const OPTIMIZER: &str = "optimizer/";
const BEST: &str = "best/";
const CPU: &str = "random/cpu";
const CUDA: &str = "random/cuda";
/// In the meta: whose state it is.
const KIND: &str = "optimizer";
/// The one state that is not there until an optimizer has a use for it.
const LAZY: &str = "momentum_buffer";

const ORIGIN: Origin = Origin {
    what: "weights in the checkpoint",
    remedy: "it is of another module; a hyperparameter that shapes the module cannot change along the way",
};

/// Everything of a trial as it is now. `best` are the weights of an earlier epoch that it would keep.
pub fn collect(
    model: &Model,
    optimizer: &Optimizer,
    kind: Kind,
    device: Device,
    step: u64,
    best: Option<&[NamedTensor]>,
    gang: Option<&Gang>,
) -> Result<Saved> {
    let random = torch::random_state(Device::Cpu)?;
    // Of a gang all ranks come here, and rank 0 saves what they have of their own.
    let others = gang.map_or(Ok(Vec::new()), |gang| gang.gather(&random))?;
    let on_gpu = if device == Device::Cpu { None } else { Some(torch::random_state(device)?) };
    let others_on_gpus = match (gang, &on_gpu) {
        (Some(gang), Some(state)) => gang.gather(state)?,
        _ => Vec::new(),
    };
    if gang.is_some_and(|gang| !gang.is_first()) {
        return Ok(Saved::default());
    }
    let under = |prefix: &str, tensors: Vec<NamedTensor>| {
        let prefix = prefix.to_owned();
        tensors.into_iter().map(move |t| NamedTensor { name: format!("{prefix}{}", t.name), ..t })
    };
    let mut tensors: Vec<NamedTensor> = under(STATE, model.state()?).collect();
    tensors.extend(under(HIDDEN, model.hidden()?));
    for part in optimizer.state()? {
        let name = format!("{OPTIMIZER}{}/{}", part.state, parameter(model, part.place));
        tensors.push(to_named(name, &part.tensor)?);
    }
    tensors.push(to_named(CPU.into(), &random)?);
    for (name, states) in [(CPU, others), (CUDA, others_on_gpus)] {
        for (rank, state) in states.iter().enumerate().skip(1) {
            tensors.push(to_named(format!("{name}/{rank}"), state)?);
        }
    }
    if let Some(state) = on_gpu {
        tensors.push(to_named(CUDA.into(), &state)?);
    }
    tensors.extend(under(BEST, best.unwrap_or_default().to_vec()));
    let own = Map::from_iter([(KIND.to_owned(), name_of(kind))]);
    Ok(Saved { step, tensors, own })
}

/// A checkpoint by its parts.
pub struct Resumed {
    pub epoch: u32,
    /// The `state_dict`.
    pub state: Vec<NamedTensor>,
    /// The kept weights of an earlier epoch, if there were any.
    pub best: Vec<NamedTensor>,
    hidden: Vec<NamedTensor>,
    /// By their names in the file.
    rest: BTreeMap<String, NamedTensor>,
    kind: Kind,
}

impl Resumed {
    /// # Errors
    /// If another function saved the checkpoint.
    pub fn new(checkpoint: Checkpoint) -> Result<Self> {
        let kind = checkpoint.meta.own.get(KIND).cloned().unwrap_or_default();
        let kind = serde_json::from_value(kind).map_err(|_| {
            Error::trial("the checkpoint names no optimizer: another training function has saved it")
        })?;
        let mut resumed = Self {
            epoch: checkpoint.meta.epoch,
            state: Vec::new(),
            best: Vec::new(),
            hidden: Vec::new(),
            rest: BTreeMap::new(),
            kind,
        };
        for mut tensor in checkpoint.tensors {
            let parts =
                [(STATE, &mut resumed.state), (BEST, &mut resumed.best), (HIDDEN, &mut resumed.hidden)];
            let name = std::mem::take(&mut tensor.name);
            let part = parts.into_iter().find_map(|(prefix, part)| Some((name.strip_prefix(prefix)?, part)));
            match part {
                Some((rest, part)) => part.push(NamedTensor { name: rest.to_owned(), ..tensor }),
                None => _ = resumed.rest.insert(name.clone(), NamedTensor { name, ..tensor }),
            }
        }
        Ok(resumed)
    }

    /// The module as it was.
    ///
    /// # Errors
    /// If the checkpoint does not fit the program.
    pub fn model(&self, program: Program, device: Device) -> Result<Model> {
        let mut model = Model::new(program, &self.state, ORIGIN, device)?;
        model.set_hidden(&self.hidden, device)?;
        Ok(model)
    }

    /// Puts the optimizer's state in its place.
    ///
    /// # Errors
    /// If it is the state of an optimizer of another kind, or of other parameters.
    pub fn restore_optimizer(&self, optimizer: &Optimizer, kind: Kind, model: &Model) -> Result<()> {
        if family(kind) != family(self.kind) {
            return Err(Error::trial(format!(
                "the checkpoint's optimizer is {}, the trial's is {}, which cannot go on with its state: keep one \
                 optimizer along a trial",
                name_of(self.kind),
                name_of(kind)
            )));
        }
        for part in optimizer.state()? {
            let name = format!("{OPTIMIZER}{}/{}", part.state, parameter(model, part.place));
            let Some(saved) = self.rest.get(&name) else {
                if part.state == LAZY {
                    continue;
                }
                return Err(Error::trial(format!("the checkpoint has no {name}: it is damaged")));
            };
            let expected = (part.tensor.size(), part.tensor.f_kind()?);
            if expected != (saved.shape.clone(), kind_of(&saved.dtype)?) {
                return Err(Error::trial(format!(
                    "{name} of the checkpoint has shape {:?} and dtype {}, not {:?} and {:?}: it is damaged",
                    saved.shape, saved.dtype, expected.0, expected.1
                )));
            }
            let mut tensor = part.tensor;
            tensor.f_copy_(&from_named(saved, Device::Cpu)?)?;
        }
        Ok(())
    }

    /// Goes on with the random numbers where they were; on a GPU that follows a CPU, only those of the CPU. A rank that
    /// was not there then begins with a seed of its own.
    pub fn restore_random(&self, device: Device, gang: Option<&Gang>, seed: u64) -> Result<()> {
        let set = |device, name: &str| match self.rest.get(name) {
            None => Ok(()),
            Some(state) => torch::set_random_state(device, &from_named(state, Device::Cpu)?)
                .map_err(|e| e.during(&format!("{name} of the checkpoint"))),
        };
        if let Some(gang) = gang.filter(|gang| !gang.is_first()) {
            let own = format!("{CPU}/{}", gang.rank().rank);
            if !self.rest.contains_key(&own) {
                return torch::seed(seed.wrapping_add(u64::from(self.epoch) << 32));
            }
            set(Device::Cpu, &own)?;
            let own = format!("{CUDA}/{}", gang.rank().rank);
            return if device == Device::Cpu { Ok(()) } else { set(device, &own) };
        }
        set(Device::Cpu, CPU)?;
        if device == Device::Cpu { Ok(()) } else { set(device, CUDA) }
    }
}

fn parameter(model: &Model, place: usize) -> &str {
    model.names().get(place).map_or("", String::as_str)
}

/// AdamW goes on with Adam's state, and the reverse.
fn family(kind: Kind) -> Kind {
    if kind == Kind::Adamw { Kind::Adam } else { kind }
}

fn name_of(kind: Kind) -> Value {
    // A plain enum always renders.
    serde_json::to_value(kind).unwrap_or_default()
}
