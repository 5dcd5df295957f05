//! An experiment with its memory: the state machine, the journal of its events, and the tables made of them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lethe_flight::message::experiment::{Plan, SlotResult, TrialState};
use lethe_flight::{Error, Result};

use super::engine::{Engine, Update, standing};
use super::ledger::Ledger;
use super::rows::TrialRows;
use super::setup::Setup;
use super::stopwatch::Stopwatch;
use crate::experiment::{Action, Event, Experiment, SlotKey, describe};
use crate::journal::{Copier, Entry, Record, Shipper, Writer};
use crate::search::Standing;
use lethe_tables::{Happened, Snapshot, Tables};

/// Everything that happens goes through here, in a run and in a replay alike.
pub struct Chronicle {
    experiment: Experiment,
    setup: Setup,
    /// None in a replay, and after the end.
    journal: Option<Journal>,
    tables: Tables,
    rows: TrialRows,
    ledger: Ledger,
    /// Lines so far.
    happened: u64,
    /// Slots that leave after the end are no part of what happened: the journal does not have them.
    over: bool,
    /// All lines, where they are wanted.
    told: Option<Vec<(u64, describe::Line)>>,
    next_slot: u64,
    /// Of each connection that there was: its slot's number.
    numbers: BTreeMap<SlotKey, u32>,
    clock: Clock,
    stopwatch: Stopwatch,
}

/// The journal's file, and its copy in a store.
pub struct Journal {
    writer: Writer,
    copy: Option<(Shipper, Copier)>,
    /// What could not be recorded: said by the next commit.
    failed: Option<Error>,
}

/// How long a store has to take the journal's end.
const SHIP: Duration = Duration::from_secs(30);

impl Journal {
    /// # Errors
    /// If the end cannot be written, or the store does not take it.
    pub async fn close(self) -> Result<()> {
        let closed = self.writer.close().await;
        let Some((shipper, copier)) = self.copy else { return closed };
        // Files are not touched where the journal's copy has ended: another driver may be at work there.
        let shipped = shipper.close(SHIP).await;
        let copied = if shipped.is_ok() { copier.close().await } else { Ok(()) };
        closed.and(shipped).and(copied)
    }
}

/// Wall time of the runs before this one, from the journal's own times, in milliseconds.
#[derive(Default)]
struct Clock {
    before: u64,
    first_assignment: Option<u64>,
    last: u64,
}

impl Chronicle {
    /// # Errors
    /// None for a setup that was made.
    pub fn new(setup: Setup, plan: &Plan) -> Result<Self> {
        Ok(Self {
            experiment: setup.experiment()?,
            setup,
            journal: None,
            tables: Tables::new(plan)?,
            rows: TrialRows::default(),
            ledger: Ledger::default(),
            happened: 0,
            over: false,
            told: None,
            next_slot: 0,
            numbers: BTreeMap::new(),
            clock: Clock::default(),
            stopwatch: Stopwatch::default(),
        })
    }

    /// From now on events are journalled.
    pub fn write_to(&mut self, writer: Writer, copy: Option<(Shipper, Copier)>) {
        self.journal = Some(Journal { writer, copy, failed: None });
    }

    /// The experiment is over: nothing that is journalled changes it any more.
    pub fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// See [`Experiment::replace_data`].
    pub fn replace_data(&mut self, dataset: &str) {
        self.experiment.replace_data(dataset);
    }

    /// Keeps what happens in words, for [`Chronicle::told`].
    pub fn tell(&mut self) {
        self.told = Some(Vec::new());
    }

    /// When, in milliseconds since 1970, and what.
    pub fn told(&mut self) -> Vec<(u64, describe::Line)> {
        self.told.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A key that no slot of this experiment has had.
    pub fn next_slot(&self) -> u64 {
        self.next_slot
    }

    /// Handles an event that happens now. Its actions may be carried out after [`Chronicle::commit`].
    pub fn handle(&mut self, event: Event, engine: &mut Engine) -> Vec<Action> {
        let at = now_ms();
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.writer.event(at, &event)
        {
            journal.failed.get_or_insert(error);
        }
        self.digest(at, event, Some(engine))
    }

    pub fn has_uncommitted(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.writer.is_dirty() || journal.failed.is_some())
    }

