//! A world around the state machine that keeps to nothing but physics: slots join and are lost at any time,
//! messages are late, come in any order, twice, or of attempts that are long over, users' code fails, the driver
//! is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lethe_flight::message::experiment::{End, Optimizer as Choice, Plan, Resume, Source};
use lethe_flight::message::training::{CheckpointRef, Verdict};

use super::*;
use crate::experiment::state::Course;
use crate::experiment::trial::{Phase, Trial};
use crate::journal::{Entry, Folder, Header, Log, Reader};

/// One thing that happens; `u8`s choose among what is there.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Join(u8),
    /// What an attempt does next: an epoch, or what it was told.
    Work(u8, u8),
    Save(u8),
    /// The slot is lost; it may say so late.
    Lose(u8),
    /// The attempt ends in another way than it should.
    Break(u8, u8),
    /// A message on its way arrives, whichever.
    Deliver(u8),
    /// One that has arrived arrives again.
    Again(u8),
    /// Something that was asked for is answered.
    Answer(u8, u8),
    TrialTimeUp(u8),
    /// Too few slots have come for the trial that waits for several.
    GatherTimeUp,
    End(u8),
    /// The driver is killed, and resumed from its journal. Some of the checkpoints are gone.
    Kill(u8),
}

/// An attempt as its slot sees it.
#[derive(Debug)]
struct Attempt {
    spec: TrialSpec,
    epoch: u32,
    waits: bool,
    told: Option<Verdict>,
}

/// Why a trial was handed out again.
#[derive(Debug, Default, Clone, Copy)]
struct Causes {
    losses: u32,
    exceptions: u32,
    others: u32,
}

pub struct World {
    settings: Settings,
    begun_with: Stopping,
    stopping: Stopping,
    pub experiment: Experiment,
    /// Was never replayed, but told all that the other was told since.
    shadow: Option<Experiment>,
    folder: PathBuf,
    log: Option<Log>,
    next_key: u64,
    held: BTreeMap<u64, Attempt>,
    released: BTreeSet<u64>,
    mail: Vec<Event>,
    past: Vec<Event>,
    requests: Vec<Action>,
    /// The trial and attempt whose timer runs.
    gathering: Option<(u32, u32)>,
    checkpoints: BTreeSet<CheckpointRef>,
    lost: BTreeSet<CheckpointRef>,
    attempts: BTreeMap<u32, u32>,
    causes: BTreeMap<u32, Causes>,
    /// For good, and at the experiment's end.
    pub ended: BTreeMap<u32, TrialState>,
    closed: BTreeMap<u32, TrialState>,
    pub over: Option<End>,
}

/// By which an experiment of these settings is begun, but for its space.
pub fn plan(settings: &Settings, stopping: &Stopping) -> Plan {
    Plan {
        protocol: lethe_flight::PROTOCOL,
        version: lethe_flight::VERSION.into(),
        experiment: settings.experiment.clone(),
        seed: settings.seed,
        source: Source::Search {
            space: Vec::new(),
            constraints: Vec::new(),
            checked: settings.checked,
            enqueued: Vec::new(),
            budget: settings.budget,
            optimizer: Choice::Random,
            stopping: stopping.clone(),
            workers: lethe_flight::message::gang::Workers::ONE,
        },
        objective: settings.objective.clone(),
        function: settings.function.clone(),
        data: None,
        slots: settings.slots,
        directory: String::new(),
        store: None,
        code: BTreeMap::new(),
        resume: Resume::New,
        retries: settings.retries,
        checkpoint_every_s: None,
        shards: Default::default(),
    }
}

