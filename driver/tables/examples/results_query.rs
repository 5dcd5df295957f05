//! Times SQL over the results of a large experiment: 10,000 trials that reported 100 epochs each. Prints JSON:
//! `results_query_ms` is the median of a group-by over all reports, from the snapshot to the last row.

use std::time::Instant;

use futures::TryStreamExt;
use lethe_flight::message::experiment::{TrialResult, TrialState};
use lethe_flight::message::training::Timing;
use lethe_tables::Tables;
use serde_json::json;

const TRIALS: u32 = 10_000;
const REPORTS: u32 = 100;
const ROUNDS: usize = 15;

const GROUP_BY: &str =
    "select metric, epoch, count(*), avg(value), max(value) from metrics group by metric, epoch";
const BY_TRIAL: &str = "select trial, max(value), max(epoch) from metrics group by trial";
const JOIN: &str = "select t.optimizer, m.epoch, avg(m.value) from metrics m join trials t on m.trial = t.trial \
                    where t.lr < 0.01 group by t.optimizer, m.epoch";
const TRIALS_ONLY: &str =
    "select state, optimizer, count(*), avg(value) from trials group by state, optimizer";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = serde_json::from_value(json!({
        "protocol": lethe_flight::PROTOCOL, "version": lethe_flight::VERSION, "experiment": "results", "seed": 1,
        "source": {"type": "search", "budget": {"trials": TRIALS}, "optimizer": {"type": "random"},
                   "stopping": {"type": "none"}, "space": [
            {"name": "lr", "domain": {"type": "log_uniform", "low": 1e-4, "high": 0.1}},
            {"name": "optimizer", "domain": {"type": "choice", "values": ["adam", "sgd"]}}]},
        "objective": {"metric": "accuracy", "direction": "max", "select": "last"},
        "function": {"type": "registered", "name": "lethe.sleep", "epochs": REPORTS},
        "data": null, "slots": 2, "directory": "/tmp/results",
    }))?;
    let mut tables = Tables::new(&plan)?;
    let begin = Instant::now();
    for epoch in 1..=REPORTS {
        for trial in 0..TRIALS {
            let value = 1.0 - 1.0 / f64::from(epoch) + f64::from(trial % 997) * 1e-4;
            tables.reported(trial, 1, epoch, &[("accuracy".to_owned(), value)].into());
        }
    }
    let append_ns = begin.elapsed().as_secs_f64() * 1e9 / f64::from(TRIALS * REPORTS);
    let mut snapshots = Vec::new();
    let mut answers = json!({});
    for (name, sql) in
        [("group_by", GROUP_BY), ("by_trial", BY_TRIAL), ("join", JOIN), ("trials", TRIALS_ONLY)]
    {
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..ROUNDS {
            let trials = (0..TRIALS).map(trial).collect();
            let begin = Instant::now();
            let snapshot = tables.snapshot(trials, Vec::new())?;
            snapshots.push(begin.elapsed().as_secs_f64() * 1e3);
            let batches: Vec<_> = snapshot.query(sql).await?.rows.try_collect().await?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            rows = batches.iter().map(arrow::record_batch::RecordBatch::num_rows).sum();
        }
        answers[name] = json!({"ms": median(times), "rows": rows});
    }
    let report = json!({
        "results_query_ms": answers["group_by"]["ms"],
        "reports": TRIALS * REPORTS,
        "snapshot_ms": median(snapshots),
        "append_ns": append_ns,
        "queries": answers,
    });
    println!("{report}");
    Ok(())
}

fn trial(trial: u32) -> TrialResult {
    let optimizer = if trial.is_multiple_of(3) { "adam" } else { "sgd" };
    let hparams = [("lr", json!(1e-4 + f64::from(trial) * 1e-6)), ("optimizer", json!(optimizer))];
    TrialResult {
        trial,
        state: if trial.is_multiple_of(2) { TrialState::Finished } else { TrialState::Stopped },
        attempts: 1,
        hparams: hparams.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        value: Some(0.5),
        further: Vec::new(),
        metrics: [("accuracy".to_owned(), 0.5)].into(),
        epochs: REPORTS,
        error: None,
        why: None,
        timing: Timing::default(),
        slot: Some(trial % 2),
        history: Vec::new(),
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
