//! What a slot hears while it does something slow: a slot whose files travel is still told to stop, released, or
//! left by its task.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use lethe_flight::exchange::Receiver;
use lethe_flight::message::slot::ToSlot;
use lethe_flight::message::training::Verdict;
use lethe_flight::{Error, Result};
use tokio_util::sync::CancellationToken;

/// Messages that wait while something slow is done. The driver has one or two for each of the slot's own.
const WAITING: usize = 64;

pub struct Ears<'a> {
    from_driver: &'a mut Receiver<ToSlot>,
    gone: &'a CancellationToken,
    /// Heard, and not yet acted upon.
    waiting: VecDeque<ToSlot>,
}

/// What became of the work.
pub enum Heard<T> {
    Done(T),
    /// Its attempt is to stop.
    Stop,
    /// It took too long.
    Late,
    /// The slot is needed no longer.
    Released,
}

impl<'a> Ears<'a> {
    pub fn new(from_driver: &'a mut Receiver<ToSlot>, gone: &'a CancellationToken) -> Self {
        Self { from_driver, gone, waiting: VecDeque::new() }
    }

    /// The next message. Cancel safe.
    ///
    /// # Errors
    /// If the driver or the slot's task has gone.
    pub async fn next(&mut self) -> Result<ToSlot> {
        if self.gone.is_cancelled() {
            return Err(task_gone());
        }
        if let Some(message) = self.waiting.pop_front() {
            return Ok(message);
        }
        tokio::select! {
            () = self.gone.cancelled() => Err(task_gone()),
            message = self.from_driver.next() => message.unwrap_or_else(|| Err(driver_gone())),
        }
    }

    /// Does work of an attempt, or of none, and drops it when it should not go on. Other messages wait.
    ///
    /// # Errors
    /// If the driver or the slot's task has gone.
    pub async fn during<T>(
        &mut self,
        attempt: Option<(u32, u32)>,
        within: Duration,
        work: impl Future<Output = T>,
    ) -> Result<Heard<T>> {
        if let Some(heard) = self.waiting.iter().find_map(|message| ends(message, attempt)) {
            return Ok(heard);
        }
        let mut work = pin!(work);
        let mut late = pin!(tokio::time::sleep(within));
        loop {
            tokio::select! {
                biased;
                () = self.gone.cancelled() => return Err(task_gone()),
                done = &mut work => return Ok(Heard::Done(done)),
                message = self.from_driver.next() => {
                    let message = message.unwrap_or_else(|| Err(driver_gone()))?;
                    if let Some(heard) = ends(&message, attempt) {
                        return Ok(heard);
                    }
                    if self.waiting.len() >= WAITING {
                        return Err(Error::Exhausted(format!("the driver said more than {WAITING} things at once")));
                    }
                    self.waiting.push_back(message);
                }
                () = &mut late => return Ok(Heard::Late),
            }
        }
    }
}

/// Whether the message ends what is done for this attempt.
fn ends<T>(message: &ToSlot, attempt: Option<(u32, u32)>) -> Option<Heard<T>> {
    let own = |trial: &u32, number: &u32| attempt == Some((*trial, *number));
    match message {
        ToSlot::Release => Some(Heard::Released),
        ToSlot::Stop { trial, attempt } if own(trial, attempt) => Some(Heard::Stop),
        ToSlot::Decision { trial, attempt, verdict: Verdict::Stop } if own(trial, attempt) => {
            Some(Heard::Stop)
        }
        _ => None,
    }
}

pub fn task_gone() -> Error {
    Error::Unreachable("the slot's task has gone".into())
}

pub fn driver_gone() -> Error {
    Error::Unreachable("the driver has ended the slot's exchange".into())
}