impl World {
    pub fn new(settings: Settings, stopping: Stopping, folder: PathBuf) -> Self {
        let header = Header::new(&plan(&settings, &stopping));
        let mut world = Self {
            experiment: Experiment::new(settings.clone(), rule(&stopping, &settings)),
            shadow: None,
            log: Some(Log::create(Folder::lock(&folder).unwrap(), &header).unwrap()),
            settings,
            begun_with: stopping.clone(),
            stopping,
            folder,
            next_key: 0,
            held: BTreeMap::new(),
            released: BTreeSet::new(),
            mail: Vec::new(),
            past: Vec::new(),
            requests: Vec::new(),
            gathering: None,
            checkpoints: BTreeSet::new(),
            lost: BTreeSet::new(),
            attempts: BTreeMap::new(),
            causes: BTreeMap::new(),
            ended: BTreeMap::new(),
            closed: BTreeMap::new(),
            over: None,
        };
        world.handle(Event::Started);
        world
    }

    pub fn step(&mut self, step: Step) {
        let slot =
            |pick: u8, world: &Self| world.held.keys().nth(pick as usize % world.held.len().max(1)).copied();
        match step {
            Step::Join(number) => self.join(u32::from(number % 4)),
            Step::Work(pick, value) => _ = slot(pick, self).map(|slot| self.work(slot, value)),
            Step::Save(pick) => _ = slot(pick, self).map(|slot| self.save(slot)),
            Step::Lose(pick) => {
                if let Some(slot) = slot(pick, self) {
                    self.held.remove(&slot);
                    let slot = SlotKey(slot);
                    self.mail.push(match pick % 4 {
                        0 => Event::SlotLacks { slot, partitions: 1 },
                        _ => Event::SlotLeft { slot, reason: "gone".into() },
                    });
                }
            }
            Step::Break(pick, how) => _ = slot(pick, self).map(|slot| self.break_off(slot, how)),
            Step::Deliver(pick) if !self.mail.is_empty() => {
                let event = self.mail.remove(pick as usize % self.mail.len());
                self.handle(event);
            }
            Step::Again(pick) if !self.past.is_empty() => {
                let event = self.past[pick as usize % self.past.len()].clone();
                self.handle(event);
            }
            Step::Answer(pick, how) if !self.requests.is_empty() => {
                let request = self.requests.remove(pick as usize % self.requests.len());
                self.answer(request, how);
            }
            Step::TrialTimeUp(pick) => {
                if let Some(Attempt { spec, .. }) = slot(pick, self).and_then(|slot| self.held.get(&slot)) {
                    self.mail.push(Event::TrialTimeUp { trial: spec.trial, attempt: spec.attempt });
                }
            }
            Step::GatherTimeUp => {
                if let Some((trial, attempt)) = self.gathering.take() {
                    self.handle(Event::GatherTimeUp { trial, attempt });
                }
            }
            Step::End(how) => self.handle(match how % 3 {
                0 => Event::Cancel { reason: "test".into() },
                1 => Event::TimeUp,
                _ => Event::DrainExpired,
            }),
            Step::Kill(pick) => self.kill(pick),
            Step::Deliver(_) | Step::Again(_) | Step::Answer(..) => {}
        }
    }

    fn join(&mut self, number: u32) {
        let slot = SlotKey(self.next_key);
        self.next_key += 1;
        self.handle(Event::SlotJoined { slot, number });
        self.mail.push(Event::SlotReady { slot });
    }

    fn end(&mut self, slot: u64, outcome: Outcome) {
        let Some(Attempt { spec, .. }) = self.held.remove(&slot) else { return };
        let (slot, timing) = (SlotKey(slot), Timing::default());
        self.mail.push(Event::Ended { slot, trial: spec.trial, attempt: spec.attempt, outcome, timing });
    }

