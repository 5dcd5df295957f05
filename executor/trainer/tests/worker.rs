//! The worker protocol against an executor made of the real Flight server, in this process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use futures::StreamExt;
use lethe_flight::exchange::{self, Receiver, Sender};
use lethe_flight::message::training::{CheckpointRef, Function, Loss, Metric, Outcome, Select, Verdict};
use lethe_flight::message::worker::{FromWorker, Run, ToWorker};
use lethe_flight::process::TrainerConfig;
use lethe_flight::server::{self, Outgoing, Service};
use lethe_flight::wire::{Put, Ticket};
use lethe_flight::{Error, PROTOCOL, Token, VERSION};
use lethe_trainer::worker::{End, serve};
use lethe_trainer::{Registry, Result};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const SECRET: &str = "0123456789012345678901234567890123456789";
const PATIENCE: Duration = Duration::from_secs(20);

type Link = (Sender<ToWorker>, Receiver<FromWorker>);

/// Hands each worker's exchange to the test.
struct Executor {
    links: mpsc::Sender<Link>,
}

#[tonic::async_trait]
impl Service for Executor {
    async fn action(&self, _: &str, _: &[u8]) -> lethe_flight::Result<Outgoing<arrow_flight::Result>> {
        Err(Error::Invalid("no actions".into()))
    }

    async fn get(&self, _: Ticket) -> lethe_flight::Result<Outgoing<arrow_flight::FlightData>> {
        Err(Error::Invalid("no get".into()))
    }

    async fn put(&self, _: Put, _: Outgoing<arrow_flight::FlightData>) -> lethe_flight::Result<()> {
        Err(Error::Invalid("no put".into()))
    }

    async fn exchange(
        &self,
        frames: tonic::Streaming<arrow_flight::FlightData>,
    ) -> lethe_flight::Result<Outgoing<arrow_flight::FlightData>> {
        let (sender, out) = exchange::outgoing();
        self.links.send((sender, Receiver::new(frames))).await.map_err(|_| Error::Invalid("over".into()))?;
        Ok(out.map(Ok).boxed())
    }
}

/// The address of a new executor, and the exchanges of the workers that connect to it.
async fn executor() -> (String, mpsc::Receiver<Link>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (links, arrived) = mpsc::channel(1);
    let token = Token::new(SECRET).unwrap();
    let server = tokio::spawn(async move {
        server::serve(Executor { links }, listener, token, std::future::pending()).await.unwrap();
    });
    (address, arrived, server)
}

struct Bench {
    sender: Sender<ToWorker>,
    receiver: Receiver<FromWorker>,
    worker: JoinHandle<Result<End>>,
    life: oneshot::Sender<()>,
    _server: JoinHandle<()>,
}

impl Bench {
    async fn start() -> Self {
        let (executor, mut arrived, server) = executor().await;
        let config = TrainerConfig { token: SECRET.into(), executor, worker: "key".into(), threads: 1 };
        let (life, ended) = oneshot::channel();
        let worker = tokio::spawn(serve(config, Registry::default(), ended));
        let (sender, receiver) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
        let mut bench = Self { sender, receiver, worker, life, _server: server };
        let hello = FromWorker::Hello {
            protocol: PROTOCOL,
            version: VERSION.into(),
            worker: "key".into(),
            pid: std::process::id(),
            device: "cpu".into(),
        };
        assert_eq!(bench.next().await, hello);
        bench
    }

    async fn next(&mut self) -> FromWorker {
        tokio::time::timeout(PATIENCE, self.receiver.next()).await.unwrap().unwrap().unwrap()
    }

    async fn say(&self, message: ToWorker) {
        self.sender.send(&message).await.unwrap();
    }

    async fn run(&self, run: &Run) {
        self.say(ToWorker::Run(Box::new(run.clone()))).await;
    }

    async fn end(self) -> End {
        tokio::time::timeout(PATIENCE, self.worker).await.unwrap().unwrap().unwrap()
    }
}

