//! What the service does where no call leads: a journal that cannot be written, an optimizer that is made anew.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{End, Plan, Source, WatchEvent};
use lethe_flight::message::training::{CheckpointRef, Outcome, Timing, Verdict};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::actor::{Actor, Command};
use super::chronicle::Chronicle;
use super::engine::Engine;
use super::feed::{self, Feed};
use super::files::TrialFiles;
use super::setup::Setup;
use crate::experiment::{Action, Event, Experiment, SlotKey};
use crate::journal::{Folder, Log, Writer};
use crate::search::{Observation, Optimizer, Space, Standing, Suggestion};

fn plan(trials: u32, stopping: Value) -> Plan {
    serde_json::from_value(json!({
        "protocol": lethe_flight::PROTOCOL, "version": lethe_flight::VERSION, "experiment": "e", "seed": 1,
        "source": {"type": "search", "budget": {"trials": trials}, "optimizer": {"type": "random"},
                   "stopping": stopping,
                   "space": [{"name": "x", "domain": {"type": "uniform", "low": 0.0, "high": 1.0}}]},
        "objective": {"metric": "m", "direction": "max", "select": "last"},
        "function": {"type": "registered", "name": "test", "epochs": 9},
        "data": null, "slots": 4, "directory": "/tmp/e",
    }))
    .unwrap()
}

/// A search with pauses.
pub fn search(trials: u32) -> Setup {
    Setup::new(&plan(trials, json!({"type": "asha", "reduction": 2, "min_epochs": 1, "pause": true})))
        .unwrap()
}

fn point(x: f64) -> Hparams {
    [("x".to_owned(), x.into())].into_iter().collect()
}

/// Slots that run what they are given, and now and then leave.
#[derive(Default)]
pub struct World {
    said: VecDeque<Event>,
    running: Vec<Running>,
    slots: u64,
    random: u64,
}

struct Running {
    slot: SlotKey,
    trial: u32,
    attempt: u32,
    epoch: u32,
    told: Option<Verdict>,
}

impl World {
    /// What happens next, and what comes of it.
    pub fn step(&mut self, experiment: &mut Experiment) -> Vec<(Event, Vec<Action>)> {
        let event = self.next();
        let actions = experiment.handle(event.clone());
        actions.iter().for_each(|action| self.hear(action));
        vec![(event, actions)]
    }

    fn next(&mut self) -> Event {
        if self.slots == 0 {
            (0..4).for_each(|number| self.join(number));
            return Event::Started;
        }
        if let Some(event) = self.said.pop_front() {
            return event;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = self.random >> 33;
        let at = random as usize % self.running.len().max(1);
        let Some(run) = self.running.get_mut(at) else { return Event::TimeUp };
        let (slot, trial, attempt, epoch) = (run.slot, run.trial, run.attempt, run.epoch);
        if random.is_multiple_of(50) {
            self.running.remove(at);
            self.join((slot.0 % 4) as u32);
            return Event::SlotLeft { slot, reason: "test".into() };
        }
        let outcome = match run.told {
            Some(Verdict::Pause) => Outcome::Paused,
            Some(Verdict::Stop) => Outcome::Stopped,
            _ if run.epoch == 9 => Outcome::Finished,
            _ => {
                run.epoch += 1;
                let metrics = [("m".to_owned(), random as f64)].into();
                return Event::Report { slot, trial, attempt, epoch: epoch + 1, metrics };
            }
        };
        self.running.remove(at);
        let pauses = outcome == Outcome::Paused;
        let ended = Event::Ended { slot, trial, attempt, outcome, timing: Timing::default() };
        if pauses {
            self.said.push_back(ended);
            return Event::Checkpointed { slot, trial, attempt, epoch };
        }
        ended
    }

    /// With a key that keeps its number.
    fn join(&mut self, number: u32) {
        self.slots += 4;
        let slot = SlotKey(self.slots + u64::from(number));
        self.said.push_back(Event::SlotJoined { slot, number });
        self.said.push_back(Event::SlotReady { slot });
    }

    fn hear(&mut self, action: &Action) {
        match action {
            Action::Suggest { trial, .. } => {
                let (trial, why) = (*trial, String::new());
                self.said.push_back(Event::Suggested { trial, hparams: point(0.5), why, note: None });
            }
            Action::Assign { slot, spec } => {
                let epoch = spec.checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
                let (slot, trial, attempt) = (*slot, spec.trial, spec.attempt);
                self.running.push(Running { slot, trial, attempt, epoch, told: None });
            }
            Action::Decide { slot, verdict, .. } => {
                if let Some(run) = self.running.iter_mut().find(|run| run.slot == *slot) {
                    run.told = Some(*verdict);
                }
            }
            _ => {}
        }
    }
}

const SLOT: SlotKey = SlotKey(0);

/// A trial that runs, and what was decided so far.
fn begin(chronicle: &mut Chronicle, engine: &mut Engine) {
    chronicle.handle(Event::Started, engine);
    chronicle.handle(Event::SlotJoined { slot: SLOT, number: 0 }, engine);
    chronicle.handle(Event::SlotReady { slot: SLOT }, engine);
    let suggested = Event::Suggested { trial: 0, hparams: point(0.5), why: String::new(), note: None };
    let actions = chronicle.handle(suggested, engine);
    assert!(actions.iter().any(|action| matches!(action, Action::Assign { .. })), "{actions:?}");
}

fn files(folder: &Path) -> TrialFiles {
    TrialFiles::new(folder.join("initial"), folder, None).unwrap()
}

#[tokio::test]
async fn what_the_journal_did_not_take_is_not_carried_out_and_the_experiment_ends() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(3, json!({"type": "none"}));
    let setup = Setup::new(&plan).unwrap();
    let mut engine = setup.engine().unwrap();
    let mut chronicle = Chronicle::new(setup, &plan).unwrap();
    begin(&mut chronicle, &mut engine);
    let saved = |epoch| Event::Checkpointed { slot: SLOT, trial: 0, attempt: 1, epoch };
    chronicle.handle(saved(1), &mut engine);
    let files = Arc::new(files(folder.path()));
    let checkpoint = CheckpointRef { trial: 0, attempt: 1, epoch: 1 };
    std::fs::write(files.checkpoint_path(checkpoint), "weights").unwrap();
    files.restore(BTreeSet::new(), &[checkpoint].into()).unwrap();