    fn work(&mut self, slot: u64, value: u8) {
        let Some(attempt) = self.held.get_mut(&slot) else { return };
        match attempt.told {
            Some(Verdict::Stop) => self.end(slot, Outcome::Stopped),
            Some(Verdict::Pause) => {
                self.save(slot);
                self.end(slot, Outcome::Paused);
            }
            _ if attempt.waits => {}
            // Another rank works along, and waits for nobody.
            _ if attempt.spec.gang.is_some_and(|gang| gang.rank > 0) => {
                attempt.epoch += 1;
                if attempt.epoch == self.settings.function.epochs() {
                    self.end(slot, Outcome::Finished);
                }
            }
            _ => {
                attempt.epoch += 1;
                let (epoch, spec) = (attempt.epoch, &attempt.spec);
                attempt.waits = spec.rungs.contains(&epoch)
                    || spec.decide_every.is_some_and(|every| epoch.is_multiple_of(every));
                let value = if value.is_multiple_of(10) { f64::NAN } else { f64::from(value % 10) };
                let (slot_key, trial, attempt) = (SlotKey(slot), spec.trial, spec.attempt);
                let metrics = metrics(value);
                self.mail.push(Event::Report { slot: slot_key, trial, attempt, epoch, metrics });
                if epoch == self.settings.function.epochs() {
                    self.end(slot, Outcome::Finished);
                }
            }
        }
    }

    /// The driver itself says that a checkpoint is complete: at once, and once.
    fn save(&mut self, slot: u64) {
        let Some(Attempt { spec, epoch, .. }) = self.held.get(&slot) else { return };
        if spec.gang.is_some_and(|gang| gang.rank > 0) {
            return;
        }
        let (trial, attempt, epoch) = (spec.trial, spec.attempt, *epoch);
        if epoch > 0 && self.checkpoints.insert(CheckpointRef { trial, attempt, epoch }) {
            self.handle(Event::Checkpointed { slot: SlotKey(slot), trial, attempt, epoch });
        }
    }

    fn break_off(&mut self, slot: u64, how: u8) {
        let outcome = match how % 5 {
            0 => Outcome::Finished,
            1 => Outcome::Stopped,
            2 => failed("the loss is NaN"),
            3 => failed("RuntimeError"),
            _ => Outcome::Lost { error: "killed".into() },
        };
        self.end(slot, outcome);
    }

    fn answer(&mut self, request: Action, how: u8) {
        let event = match request {
            Action::Suggest { trial, .. } if how < 10 => Event::Exhausted { trial },
            Action::Suggest { trial, .. } => {
                suggested(trial, [("x".to_owned(), u32::from(how).into())].into_iter().collect())
            }
            Action::Check { trial, .. } => {
                Event::Checked { trial, refused: (how < 60).then(|| "too wide".to_owned()) }
            }
            Action::Prepare { trial, .. } if how < 10 => {
                Event::PreparationFailed { trial, error: "ValueError".into() }
            }
            Action::Prepare { trial, .. } => Event::Prepared { trial, program: program() },
            other => panic!("nobody answers {other:?}"),
        };
        self.handle(event);
    }

    fn handle(&mut self, event: Event) {
        let told = self.count(&event);
        let running = self.running();
        if let Some(log) = &mut self.log {
            log.event(0, &event).unwrap();
        }
        // The answer to a question that was answered before may be that to another question.
        if !matches!(event, Event::SlotJoined { .. } | Event::Checked { .. } | Event::Checkpointed { .. }) {
            self.past.push(event.clone());
        }
        let waits = self.waits();
        let actions = self.experiment.handle(event.clone());
        if waits.is_some() && self.waits() == waits {
            let assigned = actions.iter().any(|action| matches!(action, Action::Assign { .. }));
            assert!(!assigned, "trial {waits:?} waits for slots and is overtaken: {actions:?}");
        }
        if let Some(shadow) = &mut self.shadow {
            assert_eq!(format!("{:?}", shadow.handle(event)), format!("{actions:?}"), "after a replay");
        }
        let spent = self.experiment.progress().epochs;
        assert!(self.settings.budget.epochs.is_none_or(|epochs| spent <= epochs), "{spent} epochs are spent");
        if self.experiment.end().is_some() {
            // Broken off: if the search is resumed they are handed out again.
            for trial in running.into_iter().filter(|trial| told != Some(*trial)) {
                self.causes.entry(trial).or_default().others += 1;
            }
        }
        self.see(actions);
    }

