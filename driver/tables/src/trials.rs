//! The table `trials`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use arrow::record_batch::RecordBatch;
use lethe_flight::Result;
use lethe_flight::message::experiment::{Plan, Source, TrialResult, TrialState};

use super::chunks::int;
use super::typed::Kind;

/// Before the hyperparameters' and metrics' columns.
const FIRST: [&str; 5] = ["trial", "state", "attempts", "value", "epochs"];
/// After them.
const LAST: [&str; 7] = ["slot", "idle_s", "setup_s", "train_s", "error", "why", "hparams"];

/// The columns that the plan tells: they are there before the first trial has a value of them.
pub struct Known {
    hparams: Vec<(String, Kind)>,
    metrics: Vec<String>,
}

impl Known {
    pub fn of(plan: &Plan) -> Self {
        let hparams = match &plan.source {
            Source::Search { space, .. } => {
                space.iter().map(|p| (p.name.clone(), Kind::of_domain(&p.domain))).collect()
            }
            // Of what there is in the trials.
            Source::Listed { .. } => Vec::new(),
        };
        let further = plan.objective.further.iter().map(|target| &target.metric);
        let metrics = std::iter::once(&plan.objective.metric).chain(further).cloned().collect();
        Self { hparams, metrics }
    }
}

pub fn batch(known: &Known, trials: &[&TrialResult]) -> Result<RecordBatch> {
    let fixed = FIRST.iter().chain(&LAST).map(|name| (*name).to_owned());
    let mut names: BTreeSet<String> = fixed.collect();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    columns.extend(FIRST.map(str::to_owned).into_iter().zip(first(trials)));
    for (name, kind) in hparams(known, trials) {
        let column = kind.column(trials.iter().map(|trial| trial.hparams.get(&name)));
        columns.push((free(&mut names, name, "hparam."), column));
    }
    for name in metrics(known, trials) {
        let value = |trial: &&TrialResult| trial.metrics.get(name).copied().filter(|value| value.is_finite());
        let column = Float64Array::from_iter(trials.iter().map(value));
        columns.push((free(&mut names, name.to_owned(), "metric."), Arc::new(column)));
    }
    columns.extend(LAST.map(str::to_owned).into_iter().zip(last(trials)));
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    Ok(RecordBatch::try_from_iter_with_nullable(nullable)?)
}

fn first(trials: &[&TrialResult]) -> [ArrayRef; 5] {
    let ints = |get: fn(&TrialResult) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(trials.iter().map(|trial| int(get(trial)))))
    };
    [
        ints(|trial| trial.trial),
        Arc::new(StringArray::from_iter_values(trials.iter().map(|trial| state(trial.state)))),
        ints(|trial| trial.attempts),
        floats(trials, |trial| trial.value),
        ints(|trial| trial.epochs),
    ]
}

fn last(trials: &[&TrialResult]) -> [ArrayRef; 7] {
    let hparams = |trial: &&TrialResult| serde_json::to_string(&trial.hparams).unwrap_or_default();
    [
        Arc::new(Int32Array::from_iter(trials.iter().map(|trial| trial.slot.map(int)))),
        floats(trials, |trial| Some(trial.timing.idle_s)),
        floats(trials, |trial| Some(trial.timing.setup_s)),
        floats(trials, |trial| Some(trial.timing.train_s)),
        Arc::new(StringArray::from_iter(trials.iter().map(|trial| trial.error.as_deref()))),
        Arc::new(StringArray::from_iter(trials.iter().map(|trial| trial.why.as_deref()))),
        Arc::new(StringArray::from_iter_values(trials.iter().map(hparams))),
    ]
}

fn floats(trials: &[&TrialResult], get: fn(&TrialResult) -> Option<f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(trials.iter().map(|trial| get(trial).filter(|value| value.is_finite()))))
}

/// In the space's order, then those that only trials have.
fn hparams(known: &Known, trials: &[&TrialResult]) -> Vec<(String, Kind)> {
    let mut kinds = known.hparams.clone();
    let mut places: HashMap<String, usize> =
        kinds.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
    for (name, value) in trials.iter().flat_map(|trial| &trial.hparams) {
        let place = match places.get(name) {
            Some(place) => *place,
            None => {
                places.insert(name.clone(), kinds.len());
                kinds.push((name.clone(), Kind::Nothing));
                kinds.len() - 1
            }
        };
        kinds[place].1 = kinds[place].1.or(Kind::of(value));
    }
    kinds
}

/// The objectives, then the others by name.
fn metrics<'a>(known: &'a Known, trials: &'a [&TrialResult]) -> Vec<&'a str> {
    let reported: BTreeSet<&str> =
        trials.iter().flat_map(|trial| trial.metrics.keys()).map(String::as_str).collect();
    let mut names: Vec<&str> = known.metrics.iter().map(String::as_str).collect();
    names.extend(reported.into_iter().filter(|name| !known.metrics.iter().any(|known| known == name)));
    names
}

/// The name, or where it is taken the name with the prefix before it.
fn free(names: &mut BTreeSet<String>, mut name: String, prefix: &str) -> String {
    while names.contains(&name) {
        name.insert_str(0, prefix);
    }
    names.insert(name.clone());
    name
}

/// As the protocol writes it.
pub fn state(state: TrialState) -> &'static str {
    match state {
        TrialState::Waiting => "waiting",
        TrialState::Running => "running",
        TrialState::Paused => "paused",
        TrialState::Finished => "finished",
        TrialState::Stopped => "stopped",
        TrialState::Failed => "failed",
        TrialState::Cancelled => "cancelled",
    }
}
