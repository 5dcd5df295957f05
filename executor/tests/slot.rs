//! A slot between a driver and a worker process: checkpoints that travel, and a worker that does not stop.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

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
    CheckpointRef, Direction, Function, Objective, Outcome, Select, Timing, TrialSpec, Verdict,
};
use lethe_flight::message::worker::{FromWorker, Run, ToWorker};
use lethe_flight::process::TrainerConfig;
use lethe_flight::server::{Outgoing, Service, serve};
use lethe_flight::tensors::{self, NamedTensor};
use lethe_flight::wire::{Put, Ticket};
use lethe_flight::{Error, PROTOCOL, Result, Token, VERSION, client, ipc};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Streaming;

const SECRET: &str = "0123456789012345678901234567890123456789";
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the slots of these tests wait for a stop.
const STOP: Duration = Duration::from_secs(2);

/// The trial whose checkpoints never come.
const HUNG: u32 = 99;

type Link = (Sender<ToSlot>, Receiver<FromSlot>);

/// A driver whose checkpoints arrive when the test lets them.
struct Peer {
    links: mpsc::Sender<Link>,
    folder: PathBuf,
    /// Epochs whose puts have begun.
    begun: Mutex<Vec<u32>>,
    gate: Semaphore,
    refuses: AtomicBool,
}

#[derive(Clone)]
struct Shared(Arc<Peer>);