    let log = Log::full(Folder::lock(folder.path()).unwrap());
    chronicle.write_to(Writer::start(log).unwrap(), None);
    let feed = Arc::new(Feed::new());
    let actor = Actor::new("e".into(), chronicle, engine, feed.clone(), files.clone(), Arc::default(), None);
    let (mailbox, commands) = mpsc::channel(9);
    let mut watch = Box::pin(feed::watch(feed));
    let running = tokio::spawn(actor.run(commands, Some(Vec::new())));
    // The former checkpoint would go.
    mailbox.send(Command::Event(saved(2))).await.unwrap();
    let mut notices = Vec::new();
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap() {
            WatchEvent::Over { end } => break end,
            WatchEvent::Notice { text } => notices.push(text),
            _ => {}
        }
    };
    assert!(
        matches!(&end, End::Aborted { error } if error.contains("no room for the experiment's journal")),
        "{end:?}"
    );
    assert!(notices.iter().any(|text| text.contains("journal.log")), "{notices:?}");
    drop(mailbox);
    running.await.unwrap();
    assert!(files.checkpoint_path(checkpoint).exists(), "the journal still begins the trial from it");
    assert!(files.checkpoint(checkpoint).is_ok());
}

/// Notes what it is shown.
struct Shown(Arc<Mutex<Vec<(u32, Standing)>>>);

impl Optimizer for Shown {
    fn suggest(&mut self, _: u32, _: u32, observations: &[Observation]) -> Suggestion {
        *self.0.lock().unwrap() = observations.iter().map(|o| (o.trial, o.standing)).collect();
        Suggestion::Point { hparams: point(0.25), why: String::new(), note: None }
    }

    fn learns(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn an_optimizer_learns_of_ends_that_a_resume_brings() {
    let plan = plan(3, json!({"type": "threshold", "bound": 0.5, "min_epochs": 1}));
    let setup = Setup::new(&plan).unwrap();
    let Source::Search { space, .. } = &plan.source else { panic!("no search") };
    let shown = Arc::new(Mutex::new(Vec::new()));
    let space = Space::new(space.clone(), Vec::new()).unwrap();
    let mut engine = Engine::new(Some(Box::new(Shown(shown.clone()))), space, Vec::new(), 1);
    let mut chronicle = Chronicle::new(setup.clone(), &plan).unwrap();
    begin(&mut chronicle, &mut engine);
    let metrics = [("m".to_owned(), 0.0)].into();
    let report = Event::Report { slot: SLOT, trial: 0, attempt: 1, epoch: 1, metrics };
    let actions = chronicle.handle(report, &mut engine);
    assert!(matches!(actions[0], Action::Decide { verdict: Verdict::Stop, .. }), "{actions:?}");
    // The driver dies before the trial has stopped.
    let actions = chronicle.resume(1, setup, Some(&mut engine));
    assert!(
        actions.iter().any(|action| matches!(action, Action::TrialEnded { trial: 0, .. })),
        "{actions:?}"
    );
    engine.ask(1, 0);
    engine.answer().await;
    assert_eq!(*shown.lock().unwrap(), [(0, Standing::Stopped)]);
}
