//! Which attempt runs, for messages that come from the executor.

use lethe_flight::message::training::Verdict;

use crate::function::Interrupter;

/// The attempt given last. Messages for any other are ignored.
#[derive(Default)]
pub struct Current {
    attempt: Option<(u32, u32, Interrupter)>,
}

impl Current {
    /// A new attempt; the handle goes to the training thread.
    pub fn begin(&mut self, trial: u32, attempt: u32) -> Interrupter {
        let interrupter = Interrupter::default();
        self.attempt = Some((trial, attempt, interrupter.clone()));
        interrupter
    }

    pub fn stop(&self, trial: u32, attempt: u32) {
        if let Some(interrupter) = self.matching(trial, attempt) {
            interrupter.stop();
        }
    }

    pub fn decide(&self, trial: u32, attempt: u32, verdict: Verdict) {
        if let Some(interrupter) = self.matching(trial, attempt) {
            interrupter.decide(verdict);
        }
    }

    /// Stops whatever runs: the process is about to end.
    pub fn abandon(&self) {
        if let Some((_, _, interrupter)) = &self.attempt {
            interrupter.stop();
        }
    }

    fn matching(&self, trial: u32, attempt: u32) -> Option<&Interrupter> {
        self.attempt.as_ref().filter(|(t, a, _)| (*t, *a) == (trial, attempt)).map(|(_, _, i)| i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_another_attempt_changes_nothing() {
        let mut current = Current::default();
        current.stop(1, 1);
        let interrupter = current.begin(1, 2);
        current.stop(1, 1);
        current.stop(2, 2);
        assert!(!interrupter.is_stopped());
        current.stop(1, 2);
        assert!(interrupter.is_stopped());
        assert!(!current.begin(2, 1).is_stopped());
    }
}
