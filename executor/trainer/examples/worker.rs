//! A trainer with a Rust training function of its own: point the executor to this binary instead of
//! `lethe-trainer`, and ask for the function by its name.
//!
//! `parabola` looks for the minimum of `(x - 3)^2` by gradient descent with the hyperparameter `lr`, and
//! reports the metric `loss` after each of its epochs.

use lethe_trainer::{Completion, Error, Flow, Result, Trainer, TrialContext};

fn parabola(trial: &mut TrialContext) -> Result<Completion> {
    let lr = trial.hparams().get("lr").and_then(|lr| lr.as_f64());
    let lr = lr.ok_or_else(|| Error::trial("hparam lr must be a number"))?;
    let mut x = 0.0;
    trial.first_step();
    for epoch in 1..=trial.epochs() {
        if trial.is_stopped() {
            return Ok(Completion::Stopped);
        }
        x -= lr * 2.0 * (x - 3.0);
        let loss = (x - 3.0) * (x - 3.0);
        if trial.report(epoch, [("loss".to_string(), loss)].into())? == Flow::Stop {
            return Ok(Completion::Stopped);
        }
    }
    Ok(Completion::Finished)
}

fn main() -> std::process::ExitCode {
    Trainer::builder().register("parabola", parabola).run()
}
