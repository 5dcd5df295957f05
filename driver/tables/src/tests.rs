//! Real queries over real tables.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use futures::{StreamExt, TryStreamExt};
use lethe_flight::Error;
use lethe_flight::message::experiment::{Plan, SlotResult, TrialResult, TrialState};
use lethe_flight::message::training::{Metrics, Timing};
use serde_json::{Value, json};

use super::{Happened, Snapshot, Tables};

fn plan(space: Value) -> Plan {
    serde_json::from_value(json!({
        "protocol": 2, "version": "0.1.0", "experiment": "digits", "seed": 1,
        "source": {"type": "search", "space": space, "budget": {"trials": 60},
                   "optimizer": {"type": "random"}, "stopping": {"type": "none"}},
        "objective": {"metric": "accuracy", "direction": "max", "select": "last",
                      "further": [{"metric": "loss", "direction": "min"}]},
        "function": {"type": "registered", "name": "lethe.sleep", "epochs": 5},
        "data": null, "slots": 2, "directory": "/tmp/digits",
    }))
    .unwrap()
}

fn empty() -> Tables {
    Tables::new(&plan(json!([
        {"name": "lr", "domain": {"type": "log_uniform", "low": 1e-4, "high": 0.1}},
        {"name": "width", "domain": {"type": "integer", "low": 16, "high": 256}},
    ])))
    .unwrap()
}

fn trial(trial: u32, hparams: Value, metrics: &[(&str, f64)]) -> TrialResult {
    TrialResult {
        trial,
        state: TrialState::Finished,
        attempts: 1,
        hparams: hparams.as_object().unwrap().clone(),
        value: metrics.first().map(|(_, value)| *value),
        further: Vec::new(),
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        epochs: 5,
        error: None,
        why: Some("random".into()),
        timing: Timing { idle_s: 0.1, setup_s: 0.2, train_s: 3.0 },
        slot: Some(1),
        history: Vec::new(),
    }
}

fn metrics(pairs: &[(&str, f64)]) -> Metrics {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>()
}

async fn ask(snapshot: &Snapshot, sql: &str) -> Result<Vec<RecordBatch>, Error> {
    snapshot.query(sql).await?.rows.try_collect().await
}

/// The answer as text, a row a line.
async fn text(snapshot: &Snapshot, sql: &str) -> String {
    let batches = ask(snapshot, sql).await.unwrap();
    let row = |batch: &RecordBatch, row| {
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        cells.collect::<Vec<_>>().join(" ")
    };
    let rows =
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|n| row(batch, n)).collect::<Vec<_>>());
    rows.collect::<Vec<_>>().join("\n")
}

