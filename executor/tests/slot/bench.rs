//! A slot of a real executor, whose driver is the test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_flight::{FlightData, Result as ActionResult};
use futures::StreamExt;
use lethe_executor::driver::Driver;
use lethe_executor::program::Programs;
use lethe_executor::service::Executor;
use lethe_executor::slot::{Host, Options, Workers};
use lethe_executor::store::Store;
use lethe_executor::view::Views;
use lethe_flight::exchange::{self, Receiver, Sender};
use lethe_flight::message::slot::{FromSlot, OpenSlot, SlotEvent, ToSlot};
use lethe_flight::message::training::{
    CheckpointRef, Direction, Function, Objective, Outcome, Select, TrialSpec, Verdict,
};
use lethe_flight::server::{Outgoing, Service, serve};
use lethe_flight::wire::{Put, Ticket};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, ipc};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Streaming;

use crate::worker;

const SECRET: &str = "0123456789012345678901234567890123456789";
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long the slots of these tests wait for a stop.
pub const STOP: Duration = Duration::from_secs(2);

/// The trial whose checkpoints never come.
pub const HUNG: u32 = 99;

type Link = (Sender<ToSlot>, Receiver<FromSlot>);

/// A driver whose checkpoints arrive when the test lets them.
pub struct Peer {
    links: mpsc::Sender<Link>,
    folder: PathBuf,
    /// Epochs whose puts have begun.
    begun: Mutex<Vec<u32>>,
    pub gate: Semaphore,
    pub refuses: AtomicBool,
}

#[derive(Clone)]
struct Shared(Arc<Peer>);

impl Peer {
    pub fn file(&self, checkpoint: &CheckpointRef) -> PathBuf {
        self.folder.join(format!("{}-{}-{}", checkpoint.trial, checkpoint.attempt, checkpoint.epoch))
    }
}

#[tonic::async_trait]
impl Service for Shared {
    async fn action(&self, _: &str, _: &[u8]) -> Result<Outgoing<ActionResult>> {
        Err(Error::Invalid("not here".into()))
    }

    async fn get(&self, ticket: Ticket) -> Result<Outgoing<FlightData>> {
        let Ticket::Checkpoint { experiment, checkpoint } = ticket else { panic!("{ticket:?}") };
        assert_eq!(experiment, "x");
        if checkpoint.trial == HUNG {
            std::future::pending::<()>().await;
        }
        ipc::send(self.0.file(&checkpoint)).await
    }

    async fn put(&self, put: Put, frames: Outgoing<FlightData>) -> Result<()> {
        let Put::Checkpoint { experiment, checkpoint } = put else { panic!("{put:?}") };
        assert_eq!(experiment, "x");
        self.0.begun.lock().unwrap().push(checkpoint.epoch);
        self.0.gate.acquire().await.unwrap().forget();
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(Error::Exhausted("the disk is full".into()));
        }
        ipc::receive(ipc::decode(frames), self.0.file(&checkpoint), 1 << 20).await.map(|_| ())
    }

    async fn exchange(&self, frames: Streaming<FlightData>) -> Result<Outgoing<FlightData>> {
        let (sender, out) = exchange::outgoing();
        self.0.links.send((sender, Receiver::new(frames))).await.unwrap();
        Ok(out.map(Ok).boxed())
    }
}

pub struct Bench {
    pub driver: Arc<Peer>,
    to: Sender<ToSlot>,
    pub from: Receiver<FromSlot>,
    pub events: Box<dyn futures::Stream<Item = SlotEvent> + Send + Unpin>,
    /// The executor's own.
    pub folder: tempfile::TempDir,
    _other: tempfile::TempDir,
}

