//! A trainer with a Rust training function of its own: point the executor to this binary instead of
//! `lethe-trainer`, and ask for the function by its name.
//!
//! `parabola` looks for the minimum of `(x - 3)^2` by gradient descent with the hyperparameter `lr`, and
//! reports the metric `loss` after each of its epochs. It can be paused: its checkpoint is its `x`.

use lethe_trainer::{Completion, Error, Flow, Result, Saved, Trainer, TrialContext};

fn parabola(trial: &mut TrialContext) -> Result<Completion> {
    let lr = trial.hparams().get("lr").and_then(|lr| lr.as_f64());
    let lr = lr.ok_or_else(|| Error::trial("hparam lr must be a number"))?;
    let (mut x, mut trained) = (0.0, 0);
    if let Some(checkpoint) = trial.checkpoint()? {
        let saved = checkpoint.meta.own.get("x").and_then(|x| x.as_f64());
        x = saved.ok_or_else(|| Error::trial("the checkpoint has no x"))?;
        trained = checkpoint.meta.epoch;
    }
    trial.first_step();
    for epoch in trained + 1..=trial.epochs() {
        if trial.is_stopped() {
            return Ok(Completion::Stopped);
        }
        x -= lr * 2.0 * (x - 3.0);
        let loss = (x - 3.0) * (x - 3.0);
        let flow = trial.report(epoch, [("loss".to_string(), loss)].into())?;
        if flow == Flow::Pause || trial.is_checkpoint_due() {
            let own = [("x".to_string(), x.into())].into_iter().collect();
            trial.save(Saved { step: u64::from(epoch), own, ..Saved::default() })?;
        }
        match flow {
            Flow::Continue => {}
            Flow::Stop => return Ok(Completion::Stopped),
            Flow::Pause => return Ok(Completion::Paused),
        }
    }
    Ok(Completion::Finished)
}

fn main() -> std::process::ExitCode {
    Trainer::builder().register("parabola", parabola).run()
}
