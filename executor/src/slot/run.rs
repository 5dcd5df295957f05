//! One slot, from the moment that its task opens it until it is released or lost.

use std::time::{Duration, Instant};

use lethe_flight::client;
use lethe_flight::exchange::{Receiver, Sender};
use lethe_flight::message::dataset::{DataSpec, View};
use lethe_flight::message::slot::{FromSlot, OpenSlot, SlotEvent, ToSlot};
use lethe_flight::message::training::{Outcome, Timing, TrialSpec, Verdict};
use lethe_flight::message::worker::{FromWorker, ToWorker};
use lethe_flight::{Error, PROTOCOL, Result, VERSION};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Host;
use super::attempt::Attempt;
use super::ears::{Ears, Heard, driver_gone, task_gone};
use super::held::{self, Held};
use super::puts::Arrived;
use super::worker::{Program, Worker};
use crate::memory;

/// Workers that may die one after another without ending an attempt, before the slot gives up.
const DEATHS: u32 = 5;

/// How long the rows of a rank may take to come and to become its view.
const VIEW: Duration = Duration::from_secs(150 * 60);
/// How long an attempt's files may travel, in either direction.
const TRAVEL: Duration = Duration::from_secs(30 * 60);

/// How long a worker has to save what it needs to go on later, and to end its attempt.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// How long another worker may take to come. It has a limit of its own, below this one.
const REPLACE: Duration = Duration::from_secs(120);

/// How long the driver has to take a slot's last word.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Why a slot cannot go on. If `fatal`, no other slot could either.
struct Failure {
    error: Error,
    fatal: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, fatal: false }
    }
}

/// Whether the slot goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Released,
}

/// Runs a slot to its release. `open_slots` counts those that are open here, this one included.
///
/// # Errors
/// What keeps the slot from working. The driver has been told.
pub async fn run(
    host: &Host,
    open: OpenSlot,
    open_slots: u32,
    events: &mpsc::Sender<SlotEvent>,
    gone: CancellationToken,
) -> Result<()> {
    let join = FromSlot::Join {
        protocol: PROTOCOL,
        version: VERSION.into(),
        experiment: open.experiment.clone(),
        slot: open.slot,
        executor: host.driver.executor().into(),
    };
    let number = open.slot;
    let (driver, mut from_driver) =
        client::exchange::<FromSlot, ToSlot>(&mut host.driver.client(), &join).await?;
    let slot = Slot { host, open, driver: driver.clone(), view: None, current: None, started: 0, deaths: 0 };
    let failure = match slot.work(open_slots, &mut from_driver, events, &gone).await {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    let (last, result) = match failure.error {
        // No fault of the slot's: its task ends as one that was released, and its core is free for the put.
        Error::Lost { dataset, partitions } => {
            tracing::warn!(slot = number, dataset, partitions, "partitions are lost, the slot leaves");
            (FromSlot::Lacks { dataset, partitions }, Ok(()))
        }
        error => {
            let fatal = failure.fatal && !error.is_disconnect();
            (FromSlot::Failed { error: error.to_string(), fatal }, Err(error))
        }
    };
    _ = driver.send(&last).await;
    drop(driver);
    // Dropped now, the exchange would be reset with that message still in it.
    let taken = async { while let Some(Ok(_)) = from_driver.next().await {} };
    _ = tokio::time::timeout(LAST_WORD, taken).await;
    result
}

struct Slot<'a> {
    host: &'a Host,
    open: OpenSlot,
    driver: Sender<FromSlot>,
    view: Option<Held>,
    current: Option<Attempt>,
    /// Workers started so far: part of their keys.
    started: u32,
    /// Workers that died since an attempt last ended.
    deaths: u32,
}

