//! Steps per second of the native loop, for benchmarks:
//!
//! ```text
//! steps PROGRAM WEIGHTS VIEW.json BATCH_SIZE SECONDS PRECISION
//! ```
//!
//! PROGRAM is a TorchScript program without weights, WEIGHTS its initial weights, VIEW.json a view's
//! description as `lethe_flight::message::dataset::View`; its labels are classes. Trains with Adam and cross
//! entropy on one thread for that long, on the first GPU of CUDA_VISIBLE_DEVICES if that is set, with PRECISION float32 or
//! bfloat16, and prints one line: `{"steps_per_s": …, "steps": …, "train_loss": …, "device": …, "setup_ms": …}`.
//! The first epoch is not counted. There is no validation if the view has no validation rows.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lethe_flight::message::dataset::View;
use lethe_flight::message::training::{
    Direction, Function, Loss, Objective, Optimizer, Outcome, Precision, Schedule, Select, Supervised,
    TrialSpec,
};
use lethe_flight::message::worker::Run;
use lethe_trainer::data::ViewCache;
use lethe_trainer::function::{Attempt, Said, run};
use lethe_trainer::{Interrupter, Registry, Result, torch};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, weights, view, batch_size, seconds, precision] = &arguments[..] else {
        bail!("usage: steps PROGRAM WEIGHTS VIEW.json BATCH_SIZE SECONDS PRECISION");
    };
    let precision: Precision =
        serde_json::from_value(precision.as_str().into()).context("PRECISION must be float32 or bfloat16")?;
    let text = std::fs::read_to_string(view).with_context(|| format!("cannot read {view}"))?;
    let view: View = serde_json::from_str(&text).with_context(|| format!("{text} is not a view"))?;
    let batch_size: u32 = batch_size.parse().context("BATCH_SIZE must be a whole number")?;
    let duration = Duration::from_secs_f64(seconds.parse().context("SECONDS must be a number")?);
    torch::keep_memory();
    let device = torch::find_device();
    torch::prepare(1)?;

    let steps_per_epoch = view.train.div_ceil(u64::from(batch_size));
    let trial = trial(program, weights, view, batch_size, precision);
    let interrupter = Interrupter::default();
    let stopper = interrupter.clone();
    let (mut first, mut last, mut loss) = (None::<Instant>, Instant::now(), f64::NAN);
    let mut epochs = 0u64;
    let mut sink = |said: Said| -> Result<()> {
        let Said::Report { metrics, .. } = said else { return Ok(()) };
        last = Instant::now();
        loss = metrics.get("train_loss").copied().unwrap_or(f64::NAN);
        match first {
            None => first = Some(last),
            Some(first) => {
                epochs += 1;
                if last.duration_since(first) >= duration {
                    stopper.stop();
                }
            }
        }
        Ok(())
    };
    let mut views = ViewCache::default();
    let now = Instant::now();
    let attempt = Attempt {
        run: &trial,
        device,
        views: &mut views,
        interrupter,
        meeting: None,
        arrived: now,
        previous_end: None,
    };
    let ended = run(&Registry::default(), attempt, &mut sink);
    if let Outcome::Failed { error } = ended.outcome {
        bail!(error);
    }
    let took = first.map_or(f64::NAN, |first| last.duration_since(first).as_secs_f64());
    let steps = epochs * steps_per_epoch;
    let line = serde_json::json!({"steps_per_s": steps as f64 / took, "steps": steps, "train_loss": loss, "device": torch::device_name(device), "setup_ms": ended.timing.setup_s * 1e3});
    println!("{line}");
    Ok(())
}

fn trial(program: &str, weights: &str, view: View, batch_size: u32, precision: Precision) -> Run {
    let function = Function::Supervised(Supervised {
        loss: Some(Loss::CrossEntropy),
        metrics: vec![],
        epochs: u32::MAX,
        batch_size,
        drop_last: false,
        optimizer: Optimizer::Adam,
        lr: 1e-3,
        weight_decay: 0.0,
        momentum: 0.0,
        schedule: Schedule::Constant,
        grad_clip: None,
        accumulate: 1,
        precision,
        sync_batch_norm: false,
    });
    let objective = Objective {
        metric: "train_loss".into(),
        direction: Direction::Min,
        select: Select::Last,
        further: vec![],
    };
    Run {
        spec: TrialSpec {
            experiment: "steps".into(),
            trial: 0,
            attempt: 1,
            seed: 1,
            hparams: Default::default(),
            function,
            program: None,
            data: None,
            objective,
            rungs: vec![],
            decide_every: None,
            checkpoint: None,
            checkpoint_every_s: None,
            // No weights are worth keeping: nothing is written.
            gang: None,
            best_so_far: Some(f64::NEG_INFINITY),
        },
        program: Some(program.into()),
        initial: Some(weights.into()),
        checkpoint: None,
        view: Some(view),
        weights: "/dev/null".into(),
        checkpoints: "/dev/null".into(),
    }
}