fn outcome(message: FromWorker) -> Outcome {
    match message {
        FromWorker::Ended { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

fn sleeper(folder: &tempfile::TempDir, trial: u32, seconds: f64, reports: u32) -> Run {
    let mut run = classification(folder, json!({"seconds": seconds, "reports": reports}));
    run.spec.trial = trial;
    run.spec.function = Function::Registered { name: "lethe.sleep".into(), epochs: reports };
    run
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::await_holding_lock, reason = "the lock keeps whole tests apart")]
async fn a_worker_runs_one_trial_after_another() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start().await;
    let mut run = classification(&folder, json!({"epochs": 2}));
    for trial in 0..3 {
        run.spec.trial = trial;
        bench.run(&run).await;
        for expected in 1..=2 {
            let FromWorker::Report { trial: of, attempt: 1, epoch, metrics } = bench.next().await else {
                panic!()
            };
            assert_eq!((of, epoch), (trial, expected));
            assert!(metrics.contains_key("accuracy"));
        }
        let FromWorker::Ended { trial: of, outcome, timing, weights, .. } = bench.next().await else {
            panic!()
        };
        assert_eq!((of, outcome, weights), (trial, Outcome::Finished, Some(run.weights.clone())));
        assert_eq!(timing.idle_s > 0.0, trial > 0);
    }
    bench.say(ToWorker::Exit).await;
    assert_eq!(bench.end().await, End::Told);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::await_holding_lock, reason = "the lock keeps whole tests apart")]
async fn a_rung_waits_for_its_decision_and_a_stop_is_for_its_attempt_only() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start().await;
    let mut run = sleeper(&folder, 1, 0.003, 3);
    run.spec.rungs = vec![1, 2];
    bench.run(&run).await;
    assert!(matches!(bench.next().await, FromWorker::Report { epoch: 1, .. }));
    // Neither is for this attempt.
    bench.say(ToWorker::Stop { trial: 1, attempt: 2 }).await;
    bench.say(ToWorker::Decision { trial: 2, attempt: 1, verdict: Verdict::Stop }).await;
    bench.say(ToWorker::Decision { trial: 1, attempt: 1, verdict: Verdict::GoOn }).await;
    assert!(matches!(bench.next().await, FromWorker::Report { epoch: 2, .. }));
    bench.say(ToWorker::Decision { trial: 1, attempt: 1, verdict: Verdict::Stop }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    bench.run(&sleeper(&folder, 2, 3600.0, 1)).await;
    bench.say(ToWorker::Stop { trial: 2, attempt: 1 }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    // A failure is its trial's own; the worker goes on.
    bench.run(&sleeper(&folder, 3, -1.0, 1)).await;
    assert!(
        matches!(outcome(bench.next().await), Outcome::Failed { error } if error.starts_with("hparam seconds"))
    );
    bench.run(&sleeper(&folder, 4, 0.0, 1)).await;
    assert!(matches!(bench.next().await, FromWorker::Report { trial: 4, .. }));
    assert_eq!(outcome(bench.next().await), Outcome::Finished);
    bench.say(ToWorker::Exit).await;
    assert_eq!(bench.end().await, End::Told);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::await_holding_lock, reason = "the lock keeps whole tests apart")]
async fn a_worker_ends_with_its_exchange_or_its_stdin_in_the_middle_of_a_trial() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start().await;
    bench.run(&sleeper(&folder, 1, 3600.0, 1)).await;
    let Bench { sender, receiver, worker, life: _life, _server } = bench;
    drop((sender, receiver));
    let ended = tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, End::ExecutorGone);
    let bench = Bench::start().await;
    bench.run(&sleeper(&folder, 1, 3600.0, 1)).await;
    let Bench { worker, life, sender: _sender, receiver: _receiver, .. } = bench;
    drop(life);
    let ended = tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, End::StdinClosed);
}

#[tokio::test]
async fn an_executor_that_is_not_there_is_an_error_that_names_it() {
    let config = TrainerConfig {
        token: SECRET.into(),
        executor: "127.0.0.1:1".into(),
        worker: "key".into(),
        threads: 1,
    };
    let (_life, ended) = oneshot::channel();
    let error = serve(config, Registry::default(), ended).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot reach 127.0.0.1:1"), "{error}");
}

/// The example `worker` as a process, connected and greeted.
struct Process {
    process: std::process::Child,
    stdin: std::process::ChildStdin,
    sender: Sender<ToWorker>,
    receiver: Receiver<FromWorker>,
    _server: JoinHandle<()>,
}

impl Process {
    async fn start() -> Self {
        let (executor, mut arrived, server) = executor().await;
        let config = TrainerConfig { token: SECRET.into(), executor, worker: "key".into(), threads: 1 };
        // cargo builds the examples for the tests, beside their folder.
        let tests = std::env::current_exe().unwrap();
        let binary = tests.ancestors().nth(2).unwrap().join("examples/worker");
        let mut process = Command::new(binary).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        writeln!(stdin, "{}", serde_json::to_string(&config).unwrap()).unwrap();
        let (sender, receiver) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
        let mut this = Self { process, stdin, sender, receiver, _server: server };
        assert!(matches!(this.next().await, FromWorker::Hello { pid, .. } if pid == this.process.id()));
        this
    }

