//! How many decisions the scheduler makes a second: the driver's state machine, its journal and random search
//! with ASHA, against slots that are simulated under a virtual clock. `scheduler SLOTS TRIALS pause|stop` prints
//! a line of JSON.
//!
//! A trial has 20 epochs and rungs after 1, 4 and 16 (reduction 4). Its quality is uniform, its reports approach
//! it with noise; an epoch takes a time that is log-normal over the trials (median 10 s, sigma 1). A message
//! takes a millisecond either way. All is drawn by the trial's number: the slots remember nothing of a trial.
//!
//! As in the service, what has come in is handled together: an eighth of the slots' messages, at most 256, go to
//! the journal's file in one write, and only then are their actions carried out. `decisions_per_s` counts events
//! that yield an action, over the time spent in the state machine, the journal and the optimizer, without that
//! of the simulated slots. Where other processes take the processor, `decisions_per_cpu_s` is the truer figure:
//! it counts the processor time of the whole process in the same proportion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::TAU;
use std::path::Path;
use std::time::{Duration, Instant};

use lethe_driver::experiment::{Action, Ahead, Event, Experiment, Settings, SlotKey};
use lethe_driver::journal::{Folder, Header, Log};
use lethe_driver::search::{Optimizer, RandomSearch, Space, Suggestion};
use lethe_driver::stopping::rule;
use lethe_flight::message::experiment::{
    Budget, Domain, Optimizer as Choice, Parameter, Plan, Resume, Retries, Source, Stopping,
};
use lethe_flight::message::gang::Workers;
use lethe_flight::message::training::{
    Direction, Function, Metrics, Objective, Outcome, Select, Timing, TrialSpec, Verdict,
};
use lethe_flight::{Error, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const EPOCHS: u32 = 20;
const SEED: u64 = 1;
/// Events in one write, at most: the service's bound.
const TOGETHER: usize = 256;
/// Virtual time is in microseconds.
const LATENCY: u64 = 1_000;
const MEDIAN_EPOCH: f64 = 10e6;

/// What the service's actor is to an experiment, without its connections.
struct Driver {
    experiment: Experiment,
    log: Log,
    search: RandomSearch,
    events: u64,
    decisions: u64,
    busy: Duration,
}

impl Driver {
    /// The actions that concern slots, each with the time of its event.
    fn handle(&mut self, mut events: Vec<(u64, Event)>) -> Result<Vec<(u64, Action)>> {
        let begun = Instant::now();
        let mut out = Vec::new();
        while !events.is_empty() {
            let mut waiting = Vec::new();
            for (at, event) in events.drain(..) {
                self.log.event(at / 1_000, &event)?;
                let actions = self.experiment.handle(event);
                self.events += 1;
                self.decisions += u64::from(!actions.is_empty());
                waiting.extend(actions.into_iter().map(|action| (at, action)));
            }
            self.log.commit()?;
            for (at, action) in waiting {
                match action {
                    Action::Suggest { trial, draw } => match self.search.suggest(trial, draw, &[]) {
                        Suggestion::Point { hparams, why, note } => {
                            events.push((at, Event::Suggested { trial, hparams, why, note }));
                        }
                        other => return Err(Error::Invalid(format!("no point: {other:?}"))),
                    },
                    action => out.push((at, action)),
                }
            }
        }
        self.busy += begun.elapsed();
        Ok(out)
    }
}

/// What a slot does until its next message.
#[derive(Clone, Copy)]
enum Doing {
    Nothing,
    Joining,
    Training,
    Stopping,
    Pausing,
}

struct Slot {
    doing: Doing,
    spec: Option<Box<TrialSpec>>,
    epoch: u32,
    /// Of one epoch.
    duration: u64,
    quality: f64,
}

/// All slots, and the time.
struct World {
    slots: Vec<Slot>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
    /// Slots' time in training, that of running epochs to their end.
    training: u64,
}

impl World {
    fn new(slots: usize) -> Self {
        let slot = || Slot { doing: Doing::Joining, spec: None, epoch: 0, duration: 0, quality: 0.0 };
        let due = (0..slots).map(|slot| Reverse((0, slot))).collect();
        Self { slots: (0..slots).map(|_| slot()).collect(), due, now: 0, training: 0 }
    }

    /// The next messages.
    fn messages(&mut self) -> Vec<(u64, Event)> {
        let mut events = Vec::new();
        for _ in 0..(self.slots.len() / 8).clamp(1, TOGETHER) {
            let Some(Reverse((at, slot))) = self.due.pop() else { break };
            self.now = self.now.max(at);
            self.speak(at, slot, &mut events);
        }
        events
    }

    fn speak(&mut self, at: u64, number: usize, events: &mut Vec<(u64, Event)>) {
        let state = &mut self.slots[number];
        let (slot, doing) = (SlotKey(number as u64), std::mem::replace(&mut state.doing, Doing::Nothing));
        let Some(spec) = &state.spec else {
            events.push((at, Event::SlotJoined { slot, number: number as u32 }));
            events.push((at, Event::SlotReady { slot }));
            return;
        };
        let (trial, attempt) = (spec.trial, spec.attempt);
        let ended = |outcome| Event::Ended { slot, trial, attempt, outcome, timing: Timing::default() };
        match doing {
            Doing::Training => {
                state.epoch += 1;
                let (epoch, waits) = (state.epoch, spec.rungs.contains(&state.epoch));
                let metrics = reported(trial, epoch, state.quality);
                events.push((at, Event::Report { slot, trial, attempt, epoch, metrics }));
                if epoch == EPOCHS {
                    events.push((at, ended(Outcome::Finished)));
                } else if !waits {
                    self.train(at, number);
                }
            }
            Doing::Stopping => events.push((at, ended(Outcome::Stopped))),
            Doing::Pausing => {
                events.push((at, Event::Checkpointed { slot, trial, attempt, epoch: state.epoch }));
                events.push((at, ended(Outcome::Paused)));
            }
            Doing::Nothing | Doing::Joining => {}
        }
    }

    fn train(&mut self, from: u64, number: usize) {
        let slot = &mut self.slots[number];
        slot.doing = Doing::Training;
        self.training += slot.duration;
        self.due.push(Reverse((from + slot.duration, number)));
    }

    fn carry_out(&mut self, at: u64, action: Action) {
        // There and, for an answer, back.
        let arrives = at + 2 * LATENCY;
        match action {
            Action::Assign { slot: SlotKey(slot), spec } => {
                let state = &mut self.slots[slot as usize];
                (state.duration, state.quality) = drawn(spec.trial);
                state.epoch = spec.checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
                state.spec = Some(spec);
                self.train(arrives, slot as usize);
            }
            Action::Decide { slot: SlotKey(slot), verdict, .. } => match verdict {
                Verdict::GoOn => self.train(arrives, slot as usize),
                Verdict::Stop => self.answer(arrives, slot, Doing::Stopping),
                Verdict::Pause => self.answer(arrives, slot, Doing::Pausing),
            },
            _ => {}
        }
    }

    fn answer(&mut self, at: u64, slot: u64, doing: Doing) {
        self.slots[slot as usize].doing = doing;
        self.due.push(Reverse((at, slot as usize)));
    }

    /// The share of all slots' time so far in which they did not train.
    fn idle(&self) -> f64 {
        let trains = |slot: usize| matches!(self.slots[slot].doing, Doing::Training);
        let due = self.due.iter().filter(|Reverse((_, slot))| trains(*slot));
        let ahead: u64 = due.map(|Reverse((at, _))| at.saturating_sub(self.now)).sum();
        1.0 - (self.training - ahead) as f64 / (self.now * self.slots.len() as u64) as f64
    }
}

fn generator(trial: u32, stream: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(trial));
    rng.set_stream(u64::from(stream));
    rng
}

