//! A driver on loopback, and the other ends of its conversations.

use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, StreamExt};
use lethe_driver::service::DriverService;
use lethe_flight::client::{self, Client};
use lethe_flight::exchange::{Receiver, Sender};
use lethe_flight::message::experiment::{
    Created, Domain, ExperimentRef, ExperimentResult, Optimizer, Parameter, Plan, Source, Stopping,
    WatchEvent,
};
use lethe_flight::message::slot::{FromSlot, ToSlot};
use lethe_flight::message::training::{
    Direction, Function, Metrics, Objective, Optimizer as TrainingOptimizer, Outcome, Schedule, Select,
    Supervised, Timing, TrialSpec,
};
use lethe_flight::wire::action;
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, server};
use tokio::net::TcpListener;
use tonic::Code;

/// What an action without a result answers.
pub type Null = ();

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct Driver {
    pub address: String,
    pub folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driver {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = DriverService::new(folder.path().join("driver")).unwrap();
        let token = Token::new(SECRET).unwrap();
        let task = tokio::spawn(server::serve(service, listener, token, std::future::pending()));
        Self { address, folder, task }
    }

    pub async fn client(&self) -> Client {
        client::connect(&self.address, &Token::new(SECRET).unwrap()).await.unwrap()
    }

    pub fn weights(&self) -> PathBuf {
        self.folder.path().join("e/weights")
    }

    /// A random search of a registered function for three epochs.
    pub fn plan(&self, trials: u32, slots: u32) -> Plan {
        let domain = Domain::Uniform { low: 0.0, high: 1.0 };
        Plan {
            protocol: PROTOCOL,
            version: VERSION.into(),
            experiment: "e".into(),
            seed: 3,
            source: Source::Search {
                space: vec![Parameter { name: "x".into(), domain }],
                trials,
                optimizer: Optimizer::Random,
                stopping: Stopping::None,
            },
            objective: Objective { metric: "m".into(), direction: Direction::Max, select: Select::Last },
            function: Function::Registered { name: "test".into(), epochs: 3 },
            data: None,
            slots,
            directory: self.folder.path().join("e").display().to_string(),
        }
    }

    pub async fn create(&self, plan: &Plan) -> Result<Created> {
        client::call(&mut self.client().await, action::CREATE_EXPERIMENT, plan).await
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
            result.trials.extend(part.unwrap().trials);
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
        optimizer: TrainingOptimizer::Adam,
        lr: 0.1,
        weight_decay: 0.0,
        momentum: 0.0,
        schedule: Schedule::Constant,
        grad_clip: None,
    })
}
