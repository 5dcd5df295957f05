//! Training functions by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use lethe_flight::message::training::Function;

use super::{TrainingFunction, sleep};
use crate::error::{Error, Result};
use crate::supervised::Supervised;

/// The functions that a trainer can run: the native loop, `lethe.sleep`, and those registered by its main.
#[derive(Clone)]
pub struct Registry {
    supervised: Arc<dyn TrainingFunction>,
    functions: BTreeMap<String, Arc<dyn TrainingFunction>>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self { supervised: Arc::new(Supervised::default()), functions: BTreeMap::new() };
        registry.register("lethe.sleep", sleep);
        registry
    }
}

impl Registry {
    /// A later function of the same name takes the place of an earlier one.
    pub fn register(&mut self, name: impl Into<String>, function: impl TrainingFunction + 'static) {
        self.functions.insert(name.into(), Arc::new(function));
    }

    /// # Errors
    /// If no function of that name is registered.
    pub fn find(&self, function: &Function) -> Result<&dyn TrainingFunction> {
        match function {
            Function::Supervised(_) => Ok(&*self.supervised),
            Function::Python { name, .. } => Err(Error::Worker(format!(
                "the Python function {name:?} was given to the trainer: its slot's task has not opened it with one"
            ))),
            Function::Registered { name, .. } => match self.functions.get(name) {
                Some(function) => Ok(&**function),
                None => {
                    let known: Vec<_> = self.functions.keys().map(String::as_str).collect();
                    Err(Error::trial(format!(
                        "this trainer has no training function {name:?}; it has: {}. Register it in the \
                         trainer's main and point to that binary",
                        known.join(", ")
                    )))
                }
            },
        }
    }
}
