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
    enqueued: Vec<Hparams>,
    space: Space,
    seed: u64,
    searcher: Option<Box<Searcher>>,
    external: bool,
    learns: bool,
    away: Option<JoinHandle<(Box<Searcher>, Event)>>,
    asks: VecDeque<(u32, u32)>,
    updates: Vec<Update>,
}

struct Searcher {
    optimizer: Box<dyn Optimizer>,
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
        Self {
            enqueued,
            space,
            seed,
            external: optimizer.is_none(),
            learns: optimizer.as_ref().is_some_and(|optimizer| optimizer.learns()),
            searcher: optimizer.map(|optimizer| Box::new(Searcher { optimizer, observations: Vec::new() })),
            away: None,
            asks: VecDeque::new(),
            updates: Vec::new(),
        }
    }

    pub fn is_external(&self) -> bool {
        self.external
    }

    /// Points that the user has given go first, whoever suggests.
    pub fn ask(&mut self, trial: u32, draw: u32) -> Asked {
        if let Some(given) = self.enqueued.get(trial as usize).filter(|_| draw == 0) {
            return Asked::Answered(match self.space.complete(given, &mut rng(self.seed, trial, 0)) {
                Ok(hparams) => {
                    Event::Suggested { trial, hparams, why: "given by the user".into(), note: None }
                }
                Err(error) => Event::Abort { error: format!("enqueued point {}: {error}", trial + 1) },
            });
        }
        if self.external {
            return Asked::External;
        }
        if !self.learns
            && let Some(searcher) = &mut self.searcher
        {
            return Asked::Answered(searcher.suggest(trial, draw));
        }
        self.asks.push_back((trial, draw));
        self.send_off();
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

    /// Waits for the answer to the oldest question; for ever if there is none.
    pub async fn answer(&mut self) -> Event {
        let Some(away) = &mut self.away else { return std::future::pending().await };
        let joined = away.await;
        self.away = None;
        match joined {
            Ok((mut searcher, event)) => {
                self.updates.drain(..).for_each(|update| searcher.learn(update));
                self.searcher = Some(searcher);
                self.send_off();
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
                let event = searcher.suggest(trial, draw);
                (searcher, event)
            }));
        }
    }
}

impl Searcher {
    fn suggest(&mut self, trial: u32, draw: u32) -> Event {
        match self.optimizer.suggest(trial, draw, &self.observations) {
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
