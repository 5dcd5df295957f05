//! A result in pages: one message has a limit, a search has not.

use lethe_flight::message::experiment::{ExperimentResult, TrialResult};

/// Reports of one page; one takes about a hundred bytes.
const REPORTS: usize = 10_000;

/// The result without its trials, then the trials in order, page by page, each with the same head.
pub fn pages(mut result: ExperimentResult) -> impl Iterator<Item = ExperimentResult> + Send {
    let mut trials = std::mem::take(&mut result.trials).into_iter().peekable();
    let rest = ExperimentResult { slots: Vec::new(), ..result.clone() };
    let following = std::iter::from_fn(move || {
        trials.peek()?;
        let mut reports = 0;
        let mut page: Vec<TrialResult> = Vec::new();
        while reports < REPORTS
            && let Some(trial) = trials.next()
        {
            reports += 1 + trial.history.len();
            page.push(trial);
        }
        Some(ExperimentResult { trials: page, ..rest.clone() })
    });
    std::iter::once(result).chain(following)
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
        let all: Vec<_> = pages(result.clone()).collect();
        assert!(all.len() > 20);
        assert!(all.iter().all(|page| wire::render(page).unwrap().len() < limits::CONTROL_BYTES));
        assert!(all[0].trials.is_empty());
        let trials: Vec<_> = all.into_iter().flat_map(|page| page.trials).collect();
        assert_eq!(trials, result.trials);
    }
}
