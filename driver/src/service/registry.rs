//! The experiments of this application, and how the service speaks with them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::experiment::{
    Checked, ExperimentResult, Plan, Preparation, Prepared, Resume, Shards, Suggested, Suggestion,
};
use lethe_flight::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::actor::{Actor, Command};
use super::feed::Feed;
use super::files::{Programs, TrialFiles};
use super::gangs::Gangs;
use super::open::{Opened, open};
use super::setup::Setup;
use super::shards::Dealer;
use super::{check, lock, slot};
use crate::catalog::Catalog;
use crate::experiment::Event;
use crate::search::Space;
use lethe_tables::Snapshot;

/// Commands that may wait for an experiment before their senders wait.
const MAILBOX: usize = 1024;

pub struct Registry {
    /// For initial weights.
    directory: PathBuf,
    catalog: Arc<Mutex<Catalog>>,
    experiments: Mutex<HashMap<String, Handle>>,
}

/// An experiment, from outside. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub feed: Arc<Feed>,
    pub files: Arc<TrialFiles>,
    pub gangs: Arc<Gangs>,
    data: Arc<Mutex<Option<DataSpec>>>,
    /// Whether a slot knows its rows before it is given a trial.
    prepares: bool,
    /// What the shim suggests is checked against its constraints.
    space: Arc<Space>,
    mailbox: mpsc::Sender<Command>,
}

impl Registry {
    pub fn new(directory: PathBuf, catalog: Arc<Mutex<Catalog>>) -> Self {
        Self { directory, catalog, experiments: Mutex::default() }
    }

    /// # Errors
    /// If there is none of this name.
    pub fn get(&self, experiment: &str) -> Result<Handle> {
        lock(&self.experiments).get(experiment).cloned().ok_or_else(|| {
            let name: String = experiment.chars().take(100).collect();
            Error::Precondition(format!("experiment {name:?} is unknown to this driver; create it first"))
        })
    }

    /// Checks the plan and starts the experiment.
    ///
    /// # Errors
    /// If the plan cannot be carried out, or the name is taken.
    pub async fn create(&self, plan: Plan) -> Result<()> {
        check::plan(&plan)?;
        let dealer = (plan.shards == Shards::Local).then(|| Dealer::new(self.catalog.clone()));
        if let (Some(dealer), Some(data)) = (&dealer, &plan.data) {
            dealer.check(&data.dataset)?;
        }
        let given = plan.clone();
        // Looks for a point that fulfils the constraints, which may take its time.
        let made = tokio::task::spawn_blocking(move || Setup::new(&given)).await;
        let setup =
            made.map_err(|error| Error::Precondition(format!("the plan could not be read: {error}")))??;
        let space = Arc::new(setup.space().clone());
        self.check_free(&plan)?;
        let initial = self.directory.join(&plan.experiment);
        let feed = Arc::new(Feed::new());
        let Opened { chronicle, engine, files, first } = open(&plan, setup, initial, &feed).await?;
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        let gangs = Arc::<Gangs>::default();
        {
            let mut experiments = lock(&self.experiments);
            let data = Arc::new(Mutex::new(plan.data.clone()));
            let handle = Handle {
                feed: feed.clone(),
                files: files.clone(),
                gangs: gangs.clone(),
                data,
                prepares: dealer.is_none(),
                space,
                mailbox,
            };
            experiments.insert(plan.experiment.clone(), handle);
        }
        tracing::info!(experiment = plan.experiment, slots = plan.slots, "experiment created");
        let actor = Actor::new(plan.experiment, chronicle, engine, feed, files, gangs, dealer);
        tokio::spawn(actor.run(commands, first));
        Ok(())
    }

