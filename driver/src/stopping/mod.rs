//! Which trials end early, pause, and go on. A rule looks at a trial's reports at rungs and decides.

mod asha;
#[cfg(test)]
mod contract;
mod cost;
mod explore;
mod halving;
mod hyperband;
mod median;
mod none;
mod patience;
mod pbt;
mod rung;
mod settings;
mod standing;
mod threshold;

pub use asha::Asha;
pub use hyperband::Hyperband;
pub use lethe_flight::message::training::Verdict;
pub use median::Median;
pub use none::NoStopping;
pub use patience::Patience;
pub use pbt::Pbt;
pub use settings::rule;
pub use threshold::Threshold;

use lethe_flight::message::Hparams;

/// After which epochs of a trial its rule decides; the worker waits there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rungs {
    /// Ascending, from 1, below the trial's last epoch.
    pub at: Vec<u32>,
    /// After each multiple of this too.
    pub every: Option<u32>,
}

impl Rungs {
    pub fn contains(&self, epoch: u32) -> bool {
        self.at.binary_search(&epoch).is_ok()
            || self.every.is_some_and(|every| every > 0 && epoch.is_multiple_of(every))
    }
}

/// What a rule says to a report at a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// In words for the user, where the verdict is not to go on: `rung 3: 0.81 is not among the best 4 of 13`.
    pub why: Option<String>,
}

impl Decision {
    pub fn go_on() -> Self {
        Self { verdict: Verdict::GoOn, why: None }
    }

    pub fn stop(why: String) -> Self {
        Self { verdict: Verdict::Stop, why: Some(why) }
    }

    pub fn pause(why: String) -> Self {
        Self { verdict: Verdict::Pause, why: Some(why) }
    }
}

/// A paused trial that goes on when a slot is free.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    pub trial: u32,
    /// From the last checkpoint of this trial; of its own if None.
    pub donor: Option<u32>,
    /// With these hyperparameters from now on.
    pub hparams: Option<Hparams>,
    pub why: String,
}

/// A rule is part of the state machine: it must be a pure function of the calls made to it.
pub trait StoppingRule: Send {
    /// The rungs of a trial whose budget is so many epochs.
    fn rungs(&self, trial: u32, epochs: u32) -> Rungs;

    /// So many trials there will be in all, where that is known: the budget's number, another one after a resume,
    /// fewer where the optimizer has no further points.
    fn expects(&mut self, trials: Option<u32>) {
        _ = trials;
    }

    /// A trial was suggested: it may report from now on.
    fn began(&mut self, trial: u32, hparams: &Hparams) {
        _ = (trial, hparams);
    }

    /// The trial has reported this value at this rung. A trial that is run again reports again: what it said
    /// before of this and of later epochs no longer counts.
    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision;

    /// The paused trial that goes on next, if one should, which is then no longer paused. Asked whenever a slot
    /// is free. `ready` says that another trial could take the slot.
    fn promote(&mut self, ready: bool) -> Option<Promotion> {
        _ = ready;
        None
    }

    /// The trial's pause, if it was told to pause, has come to nothing: it is run again and will report again.
    fn again(&mut self, trial: u32) {
        _ = trial;
    }

    /// The trial has failed: what it reported leads nowhere. Its end follows.
    fn failed(&mut self, trial: u32) {
        _ = trial;
    }

    /// The trial has ended and reports no more, whatever it ended by.
    fn ended(&mut self, trial: u32) {
        _ = trial;
    }

    /// Whether [`Verdict::Pause`] can be its verdict.
    fn pauses(&self) -> bool {
        false
    }
}