    /// The trial for which free slots are kept.
    fn waits(&self) -> Option<u32> {
        let trial = self.experiment.state.gathering?.trial;
        self.experiment.state.ready.iter().any(|&(_, ready)| ready == trial).then_some(trial)
    }

    fn running(&self) -> Vec<u32> {
        let running = |trial: &&Trial| matches!(trial.phase, Phase::Running { .. });
        self.experiment.state.trials.iter().filter(running).map(|trial| trial.number).collect()
    }

    /// Whose attempt ends by this event, which will be the cause of another attempt if there is one.
    fn count(&mut self, event: &Event) -> Option<u32> {
        // Of a gang that was given up, ranks may be at work still.
        let running = |slot: &SlotKey| {
            let slot = self.experiment.state.slots.get(slot)?;
            slot.running.filter(|&trial| self.experiment.is_running(trial, slot.attempt))
        };
        let speaks = |slot: &SlotKey, trial: u32, attempt: u32, outcome: &Outcome| {
            let ends = matches!(outcome, Outcome::Failed { .. } | Outcome::Lost { .. });
            self.experiment.is_current(*slot, trial, attempt)
                || ends && self.experiment.holds(*slot, trial, attempt) && running(slot).is_some()
        };
        let (trial, outcome) = match event {
            Event::Ended { slot, trial, attempt, outcome, .. } if speaks(slot, *trial, *attempt, outcome) => {
                (*trial, outcome.clone())
            }
            Event::SlotLeft { slot, .. } => (running(slot)?, Outcome::Lost { error: String::new() }),
            // No loss of the trial's.
            Event::SlotLacks { slot, .. } => (running(slot)?, Outcome::Paused),
            Event::SlotJoined { number, .. } if self.experiment.state.searching() => {
                let trial = self.experiment.state.by_number.get(number).and_then(running)?;
                (trial, Outcome::Lost { error: String::new() })
            }
            _ => return None,
        };
        let causes = self.causes.entry(trial).or_default();
        match outcome {
            Outcome::Failed { .. } => causes.exceptions += 1,
            Outcome::Lost { .. } => causes.losses += 1,
            _ => causes.others += 1,
        }
        Some(trial)
    }

    fn see(&mut self, actions: Vec<Action>) {
        let whole = |specs: Vec<(u64, TrialSpec)>| {
            for (_, spec) in &specs {
                let Some(gang) = spec.gang else { continue };
                let ranks = specs.iter().filter(|(_, other)| other.trial == spec.trial);
                assert_eq!(ranks.count(), gang.world as usize, "a gang begins when it is whole");
            }
        };
        whole(specs(&actions));
        let closes = actions.iter().any(|action| matches!(action, Action::Over { .. }));
        for action in actions {
            match action {
                Action::Suggest { trial, .. } => {
                    assert!(
                        self.settings.budget.trials.is_none_or(|trials| trial < trials),
                        "too many trials"
                    );
                    self.requests.push(action);
                }
                Action::Check { .. } | Action::Prepare { .. } => self.requests.push(action),
                Action::Assign { slot: SlotKey(slot), spec } => self.assigned(slot, *spec),
                Action::Decide { slot, trial, attempt, verdict, .. } => {
                    if let Some(held) = self.held.get_mut(&slot.0)
                        && (held.spec.trial, held.spec.attempt) == (trial, attempt)
                    {
                        held.waits = false;
                        held.told = Some(verdict);
                    }
                }
                Action::StartGatherTimer { trial, attempt, .. } => self.gathering = Some((trial, attempt)),
                Action::Stop { slot, trial, attempt, .. } => {
                    if let Some(held) = self.held.get_mut(&slot.0)
                        && (held.spec.trial, held.spec.attempt) == (trial, attempt)
                    {
                        held.told = Some(Verdict::Stop);
                    }
                }
                Action::Release { slot: SlotKey(slot) } => {
                    assert!(self.released.insert(slot), "released twice");
                    self.held.remove(&slot);
                }
                Action::DropCheckpoint { checkpoint } => {
                    let there = self.checkpoints.remove(&checkpoint) || self.lost.remove(&checkpoint);
                    assert!(there, "dropped twice: {checkpoint:?}");
                }
                Action::TrialEnded { trial, state, .. } => {
                    let ended = if closes { &mut self.closed } else { &mut self.ended };
                    assert_eq!(ended.insert(trial, state), None, "trial {trial} ended twice");
                }
                Action::Over { end } => assert_eq!(self.over.replace(end), None, "over twice"),
                _ => {}
            }
        }
        for trial in self.closed.keys().filter(|_| closes) {
            assert!(!self.ended.contains_key(trial), "trial {trial} ended twice");
        }
    }

