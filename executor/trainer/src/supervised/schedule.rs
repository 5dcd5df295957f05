//! The learning rate, and where the schedule moves it the momentum, of each step.

use std::f64::consts::PI;

use lethe_flight::message::training::{Optimizer, Schedule};

use super::settings::Settings;

/// Adam's and AdamW's first beta.
const BETA1: f64 = 0.9;

/// Settings of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub lr: f64,
    /// The first beta for Adam and AdamW.
    pub momentum: f64,
}

/// A schedule over the steps of a whole trial, steps counted from 0.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    schedule: Schedule,
    lr: f64,
    momentum: f64,
    steps_per_epoch: u64,
    epochs: u64,
}

impl Rates {
    pub fn new(settings: &Settings, steps_per_epoch: u64) -> Self {
        let momentum = match settings.optimizer {
            Optimizer::Adam | Optimizer::Adamw => BETA1,
            Optimizer::Sgd | Optimizer::Rmsprop => settings.momentum,
        };
        Self {
            schedule: settings.schedule,
            lr: settings.lr,
            momentum,
            steps_per_epoch: steps_per_epoch.max(1),
            epochs: u64::from(settings.epochs),
        }
    }

    /// Whether any step has a momentum other than 0.
    pub fn keeps_momentum(&self) -> bool {
        self.momentum > 0.0 || self.schedule == Schedule::OneCycle
    }

    /// - cosine: PyTorch's `CosineAnnealingLR(T_max=steps)`, in closed form;
    /// - step: `lr * 0.1^k` in the k-th third of the epochs (k from 0);
    /// - one-cycle: PyTorch's `OneCycleLR(max_lr=lr, total_steps=steps)` with its defaults, which cycle the
    ///   momentum (Adam's first beta) from 0.95 to 0.85 and back.
    pub fn at(&self, step: u64) -> Rate {
        let steps = (self.epochs * self.steps_per_epoch) as f64;
        let plain = |lr| Rate { lr, momentum: self.momentum };
        match self.schedule {
            Schedule::Constant => plain(self.lr),
            Schedule::Cosine => plain(self.lr * (1.0 + (PI * step as f64 / steps).cos()) / 2.0),
            Schedule::Step => {
                let third = 3 * (step / self.steps_per_epoch) / self.epochs.max(1);
                plain(self.lr * 0.1f64.powi(third.min(2) as i32))
            }
            Schedule::OneCycle => one_cycle(self.lr, step as f64, steps),
        }
    }
}

/// Smith & Topin, "Super-Convergence" (2017), as PyTorch has it: 30 % of the steps up from `lr / 25`, then
/// down to `lr / 25 / 10^4`, both along a cosine.
fn one_cycle(lr: f64, step: f64, steps: f64) -> Rate {
    let (start, least) = (lr / 25.0, lr / 25.0 / 1e4);
    let top = 0.3 * steps - 1.0;
    let cosine = |from: f64, to: f64, share: f64| to + (from - to) / 2.0 * (1.0 + (PI * share).cos());
    if step <= top {
        let share = step / top;
        Rate { lr: cosine(start, lr, share), momentum: cosine(0.95, 0.85, share) }
    } else {
        let share = (step - top) / (steps - 1.0 - top);
        Rate { lr: cosine(lr, least, share), momentum: cosine(0.85, 0.95, share) }
    }
}