async fn refusal(snapshot: &Snapshot, sql: &str) -> String {
    let error = ask(snapshot, sql).await.map(|rows| rows.len()).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[tokio::test]
async fn trials_have_a_column_for_each_hyperparameter_and_metric_with_its_type() {
    let trials = vec![
        trial(
            0,
            json!({"lr": 1, "width": 32, "fast": true, "opt": "adam"}),
            &[("accuracy", 0.5), ("f1", 0.25)],
        ),
        trial(1, json!({"lr": 0.5, "width": 64, "layers": [3, 4], "opt": "sgd"}), &[("accuracy", f64::NAN)]),
        trial(2, json!({"lr": 0.25, "opt": "sgd", "mixed": "a"}), &[]),
        trial(3, json!({"lr": 0.125, "opt": "sgd", "mixed": 7}), &[]),
    ];
    let snapshot = empty().snapshot(vec![trials.into()], Vec::new()).unwrap();
    let answer = snapshot.query("select * from trials").await.unwrap();
    let fields: Vec<(String, DataType)> =
        answer.schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
    let expected = [
        ("trial", DataType::Int32),
        ("state", DataType::Utf8),
        ("attempts", DataType::Int32),
        ("value", DataType::Float64),
        ("epochs", DataType::Int32),
        ("lr", DataType::Float64),
        ("width", DataType::Int64),
        ("fast", DataType::Boolean),
        ("opt", DataType::Utf8),
        ("layers", DataType::Utf8),
        ("mixed", DataType::Utf8),
        ("accuracy", DataType::Float64),
        ("loss", DataType::Float64),
        ("f1", DataType::Float64),
        ("slot", DataType::Int32),
        ("idle_s", DataType::Float64),
        ("setup_s", DataType::Float64),
        ("train_s", DataType::Float64),
        ("error", DataType::Utf8),
        ("why", DataType::Utf8),
        ("hparams", DataType::Utf8),
    ];
    assert_eq!(fields, expected.map(|(name, kind)| (name.to_owned(), kind)));
    drop(answer);
    let sql = "select trial, lr, width, fast, opt, layers, mixed, accuracy, f1 from trials order by trial";
    let rows =
        "0 1.0 32 true adam   0.5 0.25\n1 0.5 64  sgd [3,4]   \n2 0.25   sgd  \"a\"  \n3 0.125   sgd  7  ";
    assert_eq!(text(&snapshot, sql).await, rows);
    assert_eq!(text(&snapshot, "select value is null from trials where trial = 1").await, "true");
    let sql = "select opt, count(*), max(lr) from trials group by opt order by opt";
    assert_eq!(text(&snapshot, sql).await, "adam 1 1.0\nsgd 3 0.5");
    let hparams = text(&snapshot, "select hparams from trials where trial = 0").await;
    let parsed: Value = serde_json::from_str(&hparams).unwrap();
    assert_eq!(parsed, json!({"lr": 1, "width": 32, "fast": true, "opt": "adam"}));
}

#[tokio::test]
async fn names_that_are_taken_get_a_prefix() {
    let tables = Tables::new(&plan(json!([
        {"name": "value", "domain": {"type": "uniform", "low": 0.0, "high": 1.0}},
        {"name": "slot", "domain": {"type": "integer", "low": 1, "high": 9}},
        {"name": "loss", "domain": {"type": "choice", "values": ["mse", "l1"]}},
        {"name": "C", "domain": {"type": "uniform", "low": 0.0, "high": 1.0}},
    ])))
    .unwrap();
    let hparams = json!({"value": 0.5, "slot": 7, "loss": "mse", "C": 0.25, "metric.loss": 1});
    let trials = vec![trial(0, hparams, &[("accuracy", 0.75), ("loss", 2.0), ("trial", 3.0)])];
    let snapshot = tables.snapshot(vec![trials.into()], Vec::new()).unwrap();
    let sql = r#"select value, "hparam.value", slot, "hparam.slot", loss, "metric.loss", "metric.metric.loss",
        trial, "metric.trial", "C" from trials"#;
    assert_eq!(text(&snapshot, sql).await, "0.75 0.5 1 7 mse 1 2.0 0 3.0 0.25");
    let hint = refusal(&snapshot, "select C from trials").await;
    assert!(hint.contains("there is no column c; write \"C\""), "{hint}");
}

#[tokio::test]
async fn reports_and_events_are_rows_and_a_snapshot_does_not_change() {
    let mut tables = empty();
    tables.reported(1_764_000_000_125, 3, 1, 1, &metrics(&[("accuracy", 0.5), ("loss", f64::INFINITY)]));
    tables.reported(1_764_000_001_000, 3, 2, 1, &metrics(&[("accuracy", 0.75)]));
    tables.happened(&Happened { sequence: 1, at: 1_764_000_000_000, kind: "started", ..Happened::default() });
    let text_of = Some("worker died: signal 9");
    let lost = Happened {
        sequence: 2,
        at: 1_764_000_000_250,
        kind: "lost",
        trial: Some(3),
        text: text_of,
        ..Happened::default()
    };
    tables.happened(&lost);
    let snapshot = tables.snapshot(Vec::new(), Vec::new()).unwrap();
    tables.reported(0, 4, 1, 1, &metrics(&[("new", 1.0)]));
    tables.happened(&Happened { sequence: 3, kind: "other", ..lost });
    let sql = "select * from metrics order by trial, attempt, epoch, metric";
    let rows = "3 1 1 accuracy 0.5 2025-11-24T16:00:00.125Z\n3 1 1 loss  2025-11-24T16:00:00.125Z\n\
                3 2 1 accuracy 0.75 2025-11-24T16:00:01Z";
    assert_eq!(text(&snapshot, sql).await, rows);
    let sql =
        "select sequence, at, kind, trial, attempt, text from events where at >= '2025-11-24' order by 1";
    let rows = "1 2025-11-24T16:00:00Z started   \n2 2025-11-24T16:00:00.250Z lost 3  worker died: signal 9";
    assert_eq!(text(&snapshot, sql).await, rows);
    let later = tables.snapshot(Vec::new(), Vec::new()).unwrap();
    assert_eq!(text(&later, "select count(*), count(distinct metric) from metrics").await, "4 3");
}

#[tokio::test]
async fn rows_of_many_chunks_are_each_there_once() {
    let mut tables = empty();
    let (trials, epochs) = (700, 50);
    for number in 0..trials {
        for epoch in 1..=epochs {
            let late = if number > 600 { "late" } else { "loss" };
            tables.reported(0, number, 1, epoch, &metrics(&[("accuracy", f64::from(epoch)), (late, 1.0)]));
            let event =
                Happened { sequence: u64::from(number * epochs + epoch), kind: late, ..Happened::default() };
            tables.happened(&event);
        }
    }
    let snapshot = tables.snapshot(Vec::new(), Vec::new()).unwrap();
    let sql =
        "select metric, count(*), sum(value), count(distinct trial) from metrics group by metric order by 1";
    assert_eq!(
        text(&snapshot, sql).await,
        "accuracy 35000 892500.0 700\nlate 4950 4950.0 99\nloss 30050 30050.0 601"
    );
    let sql = "select count(*), count(distinct sequence), sum(sequence) from events";
    assert_eq!(text(&snapshot, sql).await, format!("35000 35000 {}", (1..=35_000_u64).sum::<u64>()));
    let sql = "select trial, epoch, value from metrics where metric = 'accuracy' order by trial desc, epoch desc limit 1";
    assert_eq!(text(&snapshot, sql).await, "699 50 50.0");
}

#[tokio::test]
async fn tables_are_there_before_anything_has_happened() {
    let snapshot = empty().snapshot(Vec::new(), Vec::new()).unwrap();
    for table in ["trials", "metrics", "slots", "events"] {
        assert_eq!(text(&snapshot, &format!("select count(*) from {table}")).await, "0");
    }
    let answer = snapshot.query("select lr, width, accuracy from trials").await.unwrap();
    let types: Vec<&DataType> = answer.schema.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Float64, &DataType::Int64, &DataType::Float64]);
}

