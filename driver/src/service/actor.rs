//! The task that owns an experiment: commands in, its state machine's actions out.
//!
//! It waits for nothing but its mailbox and one timer: what it sends goes into queues with room, or the receiver
//! is given up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use lethe_flight::message::experiment::{ExperimentResult, WatchEvent};
use lethe_flight::message::slot::ToSlot;
use lethe_flight::wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use super::feed::Feed;
use super::files::TrialFiles;
use super::ledger::Ledger;
use crate::experiment::{Action, Event, Experiment, SlotKey};
use crate::search::Optimizer;

/// For stopped attempts to say their last.
const DRAIN: Duration = Duration::from_secs(2);

/// Frames to one slot. Dropping it ends the exchange after what is in it.
type Outgoing = mpsc::Sender<Result<FlightData, Status>>;

pub enum Command {
    Join(Join),
    Ready { slot: SlotKey, worker_pid: u32, device: String },
    Event(Event),
    Result(oneshot::Sender<ExperimentResult>),
}

pub struct Join {
    pub number: u32,
    pub executor: String,
    pub outgoing: Outgoing,
    pub answer: oneshot::Sender<SlotKey>,
}

pub struct Actor {
    name: String,
    experiment: Experiment,
    optimizer: Box<dyn Optimizer>,
    feed: Arc<Feed>,
    files: Arc<TrialFiles>,
    ledger: Ledger,
    slots: HashMap<SlotKey, Outgoing>,
    next_slot: u64,
    drain: Option<Instant>,
}

impl Actor {
    pub fn new(
        name: String,
        experiment: Experiment,
        optimizer: Box<dyn Optimizer>,
        feed: Arc<Feed>,
        files: Arc<TrialFiles>,
    ) -> Self {
        Self {
            name,
            experiment,
            optimizer,
            feed,
            files,
            ledger: Ledger::default(),
            slots: HashMap::new(),
            next_slot: 0,
            drain: None,
        }
    }

    /// Also after the experiment's end: it still answers, and releases slots that come late.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.handle(Event::Started);
        loop {
            let expired = async {
                match self.drain {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return,
                },
                () = expired => {
                    self.drain = None;
                    self.handle(Event::DrainExpired);
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Join(Join { number, executor, outgoing, answer }) => {
                let slot = SlotKey(self.next_slot);
                self.next_slot += 1;
                tracing::info!(experiment = self.name, slot = number, executor, "slot joined");
                self.slots.insert(slot, outgoing);
                self.ledger.joined(slot, number, executor);
                self.handle(Event::SlotJoined { slot, number });
                _ = answer.send(slot);
            }
            Command::Ready { slot, worker_pid, device } => {
                self.ledger.ready(slot, worker_pid, device);
                self.handle(Event::SlotReady { slot });
            }
            Command::Event(event) => self.handle(event),
            Command::Result(answer) => _ = answer.send(self.result()),
        }
    }

    /// Events that actions bring about at once are handled in turn.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.note(&event);
            for action in self.experiment.handle(event) {
                self.carry_out(action, &mut events);
            }
        }
        self.feed.progress(self.experiment.progress());
    }

    /// What is to be known of an event beside the state machine.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Ended { slot, trial, attempt, timing, .. }
                if self.experiment.is_current(*slot, *trial, *attempt) =>
            {
                self.ledger.ended(*slot, *timing);
            }
            Event::SlotLeft { slot, .. } | Event::SlotFailed { slot, .. } => {
                self.slots.remove(slot);
                self.ledger.left(*slot);
            }
            Event::Prepared { trial, .. } | Event::PreparationFailed { trial, .. } => {
                self.feed.settle(*trial)
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Suggest { trial } => {
                events.push_back(Event::Suggested { trial, hparams: self.optimizer.suggest(trial) });
            }
            Action::Prepare { trial, seed, hparams } => {
                self.files.expect(trial);
                self.feed.add(WatchEvent::Prepare { trial, seed, hparams });
            }
            Action::Assign { slot, spec } => {
                self.files.begin(spec.trial, spec.attempt);
                self.ledger.assigned();
                self.send(slot, &ToSlot::Assign { spec }, events);
            }
            Action::Decide { slot, trial, attempt, stop } => {
                self.send(slot, &ToSlot::Decision { trial, attempt, stop }, events);
            }
            Action::Stop { slot, trial, attempt } => {
                self.send(slot, &ToSlot::Stop { trial, attempt }, events);
            }
            Action::Release { slot } => {
                self.send(slot, &ToSlot::Release, events);
                self.slots.remove(&slot);
                self.ledger.left(slot);
            }
            Action::TrialEnded { trial, state, error } => {
                tracing::debug!(experiment = self.name, trial, ?state, error, "trial ended");
                self.files.end(trial, self.experiment.best());
                self.feed.settle(trial);
                if let Some(error) = error {
                    self.feed.add(WatchEvent::TrialFailed { trial, error });
                }
            }
            Action::NewBest { trial, superseded } => {
                tracing::info!(experiment = self.name, trial, superseded, "new best trial");
            }
            Action::Notice { text } => {
                tracing::warn!(experiment = self.name, text, "notice");
                self.feed.add(WatchEvent::Notice { text });
            }
            Action::StartDrainTimer => self.drain = Some(Instant::now() + DRAIN),
            Action::Over { end } => {
                tracing::info!(experiment = self.name, ?end, "experiment over");
                self.drain = None;
                self.feed.progress(self.experiment.progress());
                self.feed.over(end);
            }
        }
    }

    /// A slot that does not read, or has gone, has left.
    fn send(&mut self, slot: SlotKey, message: &ToSlot, events: &mut VecDeque<Event>) {
        let Some(outgoing) = self.slots.get(&slot) else { return };
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
        events.push_back(Event::SlotLeft { slot, reason });
    }

    fn result(&self) -> ExperimentResult {
        ExperimentResult {
            experiment: self.name.clone(),
            end: self.experiment.end().cloned(),
            best: self.experiment.best(),
            trials: self.experiment.results(),
            slots: self.ledger.results(),
            wall_s: self.ledger.wall_s(),
        }
    }
}
