//! What a plan and a peer must fulfil before anything is begun.

use std::path::Path;

use lethe_flight::message::dataset::Split;
use lethe_flight::message::experiment::{Plan, Shards, Source};
use lethe_flight::message::gang::Workers;
use lethe_flight::message::training::{Function, Metric};
use lethe_flight::{Error, PROTOCOL, Result, VERSION, limits, wire};

/// Slots of one experiment.
const SLOTS: u32 = 100_000;

/// # Errors
/// A precondition that names both versions.
pub fn protocol(who: &str, protocol: u32, version: &str) -> Result<()> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    let version: String = version.chars().take(limits::NAME_BYTES).collect();
    Err(Error::Precondition(format!(
        "{who} speaks protocol {protocol} (lethe {version}), this driver protocol {PROTOCOL} (lethe {VERSION}); \
         install the same version of lethe on the driver and on all executors"
    )))
}

/// # Errors
/// If the plan cannot be carried out; the search space is checked where it is made.
pub fn plan(plan: &Plan) -> Result<()> {
    protocol("the Python package", plan.protocol, &plan.version)?;
    wire::check_name("an experiment", &plan.experiment)?;
    match &plan.source {
        Source::Search { budget, workers, .. } => {
            if budget.trials.is_none() && budget.seconds.is_none() && budget.epochs.is_none() {
                return Err(Error::Invalid(
                    "the search has no end: give it trials, seconds or epochs".into(),
                ));
            }
            if let Some(trials) = budget.trials {
                within("trials", trials, limits::TRIALS)?;
            }
            above_0("seconds", budget.seconds)?;
            above_0("trial_seconds", budget.trial_seconds)?;
            gang(workers)?;
        }
        Source::Listed { trials, trial_seconds } => {
            within("the number of trials", u32::try_from(trials.len()).unwrap_or(u32::MAX), limits::TRIALS)?;
            above_0("trial_seconds", *trial_seconds)?;
            for listed in trials {
                if listed.name.len() > limits::NAME_BYTES {
                    return Err(Error::Invalid(format!(
                        "a trial's name must have at most {} bytes",
                        limits::NAME_BYTES
                    )));
                }
                gang(&listed.workers)?;
            }
        }
    }
    if plan.checkpoint_every_s.is_some_and(|seconds| !(seconds >= 0.0 && seconds.is_finite())) {
        return Err(Error::Invalid("checkpoint_every_s must be a number of seconds from 0".into()));
    }
    within("slots", plan.slots, SLOTS)?;
    within("epochs", plan.function.epochs(), u32::MAX)?;
    if !Path::new(&plan.directory).is_absolute() {
        return Err(Error::Invalid(format!(
            "the experiment's directory {:?} must be absolute",
            plan.directory
        )));
    }
    if plan.shards == Shards::Local {
        local(plan)?;
    }
    metric(plan)
}

/// What ranks need that have rows of their own: nothing of other rows, but how many there are.
fn local(plan: &Plan) -> Result<()> {
    let Some(data) = &plan.data else {
        return Err(Error::Invalid("order=\"local\" deals out the rows of a dataset: give one".into()));
    };
    if let Some(what) = data.needs_all_rows() {
        return Err(Error::Invalid(format!(
            "order=\"local\": the dataset {what}, for which each worker needs all rows: do that before, in Spark, or \
             take order=\"global\""
        )));
    }
    let validates = data.split.as_ref().is_some_and(Split::validates);
    if validates && matches!(plan.function, Function::Python { .. }) {
        return Err(Error::Invalid(
            "order=\"local\" leaves each worker a part of the validation rows, and a Python function computes its \
             metrics from all of them: take lethe.Supervised, or order=\"global\", or a dataset without a split"
                .into(),
        ));
    }
    Ok(())
}

fn above_0(what: &str, seconds: Option<f64>) -> Result<()> {
    match seconds {
        Some(seconds) if !(seconds > 0.0 && seconds.is_finite()) => {
            Err(Error::Invalid(format!("{what} is {seconds:?}; it must be above 0")))
        }
        _ => Ok(()),
    }
}

/// How many slots a trial may take at once.
fn gang(workers: &Workers) -> Result<()> {
    within("workers", workers.most, SLOTS)?;
    within("the least of workers", workers.least, workers.most)
}

fn within(what: &str, value: u32, limit: u32) -> Result<()> {
    if (1..=limit).contains(&value) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{what} is {value}; it must be between 1 and {limit}")))
}

/// The objective's metric must be one that will be reported. What a module's own steps or a registered function
/// report is not known beforehand.
fn metric(plan: &Plan) -> Result<()> {
    let asked = &plan.objective.metric;
    if asked.is_empty() || asked.len() > limits::NAME_BYTES {
        return Err(Error::Invalid(format!("the metric's name must have 1 to {} bytes", limits::NAME_BYTES)));
    }
    let Function::Supervised(supervised) = &plan.function else { return Ok(()) };
    if supervised.loss.is_none() {
        return Ok(());
    }
    let validates = plan.data.as_ref().and_then(|data| data.split.as_ref()).is_some_and(Split::validates);
    let mut reported = vec!["train_loss"];
    if validates {
        reported.push("loss");
        reported.extend(supervised.metrics.iter().map(|metric| name(*metric)));
    }
    if reported.contains(&asked.as_str()) {
        return Ok(());
    }
    let remedy = if validates { "" } else { " (a dataset split for validation reports more)" };
    Err(Error::Invalid(format!(
        "the metric {asked:?} will not be reported; add it to the training function's metrics, or search by one of {}{remedy}",
        reported.join(", ")
    )))
}

/// As reports name it.
fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Accuracy => "accuracy",
        Metric::Loss => "loss",
        Metric::Mae => "mae",
        Metric::Mse => "mse",
        Metric::R2 => "r2",
        Metric::RocAuc => "roc_auc",
    }
}