#[tokio::test]
async fn tables_join_and_slots_say_where_time_went() {
    let slots = vec![SlotResult {
        slot: 1,
        executor: "app-1".into(),
        device: "cpu".into(),
        worker_pid: 4_000_000_000,
        trials: 2,
        held_s: 12.5,
        train_s: 10.0,
        idle_s: vec![0.25],
    }];
    let trials = vec![trial(0, json!({}), &[("accuracy", 0.5)]), trial(1, json!({}), &[("accuracy", 0.75)])];
    let snapshot = empty().snapshot(vec![trials.into()], slots).unwrap();
    let sql = "select s.executor, s.worker_pid, s.train_s / s.held_s, max(t.value), sum(t.train_s) \
               from slots s join trials t on t.slot = s.slot group by 1, 2, 3";
    assert_eq!(text(&snapshot, sql).await, "app-1 4000000000 0.8 0.75 6.0");
    let batches = ask(
        &snapshot,
        "with b as (select max(value) v from trials) select trial, v from trials, b where value = v",
    )
    .await;
    let batch = &batches.unwrap()[0];
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[1]);
    assert_eq!(batch.column(1).as_primitive::<Float64Type>().values(), &[0.75]);
    let window = "select trial, rank() over (order by value desc) from trials order by trial";
    assert_eq!(text(&snapshot, window).await, "0 2\n1 1");
}

#[tokio::test]
async fn only_one_select_over_these_tables_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("x.csv");
    std::fs::write(&csv, "a\n1\n").unwrap();
    let snapshot = empty().snapshot(Vec::new(), Vec::new()).unwrap();
    let file = csv.display();
    for sql in [
        "create table x as select 1".to_owned(),
        format!("create external table x stored as csv location '{file}'"),
        "create view v as select 1".to_owned(),
        "drop table trials".to_owned(),
        "insert into trials select * from trials".to_owned(),
        "delete from trials".to_owned(),
        "update trials set value = 1".to_owned(),
        format!("copy trials to '{file}'"),
        "set datafusion.execution.target_partitions = 64".to_owned(),
        "explain select 1".to_owned(),
        "show tables".to_owned(),
        "describe trials".to_owned(),
        "select 1; select 2".to_owned(),
        "select 1; drop table trials".to_owned(),
        "select trial into x from trials".to_owned(),
        "with x as (insert into trials select * from trials) select 1".to_owned(),
        String::new(),
        "nonsense".to_owned(),
        format!("select * from '{file}'"),
        format!("select * from \"{file}\""),
        format!("select * from read_csv('{file}')"),
        "select * from generate_series(1, 1000000000000)".to_owned(),
        "select * from range(1, 10)".to_owned(),
        "select * from 's3://bucket/x.parquet'".to_owned(),
        "select * from information_schema.df_settings".to_owned(),
        "select * from other.public.trials".to_owned(),
        "select (select count(*) from secrets)".to_owned(),
    ] {
        refusal(&snapshot, &sql).await;
    }
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), "a\n1\n");
    assert_eq!(text(&snapshot, "select count(*) from trials").await, "0");
    let large = format!("select '{}'", "x".repeat(70_000));
    assert!(refusal(&snapshot, &large).await.contains("bytes"));
}