impl Peer {
    fn file(&self, checkpoint: &CheckpointRef) -> PathBuf {
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

struct Bench {
    driver: Arc<Peer>,
    to: Sender<ToSlot>,
    from: Receiver<FromSlot>,
    events: Box<dyn futures::Stream<Item = SlotEvent> + Send + Unpin>,
    /// The executor's own.
    folder: tempfile::TempDir,
    _other: tempfile::TempDir,
}

impl Bench {
    /// A slot that is ready. `gate`: so many checkpoints arrive without waiting.
    async fn start(gate: usize) -> Self {
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
                trainer: trainer(),
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

    async fn say(&self, message: ToSlot) {
        self.to.send(&message).await.unwrap();
    }

    async fn next(&mut self) -> FromSlot {
        tokio::time::timeout(PATIENCE, self.from.next()).await.unwrap().unwrap().unwrap()
    }

    /// Assigns attempt 1 of a trial; the worker does what `does` says.
    async fn assign(&self, trial: u32, does: &str, checkpoint: Option<CheckpointRef>) {
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

    async fn decide(&self, trial: u32, verdict: Verdict) {
        self.say(ToSlot::Decision { trial, attempt: 1, verdict }).await;
    }

    fn begun(&self) -> Vec<u32> {
        self.driver.begun.lock().unwrap().clone()
    }

    /// The first put is on its way apart from the reports.
    async fn has_begun(&self, puts: usize) {
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
    async fn end(mut self) {
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

fn report(trial: u32, epoch: u32) -> FromSlot {
    let value = f64::from(epoch);
    FromSlot::Report { trial, attempt: 1, epoch, metrics: [("m".to_string(), value)].into() }
}

fn checkpointed(trial: u32, epoch: u32) -> FromSlot {
    FromSlot::Checkpointed { trial, attempt: 1, epoch }
}

fn outcome(message: FromSlot) -> Outcome {
    match message {
        FromSlot::Ended { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

fn lost(message: FromSlot) -> String {
    match outcome(message) {
        Outcome::Lost { error } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_checkpoint_has_arrived_before_its_pause_is_said_and_goes_to_the_next_attempt() {
    let mut bench = Bench::start(9).await;
    bench.assign(3, "pauses", None).await;
    assert_eq!(bench.next().await, report(3, 2));
    bench.decide(3, Verdict::Pause).await;
    assert_eq!(bench.next().await, checkpointed(3, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Paused);
    let checkpoint = CheckpointRef { trial: 3, attempt: 1, epoch: 2 };
    assert_eq!(tensors::read_file(&bench.driver.file(&checkpoint)).unwrap(), [tensor(2)]);
    // Another trial may go on from it.
    bench.assign(4, "resumes", Some(checkpoint)).await;
    assert_eq!(bench.next().await, report(4, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Finished);
    let gone = CheckpointRef { trial: 7, ..checkpoint };
    bench.assign(5, "resumes", Some(gone)).await;
    assert!(lost(bench.next().await).starts_with("the trial's files did not arrive: "));
    bench.end().await;
}

#[tokio::test]
async fn a_pause_whose_checkpoint_does_not_arrive_is_a_lost_attempt() {
    let mut bench = Bench::start(9).await;
    bench.driver.refuses.store(true, Ordering::SeqCst);
    bench.assign(1, "pauses", None).await;
    assert_eq!(bench.next().await, report(1, 2));
    bench.decide(1, Verdict::Pause).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the disk is full");
    bench.driver.refuses.store(false, Ordering::SeqCst);
    bench.assign(2, "saves outside", None).await;
    assert!(lost(bench.next().await).contains("the worker saved its checkpoint of epoch 2 as"));
    assert!(Path::new(&bench.folder.path().join("outside-2.arrow")).exists(), "it is left alone");
    bench.assign(3, "saves nothing", None).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the worker saved none");
    assert_eq!(bench.begun(), [2], "only the first was put");
    bench.end().await;
}

#[tokio::test]
async fn checkpoints_on_their_way_hold_up_nothing_and_the_newest_replaces_the_one_that_waits() {
    let mut bench = Bench::start(0).await;
    bench.assign(1, "saves often", None).await;
    // Reports and decisions pass while the first checkpoint travels.
    assert_eq!(bench.next().await, report(1, 4));
    bench.decide(1, Verdict::GoOn).await;
    assert_eq!(bench.next().await, report(1, 5));
    bench.has_begun(1).await;
    assert_eq!(bench.begun(), [1]);
    bench.driver.gate.add_permits(2);
    assert_eq!(bench.next().await, checkpointed(1, 1));
    assert_eq!(bench.next().await, checkpointed(1, 4));
    bench.decide(1, Verdict::Stop).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    assert_eq!(bench.begun(), [1, 4]);
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_loses_no_checkpoint_that_was_complete() {
    let mut bench = Bench::start(0).await;
    bench.assign(1, "saves and dies", None).await;
    assert_eq!(bench.next().await, report(1, 3));
    bench.decide(1, Verdict::GoOn).await;
    bench.driver.gate.add_permits(2);
    assert_eq!(bench.next().await, checkpointed(1, 1));
    assert_eq!(bench.next().await, checkpointed(1, 2));
    assert!(lost(bench.next().await).contains("died"));
    assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_stop_is_killed_and_replaced() {
    let mut bench = Bench::start(9).await;
    for (trial, by_verdict) in [(1, false), (2, true)] {
        bench.assign(trial, "hears nothing", None).await;
        assert_eq!(bench.next().await, report(trial, 1));
        let begin = Instant::now();
        match by_verdict {
            true => bench.decide(trial, Verdict::Stop).await,
            false => bench.say(ToSlot::Stop { trial, attempt: 1 }).await,
        }
        let ended =
            FromSlot::Ended { trial, attempt: 1, outcome: Outcome::Stopped, timing: Timing::default() };
        assert_eq!(bench.next().await, ended);
        assert!(begin.elapsed() >= STOP);
        assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
    }
    // One that stops in time is not killed: the same worker takes the next trial.
    bench.assign(3, "stops", None).await;
    assert_eq!(bench.next().await, report(3, 1));
    bench.say(ToSlot::Stop { trial: 3, attempt: 1 }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    bench.assign(4, "pauses", None).await;
    assert_eq!(bench.next().await, report(4, 2));
    tokio::time::sleep(STOP + Duration::from_millis(500)).await;
    bench.decide(4, Verdict::Pause).await;
    assert_eq!(bench.next().await, checkpointed(4, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Paused);
    bench.end().await;
}

#[tokio::test]
async fn a_slot_whose_files_travel_is_released_and_left_at_once() {
    for by_task in [false, true] {
        let mut bench = Bench::start(0).await;
        bench.assign(1, "pauses", None).await;
        assert_eq!(bench.next().await, report(1, 2));
        bench.decide(1, Verdict::Pause).await;
        // Its checkpoint is on the way to a driver that does not take it.
        bench.has_begun(1).await;
        match by_task {
            false => bench.end().await,
            true => {
                bench.events = Box::new(futures::stream::empty());
                let left = async { while let Some(Ok(_)) = bench.from.next().await {} };
                tokio::time::timeout(PATIENCE, left).await.expect("its exchange ends with its task");
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_whose_files_travel_is_stopped() {
    let mut bench = Bench::start(9).await;
    let checkpoint = CheckpointRef { trial: HUNG, attempt: 1, epoch: 2 };
    bench.assign(1, "resumes", Some(checkpoint)).await;
    bench.say(ToSlot::Stop { trial: 1, attempt: 1 }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    // The same worker takes the next trial.
    bench.assign(2, "saves nothing", None).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the worker saved none");
    bench.assign(3, "resumes", Some(checkpoint)).await;
    bench.end().await;
}

/// A program that runs [`worker`] in a process of its own.
fn trainer() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("worker-{}", std::process::id()));
        let tests = std::env::current_exe().unwrap();
        let script = format!("#!/bin/sh\nexec '{}' worker --exact --ignored --nocapture\n", tests.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    MADE.get_or_init(make).clone()
}

fn tensor(epoch: u32) -> NamedTensor {
    NamedTensor { name: "epoch".into(), dtype: "uint8".into(), shape: vec![1], data: vec![epoch as u8] }
}

/// Not a test by itself: the worker of the others, which start it as their trainer (`--ignored` in `trainer`). Here,
/// because a package's test can name no other program that its own build makes.
#[tokio::test]
#[ignore = "it is the other tests' worker process"]
async fn worker() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let config: TrainerConfig = serde_json::from_str(&line).unwrap();
    let mut client = client::connect(&config.executor, &Token::new(&config.token).unwrap()).await.unwrap();
    let hello = FromWorker::Hello {
        protocol: PROTOCOL,
        version: VERSION.into(),
        worker: config.worker,
        pid: std::process::id(),
        device: "cpu".into(),
    };
    let (sender, mut receiver) = client::exchange::<_, ToWorker>(&mut client, &hello).await.unwrap();
    loop {
        match receiver.next().await {
            Some(Ok(ToWorker::Run(run))) => attempt(&run, &sender, &mut receiver).await,
            Some(Ok(ToWorker::Stop { .. } | ToWorker::Decision { .. })) => {}
            _ => return,
        }
    }
}

async fn attempt(run: &Run, sender: &Sender<FromWorker>, receiver: &mut Receiver<ToWorker>) {
    let (trial, attempt) = (run.spec.trial, run.spec.attempt);
    let say = async |message: FromWorker| sender.send(&message).await.unwrap();
    let report = async |epoch: u32| {
        let metrics = [("m".to_string(), f64::from(epoch))].into();
        say(FromWorker::Report { trial, attempt, epoch, metrics }).await;
    };
    let save = async |to: &str, epoch: u32| {
        let path = format!("{to}-{epoch}.arrow");
        tensors::write_file(Path::new(&path), &[tensor(epoch)]).unwrap();
        say(FromWorker::Checkpoint { trial, attempt, epoch, path }).await;
    };
    let here = run.checkpoints.as_str();
    let outcome = match run.spec.hparams["does"].as_str().unwrap() {
        "pauses" => {
            report(2).await;
            let told = receiver.next().await.unwrap().unwrap();
            assert!(matches!(told, ToWorker::Decision { verdict: Verdict::Pause, .. }), "{told:?}");
            save(here, 2).await;
            Outcome::Paused
        }
        "saves outside" => {
            let folder = Path::new(here).parent().unwrap();
            save(&format!("{}/../../outside", folder.display()), 2).await;
            Outcome::Paused
        }
        "saves nothing" => Outcome::Paused,
        "saves often" => {
            for epoch in 1..=4 {
                save(here, epoch).await;
            }
            report(4).await;
            receiver.next().await.unwrap().unwrap();
            report(5).await;
            receiver.next().await.unwrap().unwrap();
            Outcome::Stopped
        }
        "saves and dies" => {
            save(here, 1).await;
            save(here, 2).await;
            report(3).await;
            receiver.next().await.unwrap().unwrap();
            std::process::abort()
        }
        "hears nothing" => {
            report(1).await;
            std::future::pending().await
        }
        "stops" => {
            report(1).await;
            let told = receiver.next().await.unwrap().unwrap();
            assert!(matches!(told, ToWorker::Stop { .. }), "{told:?}");
            Outcome::Stopped
        }
        "resumes" => {
            assert_eq!(run.initial, None);
            let tensors = tensors::read_file(run.checkpoint.as_ref().unwrap().as_ref()).unwrap();
            report(u32::from(tensors[0].data[0])).await;
            Outcome::Finished
        }
        other => panic!("{other}"),
    };
    say(FromWorker::Ended { trial, attempt, outcome, timing: Timing::default(), weights: None, last: false })
        .await;
}
