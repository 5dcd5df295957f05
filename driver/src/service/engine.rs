//! Who suggests: an optimizer of ours, off the experiment's task where it takes its time, or the shim's.

use std::collections::VecDeque;

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::TrialState;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::experiment::Event;
use crate::search::{Observation, Optimizer, Space, Standing, Suggestion, rng};

/// What became of an ask.
pub enum Asked {
    Answered(Event),
    /// The answer comes from [`Engine::answer`].
    Later,
    /// The shim is to be asked.
    External,
}

/// What there is to learn from a trial.
#[derive(Debug, Clone)]
pub enum Update {
    Suggested { trial: u32, hparams: Hparams, note: Option<Value> },
    Standing { trial: u32, standing: Standing, costs: Vec<f64>, epochs: u32 },
}

/// The optimizer and what it knows. It is at home, or on another thread with one question; what is asked and
/// learnt meanwhile waits, at most a few entries for each trial that is under way.
pub struct Engine {
    searcher: Option<Box<Searcher>>,
    /// How many points the user has given.
    enqueued: usize,
    external: bool,
    learns: bool,
    /// Every answer takes microseconds: no other thread is needed.
    quick: bool,
    away: Option<JoinHandle<(Box<Searcher>, Event)>>,
    asks: VecDeque<(u32, u32)>,
    updates: Vec<Update>,
}

struct Searcher {
    /// None where the shim suggests.
    optimizer: Option<Box<dyn Optimizer>>,
    enqueued: Vec<Hparams>,
    space: Space,
    seed: u64,
    /// By number.
    observations: Vec<Observation>,
}

impl Engine {
    /// `optimizer` None asks the shim.
    pub fn new(
        optimizer: Option<Box<dyn Optimizer>>,
        space: Space,
        enqueued: Vec<Hparams>,
        seed: u64,
    ) -> Self {
        let learns = optimizer.as_ref().is_some_and(|optimizer| optimizer.learns());
        let quick = !space.constrained() && optimizer.as_ref().is_none_or(|optimizer| optimizer.is_quick());
        Self {
            enqueued: enqueued.len(),
            external: optimizer.is_none(),
            learns,
            quick,
            searcher: Some(Box::new(Searcher { optimizer, enqueued, space, seed, observations: Vec::new() })),
            away: None,
            asks: VecDeque::new(),
            updates: Vec::new(),
        }
    }

    /// What it knows of a trial, while no question is out.
    #[cfg(test)]
    pub fn known(&self, trial: u32) -> Option<&Observation> {
        let observations = &self.searcher.as_ref()?.observations;
        observations.iter().find(|observation| observation.trial == trial)
    }

    pub fn is_external(&self) -> bool {
        self.external
    }

    /// Points that the user has given go first, whoever suggests.
    pub fn ask(&mut self, trial: u32, draw: u32) -> Asked {
        let given = draw == 0 && (trial as usize) < self.enqueued;
        if self.external && !given {
            return Asked::External;
        }
        if self.quick
            && let Some(searcher) = &mut self.searcher
        {
            return Asked::Answered(searcher.answer(trial, draw));
        }
        self.asks.push_back((trial, draw));
        Asked::Later
    }

    pub fn learn(&mut self, update: Update) {
        // One that does not learn from results may still go on from its own notes.
        if !self.learns && !matches!(update, Update::Suggested { note: Some(_), .. }) {
            return;
        }
        match &mut self.searcher {
            Some(searcher) => searcher.learn(update),
            None => self.updates.push(update),
        }
    }

    /// Waits for the answer to the oldest question; for ever if there is none. The next question is begun with
    /// by the next call, after this answer has been learnt: the optimizer has to know its own suggestions, or it
    /// would make the same one again.
    pub async fn answer(&mut self) -> Event {
        self.send_off();
        let Some(away) = &mut self.away else { return std::future::pending().await };
        let joined = away.await;
        self.away = None;
        match joined {
            Ok((mut searcher, event)) => {
                self.updates.drain(..).for_each(|update| searcher.learn(update));
                self.searcher = Some(searcher);
                event
            }
            Err(error) => {
                Event::Abort { error: format!("the optimizer failed: {error}; see the driver's log") }
            }
        }
    }

