//! The weights of the report that counts.

use lethe_flight::message::training::Select;
use lethe_flight::tensors::NamedTensor;

use super::model::Model;
use super::resume::Resumed;
use crate::error::Result;
use crate::function::{Completion, TrialContext};

/// Keeps the weights of the report that counts. They are copied at the report: a trial may be stopped in the
/// middle of a later epoch.
#[derive(Default)]
pub struct Keeper {
    weights: Option<Vec<NamedTensor>>,
}

impl Keeper {
    /// As it was when the checkpoint was saved, but for what the experiment has reached since.
    pub fn restore(trial: &TrialContext, resumed: &Resumed) -> Self {
        let weights = trial
            .kept_epoch()
            .map(|epoch| if epoch == resumed.epoch { resumed.state.clone() } else { resumed.best.clone() });
        // The moment was not worth keeping to the attempt that saved the checkpoint.
        Self { weights: weights.filter(|weights| !weights.is_empty()) }
    }

    /// Looks at the report just made.
    pub fn look(&mut self, trial: &mut TrialContext, model: &Model, value: f64) -> Result<()> {
        let select = trial.spec().objective.select;
        if trial.is_worth_keeping(value) {
            self.weights = Some(model.state()?);
        } else if select == Select::Last {
            self.weights = None;
        }
        Ok(())
    }

    /// The weights kept of an epoch before this one.
    pub fn earlier(&self, trial: &TrialContext, epoch: u32) -> Option<&[NamedTensor]> {
        self.weights.as_deref().filter(|_| trial.kept_epoch().is_some_and(|kept| kept != epoch))
    }

    pub fn end(self, trial: &mut TrialContext, completion: Completion) -> Result<Completion> {
        if let Some(weights) = self.weights {
            trial.keep_weights(&weights)?;
        }
        Ok(completion)
    }
}
