//! What a plan means: the state machine's settings, its rule, and who suggests.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{
    Budget, Listed, Optimizer as Choice, Parameter, Plan, Source, Stopping,
};
use lethe_flight::message::gang::Workers;
use lethe_flight::{Error, Result};

use super::engine::Engine;
use crate::experiment::{Ahead, Experiment, Settings};
use crate::search::{self, Space};
use crate::stopping::{self, StoppingRule};

/// Trials kept ready beyond one for each slot. A module is generated one after another in the user's process, in
/// some 20 ms; where trials are stopped sooner than that, slots live on what is ready.
const SPARE: u32 = 8;
/// A trial is saved after so many seconds of training since it last was, unless the plan says otherwise.
const CHECKPOINT_EVERY_S: f64 = 30.0;

/// Suggestions for one trial that may be refused, by a predicate or a constraint.
const DRAWS: u32 = 1000;
/// The same of a grid, which is not at a loss but goes on to its next combination.
const COMBINATIONS: u32 = 1_000_000;

#[derive(Clone)]
pub struct Setup {
    pub settings: Settings,
    pub stopping: Stopping,
    /// None: the trials are a list.
    optimizer: Option<Choice>,
    space: Space,
    enqueued: Vec<Hparams>,
}

/// A source of trials by its parts.
struct Search {
    space: Vec<Parameter>,
    constraints: Vec<String>,
    checked: bool,
    enqueued: Vec<Hparams>,
    budget: Budget,
    optimizer: Option<Choice>,
    stopping: Stopping,
    workers: Workers,
    listed: Vec<Listed>,
}

impl Search {
    fn of(source: &Source) -> Self {
        match source.clone() {
            Source::Search {
                space,
                constraints,
                checked,
                enqueued,
                budget,
                optimizer,
                stopping,
                workers,
            } => Self {
                space,
                constraints,
                checked,
                enqueued,
                budget,
                optimizer: Some(optimizer),
                stopping,
                workers,
                listed: Vec::new(),
            },
            Source::Listed { trials, trial_seconds } => Self {
                space: Vec::new(),
                constraints: Vec::new(),
                checked: false,
                enqueued: Vec::new(),
                budget: Budget {
                    // Their number has been checked.
                    trials: u32::try_from(trials.len()).ok(),
                    trial_seconds,
                    ..Budget::default()
                },
                optimizer: None,
                stopping: Stopping::None,
                workers: Workers::ONE,
                listed: trials,
            },
        }
    }
}

impl Setup {
    /// # Errors
    /// If the plan's space, optimizer or stopping rule cannot be used.
    pub fn new(plan: &Plan) -> Result<Self> {
        let Search { space, constraints, checked, enqueued, budget, optimizer, stopping, workers, listed } =
            Search::of(&plan.source);
        let space = Space::new(space, constraints)?;
        if space.constrained() && space.draw(&mut search::rng(plan.seed, 0, 0)).is_none() {
            return Err(Error::Invalid(
                "no point was found in the space that fulfils its constraints; relax them or widen the space"
                    .into(),
            ));
        }
        let mut setup = Self {
            settings: Settings {
                experiment: plan.experiment.clone(),
                seed: plan.seed,
                budget,
                slots: plan.slots,
                ahead: Ahead::Spare(SPARE),
                checked,
                draws: match optimizer {
                    Some(Choice::Grid { .. }) => COMBINATIONS,
                    _ => DRAWS,
                },
                retries: plan.retries,
                objective: plan.objective.clone(),
                function: plan.function.clone(),
                data: plan.data.clone(),
                workers,
                listed,
                checkpoint_every_s: Some(plan.checkpoint_every_s.unwrap_or(CHECKPOINT_EVERY_S)),
            },
            stopping,
            optimizer,
            space,
            enqueued,
        };
        let learns = setup.search()?.map(|optimizer| optimizer.learns());
        setup.settings.ahead = match (&setup.optimizer, learns) {
            (Some(Choice::External { ahead, .. }), _) => Ahead::Late(*ahead),
            // One of four slots that fall free together takes a point that knows one result less.
            (_, Some(true)) if plan.slots > 1 => Ahead::Late(plan.slots.div_ceil(4)),
            (_, Some(true)) => Ahead::Late(0),
            _ => Ahead::Spare(SPARE),
        };
        setup.rule()?;
        Ok(setup)
    }

    /// # Errors
    /// None for a setup that was made.
    pub fn rule(&self) -> Result<Box<dyn StoppingRule>> {
        let Settings { objective, budget, seed, .. } = &self.settings;
        stopping::rule(&self.stopping, objective.direction, &self.space, budget.trials, *seed)
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Whether the other's rule decides as this one's: what a rule knows is still true then. The number of trials
    /// may differ.
    pub fn has_rule_of(&self, other: &Self) -> bool {
        let basis = |setup: &Self| {
            let Settings { objective, seed, function, .. } = &setup.settings;
            (setup.stopping.clone(), objective.direction, objective.metric.clone(), *seed, function.epochs())
        };
        basis(self) == basis(other) && self.space.is_same(&other.space)
    }

    /// None where the shim suggests.
    fn search(&self) -> Result<Option<Box<dyn search::Optimizer>>> {
        match &self.optimizer {
            None => Ok(Some(Box::new(search::Listed::new(&self.settings.listed)))),
            Some(Choice::External { .. }) => Ok(None),
            Some(choice) => {
                let Settings { objective, seed, .. } = &self.settings;
                search::optimizer(choice, self.space.clone(), objective, *seed).map(Some)
            }
        }
    }

    /// # Errors
    /// None for a setup that was made.
    pub fn engine(&self) -> Result<Engine> {
        Ok(Engine::new(self.search()?, self.space.clone(), self.enqueued.clone(), self.settings.seed))
    }

    /// # Errors
    /// None for a setup that was made.
    pub fn experiment(&self) -> Result<Experiment> {
        Ok(Experiment::new(self.settings.clone(), self.rule()?))
    }
}