    /// Gives the next question to another thread.
    fn send_off(&mut self) {
        if self.away.is_none()
            && let Some((trial, draw)) = self.asks.front().copied()
            && let Some(mut searcher) = self.searcher.take()
        {
            self.asks.pop_front();
            self.away = Some(tokio::task::spawn_blocking(move || {
                let event = searcher.answer(trial, draw);
                (searcher, event)
            }));
        }
    }
}

impl Searcher {
    fn answer(&mut self, trial: u32, draw: u32) -> Event {
        if let Some(given) = self.enqueued.get(trial as usize).filter(|_| draw == 0) {
            return match self.space.complete(given, &mut rng(self.seed, trial, 0)) {
                Ok(hparams) => {
                    Event::Suggested { trial, hparams, why: "given by the user".into(), note: None }
                }
                Err(error) => Event::Abort { error: format!("enqueued point {}: {error}", trial + 1) },
            };
        }
        let Some(optimizer) = &mut self.optimizer else {
            return Event::Abort { error: format!("nobody here suggests trial {trial}") };
        };
        match optimizer.suggest(trial, draw, &self.observations) {
            Suggestion::Point { hparams, why, note } => Event::Suggested { trial, hparams, why, note },
            Suggestion::Exhausted => Event::Exhausted { trial },
        }
    }

    fn learn(&mut self, update: Update) {
        match update {
            Update::Suggested { trial, hparams, note } => {
                let observation = Observation {
                    trial,
                    hparams,
                    standing: Standing::Waiting,
                    costs: Vec::new(),
                    epochs: 0,
                    note,
                };
                match self.observations.binary_search_by_key(&trial, |o| o.trial) {
                    Ok(at) => self.observations[at] = observation,
                    Err(at) => self.observations.insert(at, observation),
                }
            }
            Update::Standing { trial, standing, costs, epochs } => {
                if let Ok(at) = self.observations.binary_search_by_key(&trial, |o| o.trial) {
                    let observation = &mut self.observations[at];
                    observation.standing = standing;
                    observation.costs = costs;
                    observation.epochs = epochs;
                }
            }
        }
    }
}