/// Box and Muller.
fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

/// The time of an epoch, and the value that the trial approaches.
fn drawn(trial: u32) -> (u64, f64) {
    let mut rng = generator(trial, 0);
    ((MEDIAN_EPOCH * gaussian(&mut rng).exp()) as u64, rng.random())
}

fn reported(trial: u32, epoch: u32, quality: f64) -> Metrics {
    let value = quality * (1.0 - (-f64::from(epoch) / 4.0).exp());
    let noise = 0.01 * gaussian(&mut generator(trial, epoch));
    Metrics::from([("accuracy".into(), value + noise), ("train_loss".into(), 1.0 - value)])
}

fn plan(slots: u32, trials: u32, pause: bool, directory: &Path) -> Plan {
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, condition: None };
    let space = vec![
        parameter("lr", Domain::LogUniform { low: 1e-5, high: 1.0 }),
        parameter("dropout", Domain::Uniform { low: 0.0, high: 0.5, step: None }),
        parameter("width", Domain::Integer { low: 16, high: 1024, step: None, log: false }),
        parameter("activation", Domain::Choice { values: vec![json!("relu"), json!("gelu"), json!("tanh")] }),
    ];
    Plan {
        protocol: lethe_flight::PROTOCOL,
        version: lethe_flight::VERSION.into(),
        experiment: "simulation".into(),
        seed: SEED,
        source: Source::Search {
            space,
            constraints: Vec::new(),
            checked: false,
            enqueued: Vec::new(),
            budget: Budget { trials: Some(trials), ..Budget::default() },
            optimizer: Choice::Random,
            stopping: Stopping::Asha { reduction: 4, min_epochs: 1, pause },
            workers: Workers::ONE,
        },
        objective: Objective {
            metric: "accuracy".into(),
            direction: Direction::Max,
            select: Select::Last,
            further: Vec::new(),
        },
        function: Function::Registered { name: "simulated".into(), epochs: EPOCHS },
        data: None,
        slots,
        directory: directory.display().to_string(),
        store: None,
        code: Default::default(),
        resume: Resume::New,
        retries: Retries::default(),
        checkpoint_every_s: None,
        shards: Default::default(),
    }
}

