//! What differs between the plan of an experiment and the one by which it is to be resumed.

use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::experiment::{Listed, Optimizer, Parameter, Plan, Source};
use lethe_flight::{Error, Result};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

/// Differences that a message lists; further ones are counted.
const SHOWN: usize = 20;

/// Budget, slots, retries and folder may change; what decides a trial's outcome may not.
///
/// # Errors
/// If it does, with the differences.
pub fn refuse(before: &Plan, after: &Plan) -> Result<()> {
    let (old, new) = (identity(before), identity(after));
    let mut found = Vec::new();
    compare("", &old, &new, &mut found);
    for part in before.code.keys().chain(after.code.keys().filter(|part| !before.code.contains_key(*part))) {
        let text = |plan: &Plan| plan.code.get(part).cloned().unwrap_or_default();
        compare_code(part, &text(before), &text(after), &mut found);
    }
    if found.is_empty() {
        return Ok(());
    }
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    let rest = if more > 0 { format!("\n… and {more} more") } else { String::new() };
    Err(Error::Precondition(format!(
        "experiment {} was begun with another plan; undo the changes, take another name, or resume with accept_changes=True:\n{}{rest}",
        after.experiment,
        found.join("\n")
    )))
}

/// What must stay as it was.
fn identity(plan: &Plan) -> Value {
    let mut found = match &plan.source {
        Source::Search { .. } => searched(&plan.source),
        Source::Listed { trials, trial_seconds: _ } => {
            // Results are found by their numbers: their order is not to change either.
            let trials = trials.iter().enumerate().map(|(number, listed)| {
                let Listed { name, hparams, replicate, data, without, workers } = listed;
                let data = unnamed(data.as_ref());
                let own = json!({ "hparams": hparams, "data": data, "without": without, "workers": workers });
                (format!("{number} ({name}, replicate {replicate})"), own)
            });
            json!({ "trials": Value::Object(trials.collect()) })
        }
    };
    found["seed"] = json!(plan.seed);
    found["objective"] = json!(plan.objective);
    found["function"] = json!(plan.function);
    found["data"] = unnamed(plan.data.as_ref());
    found
}

/// The dataset's own name is made anew whenever it is put.
fn unnamed(data: Option<&DataSpec>) -> Value {
    let mut data = json!(data);
    if let Value::Object(data) = &mut data {
        data.remove("dataset");
    }
    data
}

/// What must stay of a search.
fn searched(source: &Source) -> Value {
    let Source::Search { space, constraints, checked, enqueued, budget: _, optimizer, stopping, workers } =
        source
    else {
        return Value::Null;
    };
    let parameters: serde_json::Map<String, Value> = space
        .iter()
        .map(|parameter| {
            let Parameter { name, domain, condition } = parameter;
            (name.clone(), json!({ "domain": domain, "condition": condition }))
        })
        .collect();
    // How many trials are asked for ahead follows from the slots, and may change as they do.
    let optimizer = match optimizer {
        Optimizer::External { name, ahead: _ } => json!({ "type": "external", "name": name }),
        native => json!(native),
    };
    json!({
        "space": parameters,
        "constraints": constraints,
        "predicate": checked,
        "enqueued": enqueued,
        "optimizer": optimizer,
        "stopping": stopping,
        "workers": workers,
    })
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => compare(&inner, old, new, found),
                    (Some(old), None) => found.push(format!("- {inner}: {old}")),
                    (None, Some(new)) => found.push(format!("+ {inner}: {new}")),
                    (None, None) => {}
                }
            }
        }
        (old, new) if old != new => found.push(format!("~ {path}: {old} → {new}")),
        _ => {}
    }
}

fn compare_code(part: &str, before: &str, after: &str, found: &mut Vec<String>) {
    for change in TextDiff::from_lines(before, after).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        found.push(format!("{sign} {part}: {}", change.value().trim_end()));
    }
}
