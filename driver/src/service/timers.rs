//! When something is due: the end of a drain, of an attempt's time, of the experiment's.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::experiment::Event;

/// Seconds that nothing runs for: longer ones are taken as these, so that the clock's arithmetic holds.
const LONGEST: f64 = 1e9;

#[derive(Default)]
pub struct Timers {
    drain: Option<Instant>,
    /// When, of which trial, which attempt.
    gather: Option<(Instant, u32, u32)>,
    experiment: Option<Instant>,
    /// When, of which trial, which attempt.
    attempts: BTreeSet<(Instant, u32, u32)>,
    /// The entry of each trial.
    of_trial: HashMap<u32, (Instant, u32, u32)>,
}

impl Timers {
    pub fn drain(&mut self, within: Duration) {
        self.drain = Some(Instant::now() + within);
    }

    /// One at a time: it takes the place of the one before.
    pub fn gather(&mut self, trial: u32, attempt: u32, within: Duration) {
        self.gather = Some((Instant::now() + within, trial, attempt));
    }

    /// The experiment is over.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Set once; later calls change nothing.
    pub fn experiment(&mut self, seconds: f64) {
        self.experiment.get_or_insert(after(seconds));
    }

    pub fn attempt(&mut self, trial: u32, attempt: u32, seconds: f64) {
        self.ended(trial);
        let entry = (after(seconds), trial, attempt);
        self.attempts.insert(entry);
        self.of_trial.insert(trial, entry);
    }

    /// No attempt of the trial runs.
    pub fn ended(&mut self, trial: u32) {
        if let Some(entry) = self.of_trial.remove(&trial) {
            self.attempts.remove(&entry);
        }
    }

    /// Waits for what is due next; for ever if nothing is.
    pub async fn due(&mut self) -> Event {
        let first = self.attempts.first().map(|(at, ..)| *at);
        let next = [self.drain, self.gather.map(|(at, ..)| at), self.experiment, first];
        let Some(at) = next.into_iter().flatten().min() else { return std::future::pending().await };
        tokio::time::sleep_until(at).await;
        if self.drain == Some(at) {
            self.drain = None;
            return Event::DrainExpired;
        }
        if let Some((_, trial, attempt)) = self.gather.take_if(|(due, ..)| *due == at) {
            return Event::GatherTimeUp { trial, attempt };
        }
        if self.experiment == Some(at) {
            self.experiment = None;
            return Event::TimeUp;
        }
        match self.attempts.pop_first() {
            Some((_, trial, attempt)) => {
                self.of_trial.remove(&trial);
                Event::TrialTimeUp { trial, attempt }
            }
            None => std::future::pending().await,
        }
    }
}

fn after(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))
}
