//! Trials that are a list: what a single run, an ablation study or distributed training consists of.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment;

use super::{Observation, Optimizer, Suggestion};

/// Each of them once, in their order.
pub struct Listed {
    /// And why: their names.
    points: Vec<(Hparams, String)>,
}

impl Listed {
    pub fn new(trials: &[experiment::Listed]) -> Self {
        Self { points: trials.iter().map(|trial| (trial.hparams.clone(), trial.name.clone())).collect() }
    }
}

impl Optimizer for Listed {
    fn suggest(&mut self, trial: u32, _: u32, _: &[Observation]) -> Suggestion {
        match self.points.get(trial as usize) {
            Some((hparams, why)) => {
                Suggestion::Point { hparams: hparams.clone(), why: why.clone(), note: None }
            }
            None => Suggestion::Exhausted,
        }
    }

    fn learns(&self) -> bool {
        false
    }

    fn is_quick(&self) -> bool {
        true
    }
}