#[tokio::test]
async fn errors_say_what_is_wrong_and_what_there_is() {
    let snapshot = empty().snapshot(Vec::new(), Vec::new()).unwrap();
    let column = refusal(&snapshot, "select learning_rate from trials").await;
    assert!(column.starts_with("there is no column learning_rate; trials has trial, state,"), "{column}");
    assert!(column.contains("lr, width, accuracy, loss"), "{column}");
    let table = refusal(&snapshot, "select * from trial").await;
    assert_eq!(table, "there is no table trial; there are trials, metrics, slots, events");
    let syntax = refusal(&snapshot, "select (1").await;
    assert!(syntax.starts_with("this is not SQL"), "{syntax}");
    let function = refusal(&snapshot, "select frobnicate(value) from trials").await;
    assert!(function.contains("frobnicate") && function.contains("trials has"), "{function}");
    let types = refusal(&snapshot, "select state + 1 from trials where metric = 3").await;
    assert!(types.contains("trials has"), "{types}");
    let statement = refusal(&snapshot, "drop table trials").await;
    assert!(statement.starts_with("only a SELECT is answered"), "{statement}");
}

fn many(rows: u32) -> Snapshot {
    let mut tables = empty();
    for number in 0..rows {
        tables.reported(0, number, 1, 1, &metrics(&[("accuracy", f64::from(number))]));
    }
    tables.snapshot(Vec::new(), Vec::new()).unwrap()
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_ends_with_an_error_and_the_next_one_is_answered() {
    let snapshot = many(400_000);
    // Ten copies of it, sorted.
    let copies = "select a.trial, a.value, a.metric, b.epoch, b.value v2, b.trial t2 from metrics a, \
                  (select * from metrics limit 40) b order by a.value + b.value, a.trial * b.trial";
    let error = ask(&snapshot, copies).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted(_)), "{error}");
    assert!(error.to_string().contains("256 MiB"), "{error}");
    assert_eq!(text(&snapshot, "select count(*) from metrics").await, "400000");
}

#[tokio::test]
async fn rows_come_in_small_batches_and_a_query_that_nobody_reads_ends() {
    let snapshot = many(20_000);
    let endless = "select a.trial from metrics a, metrics b, metrics c, metrics d";
    // More than run at once: each of them has to end for the next ones to be answered.
    for _ in 0..6 {
        let mut answer = snapshot.query(endless).await.unwrap();
        let batch = answer.rows.next().await.unwrap().unwrap();
        assert!((1..=20_000).contains(&batch.num_rows()));
        // One that computes without rows.
        let endless = format!("select count(*) from ({endless}) where trial < 0");
        let hung = snapshot.query(&endless).await.unwrap();
        drop((answer, hung));
    }
    let count = ask(&snapshot, "select count(*) from metrics").await.unwrap();
    assert_eq!(count[0].column(0).as_primitive::<Int64Type>().value(0), 20_000);
}

#[tokio::test]
async fn more_queries_than_may_run_are_told_so() {
    let mut snapshot = many(20_000);
    snapshot.limits.patience = Duration::from_millis(50);
    let endless = "select a.trial from metrics a, metrics b, metrics c";
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(snapshot.query(endless).await.unwrap());
    }
    let refused = refusal(&snapshot, "select 1").await;
    assert!(refused.contains("4 queries run already"), "{refused}");
    drop(running);
    snapshot.limits.patience = Duration::from_secs(20);
    assert_eq!(text(&snapshot, "select 1").await, "1");
}

#[tokio::test]
async fn queries_whose_rows_are_not_read_give_their_places_to_others() {
    let mut snapshot = many(20_000);
    snapshot.limits.reading = Duration::from_millis(50);
    let endless = "select a.trial from metrics a, metrics b, metrics c";
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(snapshot.query(endless).await.unwrap());
    }
    snapshot.limits.patience = Duration::from_secs(20);
    assert_eq!(text(&snapshot, "select 1").await, "1");
    // Read before it is broken off, a query would go on.
    let broken_off = async {
        while unread.iter().any(|answer| answer.rows.unread.get().is_none()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), broken_off).await.unwrap();
    for answer in unread {
        let error = answer.rows.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.to_string().contains("not read for 50ms"), "{error}");
    }
}

/// The service's own thread is free while a query computes.
#[tokio::test]
async fn a_query_computes_elsewhere() {
    let snapshot = many(20_000);
    let endless =
        "select count(*) from metrics a, metrics b, metrics c where a.value + b.value + c.value < 0";
    let mut answer = snapshot.query(endless).await.unwrap();
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        tokio::select! {
            _ = answer.rows.next() => panic!("it computes for hours"),
            () = tokio::time::sleep(Duration::from_millis(2)) => {}
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}
