//! `lethe.sleep`: a training function that trains nothing, for measuring what a trial costs besides training.

use std::time::{Duration, Instant};

use super::{Completion, Flow, Saved, TrialContext};
use crate::error::{Error, Result};

/// The longest sleep, seconds: a day.
const LONGEST: f64 = 86_400.0;
/// The most reports of one trial.
const MOST_REPORTS: u64 = 1_000_000;

/// Sleeps for the hyperparameter `seconds` in all (default 0.02) and reports `reports` times (default 5) at
/// equal distances. Each report gives the experiment's metric the value `epoch / reports`, its epochs are
/// 1, 2, …. Its checkpoints hold its epoch and nothing else.
///
/// # Errors
/// If `seconds` is not a number from 0 to a day, or `reports` not a whole number from 1 to a million.
pub fn sleep(trial: &mut TrialContext) -> Result<Completion> {
    let seconds = match trial.hparams().get("seconds") {
        None => 0.02,
        Some(value) => value.as_f64().filter(|s| (0.0..=LONGEST).contains(s)).ok_or_else(|| {
            Error::trial(format!("hparam seconds must be a number from 0 to {LONGEST}, not {value}"))
        })?,
    };
    let reports = match trial.hparams().get("reports") {
        None => 5,
        Some(value) => value.as_u64().filter(|n| (1..=MOST_REPORTS).contains(n)).ok_or_else(|| {
            Error::trial(format!(
                "hparam reports must be a whole number from 1 to {MOST_REPORTS}, not {value}"
            ))
        })?,
    };
    let metric = trial.spec().objective.metric.clone();
    let slept = trial.checkpoint()?.map_or(0, |checkpoint| u64::from(checkpoint.meta.epoch));
    trial.first_step();
    let begin = Instant::now();
    for report in slept + 1..=reports {
        let share = report as f64 / reports as f64;
        // Ends are counted from the beginning, so that late wake-ups do not add up.
        let end = begin + Duration::from_secs_f64(seconds * (report - slept) as f64 / reports as f64);
        if trial.sleep_until(end) == Flow::Stop {
            return Ok(Completion::Stopped);
        }
        let flow = trial.report(report as u32, [(metric.clone(), share)].into())?;
        if report == reports {
            break;
        }
        if flow == Flow::Pause || flow == Flow::Continue && trial.is_checkpoint_due() {
            trial.save(Saved { step: report, ..Saved::default() })?;
        }
        match flow {
            Flow::Continue => {}
            Flow::Stop => return Ok(Completion::Stopped),
            Flow::Pause => return Ok(Completion::Paused),
        }
    }
    Ok(Completion::Finished)
}