    fn assigned(&mut self, slot: u64, spec: TrialSpec) {
        assert!(!self.released.contains(&slot), "a trial for a slot that was released");
        assert!(!self.ended.contains_key(&spec.trial), "an ended trial is handed out");
        assert!(self.over.is_none() && self.experiment.state.course == Course::Searching, "after its end");
        let epochs = self.settings.budget.epochs.unwrap_or(u64::MAX);
        assert!(self.experiment.progress().epochs < epochs, "the epochs were spent before");
        let rank = spec.gang.map_or(0, |gang| gang.rank);
        let attempts = self.attempts.entry(spec.trial).or_default();
        *attempts += u32::from(rank == 0);
        assert_eq!(*attempts, spec.attempt, "attempts are numbered one by one");
        let causes = self.causes.get(&spec.trial).copied().unwrap_or_default();
        let Causes { losses, exceptions, others } = causes;
        assert_eq!(*attempts, 1 + losses + exceptions + others, "each attempt has one cause: {causes:?}");
        assert!(exceptions <= self.settings.retries.exceptions, "{causes:?}");
        if let Some(checkpoint) = spec.checkpoint {
            assert!(self.checkpoints.contains(&checkpoint), "from a checkpoint that was dropped");
        }
        let twice = self.held.values().any(|held| {
            let of = held.spec.gang.map_or(0, |gang| gang.rank);
            // Of a gang that was given up, others may be at work still.
            held.spec.trial == spec.trial
                && (held.spec.gang.is_none() || held.spec.attempt == spec.attempt && of == rank)
        });
        // A worker whose slot was lost may not know it yet: then its slot has left, and the mail says so.
        assert!(!twice, "a trial is on two slots");
        let epoch = spec.checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
        let former = self.held.insert(slot, Attempt { spec, epoch, waits: false, told: None });
        assert!(former.is_none(), "a slot holds two trials");
    }