impl Bench {
    /// A slot that is ready. `gate`: so many checkpoints arrive without waiting.
    pub async fn start(gate: usize) -> Self {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (links, mut arrived) = mpsc::channel(1);
        let driver = Arc::new(Peer {
            links,
            folder: other.path().into(),
            begun: Mutex::default(),
            gate: Semaphore::new(gate),
            refuses: false.into(),
        });
        let token = Token::new(SECRET).unwrap();
        let (listener, address) = listen().await;
        tokio::spawn(serve(Shared(driver.clone()), listener, token.clone(), std::future::pending()));
        let (listener, own) = listen().await;
        let directory = folder.path().to_path_buf();
        std::fs::create_dir_all(directory.join("logs")).unwrap();
        let host = Arc::new(Host {
            driver: Driver::connect(address, token.clone(), "e".into(), own).await.unwrap(),
            store: Arc::new(Store::open(directory.join("partitions")).unwrap()),
            views: Views::open(directory.join("views")).unwrap(),
            programs: Programs::open(directory.join("programs")).unwrap(),
            workers: Workers::default(),
            options: Options {
                token: token.clone(),
                secret: SECRET.into(),
                trainer: worker::program(),
                libtorch: None,
                python: "/nowhere/python".into(),
                functions: directory.join("functions"),
                threads: 1,
                stop: STOP,
                directory,
                memory: None,
                jvm_bytes: 0,
            },
            open: 0.into(),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        tokio::spawn(serve(Executor(host.clone()), listener, token, std::future::pending()));
        let open = OpenSlot {
            protocol: PROTOCOL,
            version: VERSION.into(),
            experiment: "x".into(),
            slot: 0,
            gpu: None,
            function: None,
        };
        let events = Box::new(host.open(open).unwrap().boxed());
        let (to, from) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
        let mut bench = Self { driver, to, from, events, folder, _other: other };
        assert!(matches!(bench.next().await, FromSlot::Join { .. }));
        bench.say(ToSlot::Joined { data: None }).await;
        assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
        bench
    }

    pub async fn say(&self, message: ToSlot) {
        self.to.send(&message).await.unwrap();
    }

    pub async fn next(&mut self) -> FromSlot {
        tokio::time::timeout(PATIENCE, self.from.next()).await.unwrap().unwrap().unwrap()
    }

    /// Assigns attempt 1 of a trial; the worker does what `does` says.
    pub async fn assign(&self, trial: u32, does: &str, checkpoint: Option<CheckpointRef>) {
        let objective = Objective {
            metric: "m".into(),
            direction: Direction::Max,
            select: Select::Last,
            further: vec![],
        };
        let spec = TrialSpec {
            experiment: "x".into(),
            trial,
            attempt: 1,
            seed: 1,
            hparams: [("does".to_string(), does.into())].into_iter().collect(),
            function: Function::Registered { name: "f".into(), epochs: 9 },
            program: None,
            data: None,
            objective,
            rungs: vec![],
            decide_every: None,
            checkpoint,
            checkpoint_every_s: None,
            gang: None,
            best_so_far: None,
        };
        self.say(ToSlot::Assign { spec: Box::new(spec) }).await;
    }

    pub async fn decide(&self, trial: u32, verdict: Verdict) {
        self.say(ToSlot::Decision { trial, attempt: 1, verdict }).await;
    }

    pub fn begun(&self) -> Vec<u32> {
        self.driver.begun.lock().unwrap().clone()
    }

    /// The first put is on its way apart from the reports.
    pub async fn has_begun(&self, puts: usize) {
        let begun = async {
            while self.begun().len() < puts {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.unwrap();
    }

    /// Files of attempts that lie in the executor's folder.
    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("weights")).map_or(0, Iterator::count)
    }

    /// Releases the slot. Nothing of its attempts is left.
    pub async fn end(mut self) {
        self.say(ToSlot::Release).await;
        let mut last = None;
        while let Some(event) = tokio::time::timeout(PATIENCE, self.events.next()).await.unwrap() {
            last = Some(event);
        }
        assert_eq!(last, Some(SlotEvent::Released));
        assert_eq!(self.files(), 0);
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

pub fn report(trial: u32, epoch: u32) -> FromSlot {
    let value = f64::from(epoch);
    FromSlot::Report { trial, attempt: 1, epoch, metrics: [("m".to_string(), value)].into() }
}

pub fn checkpointed(trial: u32, epoch: u32) -> FromSlot {
    FromSlot::Checkpointed { trial, attempt: 1, epoch }
}

pub fn outcome(message: FromSlot) -> Outcome {
    match message {
        FromSlot::Ended { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

pub fn lost(message: FromSlot) -> String {
    match outcome(message) {
        Outcome::Lost { error } => error,
        other => panic!("{other:?}"),
    }
}
