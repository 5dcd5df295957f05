//! Which moment of a trial counts: that whose weights are kept.

use lethe_flight::message::training::{Objective, Select, TrialSpec};

use super::checkpoint::Meta;

/// The report that counts so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    counts: Option<(f64, u32)>,
}

impl Moment {
    /// As it stood when the checkpoint was saved. Another trial's reports are not this one's.
    pub fn restore(spec: &TrialSpec, meta: &Meta) -> Self {
        let own = spec.checkpoint.is_none_or(|checkpoint| checkpoint.trial == spec.trial);
        let counts = meta.best_epoch.filter(|_| own).map(|epoch| (meta.best.unwrap_or(f64::NAN), epoch));
        Self { counts }
    }

    /// Looks at a report. Whether it is now the one that counts.
    pub fn look(&mut self, objective: &Objective, value: f64, epoch: u32) -> bool {
        let counts = match objective.select {
            Select::Last => true,
            Select::Best => self.counts.is_none_or(|(best, _)| objective.better(value, best)),
        };
        if counts {
            self.counts = Some((value, epoch));
        }
        counts
    }

    /// Value and epoch.
    pub fn counts(&self) -> Option<(f64, u32)> {
        self.counts
    }

    /// Its epoch, if weights of that value are worth keeping: no worse than the experiment's best when this
    /// attempt was handed out.
    pub fn kept(&self, spec: &TrialSpec) -> Option<u32> {
        let (value, epoch) = self.counts?;
        let worse = spec.best_so_far.is_some_and(|best| spec.objective.better(best, value));
        (!worse).then_some(epoch)
    }
}
