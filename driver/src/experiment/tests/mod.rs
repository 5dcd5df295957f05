//! The state machine's rules, one test each, and properties over random histories.

mod budgets;
mod ends;
mod gangs;
mod pauses;
mod properties;
mod resumes;
mod slots;
mod trials;
mod world;

pub(crate) use world::plan;

use std::collections::BTreeMap;

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{
    Budget, Domain, Parameter, Retries, Stopping, TrialResult, TrialState,
};
use lethe_flight::message::training::{
    Direction, Function, Loss, Metric, Metrics, Objective, Optimizer, Outcome, ProgramFormat, ProgramRef,
    Schedule, Select, Supervised, Timing, TrialSpec,
};

use super::{Action, Ahead, Event, Experiment, Settings, SlotKey};
use crate::search::Space;
use crate::stopping::{self, StoppingRule};

pub(crate) fn settings(trials: u32, slots: u32) -> Settings {
    Settings {
        experiment: "e".into(),
        seed: 1,
        budget: Budget { trials: Some(trials), ..Budget::default() },
        slots,
        ahead: Ahead::Spare(8),
        checked: false,
        draws: 1000,
        retries: Retries::default(),
        objective: Objective {
            metric: "m".into(),
            direction: Direction::Max,
            select: Select::Last,
            further: Vec::new(),
        },
        function: Function::Registered { name: "sleep".into(), epochs: 9 },
        data: None,
        workers: lethe_flight::message::gang::Workers::ONE,
        listed: Vec::new(),
        checkpoint_every_s: None,
    }
}

pub(super) fn rule(stopping: &Stopping, settings: &Settings) -> Box<dyn StoppingRule> {
    let domain = Domain::Uniform { low: 0.0, high: 255.0, step: None };
    let x = Parameter { name: "x".into(), domain, condition: None };
    let space = Space::new(vec![x], Vec::new()).unwrap();
    let trials = settings.budget.trials;
    stopping::rule(stopping, settings.objective.direction, &space, trials, settings.seed).unwrap()
}

pub(super) fn asha(reduction: u32, pause: bool) -> Stopping {
    Stopping::Asha { reduction, min_epochs: 1, pause }
}

pub(super) fn with_model() -> Function {
    Function::Supervised(Supervised {
        loss: Some(Loss::CrossEntropy),
        metrics: vec![Metric::Accuracy],
        epochs: 9,
        batch_size: 32,
        drop_last: false,
        optimizer: Optimizer::Adam,
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

pub(super) fn program() -> ProgramRef {
    ProgramRef { format: ProgramFormat::Torchscript, hash: "0".repeat(64) }
}

/// An experiment whose optimizer answers at once, and what it has asked for so far.
pub(super) struct Bench {
    pub experiment: Experiment,
    pub actions: Vec<Action>,
}

impl Bench {
    pub fn new(settings: Settings, stopping: Stopping) -> Self {
        let rule = rule(&stopping, &settings);
        let mut bench = Self { experiment: Experiment::new(settings, rule), actions: Vec::new() };
        bench.handle(Event::Started);
        bench
    }

    pub fn plain(trials: u32, slots: u32) -> Self {
        Self::new(settings(trials, slots), Stopping::None)
    }

    /// The actions of the event, and of the optimizer's answers.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut all = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.experiment.handle(event) {
                if let Action::Suggest { trial, draw: _ } = action {
                    events
                        .insert(0, suggested(trial, [("x".to_owned(), trial.into())].into_iter().collect()));
                }
                all.push(action);
            }
        }
        self.actions.extend(all.iter().cloned());
        all
    }

    /// Joins and is ready.
    pub fn slot(&mut self, key: u64, number: u32) -> Vec<Action> {
        let mut actions = self.handle(Event::SlotJoined { slot: SlotKey(key), number });
        actions.extend(self.handle(Event::SlotReady { slot: SlotKey(key) }));
        actions
    }

    pub fn report(&mut self, slot: u64, trial: u32, attempt: u32, epoch: u32, value: f64) -> Vec<Action> {
        self.handle(Event::Report { slot: SlotKey(slot), trial, attempt, epoch, metrics: metrics(value) })
    }

    pub fn ended(&mut self, slot: u64, trial: u32, attempt: u32, outcome: Outcome) -> Vec<Action> {
        self.handle(Event::Ended { slot: SlotKey(slot), trial, attempt, outcome, timing: Timing::default() })
    }

    /// One report, then finished.
    pub fn finish(&mut self, slot: u64, trial: u32, value: f64) -> Vec<Action> {
        self.report(slot, trial, 1, 1, value);
        self.ended(slot, trial, 1, Outcome::Finished)
    }

    /// Saves a checkpoint after the epoch and leaves the slot.
    pub fn pause(&mut self, slot: u64, trial: u32, attempt: u32, epoch: u32) -> Vec<Action> {
        let mut actions = self.handle(Event::Checkpointed { slot: SlotKey(slot), trial, attempt, epoch });
        actions.extend(self.ended(slot, trial, attempt, Outcome::Paused));
        actions
    }

    pub fn leave(&mut self, slot: u64) -> Vec<Action> {
        self.handle(Event::SlotLeft { slot: SlotKey(slot), reason: "the connection ended".into() })
    }

    pub fn trial(&self, trial: u32) -> TrialResult {
        self.experiment.results()[trial as usize].clone()
    }

    pub fn state(&self, trial: u32) -> TrialState {
        self.trial(trial).state
    }
}

/// An experiment whose one trial is ready.
pub(crate) fn bench_of_one() -> Experiment {
    Bench::plain(1, 1).experiment
}

pub(super) fn suggested(trial: u32, hparams: Hparams) -> Event {
    Event::Suggested { trial, hparams, why: "test".into(), note: None }
}

pub(super) fn metrics(value: f64) -> Metrics {
    BTreeMap::from([("m".into(), value)])
}

pub(super) fn failed(error: &str) -> Outcome {
    Outcome::Failed { error: error.into() }
}

pub(super) fn assigned(actions: &[Action]) -> Vec<(u64, u32, u32)> {
    specs(actions).into_iter().map(|(slot, spec)| (slot, spec.trial, spec.attempt)).collect()
}

pub(super) fn specs(actions: &[Action]) -> Vec<(u64, TrialSpec)> {
    let spec = |action: &Action| match action {
        Action::Assign { slot, spec } => Some((slot.0, (**spec).clone())),
        _ => None,
    };
    actions.iter().filter_map(spec).collect()
}

pub(super) fn over(actions: &[Action]) -> Option<&lethe_flight::message::experiment::End> {
    actions.iter().find_map(|action| match action {
        Action::Over { end } => Some(end),
        _ => None,
    })
}