    async fn next(&mut self) -> FromWorker {
        tokio::time::timeout(PATIENCE, self.receiver.next()).await.unwrap().unwrap().unwrap()
    }

    async fn run(&self, run: &Run) {
        self.sender.send(&ToWorker::Run(Box::new(run.clone()))).await.unwrap();
    }

    /// Runs an attempt whose only rung is `pause`, and there pauses it. Its messages, and its last.
    async fn attempt(mut self, run: &Run, pause: u32) -> (Vec<FromWorker>, FromWorker) {
        self.run(run).await;
        let mut said = Vec::new();
        loop {
            match self.next().await {
                message @ FromWorker::Ended { .. } => {
                    drop(self.stdin);
                    self.process.wait().unwrap();
                    return (said, message);
                }
                message => said.push(message),
            }
            if let Some(FromWorker::Report { trial, attempt, epoch, .. }) = said.last()
                && *epoch == pause
            {
                let (trial, attempt, verdict) = (*trial, *attempt, Verdict::Pause);
                self.sender.send(&ToWorker::Decision { trial, attempt, verdict }).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_goes_on_in_another_process_ends_to_the_bit_as_one_that_was_not_paused() {
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(240);
    let view = view(folder.path(), &features, 4, common::Labels::Class(&labels), 60);
    let settings =
        json!({"epochs": 6, "batch_size": 31, "lr": 0.02, "schedule": "one_cycle", "grad_clip": 0.7});
    let supervised = supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy]);
    let mut run = trial(&folder, "deep", view, supervised, settings);
    run.spec.objective.select = Select::Best;
    let losses = |said: &[FromWorker]| -> Vec<(u32, Vec<u64>)> {
        let reports = said.iter().filter_map(|message| match message {
            FromWorker::Report { epoch, metrics, .. } => {
                Some((*epoch, metrics.values().map(|v| v.to_bits()).collect()))
            }
            _ => None,
        });
        reports.collect()
    };
    let weights = || lethe_flight::tensors::read_file(run.weights.as_ref()).unwrap();
    let (said, last) = Process::start().await.attempt(&run, 0).await;
    assert_eq!(outcome(last), Outcome::Finished);
    let (expected, expected_weights) = (losses(&said), weights());
    std::fs::remove_file(&run.weights).unwrap();

    let mut found = Vec::new();
    let mut attempt = run.clone();
    for (number, pause) in [(1, 1), (2, 4), (3, 0)] {
        attempt.spec.attempt = number;
        attempt.spec.rungs = vec![pause];
        let (said, last) = Process::start().await.attempt(&attempt, pause).await;
        found.extend(losses(&said));
        if pause == 0 {
            assert_eq!(outcome(last), Outcome::Finished);
            continue;
        }
        let file = format!("{}-{pause}.arrow", run.checkpoints);
        let checkpoint =
            FromWorker::Checkpoint { trial: 0, attempt: number, epoch: pause, path: file.clone() };
        assert_eq!(said.last(), Some(&checkpoint), "it comes after its epoch's report, before the end");
        assert_eq!(outcome(last), Outcome::Paused);
        attempt.spec.checkpoint = Some(CheckpointRef { trial: 0, attempt: number, epoch: pause });
        attempt.checkpoint = Some(file);
        attempt.initial = None;
    }
    assert_eq!(found, expected);
    assert!(weights() == expected_weights);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_process_ends_at_once_when_its_stdin_does_even_while_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start().await;
    let mut own = classification(&folder, json!({"lr": 0.5}));
    own.spec.function = Function::Registered { name: "parabola".into(), epochs: 1 };
    own.spec.objective.metric = "loss".into();
    process.run(&own).await;
    assert!(matches!(process.next().await, FromWorker::Report { metrics, .. } if metrics["loss"] == 0.0));
    assert_eq!(outcome(process.next().await), Outcome::Finished);

    let endless = classification(&folder, json!({"epochs": 4_000_000_000u32}));
    process.run(&endless).await;
    assert!(matches!(process.next().await, FromWorker::Report { epoch: 1, .. }));
    let begin = Instant::now();
    let Process { mut process, stdin, sender: _sender, receiver: _receiver, _server } = process;
    drop(stdin);
    let status = tokio::task::spawn_blocking(move || process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
}