    /// The experiment's data were put anew, under another name: slots that join from now on get those, and those that
    /// are there are released.
    ///
    /// # Errors
    /// If there is no such experiment, or it has no data.
    pub async fn replace_data(&self, experiment: &str, dataset: &str) -> Result<()> {
        let handle = self.get(experiment)?;
        match lock(&handle.data).as_mut() {
            Some(data) => data.dataset = dataset.into(),
            None => {
                return Err(Error::Precondition(format!("experiment {experiment} has no data to replace")));
            }
        }
        handle.send(Command::ReplaceData { dataset: dataset.into() }).await
    }

    /// The lock on its folder keeps two of one name from beginning at once.
    fn check_free(&self, plan: &Plan) -> Result<()> {
        match lock(&self.experiments).get(&plan.experiment) {
            Some(there) if plan.resume == Resume::New => Err(Error::Precondition(format!(
                "experiment {} {} in this application already; resume it, give the new one another name, or call lethe.shutdown() first",
                plan.experiment,
                if there.feed.is_over() { "ran" } else { "runs" }
            ))),
            Some(there) if !there.feed.is_over() => Err(Error::Precondition(format!(
                "experiment {} still runs; wait for its end, or cancel it, before it is resumed",
                plan.experiment
            ))),
            _ => Ok(()),
        }
    }
}

impl Handle {
    /// What slots prepare that join now.
    pub fn data(&self) -> Option<DataSpec> {
        lock(&self.data).clone().filter(|_| self.prepares)
    }

    pub async fn send(&self, command: Command) -> Result<()> {
        self.mailbox.send(command).await.map_err(|_| ended())
    }

    /// # Errors
    /// If the trial's program or initial weights have not been put.
    pub async fn prepared(&self, prepared: Prepared, programs: &Programs) -> Result<()> {
        let Prepared { trial, result, .. } = prepared;
        let event = match result {
            Preparation::Failed { mut error } => {
                slot::shorten(&mut error);
                Event::PreparationFailed { trial, error }
            }
            Preparation::Ready { program } => {
                programs.find(&program.hash)?;
                if self.files.has_ended(trial) {
                    return Ok(());
                }
                if !self.files.has_initial(trial) {
                    return Err(Error::Precondition(format!(
                        "trial {trial} is said to be prepared, but its initial weights have not been put"
                    )));
                }
                Event::Prepared { trial, program }
            }
        };
        self.send(Command::Event(event)).await
    }

    pub async fn suggested(&self, suggested: Suggested) -> Result<()> {
        let Suggested { trial, result, .. } = suggested;
        self.send(Command::Event(match result {
            Suggestion::Hparams { hparams } => match self.space.violated(&hparams) {
                Some(constraint) => {
                    Event::Refused { trial, by: format!("the constraint {constraint:?}"), hparams }
                }
                None => {
                    let why = "suggested by the user's optimizer".into();
                    Event::Suggested { trial, hparams, why, note: None }
                }
            },
            Suggestion::Exhausted => Event::Exhausted { trial },
            Suggestion::Failed { mut error } => {
                slot::shorten(&mut error);
                Event::Abort { error }
            }
        }))
        .await
    }

    pub async fn checked(&self, checked: Checked) -> Result<()> {
        let Checked { trial, mut refused, mut error, .. } = checked;
        refused.iter_mut().chain(&mut error).for_each(slot::shorten);
        let event = error.map_or(Event::Checked { trial, refused }, |error| Event::Abort { error });
        self.send(Command::Event(event)).await
    }

    /// The tables as they are now.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let (answer, snapshot) = oneshot::channel();
        self.send(Command::Snapshot(answer)).await?;
        snapshot.await.map_err(|_| ended())?
    }

    pub async fn cancel(&self, reason: String) -> Result<()> {
        self.send(Command::Event(Event::Cancel { reason })).await
    }

    pub async fn result(&self) -> Result<ExperimentResult> {
        let (answer, result) = oneshot::channel();
        self.send(Command::Result(answer)).await?;
        result.await.map_err(|_| ended())
    }
}

fn ended() -> Error {
    Error::Precondition("the experiment's task has ended; see the driver's log".into())
}