/// A trial's end, as optimizers see it; None for one that never began.
pub fn standing(state: TrialState) -> Option<Standing> {
    match state {
        TrialState::Waiting => Some(Standing::Waiting),
        TrialState::Running => Some(Standing::Running),
        TrialState::Paused => Some(Standing::Paused),
        TrialState::Finished => Some(Standing::Finished),
        TrialState::Stopped => Some(Standing::Stopped),
        TrialState::Failed => Some(Standing::Failed),
        TrialState::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::experiment::{Domain, Optimizer as Choice, Parameter};
    use lethe_flight::message::training::{Direction, Objective, Select};

    use super::*;
    use crate::search::optimizer;

    fn space(constraints: &[&str]) -> Space {
        let parameter = |name: &str| {
            let domain = Domain::Uniform { low: 0.0, high: 1.0, step: None };
            Parameter { name: name.into(), domain, condition: None }
        };
        let constraints = constraints.iter().map(|text| (*text).to_owned()).collect();
        Space::new(vec![parameter("x"), parameter("y")], constraints).unwrap()
    }

    fn engine(choice: &Choice, space: Space, enqueued: Vec<Hparams>) -> Engine {
        let (metric, select) = ("m".to_owned(), Select::Last);
        let objective = Objective { metric, direction: Direction::Min, select, further: Vec::new() };
        let made = optimizer(choice, space.clone(), &objective, 7).unwrap();
        Engine::new(Some(made), space, enqueued, 7)
    }

    /// The next answer, learnt as an experiment does.
    async fn suggested(engine: &mut Engine) -> (u32, Hparams, Option<Value>) {
        let Event::Suggested { trial, hparams, note, .. } = engine.answer().await else { panic!("no point") };
        engine.learn(Update::Suggested { trial, hparams: hparams.clone(), note: note.clone() });
        (trial, hparams, note)
    }

    fn ended(engine: &mut Engine, trial: u32, hparams: &Hparams) {
        let cost = hparams.values().map(|x| (x.as_f64().unwrap() - 0.3).powi(2)).sum();
        let (standing, costs) = (Standing::Finished, vec![cost]);
        engine.learn(Update::Standing { trial, standing, costs, epochs: 1 });
    }

    #[tokio::test]
    async fn a_queued_suggestion_knows_the_one_before_it() {
        let mut engine = engine(&Choice::Gp { startup: 5 }, space(&[]), Vec::new());
        for trial in 0..8 {
            assert!(matches!(engine.ask(trial, 0), Asked::Later));
            let (_, hparams, _) = suggested(&mut engine).await;
            ended(&mut engine, trial, &hparams);
        }
        // Four at once, as four slots that fall free together ask: none where another is.
        (8..12).for_each(|trial| _ = engine.ask(trial, 0));
        let mut points: Vec<Vec<f64>> = Vec::new();
        for trial in 8..12 {
            let (answered, hparams, _) = suggested(&mut engine).await;
            assert_eq!(answered, trial, "in order");
            let point: Vec<f64> = hparams.values().filter_map(Value::as_f64).collect();
            for other in &points {
                let near = point.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-3);
                assert!(!near, "{point:?} beside {other:?}");
            }
            points.push(point);
        }
    }

    #[tokio::test]
    async fn trials_of_one_generation_come_from_the_same_trials() {
        let choice = Choice::Cmaes { sigma: 0.2, population: Some(4) };
        let mut engine = engine(&choice, space(&[]), Vec::new());
        let mut of = std::collections::BTreeMap::new();
        for round in 0..8 {
            let trials = 3 * round..3 * round + 3;
            trials.clone().for_each(|trial| _ = engine.ask(trial, 0));
            let mut found = Vec::new();
            for trial in trials.rev() {
                let (answered, hparams, note) = suggested(&mut engine).await;
                let note = note.unwrap();
                let before = of.entry(note["generation"].as_u64()).or_insert_with(|| note["of"].clone());
                assert_eq!(*before, note["of"], "trial {answered}");
                found.push((answered, hparams));
                // Results come in another order than questions, and while others wait.
                if trial % 2 == 0 {
                    found.drain(..).rev().for_each(|(trial, hparams)| ended(&mut engine, trial, &hparams));
                }
            }
            found.into_iter().for_each(|(trial, hparams)| ended(&mut engine, trial, &hparams));
        }
    }

    /// An answer that would take seconds blocks nobody who shares the caller's thread.
    #[tokio::test(flavor = "current_thread")]
    async fn constraints_are_looked_at_on_another_thread() {
        let given = Hparams::from_iter([("x".to_owned(), 0.25.into())]);
        for choice in [Choice::Random, Choice::Sobol, Choice::Grid { points: 9 }] {
            let mut engine = engine(&choice, space(&["x + y < 1.5"]), vec![given.clone()]);
            let mut points = Vec::new();
            for trial in 0..3 {
                assert!(matches!(engine.ask(trial, 0), Asked::Later), "{choice:?}");
                let (answered, hparams, _) = suggested(&mut engine).await;
                assert_eq!(answered, trial);
                points.push(hparams);
            }
            assert_eq!(points[0]["x"], 0.25, "given points go first");
            assert_ne!(points[1], points[2], "{choice:?}");
        }
        let mut random = engine(&Choice::Random, space(&[]), Vec::new());
        assert!(matches!(random.ask(0, 0), Asked::Answered(_)), "it takes microseconds");
    }
}
