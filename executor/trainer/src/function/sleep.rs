//! `lethe.sleep`: a training function that trains nothing, for measuring what a trial costs besides training.

use std::time::{Duration, Instant};

use super::{Completion, Flow, TrialContext};
use crate::error::{Error, Result};

/// The longest sleep, seconds: a day.
const LONGEST: f64 = 86_400.0;
/// The most reports of one trial.
const MOST_REPORTS: u64 = 1_000_000;

/// Sleeps for the hyperparameter `seconds` in all (default 0.02) and reports `reports` times (default 5) at
/// equal distances. Each report gives the experiment's metric the value `epoch / reports`, its epochs are
/// 1, 2, ….
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
    trial.first_step();
    let begin = Instant::now();
    for report in 1..=reports {
        let share = report as f64 / reports as f64;
        // Ends are counted from the beginning, so that late wake-ups do not add up.
        let end = begin + Duration::from_secs_f64(seconds * share);
        if trial.sleep_until(end) == Flow::Stop {
            return Ok(Completion::Stopped);
        }
        let flow = trial.report(report as u32, [(metric.clone(), share)].into())?;
        if flow == Flow::Stop && report < reports {
            return Ok(Completion::Stopped);
        }
    }
    Ok(Completion::Finished)
}