    /// The journal's events in another machine: the same state, and from then on the same actions.
    fn kill(&mut self, pick: u8) {
        // Now and then the search goes on under another rule.
        let former = self.stopping.clone();
        if (60..120).contains(&pick) {
            self.stopping =
                [Stopping::None, asha(3, true), Stopping::Median { min_trials: 2, min_epochs: 1 }]
                    [usize::from(pick % 3)]
                .clone();
        }
        let changed = || (former != self.stopping).then(|| rule(&self.stopping, &self.settings));
        let plan = plan(&self.settings, &self.stopping);
        let mut log = self.log.take().unwrap();
        log.commit().unwrap();
        let mut former = self.begun_with.clone();
        let mut replayed = Experiment::new(self.settings.clone(), rule(&former, &self.settings));
        for record in Reader::<Event>::open(&self.folder).unwrap() {
            _ = match record.unwrap().entry {
                Entry::Event(event) => replayed.handle(event),
                Entry::Resumed(plan) => {
                    let Source::Search { stopping, .. } = plan.source else { panic!("no search") };
                    let other = (stopping != former).then(|| rule(&stopping, &self.settings));
                    former = stopping;
                    replayed.restart(self.settings.clone(), other)
                }
            };
        }
        assert_eq!(format!("{:?}", replayed.state), format!("{:?}", self.experiment.state));
        let mut paused: Vec<u32> = self.in_phase(Phase::Paused);
        // Those that wait for a donor have been promoted.
        paused
            .retain(|trial| !self.experiment.state.borrowers.values().flatten().any(|other| other == trial));
        let running = self.running();
        let had_ended: BTreeSet<u32> = (self.experiment.state.trials.iter())
            .filter(|trial| matches!(trial.phase, Phase::Ended(_)))
            .map(|trial| trial.number)
            .collect();
        log.resumed(0, &plan).unwrap();
        self.log = Some(log);
        let actions = replayed.restart(self.settings.clone(), changed());
        let mut shadow = std::mem::replace(&mut self.experiment, replayed);
        assert_eq!(format!("{:?}", shadow.restart(self.settings.clone(), changed())), format!("{actions:?}"));
        self.shadow = Some(shadow);
        for trial in running {
            self.causes.entry(trial).or_default().others += 1;
        }
        self.held.clear();
        self.mail.clear();
        self.past.clear();
        self.requests.clear();
        self.gathering = None;
        // Some had ended before the search did; the others go on.
        let over =
            |trial: &u32| matches!(self.experiment.state.trials[*trial as usize].phase, Phase::Ended(_));
        let closed = std::mem::take(&mut self.closed);
        self.ended.extend(closed.into_iter().filter(|(trial, _)| had_ended.contains(trial)));
        self.over = None;
        let promoted = |trial| {
            actions
                .iter()
                .any(|action| matches!(action, Action::Promoted { trial: other, .. } if *other == trial))
        };
        let still = self.in_phase(Phase::Paused);
        let same = former == self.stopping;
        let stopped = |trial: u32| !same && over(&trial);
        assert!(paused.iter().all(|&trial| still.contains(&trial) || promoted(trial) || stopped(trial)));
        self.see(actions);
        let wanted = self.experiment.checkpoints();
        assert!(wanted.is_subset(&self.checkpoints), "a checkpoint that was dropped is wanted");
        // The files that nobody wants are removed.
        self.checkpoints = wanted;
        if pick < 60 && self.over.is_none() {
            let lost: Vec<_> = self.checkpoints.iter().copied().skip(1).step_by(2).collect();
            self.checkpoints.retain(|checkpoint| !lost.contains(checkpoint));
            self.lost.extend(&lost);
            self.handle(Event::CheckpointsLost { checkpoints: lost });
        }
    }

    fn in_phase(&self, phase: Phase) -> Vec<u32> {
        self.experiment
            .state
            .trials
            .iter()
            .filter(|trial| trial.phase == phase)
            .map(|trial| trial.number)
            .collect()
    }

    /// From here on everybody does what is asked, until the end.
    pub fn finish(&mut self) {
        for round in 0..10_000u32 {
            if self.over.is_some() {
                return;
            }
            let most = self.settings.listed.iter().map(|listed| listed.workers.most).max().unwrap_or(1);
            for slot in self.experiment.state.slots.len() as u32..most {
                self.join(1000 + round * most + slot);
            }
            while !self.mail.is_empty() {
                let event = self.mail.remove(0);
                self.handle(event);
            }
            for request in std::mem::take(&mut self.requests) {
                self.answer(request, 100);
            }
            let held: Vec<_> = self.held.keys().copied().collect();
            for slot in held {
                match self.held.get(&slot) {
                    // Its report came too late to be decided on.
                    Some(Attempt { waits: true, .. }) => self.end(slot, Outcome::Finished),
                    _ => self.work(slot, 1 + (round % 9) as u8),
                }
                while !self.mail.is_empty() {
                    let event = self.mail.remove(0);
                    self.handle(event);
                }
            }
        }
        panic!("the search does not end: {:?}", self.experiment.state);
    }

    /// How each trial has ended, as the world was told.
    pub fn ends(&self) -> BTreeMap<u32, TrialState> {
        self.ended.iter().chain(&self.closed).map(|(&trial, &state)| (trial, state)).collect()
    }
}
