//! Times SQL over the results of a large experiment as its user waits for it: 10,000 trials that reported 100 epochs
//! each, asked over Flight of a driver that goes on with the experiment, from the query to the last row of the
//! answer. Prints JSON: `results_query_ms` is the median of a group-by over all reports, `first` the time of the
//! first query of its kind.

use std::path::Path;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use lethe_driver::experiment::{Event, SlotKey};
use lethe_driver::journal::{Folder, Header, Log};
use lethe_driver::service::DriverService;
use lethe_flight::message::experiment::{Created, Plan, Resume};
use lethe_flight::message::training::{Outcome, Timing};
use lethe_flight::wire::{Ticket, action};
use lethe_flight::{Token, client, server};
use serde_json::json;
use tokio::net::TcpListener;

const TRIALS: u32 = 10_000;
const REPORTS: u32 = 100;
const ROUNDS: usize = 15;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

const GROUP_BY: &str =
    "select metric, epoch, count(*), avg(value), max(value) from metrics group by metric, epoch";
const BY_TRIAL: &str = "select trial, max(value), max(epoch) from metrics group by trial";
const JOIN: &str = "select t.optimizer, m.epoch, avg(m.value) from metrics m join trials t on m.trial = t.trial \
                    where t.lr < 0.01 group by t.optimizer, m.epoch";
const TRIALS_ONLY: &str =
    "select state, optimizer, count(*), avg(value) from trials group by state, optimizer";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let directory = folder.path().join("results");
    let mut plan: Plan = serde_json::from_value(json!({
        "protocol": lethe_flight::PROTOCOL, "version": lethe_flight::VERSION, "experiment": "results", "seed": 1,
        // One more than there are: the experiment runs.
        "source": {"type": "search", "budget": {"trials": TRIALS + 1}, "optimizer": {"type": "random"},
                   "stopping": {"type": "none"}, "space": [
            {"name": "lr", "domain": {"type": "log_uniform", "low": 1e-4, "high": 0.1}},
            {"name": "optimizer", "domain": {"type": "choice", "values": ["adam", "sgd"]}}]},
        "objective": {"metric": "accuracy", "direction": "max", "select": "last"},
        "function": {"type": "registered", "name": "lethe.sleep", "epochs": REPORTS},
        "data": null, "slots": 1, "directory": directory,
    }))?;
    write(&directory, &plan)?;

    let token = Token::new(SECRET)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let service = DriverService::new(folder.path().join("driver"), token.clone())?;
    tokio::spawn(server::serve(service, listener, token.clone(), std::future::pending()));
    let mut client = client::connect(&address, &token).await?;
    plan.resume = Resume::Resume { accept_changes: false };
    let begin = Instant::now();
    let _: Created = client::call(&mut client, action::CREATE_EXPERIMENT, &plan).await?;
    let resume_s = begin.elapsed().as_secs_f64();

    let mut answers = json!({});
    for (name, sql) in
        [("group_by", GROUP_BY), ("by_trial", BY_TRIAL), ("join", JOIN), ("trials", TRIALS_ONLY)]
    {
        let (mut times, mut rows) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let ticket = Ticket::Sql { experiment: "results".into(), query: sql.into() };
            let batches: Vec<RecordBatch> = client::get(&mut client, &ticket).await?.try_collect().await?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            rows = batches.iter().map(RecordBatch::num_rows).sum();
        }
        answers[name] = json!({"first": times[0], "ms": median(times), "rows": rows});
    }
    let report = json!({
        "results_query_ms": answers["group_by"]["ms"],
        "reports": TRIALS * REPORTS,
        "resume_s": resume_s,
        "queries": answers,
    });
    println!("{report}");
    Ok(())
}

/// The experiment's journal, as one slot makes it.
fn write(folder: &Path, plan: &Plan) -> lethe_flight::Result<()> {
    let mut log = Log::create(Folder::lock(folder)?, &Header::new(plan))?;
    let slot = SlotKey(0);
    for event in [Event::Started, Event::SlotJoined { slot, number: 0 }, Event::SlotReady { slot }] {
        log.event(0, &event)?;
    }
    for trial in 0..TRIALS {
        let at = u64::from(trial);
        let optimizer = if trial.is_multiple_of(3) { "adam" } else { "sgd" };
        let hparams = [("lr", json!(1e-4 + f64::from(trial) * 1e-6)), ("optimizer", json!(optimizer))];
        let hparams = hparams.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        log.event(at, &Event::Suggested { trial, hparams, why: "random".into(), note: None })?;
        for epoch in 1..=REPORTS {
            let value = 1.0 - 1.0 / f64::from(epoch) + f64::from(trial % 997) * 1e-4;
            let metrics = [("accuracy".to_owned(), value)].into();
            log.event(at, &Event::Report { slot, trial, attempt: 1, epoch, metrics })?;
        }
        let (outcome, timing) = (Outcome::Finished, Timing::default());
        log.event(at, &Event::Ended { slot, trial, attempt: 1, outcome, timing })?;
        log.commit()?;
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
