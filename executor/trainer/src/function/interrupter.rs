//! What reaches a running trial from outside: stop, and the decision at a rung.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lethe_flight::message::training::Verdict;

/// A handle on one attempt. Cloned to whoever may stop it; looked at by the trial at each step.
#[derive(Debug, Clone, Default)]
pub struct Interrupter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    decision: Mutex<Option<Verdict>>,
    changed: Condvar,
}

impl Interrupter {
    /// Ends the attempt within a step.
    pub fn stop(&self) {
        // Under the lock, so that a waiter cannot look just before and sleep just after.
        let _decision = self.lock();
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// The answer to the report at a rung.
    pub fn decide(&self, verdict: Verdict) {
        *self.lock() = Some(verdict);
        self.shared.changed.notify_all();
    }

    /// Forgets a decision that nobody waited for. Called before the report that asks for one.
    pub(crate) fn ask(&self) {
        *self.lock() = None;
    }

    /// Waits until decided, or stopped, which goes before what was decided. The wait is as long as the executor's
    /// exchange lives: its end stops the attempt.
    pub(crate) fn wait_for_decision(&self) -> Verdict {
        let mut decision = self.lock();
        loop {
            if self.is_stopped() {
                return Verdict::Stop;
            }
            if let Some(verdict) = decision.take() {
                return verdict;
            }
            decision = self.shared.changed.wait(decision).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps until then, or until stopped; true if stopped.
    pub fn sleep_until(&self, end: Instant) -> bool {
        let mut decision = self.lock();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.is_stopped() || left.is_zero() {
                return self.is_stopped();
            }
            let waited = self.shared.changed.wait_timeout(decision, left);
            decision = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Verdict>> {
        // The lock guards a plain value: a panic elsewhere cannot leave it half changed.
        self.shared.decision.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stop_wakes_a_trial_that_waits_or_sleeps() {
        for waits in [true, false] {
            let interrupter = Interrupter::default();
            let other = interrupter.clone();
            let trial = std::thread::spawn(move || match waits {
                true => other.wait_for_decision() == Verdict::Stop,
                false => other.sleep_until(Instant::now() + Duration::from_secs(60)),
            });
            interrupter.stop();
            assert!(trial.join().unwrap());
        }
    }

    #[test]
    fn a_decision_is_used_once_and_an_old_one_not_at_all() {
        let interrupter = Interrupter::default();
        interrupter.decide(Verdict::Stop);
        interrupter.ask();
        interrupter.decide(Verdict::GoOn);
        assert_eq!(interrupter.wait_for_decision(), Verdict::GoOn);
        let other = interrupter.clone();
        let trial = std::thread::spawn(move || other.wait_for_decision());
        interrupter.decide(Verdict::Pause);
        assert_eq!(trial.join().unwrap(), Verdict::Pause);
    }
}