    /// Waits until all events handled so far are in the journal's file.
    ///
    /// # Errors
    /// If it cannot be written; names the file.
    pub async fn commit(&mut self) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let committed = journal.writer.commit().await;
        match journal.failed.take() {
            Some(error) => Err(error),
            None => committed,
        }
    }

    /// Replays a record of the journal.
    ///
    /// # Errors
    /// If a plan in it cannot be carried out.
    pub fn replay(&mut self, record: Record<Event>, engine: Option<&mut Engine>) -> Result<Vec<Action>> {
        match record.entry {
            Entry::Event(event) => Ok(self.digest(record.at, event, engine)),
            Entry::Resumed(plan) => Ok(self.resume(record.at, Setup::new(&plan)?, engine)),
        }
    }

    /// Goes on with another plan, or the same, without any slot. The rule is made anew if it would be another one.
    pub fn resume(&mut self, at: u64, setup: Setup, engine: Option<&mut Engine>) -> Vec<Action> {
        self.ledger.end_run(self.clock.last);
        self.clock.end_run();
        self.stopwatch.end_run(self.clock.last);
        self.over = false;
        self.line(at, describe::Line { kind: "resumed", ..describe::Line::default() });
        let rule = (!setup.has_rule_of(&self.setup)).then(|| setup.rule());
        let actions = match rule.transpose() {
            Ok(rule) => self.experiment.restart(setup.settings.clone(), rule),
            // A plan's rule is made when the plan is checked.
            Err(_) => Vec::new(),
        };
        self.setup = setup;
        self.rows.all();
        self.follow(at, &actions, None);
        if let Some(engine) = engine {
            self.teach_all(engine);
        }
        actions
    }

    /// Every trial as it stands under the present plan, whose objective may be another one.
    fn teach_all(&self, engine: &mut Engine) {
        for trial in 0..self.experiment.asked() {
            let state = self.experiment.trial_state(trial);
            if let Some(standing) = state.and_then(standing) {
                let (costs, epochs) = (self.experiment.costs(trial), self.experiment.epochs(trial));
                engine.learn(Update::Standing { trial, standing, costs, epochs });
            }
        }
    }

    pub fn digest(&mut self, at: u64, event: Event, mut engine: Option<&mut Engine>) -> Vec<Action> {
        self.clock.last = at;
        self.ledger.event(at, &event);
        self.rows.event(&event);
        self.stopwatch.event(at, &event);
        let described = match &event {
            // Its limit passed when it had ended: older drivers recorded that.
            Event::TrialTimeUp { trial, attempt } if !self.experiment.is_running(*trial, *attempt) => None,
            _ => describe::event(&event),
        };
        match &event {
            Event::Ended { slot, trial, attempt, timing, .. }
                if self.experiment.holds(*slot, *trial, *attempt) =>
            {
                self.ledger.ended(at, *slot, *timing);
            }
            Event::SlotJoined { slot, number } => {
                self.next_slot = self.next_slot.max(slot.0 + 1);
                self.numbers.insert(*slot, *number);
            }
            Event::Report { slot, trial, attempt, epoch, metrics }
                if self.experiment.counts(*slot, *trial, *attempt, *epoch) =>
            {
                self.tables.reported(at, *trial, *attempt, *epoch, metrics);
            }
            Event::Suggested { trial, hparams, note, .. } => {
                if let Some(engine) = engine.as_deref_mut() {
                    let (trial, hparams, note) = (*trial, hparams.clone(), note.clone());
                    engine.learn(Update::Suggested { trial, hparams, note });
                }
            }
            _ => {}
        }
        let actions = self.experiment.handle(event);
        if let Some(line) = described {
            self.line(at, line);
        }
        self.stopwatch.actions(at, &actions);
        self.follow(at, &actions, engine);
        actions
    }

    /// What actions tell the tables and the optimizer.
    fn follow(&mut self, at: u64, actions: &[Action], mut engine: Option<&mut Engine>) {
        for action in actions {
            if let Some(line) = describe::action(action) {
                self.line(at, line);
            }
            if matches!(action, Action::Assign { .. }) {
                self.clock.first_assignment.get_or_insert(at);
            }
            self.ledger.action(at, action);
            self.rows.action(action);
            if let Some(engine) = engine.as_deref_mut() {
                self.teach(action, engine);
            }
        }
    }

    /// What an action tells the optimizer.
    fn teach(&self, action: &Action, engine: &mut Engine) {
        let (trial, standing) = match action {
            Action::Assign { spec, .. } => (spec.trial, Standing::Running),
            Action::Paused { trial } => (*trial, Standing::Paused),
            Action::TrialEnded { trial, state, .. } => match standing(*state) {
                Some(standing) => (*trial, standing),
                None => return,
            },
            _ => return,
        };
        let costs = self.experiment.costs(trial);
        let epochs = self.experiment.epochs(trial);
        engine.learn(Update::Standing { trial, standing, costs, epochs });
    }

    fn line(&mut self, at: u64, line: describe::Line) {
        if self.over {
            return;
        }
        self.over = line.kind == "over";
        self.tables.happened(&Happened {
            sequence: self.happened,
            at,
            kind: line.kind,
            trial: line.trial,
            attempt: line.attempt,
            slot: line.slot.and_then(|key| self.numbers.get(&key).copied()),
            epoch: line.epoch,
            text: (!line.text.is_empty()).then_some(line.text.as_str()),
        });
        self.happened += 1;
        if let Some(told) = &mut self.told {
            told.push((at, line));
        }
    }

    /// Trials that have ended, by number.
    pub fn ended(&self) -> Vec<u32> {
        let ended = |state| {
            matches!(
                state,
                TrialState::Finished | TrialState::Stopped | TrialState::Failed | TrialState::Cancelled
            )
        };
        let results = self.experiment.results().into_iter();
        results.filter(|result| ended(result.state)).map(|result| result.trial).collect()
    }

    /// Makes part of what a snapshot needs; false if there is nothing left to make.
    pub fn prepare_snapshot(&mut self) -> bool {
        self.rows.step(&self.experiment)
    }

    /// The tables as they are now: `now` for those who run, in milliseconds since 1970.
    ///
    /// # Errors
    /// None that a caller could mend.
    pub fn snapshot(&mut self, now: u64) -> Result<Snapshot> {
        let slots = self.ledger.results(now);
        self.tables.snapshot(self.rows.finish(&self.experiment), slots)
    }

    /// When the last event was recorded, milliseconds since 1970.
    pub fn last(&self) -> u64 {
        self.clock.last
    }

    /// Of all runs of the experiment; `now` for those that are held.
    pub fn slots(&self, now: u64) -> Vec<SlotResult> {
        self.ledger.results(now)
    }

    /// A slot's number, while it is there.
    pub fn slot_number(&self, slot: SlotKey) -> Option<u32> {
        self.ledger.number(slot)
    }

    /// Seconds from this run's first assignment to its last result.
    pub fn wall_s(&self) -> f64 {
        self.ledger.wall_s()
    }

    /// Of the wall time budget, what the runs before this one have left.
    pub fn seconds_left(&self) -> Option<f64> {
        let seconds = self.setup.settings.budget.seconds?;
        Some((seconds - self.clock.before as f64 / 1e3).max(0.0))
    }

    /// Of a trial's time, what its attempts before have left.
    pub fn trial_seconds_left(&self, trial: u32) -> Option<f64> {
        let seconds = self.setup.settings.budget.trial_seconds?;
        Some((seconds - self.stopwatch.ran_s(trial)).max(0.0))
    }
}

