//! A result in pages: one message has a limit, a search has not.

use std::collections::VecDeque;

use lethe_flight::message::experiment::{ExperimentResult, SlotResult, TrialResult};
use serde::Serialize;

/// Of one page, bytes, unless a single report is more: well below what a message may have.
const PAGE_BYTES: usize = 1 << 20;

/// The result with as many slots as fit, further slots, then the trials in order, page by page, each with the same
/// head. A trial whose reports do not fit goes on in the next page, with the same number and its further reports.
pub fn pages(mut result: ExperimentResult) -> impl Iterator<Item = ExperimentResult> + Send {
    let mut trials: VecDeque<TrialResult> = std::mem::take(&mut result.trials).into();
    let mut slots = std::mem::take(&mut result.slots).into_iter().peekable();
    let rest = result.clone();
    result.slots = some(&mut slots);
    let following = std::iter::from_fn(move || {
        if slots.peek().is_some() {
            return Some(ExperimentResult { slots: some(&mut slots), ..rest.clone() });
        }
        trials.front()?;
        let mut left = PAGE_BYTES;
        let mut page: Vec<TrialResult> = Vec::new();
        while left > 0
            && let Some(trial) = trials.front_mut()
        {
            let history = std::mem::take(&mut trial.history);
            let head = bytes(trial);
            if head > left && !page.is_empty() {
                trial.history = history;
                break;
            }
            left = left.saturating_sub(head);
            let mut reports = history.into_iter();
            let mut part = Vec::new();
            while left > 0
                && let Some(report) = reports.next()
            {
                left = left.saturating_sub(bytes(&report));
                part.push(report);
            }
            trial.history = reports.collect();
            let whole = trial.history.is_empty();
            page.push(TrialResult { history: part, ..head_of(trial) });
            if whole {
                trials.pop_front();
            }
        }
        Some(ExperimentResult { trials: page, ..rest.clone() })
    });
    std::iter::once(result).chain(following)
}

/// As many as fit in one page.
fn some(slots: &mut impl Iterator<Item = SlotResult>) -> Vec<SlotResult> {
    let mut left = PAGE_BYTES;
    let mut page = Vec::new();
    while left > 0
        && let Some(slot) = slots.next()
    {
        left = left.saturating_sub(bytes(&slot));
        page.push(slot);
    }
    page
}

/// Without its reports.
fn head_of(trial: &mut TrialResult) -> TrialResult {
    let history = std::mem::take(&mut trial.history);
    let head = trial.clone();
    trial.history = history;
    head
}

/// As JSON.
fn bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(1);
    _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use lethe_flight::message::Hparams;
    use lethe_flight::message::experiment::{Report, TrialState};
    use lethe_flight::message::training::Timing;
    use lethe_flight::{limits, wire};

    #[test]
    fn a_large_result_comes_in_pages_below_the_limit_and_in_order() {
        let report = |epoch| Report { epoch, metrics: [("accuracy".to_owned(), 1.0 / 3.0)].into() };
        let trial = |trial| TrialResult {
            trial,
            state: TrialState::Finished,
            attempts: 1,
            hparams: Hparams::new(),
            value: Some(1.0),
            further: Vec::new(),
            why: None,
            metrics: [].into(),
            epochs: 300,
            error: None,
            timing: Timing::default(),
            slot: Some(0),
            history: (1..=300).map(report).collect(),
        };
        let result = ExperimentResult {
            experiment: "e".into(),
            end: None,
            best: None,
            pareto: Vec::new(),
            trials: (0..1000).map(trial).collect(),
            slots: Vec::new(),
            wall_s: 1.0,
        };
        let all = below_the_limit(&result);
        assert!(all.len() > 10);
        assert_eq!(joined(all), result.trials);
    }

    #[test]
    fn what_counts_is_bytes_and_a_trial_of_many_reports_goes_on_in_the_next_page() {
        let named = |epoch: u32| -> lethe_flight::message::training::Metrics {
            (0..100).map(|n| (format!("a metric with a long name {n}"), f64::from(epoch) / 3.0)).collect()
        };
        let trial = |trial, epochs, error: usize| TrialResult {
            trial,
            state: TrialState::Failed,
            attempts: 1,
            hparams: Hparams::new(),
            value: None,
            further: Vec::new(),
            why: None,
            metrics: [].into(),
            epochs,
            error: Some("x".repeat(error)),
            timing: Timing::default(),
            slot: None,
            history: (1..=epochs).map(|epoch| Report { epoch, metrics: named(epoch) }).collect(),
        };
        let slot = |slot| SlotResult {
            slot,
            executor: "x".into(),
            device: "cpu".into(),
            worker_pid: 1,
            trials: 1000,
            held_s: 1.0,
            train_s: 1.0,
            idle_s: vec![1.0 / 3.0; 1000],
        };
        let result = ExperimentResult {
            experiment: "e".into(),
            end: None,
            best: None,
            pareto: Vec::new(),
            trials: vec![trial(0, 2000, 9), trial(1, 0, 900_000), trial(2, 0, 900_000), trial(3, 5, 9)],
            slots: (0..1000).map(slot).collect(),
            wall_s: 1.0,
        };
        let all = below_the_limit(&result);
        let slots: Vec<_> = all.iter().flat_map(|page| page.slots.clone()).collect();
        assert_eq!(slots, result.slots);
        assert_eq!(joined(all), result.trials);
    }

    fn below_the_limit(result: &ExperimentResult) -> Vec<ExperimentResult> {
        let all: Vec<_> = pages(result.clone()).collect();
        assert!(all.iter().all(|page| wire::render(page).unwrap().len() < limits::CONTROL_BYTES));
        assert!(all[0].trials.is_empty());
        assert!(all[1..].iter().all(|page| !page.trials.is_empty() || !page.slots.is_empty()));
        all
    }

    /// As a reader of the pages does.
    fn joined(pages: Vec<ExperimentResult>) -> Vec<TrialResult> {
        let mut trials: Vec<TrialResult> = Vec::new();
        for part in pages.into_iter().flat_map(|page| page.trials) {
            match trials.last_mut() {
                Some(last) if last.trial == part.trial => last.history.extend(part.history),
                _ => trials.push(part),
            }
        }
        trials
    }
}
