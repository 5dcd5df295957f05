//! An experiment's folder: begun, or taken up where its journal ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_flight::message::experiment::{Plan, Resume};
use lethe_flight::message::training::CheckpointRef;
use lethe_flight::{Error, Result};

use super::changes;
use super::chronicle::{Chronicle, now_ms};
use super::engine::Engine;
use super::feed::Feed;
use super::files::TrialFiles;
use super::setup::Setup;
use crate::experiment::{Action, Event};
use crate::journal::{Folder, Header, Log, Mirror, Position, Recovery, Shipper, Writer};

/// An experiment that is ready to run.
pub struct Opened {
    pub chronicle: Chronicle,
    pub engine: Engine,
    pub files: Arc<TrialFiles>,
    /// With which a resumed experiment goes on; None for a new one.
    pub first: Option<Vec<Action>>,
}

/// `initial` is the folder of initial weights, the driver's own.
///
/// # Errors
/// If the plan cannot be carried out, the folder or the store cannot be used, an experiment is there and not to be
/// resumed, or it is to be resumed by a plan that differs.
pub async fn open(plan: &Plan, setup: Setup, initial: PathBuf, feed: &Arc<Feed>) -> Result<Opened> {
    let mirror = plan.store.as_ref().map(Mirror::open).transpose()?;
    let path = PathBuf::from(&plan.directory);
    let folder = blocking(move || Folder::lock(&path)).await?;
    let mut position = Position::default();
    if let Some(mirror) = &mirror {
        position = match plan.resume {
            Resume::New => mirror.begin().await?,
            Resume::Resume { .. } => mirror.restore(&folder).await?,
        };
    }
    let there = folder.journal().exists();
    let opened = match plan.resume {
        Resume::Resume { accept_changes } if there => {
            resume(plan, setup, initial, folder, mirror.clone(), accept_changes).await?
        }
        _ => begin(plan, setup, initial, folder, mirror.clone()).await?,
    };
    let Begun { mut chronicle, engine, files, first, log } = opened;
    let writer = Writer::start(log)?;
    let shipper = mirror.map(|mirror| {
        let feed = feed.clone();
        Shipper::start(mirror, &writer, position, move |text| feed.notice(text))
    });
    chronicle.write_to(writer, shipper);
    Ok(Opened { chronicle, engine, files, first })
}

/// Before its journal is written to.
struct Begun {
    chronicle: Chronicle,
    engine: Engine,
    files: Arc<TrialFiles>,
    first: Option<Vec<Action>>,
    log: Log,
}

async fn begin(
    plan: &Plan,
    setup: Setup,
    initial: PathBuf,
    folder: Folder,
    mirror: Option<Mirror>,
) -> Result<Begun> {
    let header = Header::new(plan);
    blocking(move || {
        let files = Arc::new(TrialFiles::new(initial, folder.path(), mirror)?);
        let log = Log::create(folder, &header)?;
        let engine = setup.engine()?;
        Ok(Begun { chronicle: Chronicle::new(setup, &header.plan)?, engine, files, first: None, log })
    })
    .await
}

async fn resume(
    plan: &Plan,
    setup: Setup,
    initial: PathBuf,
    folder: Folder,
    mirror: Option<Mirror>,
    accept_changes: bool,
) -> Result<Begun> {
    let plan = plan.clone();
    let copy = mirror.clone();
    let (mut begun, files) = blocking(move || {
        let files = Arc::new(TrialFiles::new(initial, folder.path(), mirror)?);
        let mut recovery = Recovery::<Event>::open(folder)?;
        let mut former = recovery.header().plan.clone();
        let mut chronicle = Chronicle::new(Setup::new(&former)?, &former)?;
        let mut engine = setup.engine()?;
        for record in &mut recovery {
            let record = record?;
            if let crate::journal::Entry::Resumed(plan) = &record.entry {
                former = (**plan).clone();
            }
            chronicle.replay(record, Some(&mut engine))?;
        }
        if !accept_changes {
            changes::refuse(&former, &plan)?;
        }
        let (mut log, torn) = recovery.finish()?;
        if let Some(torn) = torn {
            tracing::warn!(experiment = plan.experiment, "{torn}");
        }
        let at = now_ms();
        log.resumed(at, &plan)?;
        let first = chronicle.resume(at, setup, Some(&mut engine));
        log.commit()?;
        Ok((Begun { chronicle, engine, files: files.clone(), first: Some(first), log }, files))
    })
    .await?;
    // Those of a lost host come from the store; a trial whose checkpoint is nowhere begins anew.
    let wanted = begun.chronicle.experiment().checkpoints();
    let best = begun.chronicle.experiment().best();
    let lost = files.fetch(&wanted, best, copy.as_ref()).await?;
    if !lost.is_empty() {
        let event = Event::CheckpointsLost { checkpoints: lost.iter().copied().collect() };
        let at = now_ms();
        begun.log.event(at, &event)?;
        begun.log.commit()?;
        let actions = begun.chronicle.digest(at, event, Some(&mut begun.engine));
        begun.first.get_or_insert_default().extend(actions);
    }
    let ended = begun.chronicle.ended().into_iter().collect();
    let kept: BTreeSet<CheckpointRef> = wanted.difference(&lost).copied().collect();
    blocking(move || files.restore(ended, &kept)).await?;
    Ok(begun)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Precondition(format!("the experiment could not be opened: {error}")))?
}

/// Replays an experiment's journal as it lies, also of one that runs. Blocks.
///
/// # Errors
/// If there is none, it is damaged, or a plan in it cannot be carried out.
pub fn read(folder: &Path) -> Result<Chronicle> {
    let mut reader = crate::journal::Reader::<Event>::open(folder)?;
    let plan = reader.header().plan.clone();
    let mut chronicle = Chronicle::new(Setup::new(&plan)?, &plan)?;
    chronicle.tell();
    for record in &mut reader {
        chronicle.replay(record?, None)?;
    }
    Ok(chronicle)
}
