//! The experiments of this application, and how the service speaks with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lethe_flight::message::dataset::DataSpec;
use lethe_flight::message::experiment::{ExperimentResult, Plan, Preparation, Prepared, Source};
use lethe_flight::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::actor::{Actor, Command};
use super::feed::Feed;
use super::files::{Programs, TrialFiles};
use super::{check, lock};
use crate::experiment::{Event, Experiment, Settings};
use crate::search::{self, Space};
use crate::stopping;

/// How often a trial is run again that its slot or worker has lost.
const RETRIES: u32 = 3;
/// Commands that may wait for an experiment before their senders wait.
const MAILBOX: usize = 1024;

pub struct Registry {
    /// For initial weights.
    directory: PathBuf,
    experiments: Mutex<HashMap<String, Handle>>,
}

/// An experiment, from outside. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub feed: Arc<Feed>,
    pub files: Arc<TrialFiles>,
    pub data: Option<DataSpec>,
    mailbox: mpsc::Sender<Command>,
}

impl Registry {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, experiments: Mutex::default() }
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
        let Source::Search { space, trials, optimizer, stopping } = plan.source;
        let optimizer = search::optimizer(&optimizer, Space::new(space)?, plan.seed);
        let stopping = stopping::rule(&stopping, plan.objective.direction)?;
        let initial = self.directory.join(&plan.experiment);
        let folder = plan.directory;
        let made = tokio::task::spawn_blocking(move || TrialFiles::new(initial, Path::new(&folder))).await;
        let files = Arc::new(made.map_err(|e| Error::Precondition(format!("the task ended: {e}")))??);
        let feed = Arc::new(Feed::new());
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        {
            let mut experiments = lock(&self.experiments);
            if experiments.contains_key(&plan.experiment) {
                return Err(Error::Precondition(format!(
                    "experiment {} exists; give the new one another name",
                    plan.experiment
                )));
            }
            let handle =
                Handle { feed: feed.clone(), files: files.clone(), data: plan.data.clone(), mailbox };
            experiments.insert(plan.experiment.clone(), handle);
        }
        tracing::info!(experiment = plan.experiment, trials, slots = plan.slots, "experiment created");
        let settings = Settings {
            experiment: plan.experiment,
            seed: plan.seed,
            trials,
            slots: plan.slots,
            retries: RETRIES,
            objective: plan.objective,
            function: plan.function,
            data: plan.data,
        };
        let actor = Actor::new(
            settings.experiment.clone(),
            Experiment::new(settings, stopping),
            optimizer,
            feed,
            files,
        );
        tokio::spawn(actor.run(commands));
        Ok(())
    }
}

impl Handle {
    pub async fn send(&self, command: Command) -> Result<()> {
        self.mailbox.send(command).await.map_err(|_| ended())
    }

    /// # Errors
    /// If the trial's program or initial weights have not been put.
    pub async fn prepared(&self, prepared: Prepared, programs: &Programs) -> Result<()> {
        let Prepared { trial, result, .. } = prepared;
        let event = match result {
            Preparation::Failed { error } => Event::PreparationFailed { trial, error },
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
