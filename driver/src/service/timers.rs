//! When something is due: the end of a drain, of an attempt's time, of the experiment's.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::experiment::Event;

/// Seconds that nothing runs for: longer ones are taken as these, so that the clock's arithmetic holds.
const LONGEST: f64 = 1e9;

#[derive(Default)]
pub struct Timers {
    drain: Option<Instant>,
    experiment: Option<Instant>,
    /// When, trial and attempt: what is due next comes first.
    attempts: BTreeSet<(Instant, u32, u32)>,
}

impl Timers {
    pub fn drain(&mut self, within: Duration) {
        self.drain = Some(Instant::now() + within);
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
        self.attempts.insert((after(seconds), trial, attempt));
    }

    /// Waits for what is due next; for ever if nothing is.
    pub async fn due(&mut self) -> Event {
        let next = [self.drain, self.experiment, self.attempts.first().map(|(at, ..)| *at)];
        let Some(at) = next.into_iter().flatten().min() else { return std::future::pending().await };
        tokio::time::sleep_until(at).await;
        if self.drain == Some(at) {
            self.drain = None;
            return Event::DrainExpired;
        }
        if self.experiment == Some(at) {
            self.experiment = None;
            return Event::TimeUp;
        }
        match self.attempts.pop_first() {
            Some((_, trial, attempt)) => Event::TrialTimeUp { trial, attempt },
            None => std::future::pending().await,
        }
    }
}

fn after(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))
}
