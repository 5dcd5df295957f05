//! The task that owns an experiment: commands in, its state machine's actions out.
//!
//! What has come in meanwhile is handled together: its events go to the journal in one write, and only then are
//! their actions carried out. It waits for nothing but its mailbox, the optimizer, its timers and that write:
//! what it sends goes into queues with room, or the receiver is given up.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use lethe_flight::message::experiment::{End, ExperimentResult, TrialState, WatchEvent};
use lethe_flight::message::slot::ToSlot;
use lethe_flight::{Error, limits, wire};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;

use super::chronicle::{Chronicle, now_ms};
use super::engine::{Asked, Engine};
use super::feed::{Feed, Request};
use super::files::TrialFiles;
use super::gangs::Gangs;
use super::logs::Logs;
use super::shards::Dealer;
use super::timers::Timers;
use crate::experiment::{Action, Event, SlotKey};
use lethe_tables::Snapshot;

/// For stopped attempts to say their last.
const DRAIN: Duration = Duration::from_secs(2);
/// For as many slots to come as a trial takes at once.
const GATHER: Duration = Duration::from_secs(300);
/// After so long it is said that it waits, and one that would take fewer of them does: till then a slot may come in
/// the place of one that was lost.
const GATHER_SHORT: Duration = Duration::from_secs(10);
/// Commands that are handled together, before their actions are carried out.
const TOGETHER: usize = 256;

/// Frames to one slot. Dropping it ends the exchange after what is in it.
type Outgoing = mpsc::Sender<Result<FlightData, Status>>;

pub enum Command {
    Join(Join),
    Ready {
        slot: SlotKey,
        worker_pid: u32,
        device: String,
    },
    /// The slot leaves: partitions of its data are held by nobody any more.
    Lacks {
        slot: SlotKey,
        dataset: String,
        partitions: u32,
    },
    ReplaceData {
        dataset: String,
    },
    Event(Event),
    /// At most [`limits::REPORTS`].
    Events(Vec<Event>),
    /// What a trial's function has printed.
    Log {
        slot: SlotKey,
        trial: u32,
        attempt: u32,
        text: String,
    },
    Result(oneshot::Sender<ExperimentResult>),
    Snapshot(oneshot::Sender<Result<Snapshot, Error>>),
}

pub struct Join {
    pub number: u32,
    pub executor: String,
    pub outgoing: Outgoing,
    pub answer: oneshot::Sender<SlotKey>,
}

struct Connection {
    executor: String,
    outgoing: Outgoing,
}

pub struct Actor {
    name: String,
    chronicle: Chronicle,
    engine: Engine,
    feed: Arc<Feed>,
    files: Arc<TrialFiles>,
    gangs: Arc<Gangs>,
    /// Where ranks have rows of their own.
    dealer: Option<Dealer>,
    /// Once something is printed, until the end: it holds a thread.
    logs: Option<Logs>,
    slots: HashMap<SlotKey, Connection>,
    next_slot: u64,
    timers: Timers,
    /// Of events that are not in the journal yet.
    waiting: VecDeque<Action>,
    /// The journal could not be written: the experiment ends, and nothing else is done.
    broken: bool,
    /// The shim's optimizer knows of these ends already.
    told: BTreeSet<u32>,
    /// Who waits for a result.
    results: Vec<oneshot::Sender<ExperimentResult>>,
    /// Who waits for a snapshot.
    asked: Vec<oneshot::Sender<Result<Snapshot, Error>>>,
    /// Makes the best trial's weights, and then the experiment is over.
    closing: Option<(End, JoinHandle<()>)>,
}

impl Actor {
    pub fn new(
        name: String,
        chronicle: Chronicle,
        engine: Engine,
        feed: Arc<Feed>,
        files: Arc<TrialFiles>,
        gangs: Arc<Gangs>,
        dealer: Option<Dealer>,
    ) -> Self {
        // A slot's key is not used again after a resume.
        let next_slot = chronicle.next_slot();
        Self {
            name,
            chronicle,
            engine,
            feed,
            files,
            gangs,
            dealer,
            logs: None,
            slots: HashMap::new(),
            next_slot,
            timers: Timers::default(),
            waiting: VecDeque::new(),
            broken: false,
            told: BTreeSet::new(),
            results: Vec::new(),
            asked: Vec::new(),
            closing: None,
        }
    }

