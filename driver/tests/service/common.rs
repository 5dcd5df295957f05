//! A driver on loopback, and the other ends of its conversations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use futures::{Stream, StreamExt, TryStreamExt};
use lethe_driver::service::DriverService;
use lethe_flight::client::{self, Client};
use lethe_flight::exchange::{Receiver, Sender};
use lethe_flight::message::experiment::{
    Budget, Created, Domain, ExperimentRef, ExperimentResult, Optimizer, Parameter, Plan, Resume, Retries,
    Source, Stopping, WatchEvent,
};
use lethe_flight::message::gang::Workers;
use lethe_flight::message::slot::{FromSlot, ToSlot};
use lethe_flight::message::training::{
    CheckpointRef, Direction, Function, Metrics, Objective, Optimizer as TrainingOptimizer, Outcome,
    Schedule, Select, Supervised, Timing, TrialSpec, Verdict,
};
use lethe_flight::tensors::{self, NamedTensor};
use lethe_flight::wire::{Put, Ticket, action};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, server};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::Code;

/// What an action without a result answers.
pub type Null = ();

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct Driver {
    pub address: String,
    pub folder: tempfile::TempDir,
    /// Its own, so that all of it can be ended at once. None while the driver is replaced.
    runtime: Option<Runtime>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Driver {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Ends this driver as a kill would, with its connections and without a last word, and starts another one over
    /// the same folder.
    pub async fn replace(self) -> Self {
        let mut ended = self;
        let folder = std::mem::replace(&mut ended.folder, tempfile::tempdir().unwrap());
        drop(ended);
        Self::start_in(folder).await
    }

    async fn start_in(folder: tempfile::TempDir) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let token = Token::new(SECRET).unwrap();
        let service = DriverService::new(folder.path().join("driver"), token.clone()).unwrap();
        let bound = runtime.spawn(TcpListener::bind("127.0.0.1:0")).await;
        let listener = bound.unwrap().unwrap();
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(server::serve(service, listener, token, std::future::pending()));
        Self { address, folder, runtime: Some(runtime) }
    }

    pub async fn client(&self) -> Client {
        client::connect(&self.address, &Token::new(SECRET).unwrap()).await.unwrap()
    }

    pub fn weights(&self) -> PathBuf {
        self.folder.path().join("e/weights")
    }

    /// A random search of a registered function for three epochs.
    pub fn plan(&self, trials: u32, slots: u32) -> Plan {
        let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
        Plan {
            protocol: PROTOCOL,
            version: VERSION.into(),
            experiment: "e".into(),
            seed: 3,
            source: Source::Search {
                space: vec![Parameter { name: "x".into(), domain, condition: None }],
                constraints: Vec::new(),
                checked: false,
                enqueued: Vec::new(),
                budget: Budget { trials: Some(trials), ..Budget::default() },
                optimizer: Optimizer::Random,
                stopping: Stopping::None,
                workers: Workers::ONE,
            },
            objective: Objective {
                metric: "m".into(),
                direction: Direction::Max,
                select: Select::Last,
                further: Vec::new(),
            },
            function: Function::Registered { name: "test".into(), epochs: 3 },
            data: None,
            slots,
            directory: self.folder.path().join("e").display().to_string(),
            store: None,
            code: BTreeMap::new(),
            resume: Resume::New,
            retries: Retries::default(),
            checkpoint_every_s: None,
            shards: Default::default(),
        }
    }

    pub async fn create(&self, plan: &Plan) -> Result<Created> {
        client::call(&mut self.client().await, action::CREATE_EXPERIMENT, plan).await
    }

    /// Goes on with the experiment, once the driver before has let its folder go.
    pub async fn resume(&self, plan: &Plan) {
        let plan = Plan { resume: Resume::Resume { accept_changes: false }, ..plan.clone() };
        within(async {
            loop {
                match self.create(&plan).await {
                    Ok(_) => return,
                    Err(error) if error.to_string().contains("is in use by") => {
                        tokio::time::sleep(Duration::from_millis(10)).await
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
    }

    /// What a query finds, a text for each cell.
    pub async fn sql(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let ticket = Ticket::Sql { experiment: "e".into(), query: query.into() };
        let batches: Vec<RecordBatch> =
            client::get(&mut self.client().await, &ticket).await?.try_collect().await.unwrap();
        let cell =
            |batch: &RecordBatch, row, column| array_value_to_string(batch.column(column), row).unwrap();
        let rows = |batch: RecordBatch| {
            (0..batch.num_rows())
                .map(|row| (0..batch.num_columns()).map(|column| cell(&batch, row, column)).collect())
                .collect::<Vec<_>>()
        };
        Ok(batches.into_iter().flat_map(rows).collect())
    }

    pub async fn watch(&self) -> impl Stream<Item = Result<WatchEvent>> + Unpin + use<> {
        client::call_stream(&mut self.client().await, action::WATCH, &experiment()).await.unwrap()
    }

    pub async fn result(&self) -> ExperimentResult {
        let mut client = self.client().await;
        let mut parts =
            client::call_stream::<_, ExperimentResult>(&mut client, action::RESULT, &experiment())
                .await
                .unwrap();
        let mut result = parts.next().await.unwrap().unwrap();
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            result.trials.extend(part.trials);
            result.slots.extend(part.slots);
        }
        result
    }
}

pub fn experiment() -> ExperimentRef {
    ExperimentRef { experiment: "e".into() }
}

pub fn join(slot: u32) -> FromSlot {
    FromSlot::Join {
        protocol: PROTOCOL,
        version: VERSION.into(),
        experiment: "e".into(),
        slot,
        executor: "x".into(),
    }
}

/// An executor's end of a slot.
pub struct Slot {
    pub client: Client,
    pub sender: Sender<FromSlot>,
    pub receiver: Receiver<ToSlot>,
}

impl Slot {
    /// Joined and ready.
    pub async fn open(driver: &Driver, number: u32) -> Self {
        let mut client = driver.client().await;
        let (sender, mut receiver) = client::exchange(&mut client, &join(number)).await.unwrap();
        let joined: ToSlot = within(receiver.next()).await.unwrap().unwrap();
        assert!(matches!(joined, ToSlot::Joined { .. }));
        sender.send(&FromSlot::Ready { worker_pid: 1, device: "cpu".into() }).await.unwrap();
        Self { client, sender, receiver }
    }

    pub async fn next(&mut self) -> Option<ToSlot> {
        within(self.receiver.next()).await.map(|message| message.unwrap())
    }

    pub async fn assigned(&mut self) -> TrialSpec {
        match self.next().await {
            Some(ToSlot::Assign { spec }) => *spec,
            other => panic!("not an assignment: {other:?}"),
        }
    }

    pub async fn report(&self, spec: &TrialSpec, epoch: u32, value: f64) {
        let metrics = Metrics::from([(spec.objective.metric.clone(), value)]);
        let report = FromSlot::Report { trial: spec.trial, attempt: spec.attempt, epoch, metrics };
        self.sender.send(&report).await.unwrap();
    }

    /// Puts a checkpoint that says its epoch, and leaves the trial paused.
    pub async fn pause(&mut self, spec: &TrialSpec, epoch: u32) {
        let checkpoint = CheckpointRef { trial: spec.trial, attempt: spec.attempt, epoch };
        let tensor = NamedTensor {
            name: "model/w".into(),
            dtype: "int64".into(),
            shape: vec![1],
            data: i64::from(epoch).to_le_bytes().to_vec(),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        tensors::write_file(file.path(), &[tensor]).unwrap();
        let put = Put::Checkpoint { experiment: "e".into(), checkpoint };
        client::put_file(&mut self.client, &put, file.path().to_owned()).await.unwrap();
        let CheckpointRef { trial, attempt, epoch } = checkpoint;
        self.sender.send(&FromSlot::Checkpointed { trial, attempt, epoch }).await.unwrap();
        self.end(spec, Outcome::Paused).await;
    }

    /// The epoch that the attempt's checkpoint says.
    pub async fn begins_after(&mut self, spec: &TrialSpec) -> i64 {
        let checkpoint = spec.checkpoint.expect("a checkpoint to go on from");
        let ticket = Ticket::Checkpoint { experiment: "e".into(), checkpoint };
        let frames = client::get(&mut self.client, &ticket).await.unwrap();
        let batches: Vec<RecordBatch> = frames.try_collect().await.unwrap();
        let data = batches[0].column(3).as_binary::<i64>().value(0).to_vec();
        i64::from_le_bytes(data.try_into().unwrap())
    }

    pub async fn decision(&mut self) -> Verdict {
        match self.next().await {
            Some(ToSlot::Decision { verdict, .. }) => verdict,
            other => panic!("not a decision: {other:?}"),
        }
    }

    pub async fn end(&self, spec: &TrialSpec, outcome: Outcome) {
        let timing = Timing { idle_s: 0.001, setup_s: 0.002, train_s: 0.5 };
        let ended = FromSlot::Ended { trial: spec.trial, attempt: spec.attempt, outcome, timing };
        self.sender.send(&ended).await.unwrap();
    }

    /// Runs what comes, reporting the trial's `x`, until the slot is released; the trials that it ran.
    pub async fn work(mut self) -> Vec<u32> {
        let mut trials = Vec::new();
        while let Some(message) = self.next().await {
            let spec = match message {
                ToSlot::Assign { spec } => spec,
                ToSlot::Release => break,
                other => panic!("unexpected {other:?}"),
            };
            for epoch in 1..=3 {
                self.report(&spec, epoch, spec.hparams["x"].as_f64().unwrap()).await;
            }
            self.end(&spec, Outcome::Finished).await;
            trials.push(spec.trial);
        }
        trials
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer within 20 s")
}

/// The next event of a watch that is none of progress.
pub async fn event(watch: &mut (impl Stream<Item = Result<WatchEvent>> + Unpin)) -> WatchEvent {
    loop {
        match within(watch.next()).await.unwrap().unwrap() {
            WatchEvent::Progress(_) => {}
            other => return other,
        }
    }
}

pub fn code(error: &Error) -> Code {
    match error {
        Error::Remote(status) => status.code(),
        other => panic!("not an answer: {other}"),
    }
}

/// A function that needs models, and reports what its module wants.
pub fn supervised() -> Function {
    Function::Supervised(Supervised {
        loss: None,
        metrics: vec![],
        epochs: 3,
        batch_size: 32,
        drop_last: false,
        optimizer: TrainingOptimizer::Adam,
        lr: 0.1,
        weight_decay: 0.0,
        momentum: 0.0,
        schedule: Schedule::Constant,
        grad_clip: None,
        accumulate: 1,
        precision: Default::default(),
        sync_batch_norm: false,
    })
}