fn driver(plan: &Plan) -> Result<Driver> {
    let Source::Search { space, constraints, budget, stopping, .. } = plan.source.clone() else {
        return Err(Error::Invalid("no search".into()));
    };
    let space = Space::new(space, constraints)?;
    let settings = Settings {
        experiment: plan.experiment.clone(),
        seed: plan.seed,
        budget,
        slots: plan.slots,
        ahead: Ahead::Spare(8),
        draws: 1000,
        checked: false,
        retries: plan.retries,
        objective: plan.objective.clone(),
        function: plan.function.clone(),
        data: None,
        workers: Workers::ONE,
        listed: Vec::new(),
        checkpoint_every_s: None,
    };
    let rule = rule(&stopping, Direction::Max, &space, budget.trials, SEED)?;
    Ok(Driver {
        experiment: Experiment::new(settings, rule),
        log: Log::create(Folder::lock(Path::new(&plan.directory))?, &Header::new(plan))?,
        search: RandomSearch::new(space, SEED),
        events: 0,
        decisions: 0,
        busy: Duration::ZERO,
    })
}

/// A number of this process that the kernel counts: word `word` of a file of /proc/self.
fn counted(file: &str, word: usize) -> Result<f64> {
    let path = Path::new("/proc/self").join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
    let number = text.split_whitespace().nth(word).and_then(|number| number.parse().ok());
    number.ok_or_else(|| Error::Invalid(format!("{} has no number {word}", path.display())))
}

/// In pages of memory.
fn resident() -> Result<f64> {
    Ok(counted("statm", 1)? * 4096.0)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::Invalid("usage: scheduler SLOTS TRIALS pause|stop".into());
    let [slots, trials, variant] = &arguments[..] else { return Err(usage()) };
    let slots: u32 = slots.parse().map_err(|_| usage())?;
    let trials: u32 = trials.parse().map_err(|_| usage())?;
    let folder = tempfile::tempdir().map_err(|error| Error::file(std::env::temp_dir(), error))?;

    let mut driver = driver(&plan(slots, trials, variant == "pause", folder.path()))?;
    let mut world = World::new(slots as usize);
    let mut idle = None;
    let (begun, before) = (Instant::now(), resident()?);
    let cpu_before = counted("schedstat", 0)?;
    let first = driver.handle(vec![(0, Event::Started)])?;
    first.into_iter().for_each(|(at, action)| world.carry_out(at, action));
    while driver.experiment.end().is_none() {
        let events = world.messages();
        if events.is_empty() {
            return Err(Error::Precondition(format!("nothing happens: {:?}", driver.experiment.progress())));
        }
        for (at, action) in driver.handle(events)? {
            let last = matches!(&action, Action::Assign { spec, .. } if spec.trial + 1 == trials);
            world.carry_out(at, action);
            if last {
                idle.get_or_insert_with(|| world.idle());
            }
        }
    }
    let cpu = (counted("schedstat", 0)? - cpu_before) / 1e9 / begun.elapsed().as_secs_f64();
    let grown = resident()? - before;
    let busy = driver.busy.as_secs_f64();
    let progress = driver.experiment.progress();
    let per_trial = |bytes: f64| (bytes / f64::from(trials)).round();
    let line = json!({
        "slots": slots,
        "trials": trials,
        "variant": variant,
        "finished": progress.finished,
        "stopped": progress.stopped,
        "epochs": progress.epochs,
        "events": driver.events,
        "decisions": driver.decisions,
        "decisions_per_s": (driver.decisions as f64 / busy).round(),
        "decisions_per_cpu_s": (driver.decisions as f64 / busy / cpu).round(),
        "us_per_decision": busy * cpu * 1e6 / driver.decisions as f64,
        "journal_bytes_per_trial": per_trial(driver.log.length() as f64),
        "resident_bytes_per_trial": per_trial(grown),
        "idle_until_last_trial": idle,
        "idle_with_tail": world.idle(),
        "virtual_hours": world.now as f64 / 3.6e9,
        "wall_s": begun.elapsed().as_secs_f64(),
    });
    println!("{line}");
    Ok(())
}