    /// `first` are the actions with which a resumed experiment goes on; a new one begins with its first event.
    /// Runs also after the experiment's end: it still answers, and releases slots that come late.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, first: Option<Vec<Action>>) {
        match first {
            Some(actions) => {
                self.tell_ended(&actions);
                self.waiting.extend(actions);
            }
            None => self.handle(Event::Started),
        }
        loop {
            self.carry_out_all().await;
            self.answer();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return,
                },
                event = self.engine.answer() => self.handle(event),
                event = self.timers.due() => self.due(event),
                () = closed(&mut self.closing) => self.close(),
                () = std::future::ready(()), if !self.asked.is_empty() => {}
            }
            for _ in 1..TOGETHER {
                let Ok(command) = commands.try_recv() else { break };
                self.take(command);
            }
        }
    }

    /// Says how things stand, once what has been decided is journalled and done. Of a snapshot a part at a time:
    /// decisions go first.
    fn answer(&mut self) {
        for answer in std::mem::take(&mut self.results) {
            _ = answer.send(self.result());
        }
        if self.asked.is_empty() || self.chronicle.prepare_snapshot() {
            return;
        }
        for answer in std::mem::take(&mut self.asked) {
            _ = answer.send(self.chronicle.snapshot(now_ms()));
        }
    }

    /// An attempt that was lost or has ended meanwhile has no time to run out.
    fn due(&mut self, event: Event) {
        match event {
            Event::TrialTimeUp { trial, attempt }
                if !self.chronicle.experiment().is_running(trial, attempt) => {}
            event => self.handle(event),
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Join(Join { number, executor, outgoing, answer }) => {
                let slot = SlotKey(self.next_slot);
                self.next_slot += 1;
                tracing::info!(experiment = self.name, slot = number, executor, "slot joined");
                self.slots.insert(slot, Connection { executor, outgoing });
                self.handle(Event::SlotJoined { slot, number });
                _ = answer.send(slot);
            }
            Command::Ready { slot, worker_pid, device } => {
                if let Some(executor) = self.slots.get(&slot).map(|connection| connection.executor.clone()) {
                    let device = device.chars().take(limits::NAME_BYTES).collect();
                    self.handle(Event::SlotWorker { slot, executor, worker_pid, device });
                }
                self.handle(Event::SlotReady { slot });
            }
            Command::Lacks { slot, dataset, partitions } => self.lacks(slot, dataset, partitions),
            Command::ReplaceData { dataset } => self.replace_data(&dataset),
            Command::Event(event) => self.handle(event),
            Command::Events(events) => events.into_iter().for_each(|event| self.handle(event)),
            Command::Log { slot, trial, attempt, text } => {
                if self.chronicle.experiment().holds(slot, trial, attempt) {
                    let logs = self.logs.get_or_insert_with(|| Logs::start(self.files.logs()));
                    logs.add(trial, &text);
                    self.feed.log(trial, text);
                }
            }
            Command::Result(answer) => self.results.push(answer),
            Command::Snapshot(answer) => self.asked.push(answer),
        }
    }

    /// No fault of the slot's, nor of its trial: it has left, and the shim has its data put again.
    fn lacks(&mut self, slot: SlotKey, dataset: String, partitions: u32) {
        let Some(number) = self.chronicle.slot_number(slot) else { return };
        self.handle(Event::SlotLacks { slot, partitions });
        self.feed.add(WatchEvent::Lacks { dataset, slot: number });
    }

    /// Slots hold views of the former data: they are released, and join again.
    fn replace_data(&mut self, dataset: &str) {
        self.chronicle.replace_data(dataset);
        // Those that wait first: they would be given the trials of the others.
        let mut slots: Vec<SlotKey> = self.slots.keys().copied().collect();
        slots.sort_by_key(|slot| (!self.chronicle.experiment().is_free(*slot), *slot));
        for slot in slots {
            self.send(slot, &ToSlot::Release);
            self.handle(Event::SlotLeft { slot, reason: "its data were put anew".into() });
        }
    }

    /// Its actions wait until the event is in the journal.
    fn handle(&mut self, event: Event) {
        self.note(&event);
        self.waiting.extend(self.chronicle.handle(event, &mut self.engine));
    }

    /// Actions may bring about further events, whose actions wait in turn.
    async fn carry_out_all(&mut self) {
        while !self.waiting.is_empty() || self.chronicle.has_uncommitted() {
            if let Err(error) = self.chronicle.commit().await {
                // Without its journal the experiment cannot go on: it ends.
                tracing::error!(experiment = self.name, %error, "the journal cannot be written");
                self.chronicle.take_journal();
                self.broken = true;
                self.feed.notice(error.to_string());
                self.handle(Event::Abort { error: error.to_string() });
            }
            let mut actions = std::mem::take(&mut self.waiting);
            self.deal(actions.make_contiguous());
            for action in actions {
                // What is not journalled is as if it had not been decided: it must not reach files or trials.
                if !self.broken || only_ends(&action) {
                    self.carry_out(action);
                }
            }
        }
        self.feed.progress(self.chronicle.experiment().progress());
    }

    /// Says to the ranks of gangs that begin which rows they have, where these are their own.
    fn deal(&mut self, actions: &mut [Action]) {
        let Some(dealer) = &self.dealer else { return };
        let executor =
            |slot| self.slots.get(&slot).map(|connection: &Connection| connection.executor.clone());
        match dealer.deal(actions, executor) {
            Ok(moves) => moves.iter().for_each(|moves| self.feed.notice(moves.text())),
            Err(error) => self.handle(Event::Abort { error: error.to_string() }),
        }
    }

    /// What is to be known of an event beside the state machine.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Ended { slot, trial, attempt, .. }
                if self.chronicle.experiment().is_current(*slot, *trial, *attempt) =>
            {
                self.timers.ended(*trial);
            }
            Event::SlotLeft { slot, .. } | Event::SlotLacks { slot, .. } | Event::SlotFailed { slot, .. } => {
                self.slots.remove(slot);
            }
            Event::Prepared { trial, .. } | Event::PreparationFailed { trial, .. } => {
                self.feed.settle(*trial, Request::Prepare);
            }
            Event::Checked { trial, .. } => self.feed.settle(*trial, Request::Check),
            Event::Suggested { trial, .. } | Event::Refused { trial, .. } | Event::Exhausted { trial } => {
                self.feed.settle(*trial, Request::Ask);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Suggest { trial, draw } => match self.engine.ask(trial, draw) {
                Asked::Answered(event) => self.handle(event),
                Asked::Later => {}
                Asked::External => self.feed.add(WatchEvent::Ask { trial }),
            },
            Action::Check { trial, hparams } => self.feed.add(WatchEvent::Check { trial, hparams }),
            Action::Prepare { trial, seed, hparams } => {
                self.files.expect(trial);
                self.feed.add(WatchEvent::Prepare { trial, seed, hparams });
            }
            Action::Assign { slot, spec } => {
                self.files.begin(spec.trial, spec.attempt);
                if let Some(seconds) = self.chronicle.seconds_left() {
                    self.timers.experiment(seconds);
                }
                if let Some(seconds) = self.chronicle.trial_seconds_left(spec.trial) {
                    self.timers.attempt(spec.trial, spec.attempt, seconds);
                }
                self.send(slot, &ToSlot::Assign { spec });
            }
            Action::Decide { slot, trial, attempt, verdict, why: _ } => {
                self.send(slot, &ToSlot::Decision { trial, attempt, verdict });
            }
            Action::Stop { slot, trial, attempt, why: _ } => {
                self.send(slot, &ToSlot::Stop { trial, attempt });
            }
            Action::Release { slot } => {
                self.send(slot, &ToSlot::Release);
                self.slots.remove(&slot);
            }
            Action::Paused { trial } => self.files.pause(trial),
            Action::DropCheckpoint { checkpoint } => self.files.drop_checkpoint(checkpoint),
            Action::TrialEnded { trial, state, error } => self.trial_ended(trial, state, error),
            Action::NewBest { trial, superseded } => {
                tracing::info!(experiment = self.name, trial, superseded, "new best trial");
            }
            Action::Notice { text } => {
                tracing::warn!(experiment = self.name, text, "notice");
                self.feed.add(WatchEvent::Notice { text });
            }
            Action::StartGatherTimer { trial, attempt, short } => {
                let within = if short { GATHER_SHORT } else { GATHER };
                self.timers.gather(trial, attempt, within);
            }
            Action::StartDrainTimer => self.timers.drain(DRAIN),
            Action::Over { end } => {
                tracing::info!(experiment = self.name, ?end, "experiment over");
                self.timers.clear();
                self.logs = None;
                self.begin_to_close(end);
            }
            Action::Promoted { trial, why } => {
                tracing::debug!(experiment = self.name, trial, why, "trial promoted");
            }
        }
    }

    fn trial_ended(&mut self, trial: u32, state: TrialState, error: Option<String>) {
        tracing::debug!(experiment = self.name, trial, ?state, error, "trial ended");
        self.gangs.drop_of(trial);
        self.files.end(trial, self.chronicle.experiment().best());
        self.feed.settle_all(trial);
        if self.engine.is_external() && !self.told.remove(&trial) {
            self.tell(trial);
        }
        if let Some(error) = error {
            self.feed.add(WatchEvent::TrialFailed { trial, error });
        }
    }

    /// The shim's optimizer learns what came of a trial.
    fn tell(&self, trial: u32) {
        if let Some(result) = self.chronicle.experiment().result(trial) {
            let values = match result.history.is_empty() {
                true => Vec::new(),
                false => std::iter::once(result.value).chain(result.further).collect(),
            };
            let (state, hparams, history) = (result.state, result.hparams, result.history);
            self.feed.add(WatchEvent::Tell { trial, state, hparams, values, history });
        }
    }

    /// Of a resumed experiment the shim's optimizer, which is a new one, learns all that was before, also the ends
    /// with which it goes on: before it is asked.
    fn tell_ended(&mut self, first: &[Action]) {
        if !self.engine.is_external() {
            return;
        }
        let ended = self.chronicle.ended();
        ended.iter().for_each(|trial| self.tell(*trial));
        self.told = first
            .iter()
            .filter_map(|action| match action {
                Action::TrialEnded { trial, .. } => Some(*trial),
                _ => None,
            })
            .collect();
    }

    /// The best trial's weights are made of its checkpoint, where it was paused at the end: off this task.
    fn begin_to_close(&mut self, end: End) {
        let (files, best) = (self.files.clone(), self.chronicle.experiment().best());
        let (journal, feed) = (self.chronicle.take_journal(), self.feed.clone());
        let best = best.filter(|_| !self.broken);
        let closed = tokio::spawn(async move {
            if let Some(best) = best
                && let Err(error) = files.weights_of_checkpoint(best).await
            {
                feed.notice(format!("the best trial's weights cannot be made of its checkpoint: {error}"));
            }
            if let Some(journal) = journal
                && let Err(error) = journal.close().await
            {
                feed.notice(error.to_string());
            }
        });
        self.closing = Some((end, closed));
    }

    fn close(&mut self) {
        if let Some((end, _)) = self.closing.take() {
            self.feed.progress(self.chronicle.experiment().progress());
            self.feed.over(end);
        }
    }

    /// A slot that does not read, or has gone, has left.
    fn send(&mut self, slot: SlotKey, message: &ToSlot) {
        let Some(Connection { outgoing, .. }) = self.slots.get(&slot) else { return };
        let reason = match wire::frame(message) {
            Ok(frame) => match outgoing.try_send(Ok(frame)) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    "its executor does not read its messages".to_owned()
                }
                Err(mpsc::error::TrySendError::Closed(_)) => "its connection has gone".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        self.handle(Event::SlotLeft { slot, reason });
    }

    fn result(&self) -> ExperimentResult {
        let experiment = self.chronicle.experiment();
        ExperimentResult {
            experiment: self.name.clone(),
            end: experiment.end().cloned(),
            best: experiment.best(),
            pareto: experiment.pareto(),
            trials: experiment.results(),
            slots: self.chronicle.slots(now_ms()),
            wall_s: self.chronicle.wall_s(),
        }
    }
}

/// What an experiment does whose journal cannot be written: it lets its slots go.
fn only_ends(action: &Action) -> bool {
    matches!(
        action,
        Action::Stop { .. }
            | Action::Release { .. }
            | Action::Notice { .. }
            | Action::StartDrainTimer
            | Action::Over { .. }
    )
}

/// Waits for the last file of an experiment that is over; for ever if there is none.
async fn closed(closing: &mut Option<(End, JoinHandle<()>)>) {
    match closing {
        Some((_, made)) => _ = made.await,
        None => std::future::pending().await,
    }
}
