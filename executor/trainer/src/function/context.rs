//! What a training function sees of its trial.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lethe_flight::message::Hparams;
use lethe_flight::message::training::{Metrics, Rank, Timing, TrialSpec, Verdict};
use lethe_flight::message::worker::Run;
use lethe_flight::tensors::{self, NamedTensor};
use tch::Device;

use super::Interrupter;
use super::attempt::Attempt;
use super::checkpoint::{Checkpoint, Saved};
use super::moment::Moment;
use crate::data::{MappedView, ViewCache};
use crate::error::{Error, Result};
use crate::gang::{self, Gang, Meeting, store};

/// Whether a trial goes on after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Stop,
    /// To save a checkpoint and end; to go on later, maybe elsewhere.
    Pause,
}

/// What a trial says.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    Report {
        epoch: u32,
        metrics: &'a Metrics,
    },
    /// A checkpoint lies complete in this file, which is the listener's from now on.
    Checkpoint {
        epoch: u32,
        path: &'a Path,
    },
}

/// Where that goes: the executor, or a test.
pub type Sink<'a> = dyn FnMut(Said) -> Result<()> + 'a;

/// What became of a verdict to pause.
pub(super) enum Pause {
    Saved,
    Unsaved,
    Untold,
}

/// One attempt at one trial, as its function sees it.
pub struct TrialContext<'a> {
    run: &'a Run,
    device: Device,
    views: &'a mut ViewCache,
    interrupter: Interrupter,
    meeting: Option<&'a dyn Meeting>,
    sink: &'a mut Sink<'a>,
    arrived: Instant,
    previous_end: Option<Instant>,
    first_step: Option<Instant>,
    last_report: Option<Instant>,
    moment: Moment,
    kept: bool,
    last_epoch: u32,
    told_to_pause: bool,
    /// The epoch of the last checkpoint saved.
    saved: Option<u32>,
    /// From when the time to the next checkpoint counts: waiting for decisions is no training.
    unsaved_since: Option<Instant>,
}

impl<'a> TrialContext<'a> {
    pub(super) fn new(attempt: Attempt<'a>, sink: &'a mut Sink<'a>) -> Self {
        let Attempt { run, device, views, interrupter, meeting, arrived, previous_end } = attempt;
        Self {
            run,
            device,
            views,
            interrupter,
            meeting,
            sink,
            arrived,
            previous_end,
            first_step: None,
            last_report: None,
            moment: Moment::default(),
            kept: false,
            last_epoch: 0,
            told_to_pause: false,
            saved: None,
            unsaved_since: None,
        }
    }

    /// Values chosen for this trial, by name.
    pub fn hparams(&self) -> &Hparams {
        &self.run.spec.hparams
    }

    pub fn spec(&self) -> &TrialSpec {
        &self.run.spec
    }

    /// This worker among those that run the trial together, and how many there are: 0 of 1 where it runs alone.
    pub fn rank(&self) -> Rank {
        self.run.spec.gang.unwrap_or(Rank { rank: 0, world: 1 })
    }

    /// The other workers, found; None where this one runs alone. Blocks until they are there.
    ///
    /// # Errors
    /// If they do not come.
    pub fn gang(&self) -> Result<Option<Gang>> {
        let rank = self.rank();
        if rank.world == 1 {
            return Ok(None);
        }
        let meeting = self.meeting.ok_or_else(|| {
            Error::Worker("the trial runs on several workers, and this one has no way to them".into())
        })?;
        let spec = self.spec();
        let attempt = store::Attempt {
            experiment: spec.experiment.clone(),
            trial: spec.trial,
            attempt: spec.attempt,
            interrupter: self.interrupter.clone(),
        };
        let has_own_rows = self.run.view.as_ref().is_some_and(|view| view.local.is_some());
        let wait = if has_own_rows { gang::JOIN_LOCAL } else { gang::JOIN };
        Gang::join(rank, self.device, meeting, &attempt, wait).map(Some)
    }