impl Slot<'_> {
    async fn work(
        mut self,
        open_slots: u32,
        from_driver: &mut Receiver<ToSlot>,
        events: &mpsc::Sender<SlotEvent>,
        gone: &CancellationToken,
    ) -> Result<(), Failure> {
        let data = match from_driver.next().await {
            Some(Ok(ToSlot::Joined { data })) => data,
            // The experiment was over before the slot came.
            Some(Ok(ToSlot::Release)) => return Ok(()),
            Some(Ok(other)) => {
                return Err(Error::Invalid(format!("the driver answered join with {other:?}")).into());
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(driver_gone().into()),
        };
        // Fatal: with fewer slots than were asked for, the search would crawl and nobody would know why.
        self.check_memory(open_slots).map_err(|error| Failure { error, fatal: true })?;
        let mut worker = tokio::select! {
            prepared = self.prepare(data.as_deref(), gone) => prepared?,
            // Before it is ready the driver has nothing for a slot but its release.
            said = from_driver.next() => return match said {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error.into()),
                None => Err(driver_gone().into()),
            },
        };
        self.ready(&worker).await?;
        _ = events.send(SlotEvent::Opened { worker_pid: worker.pid }).await;
        let mut ears = Ears::new(from_driver, gone);
        loop {
            let stop_by = self.current.as_ref().and_then(|current| current.stop_by);
            let flow = tokio::select! {
                message = ears.next() => match message? {
                    ToSlot::Assign { spec } => self.assign(&worker, *spec, &mut ears).await?,
                    ToSlot::Decision { trial, attempt, verdict } => {
                        match verdict {
                            Verdict::GoOn => {}
                            Verdict::Stop => self.stops(trial, attempt, self.host.options.stop),
                            Verdict::Pause => self.stops(trial, attempt, PAUSE),
                        }
                        _ = worker.sender.send(&ToWorker::Decision { trial, attempt, verdict }).await;
                        Flow::GoOn
                    }
                    ToSlot::Stop { trial, attempt } => {
                        self.stops(trial, attempt, self.host.options.stop);
                        _ = worker.sender.send(&ToWorker::Stop { trial, attempt }).await;
                        Flow::GoOn
                    }
                    ToSlot::Release => Flow::Released,
                    ToSlot::Joined { .. } => Flow::GoOn,
                },
                message = worker.receiver.next() => match message {
                    Some(Ok(message)) => {
                        let last = matches!(message, FromWorker::Ended { last: true, .. });
                        match self.hear(message, &mut ears).await? {
                            // Before the driver is heard: its next attempt would be lost with this worker.
                            Flow::GoOn if last => {
                                _ = worker.post_mortem().await;
                                self.replace(&mut worker, &mut ears).await?
                            }
                            flow => flow,
                        }
                    }
                    ended => {
                        let mut error = worker.post_mortem().await;
                        if let Some(Err(unread)) = ended
                            && !unread.is_disconnect()
                        {
                            error = format!("it sent what is no message ({unread}); {error}");
                        }
                        match self.lost(error, &mut ears).await? {
                            Flow::GoOn => self.replace(&mut worker, &mut ears).await?,
                            Flow::Released => Flow::Released,
                        }
                    }
                },
                arrived = next_put(&mut self.current) => {
                    self.arrived(arrived).await?;
                    Flow::GoOn
                }
                () = overdue(stop_by) => {
                    let pid = worker.pid;
                    tracing::warn!(pid, "the worker did not stop its attempt when told, it is killed");
                    worker.kill().await;
                    let flow = match self.current.take() {
                        Some(current) => {
                            self.ended(current, Outcome::Stopped, Timing::default(), false, &mut ears).await?
                        }
                        None => Flow::GoOn,
                    };
                    match flow {
                        Flow::GoOn => self.replace(&mut worker, &mut ears).await?,
                        Flow::Released => Flow::Released,
                    }
                }
            };
            if flow == Flow::Released {
                worker.end().await;
                return Ok(());
            }
        }
    }

    /// Builds the view and starts the worker.
    async fn prepare(
        &mut self,
        data: Option<&DataSpec>,
        gone: &CancellationToken,
    ) -> Result<Worker, Failure> {
        if let Some(data) = data {
            let view = or_gone(gone, held::view(self.host, data)).await;
            self.view = Some(view.map_err(|error| Failure { error, fatal: true })?);
        }
        Ok(or_gone(gone, self.start_worker()).await?)
    }

    fn check_memory(&self, open_slots: u32) -> Result<()> {
        let options = &self.host.options;
        options.memory.as_ref().map_or(Ok(()), |limit| memory::check(limit, options.jvm_bytes, open_slots))
    }

    async fn start_worker(&mut self) -> Result<Worker> {
        self.started += 1;
        let (slot, pid) = (self.open.slot, std::process::id());
        let key = format!("{}-slot-{slot}-{}-{pid}-{}", self.open.experiment, self.started, unique());
        let host = self.host;
        let program = match &self.open.function {
            None => Program::Trainer,
            Some(function) => Program::Python { function },
        };
        let gpu = self.open.gpu.as_deref();
        Worker::start(&host.workers, &host.options, host.driver.address(), key, gpu, program).await
    }

    /// Another worker in the place of one that is dead.
    async fn replace(&mut self, worker: &mut Worker, ears: &mut Ears<'_>) -> Result<Flow> {
        // Its memory goes before the next one starts.
        worker.kill().await;
        match ears.during(None, REPLACE, self.start_worker()).await? {
            Heard::Done(started) => *worker = started?,
            Heard::Released | Heard::Stop => return Ok(Flow::Released),
            Heard::Late => {
                return Err(Error::Precondition(format!("no worker came within {} s", REPLACE.as_secs())));
            }
        }
        self.ready(worker).await?;
        Ok(Flow::GoOn)
    }

    async fn ready(&self, worker: &Worker) -> Result<()> {
        self.driver.send(&FromSlot::Ready { worker_pid: worker.pid, device: worker.device.clone() }).await
    }

    /// What the trial trains on: the view that the slot holds, or another one in its place.
    async fn view_of(
        &mut self,
        spec: &TrialSpec,
        ears: &mut Ears<'_>,
    ) -> Result<Heard<Result<Option<View>>>> {
        let Some(data) = &spec.data else { return Ok(Heard::Done(Ok(None))) };
        let of_all = DataSpec { without: Vec::new(), ..data.clone() };
        if self.view.as_ref().is_none_or(|held| held.data != of_all) {
            self.view = None;
            match ears.during(Some((spec.trial, spec.attempt)), VIEW, held::view(self.host, &of_all)).await? {
                Heard::Done(Ok(held)) => self.view = Some(held),
                Heard::Done(Err(error)) => return Ok(Heard::Done(Err(error))),
                Heard::Stop => return Ok(Heard::Stop),
                Heard::Late => return Ok(Heard::Late),
                Heard::Released => return Ok(Heard::Released),
            }
        }
        let without = |held: &Held| held.built.without(&data.without);
        Ok(Heard::Done(self.view.as_ref().map(without).transpose()))
    }

    async fn assign(&mut self, worker: &Worker, spec: TrialSpec, ears: &mut Ears<'_>) -> Result<Flow> {
        let (trial, attempt) = (spec.trial, spec.attempt);
        let view = match self.view_of(&spec, ears).await? {
            Heard::Done(Ok(view)) => Ok(view),
            // The slot leaves, so that they can be put again.
            Heard::Done(Err(error @ Error::Lost { .. })) => return Err(error),
            // What is wrong with the rows is the trial's own failure.
            Heard::Done(Err(Error::Invalid(error))) => Err(Outcome::Failed { error }),
            Heard::Done(Err(error)) => Err(lost("the trial's view was not built", &error.to_string())),
            Heard::Late => Err(lost("the trial's view was not built", &too_long())),
            Heard::Stop => Err(Outcome::Stopped),
            Heard::Released => return Ok(Flow::Released),
        };
        let view = match view {
            Ok(view) => view,
            Err(outcome) => {
                let timing = Timing::default();
                self.driver.send(&FromSlot::Ended { trial, attempt, outcome, timing }).await?;
                return Ok(Flow::GoOn);
            }
        };
        let prepared = Attempt::prepare(self.host, spec, view);
        let outcome = match ears.during(Some((trial, attempt)), TRAVEL, prepared).await? {
            Heard::Done(Ok((current, run))) => {
                self.current = Some(current);
                // A worker that is gone is noticed by its receiver, and this attempt is lost with it.
                _ = worker.sender.send(&ToWorker::Run(Box::new(run))).await;
                return Ok(Flow::GoOn);
            }
            Heard::Done(Err(error)) => lost("the trial's files did not arrive", &error.to_string()),
            Heard::Late => lost("the trial's files did not arrive", &too_long()),
            Heard::Stop => Outcome::Stopped,
            Heard::Released => return Ok(Flow::Released),
        };
        self.driver.send(&FromSlot::Ended { trial, attempt, outcome, timing: Timing::default() }).await?;
        Ok(Flow::GoOn)
    }

    async fn hear(&mut self, message: FromWorker, ears: &mut Ears<'_>) -> Result<Flow> {
        match message {
            FromWorker::Report { trial, attempt, epoch, metrics } => {
                self.driver.send(&FromSlot::Report { trial, attempt, epoch, metrics }).await?;
            }
            FromWorker::Reports { trial, attempt, reports } => {
                self.driver.send(&FromSlot::Reports { trial, attempt, reports }).await?;
            }
            FromWorker::Log { trial, attempt, text } => {
                self.driver.send(&FromSlot::Log { trial, attempt, text }).await?;
            }
            FromWorker::Ended { trial, attempt, outcome, timing, weights, last: _ } => {
                let Some(current) = self.current.take_if(|current| current.is(trial, attempt)) else {
                    return Ok(Flow::GoOn);
                };
                self.deaths = 0;
                return self.ended(current, outcome, timing, weights.is_some(), ears).await;
            }
            FromWorker::Checkpoint { trial, attempt, epoch, path } => {
                if let Some(current) = self.current.as_mut().filter(|current| current.is(trial, attempt))
                    && let Err(error) = current.put_checkpoint(self.host, epoch, &path)
                {
                    tracing::warn!(slot = self.open.slot, %error, "a checkpoint is not put");
                    current.puts.refuse(epoch, &error);
                }
            }
            FromWorker::Hello { .. } => {}
        }
        Ok(Flow::GoOn)
    }

    /// Says that an attempt has ended, once its checkpoints and weights have arrived. Where it is told to stop
    /// meanwhile, what has not arrived by then is given up.
    async fn ended(
        &mut self,
        mut current: Attempt,
        mut outcome: Outcome,
        timing: Timing,
        weights: bool,
        ears: &mut Ears<'_>,
    ) -> Result<Flow> {
        if matches!(outcome, Outcome::Finished | Outcome::Stopped) {
            current.puts.drop_waiting();
        }
        let (trial, attempt) = (current.trial, current.attempt);
        let travel = async {
            while !current.puts.is_empty() {
                let arrived = current.puts.next().await;
                self.say_arrived(trial, attempt, arrived).await?;
            }
            match weights {
                true => Ok::<_, Error>(current.put_weights(self.host).await.map_err(|e| e.to_string())),
                false => Ok(Ok(())),
            }
        };
        let arrived: Result<(), String> = match ears.during(Some((trial, attempt)), TRAVEL, travel).await? {
            Heard::Done(arrived) => arrived?,
            Heard::Late => Err(too_long()),
            Heard::Stop => Err("the trial was told to stop meanwhile".into()),
            Heard::Released => return Ok(Flow::Released),
        };
        if outcome == Outcome::Paused
            && let Err(error) = current.puts.last_arrived()
        {
            outcome = lost("the trial's checkpoint did not arrive", &error);
        }
        if weights && let Err(error) = arrived {
            outcome = lost("the trial's weights did not arrive", &error);
        }
        self.driver.send(&FromSlot::Ended { trial, attempt, outcome, timing }).await?;
        Ok(Flow::GoOn)
    }

    /// A checkpoint of the running attempt arrived at the driver, or did not.
    async fn arrived(&mut self, arrived: Arrived) -> Result<()> {
        match self.current.as_ref().map(|current| (current.trial, current.attempt)) {
            Some((trial, attempt)) => self.say_arrived(trial, attempt, arrived).await,
            None => Ok(()),
        }
    }

    async fn say_arrived(&self, trial: u32, attempt: u32, arrived: Arrived) -> Result<()> {
        match arrived {
            Ok(epoch) => self.driver.send(&FromSlot::Checkpointed { trial, attempt, epoch }).await,
            Err(error) => {
                // The trial trains on, and the one before is still there to go on from.
                tracing::warn!(trial, attempt, %error, "a checkpoint did not arrive");
                Ok(())
            }
        }
    }

    /// The worker is being told to stop this attempt.
    fn stops(&mut self, trial: u32, attempt: u32, limit: Duration) {
        if let Some(current) = self.current.as_mut().filter(|current| current.is(trial, attempt)) {
            let by = Instant::now() + limit;
            current.stop_by = Some(current.stop_by.map_or(by, |earlier| earlier.min(by)));
        }
    }

    /// The worker died: its attempt is lost, the slot is not, unless its workers keep dying.
    async fn lost(&mut self, error: String, ears: &mut Ears<'_>) -> Result<Flow> {
        tracing::warn!(slot = self.open.slot, error, "a worker died");
        self.deaths += 1;
        if let Some(lost) = self.current.take() {
            let outcome = Outcome::Lost { error: error.clone() };
            if self.ended(lost, outcome, Timing::default(), false, ears).await? == Flow::Released {
                return Ok(Flow::Released);
            }
        }
        if self.deaths >= DEATHS {
            return Err(Error::Precondition(format!("{DEATHS} workers died in a row: {error}")));
        }
        Ok(Flow::GoOn)
    }
}

async fn or_gone<T>(gone: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = gone.cancelled() => Err(task_gone()),
    }
}

/// The next checkpoint of the running attempt to arrive; waits forever if there is none. Cancel safe.
async fn next_put(current: &mut Option<Attempt>) -> Arrived {
    match current {
        Some(current) => current.puts.next().await,
        None => std::future::pending().await,
    }
}

/// Ready when the running attempt should have stopped.
async fn overdue(stop_by: Option<Instant>) {
    match stop_by {
        Some(by) => tokio::time::sleep_until(by.into()).await,
        None => std::future::pending().await,
    }
}

fn lost(what: &str, error: &str) -> Outcome {
    Outcome::Lost { error: format!("{what}: {error}") }
}

fn too_long() -> String {
    format!("it took more than {} s", TRAVEL.as_secs())
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