impl Clock {
    fn end_run(&mut self) {
        if let Some(first) = self.first_assignment.take() {
            self.before += self.last.saturating_sub(first);
        }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::Hparams;
    use lethe_flight::message::experiment::{Domain, Optimizer as Choice, Parameter, Source, Stopping};
    use lethe_flight::message::training::{Direction, Metrics, Outcome, Timing};

    use super::*;
    use crate::experiment::tests::{plan, settings};

    fn searched(direction: Direction) -> Plan {
        let mut settings = settings(9, 1);
        settings.objective.direction = direction;
        let mut plan = plan(&settings, &Stopping::None);
        let Source::Search { space, optimizer, .. } = &mut plan.source else { panic!("no search") };
        let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
        space.push(Parameter { name: "x".into(), domain, condition: None });
        *optimizer = Choice::Tpe { startup: 2 };
        plan
    }

    #[test]
    fn under_another_objective_the_optimizer_learns_anew_what_was_before() {
        let before = searched(Direction::Max);
        let mut chronicle = Chronicle::new(Setup::new(&before).unwrap(), &before).unwrap();
        let after = Setup::new(&searched(Direction::Min)).unwrap();
        let mut engine = after.engine().unwrap();
        let (slot, trial, attempt) = (SlotKey(0), 0, 1);
        let hparams = Hparams::from_iter([("x".to_owned(), 0.5.into())]);
        let metrics = Metrics::from([("m".to_owned(), 0.75)]);
        let (outcome, timing) = (Outcome::Finished, Timing::default());
        for event in [
            Event::Started,
            Event::Suggested { trial, hparams, why: "test".into(), note: None },
            Event::SlotJoined { slot, number: 0 },
            Event::SlotReady { slot },
            Event::Report { slot, trial, attempt, epoch: 1, metrics },
            Event::Ended { slot, trial, attempt, outcome, timing },
        ] {
            chronicle.digest(0, event, Some(&mut engine));
        }
        assert_eq!(engine.known(0).unwrap().costs, [-0.75], "the larger the better");
        chronicle.resume(1, after, Some(&mut engine));
        let known = engine.known(0).unwrap();
        assert_eq!(
            (known.standing, known.costs.as_slice(), known.epochs),
            (Standing::Finished, &[0.75][..], 1)
        );
    }
}