    /// Waits to be told to end, at most so long: whether it was.
    pub fn is_stopped_within(&self, wait: Duration) -> bool {
        self.interrupter.sleep_until(Instant::now() + wait)
    }

    /// The function's budget, before any hyperparameter overrides it.
    pub fn epochs(&self) -> u32 {
        self.run.spec.function.epochs()
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The file of the trial's program.
    ///
    /// # Errors
    /// If the trial has none.
    pub fn program(&self) -> Result<&'a Path> {
        self.run.program.as_deref().map(Path::new).ok_or_else(|| {
            Error::Worker(
                "the trial has no program: the executor must fetch it before it runs the trial".into(),
            )
        })
    }

    /// The file of the initial weights, see [`lethe_flight::tensors`]. A trial that goes on from a checkpoint has
    /// none.
    ///
    /// # Errors
    /// If the trial has none.
    pub fn initial(&self) -> Result<&'a Path> {
        self.run.initial.as_deref().map(Path::new).ok_or_else(|| {
            Error::Worker(
                "the trial has no initial weights: the executor must fetch them before it runs it".into(),
            )
        })
    }

    /// The trial's data, mapped.
    ///
    /// # Errors
    /// If it has none, or the file cannot be mapped.
    pub fn view(&mut self) -> Result<Arc<MappedView>> {
        match &self.run.view {
            Some(view) => self.views.open(view),
            None => Err(Error::trial("the trial has no dataset: give lagom a lethe.Dataset")),
        }
    }

    /// To be looked at in each step: whether the trial is to end now.
    pub fn is_stopped(&self) -> bool {
        self.interrupter.is_stopped()
    }

    /// Sleeps until then, or until the trial is to end.
    pub fn sleep_until(&self, end: Instant) -> Flow {
        if self.interrupter.sleep_until(end) { Flow::Stop } else { Flow::Continue }
    }

    /// Says that preparing is over and training begins.
    pub fn first_step(&mut self) {
        let first = *self.first_step.get_or_insert_with(Instant::now);
        self.unsaved_since.get_or_insert(first);
    }

    /// What to go on from; None begins anew. Its epoch was the last one reported. Blocks.
    ///
    /// # Errors
    /// If there is to be one and its file cannot be read, or is of another format.
    pub fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        let Some(path) = &self.run.checkpoint else { return Ok(None) };
        let checkpoint = Checkpoint::read(Path::new(path))?;
        self.last_epoch = checkpoint.meta.epoch;
        self.moment = Moment::restore(&self.run.spec, &checkpoint.meta);
        Ok(Some(checkpoint))
    }

    /// Whether the trial has trained so long since the last checkpoint that the next is due. To be asked at the
    /// end of an epoch, after its report.
    pub fn is_checkpoint_due(&self) -> bool {
        let every = self.run.spec.checkpoint_every_s.filter(|seconds| *seconds >= 0.0);
        every.zip(self.unsaved_since).is_some_and(|(every, since)| since.elapsed().as_secs_f64() >= every)
    }

    /// Saves what the trial needs to go on after the epoch reported last. The file is complete when this
    /// returns; whoever sends it on does so while the trial trains. Blocks.
    ///
    /// # Errors
    /// If the file cannot be written, or the executor has gone.
    pub fn save(&mut self, saved: Saved) -> Result<()> {
        if self.rank().rank > 0 {
            // Rank 0's is the trial's.
            return Ok(());
        }
        let epoch = self.last_epoch;
        let path = PathBuf::from(format!("{}-{epoch}.arrow", self.run.checkpoints));
        Checkpoint::new(epoch, self.moment.counts(), saved).write(&path)?;
        (self.sink)(Said::Checkpoint { epoch, path: &path })?;
        self.saved = Some(epoch);
        self.unsaved_since = Some(Instant::now());
        Ok(())
    }

    pub(super) fn pause(&self) -> Pause {
        if self.rank().rank > 0 {
            // Rank 0 was told, and the others by it.
            return Pause::Unsaved;
        }
        match (self.told_to_pause, self.saved == Some(self.last_epoch)) {
            (false, _) => Pause::Untold,
            (true, true) => Pause::Saved,
            (true, false) => Pause::Unsaved,
        }
    }

    /// Sends an epoch's metrics (epochs count from 1); of several workers rank 0's are sent. At one of the trial's rungs it waits for the decision. A
    /// function that goes on although it was told to pause is told to stop.
    ///
    /// # Errors
    /// If the epoch is not above the last one reported, the experiment's metric is not among them, or the
    /// executor has gone.
    pub fn report(&mut self, epoch: u32, metrics: Metrics) -> Result<Flow> {
        if self.told_to_pause {
            return Ok(Flow::Stop);
        }
        if epoch <= self.last_epoch {
            return Err(Error::trial(format!(
                "epoch {epoch} was reported after epoch {}: epochs must rise, from 1",
                self.last_epoch
            )));
        }
        self.last_epoch = epoch;
        let objective = &self.run.spec.objective;
        if !metrics.contains_key(&objective.metric) {
            let known: Vec<_> = metrics.keys().map(String::as_str).collect();
            return Err(Error::trial(format!(
                "the experiment's metric {:?} is not reported; name one of: {}",
                objective.metric,
                known.join(", ")
            )));
        }
        if self.rank().rank > 0 {
            // Rank 0 speaks for all; the others are told to stop when it has ended.
            self.last_report = Some(Instant::now());
            return Ok(if self.is_stopped() { Flow::Stop } else { Flow::Continue });
        }
        let decides = self.decides(epoch);
        if decides {
            self.interrupter.ask();
        }
        (self.sink)(Said::Report { epoch, metrics: &metrics })?;
        let said = Instant::now();
        self.last_report = Some(said);
        if !decides {
            return Ok(if self.is_stopped() { Flow::Stop } else { Flow::Continue });
        }
        let verdict = self.interrupter.wait_for_decision();
        self.last_report = Some(Instant::now());
        self.unsaved_since = self.unsaved_since.map(|since| since + said.elapsed());
        self.told_to_pause = verdict == Verdict::Pause;
        Ok(match verdict {
            Verdict::GoOn => Flow::Continue,
            Verdict::Stop => Flow::Stop,
            Verdict::Pause => Flow::Pause,
        })
    }

    /// Whether this epoch is one of the trial's rungs.
    fn decides(&self, epoch: u32) -> bool {
        let spec = &self.run.spec;
        spec.rungs.binary_search(&epoch).is_ok()
            || spec.decide_every.is_some_and(|every| every > 0 && epoch.is_multiple_of(every))
    }

    /// Whether the weights of the moment of a report with this value are worth keeping: no worse than the
    /// experiment's best so far and, where the best report counts, better than this trial's reports before.
    pub fn is_worth_keeping(&mut self, value: f64) -> bool {
        let spec = &self.run.spec;
        self.moment.look(&spec.objective, value, self.last_epoch) && self.moment.kept(spec).is_some()
    }

    /// The epoch whose weights are worth keeping, as it stands.
    pub fn kept_epoch(&self) -> Option<u32> {
        self.moment.kept(&self.run.spec)
    }

    /// Writes the trial's weights, for the executor to take over with its end. The last call counts. Blocks.
    pub fn keep_weights(&mut self, weights: &[NamedTensor]) -> Result<()> {
        tensors::write_file(Path::new(&self.run.weights), weights)?;
        self.kept = true;
        Ok(())
    }

    /// The file of kept weights.
    pub(super) fn kept(&self) -> Option<String> {
        // Of several workers, rank 0's.
        (self.kept && self.rank().rank == 0).then(|| self.run.weights.clone())
    }

    pub(super) fn timing(&self) -> Timing {
        let Some(first) = self.first_step else {
            return Timing { setup_s: self.arrived.elapsed().as_secs_f64(), ..Timing::default() };
        };
        let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        Timing {
            idle_s: self.previous_end.map_or(0.0, |end| seconds(end, first)),
            setup_s: seconds(self.arrived, first),
            train_s: self.last_report.map_or(0.0, |last| seconds(first, last)),
        }
    }
}
