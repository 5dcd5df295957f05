use lethe_flight::message::experiment::End;
use lethe_flight::message::training::{Target, Verdict};

use super::*;

fn with_budget(budget: Budget) -> Bench {
    let budget = Budget { trials: Some(9), ..budget };
    let mut bench = Bench::new(Settings { budget, ..settings(9, 2) }, Stopping::None);
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench
}

fn stops(actions: &[Action]) -> Vec<u32> {
    let stop = |action: &Action| match action {
        Action::Stop { trial, .. } => Some(*trial),
        _ => None,
    };
    actions.iter().filter_map(stop).collect()
}

#[test]
fn when_the_epochs_are_spent_what_runs_is_stopped_and_counts_as_it_is() {
    let mut bench = with_budget(Budget { epochs: Some(3), ..Budget::default() });
    bench.report(0, 0, 1, 1, 0.1);
    assert!(stops(&bench.report(1, 1, 1, 1, 0.2)).is_empty());
    assert_eq!(stops(&bench.report(0, 0, 1, 2, 0.3)), [0, 1]);
    assert!(assigned(&bench.ended(0, 0, 1, Outcome::Stopped)).is_empty());
    assert_eq!(over(&bench.ended(1, 1, 1, Outcome::Stopped)), Some(&End::Completed));
    assert_eq!((bench.state(0), bench.state(1)), (TrialState::Stopped, TrialState::Stopped));
    assert_eq!(bench.experiment.results().len(), 9, "the others never began");
    assert_eq!((bench.state(2), bench.experiment.best()), (TrialState::Cancelled, Some(0)));
}

#[test]
fn epochs_trained_again_after_a_loss_are_spent_twice() {
    let mut bench = with_budget(Budget { epochs: Some(4), ..Budget::default() });
    (1..=2).for_each(|epoch| _ = bench.report(0, 0, 1, epoch, 0.1));
    bench.ended(0, 0, 1, Outcome::Lost { error: "killed".into() });
    assert_eq!(bench.experiment.progress().epochs, 2);
    bench.report(0, 0, 2, 1, 0.1);
    assert_eq!(stops(&bench.report(0, 0, 2, 2, 0.1)), [0, 1]);
}

#[test]
fn a_donors_epochs_are_not_spent_by_those_who_go_on_from_them() {
    let parameters = vec!["x".into()];
    let stopping = Stopping::Pbt { every: 4, quantile: 0.5, resample: 0.0, parameters };
    let mut bench = Bench::new(settings(2, 1), stopping);
    bench.slot(0, 0);
    (1..=4).for_each(|epoch| _ = bench.report(0, 0, 1, epoch, 0.1));
    bench.pause(0, 0, 1, 4);
    bench.report(0, 1, 1, 4, 0.9);
    // Trial 0 goes on from the checkpoint of trial 1, whose first report is of its fourth epoch.
    assert_eq!(assigned(&bench.pause(0, 1, 1, 4)), [(0, 0, 2)]);
    let spent = bench.experiment.progress().epochs;
    bench.report(0, 0, 2, 5, 0.9);
    assert_eq!(bench.experiment.progress().epochs, spent + 1);
}

#[test]
fn the_search_ends_when_a_report_reaches_the_target_in_either_direction() {
    for (direction, short, reached) in [(Direction::Max, 0.89, 0.9), (Direction::Min, 0.91, 0.9)] {
        let budget = Budget { trials: Some(9), target: Some(0.9), ..Budget::default() };
        let objective = Objective { direction, ..settings(9, 1).objective };
        let mut bench = Bench::new(Settings { budget, objective, ..settings(9, 1) }, Stopping::None);
        bench.slot(0, 0);
        assert!(stops(&bench.report(0, 0, 1, 1, f64::NAN)).is_empty());
        assert!(stops(&bench.report(0, 0, 1, 2, short)).is_empty());
        let actions = bench.report(0, 0, 1, 3, reached);
        assert_eq!(stops(&actions), [0]);
        let why = actions
            .iter()
            .any(|a| matches!(a, Action::Notice { text } if text.contains("its target is 0.9")));
        assert!(why, "{actions:?}");
        bench.ended(0, 0, 1, Outcome::Stopped);
        assert_eq!((bench.state(0), bench.experiment.end()), (TrialState::Stopped, Some(&End::Completed)));
    }
}

#[test]
fn a_spent_budget_is_still_spent_after_a_resume_and_a_larger_one_goes_on() {
    for budget in
        [Budget { epochs: Some(1), ..Budget::default() }, Budget { target: Some(0.5), ..Budget::default() }]
    {
        let mut bench = with_budget(budget);
        bench.report(0, 0, 1, 1, 0.6);
        bench.ended(0, 0, 1, Outcome::Stopped);
        bench.ended(1, 1, 1, Outcome::Stopped);
        let settings = |budget| Settings { budget, ..settings(9, 2) };
        let trials = Some(9);
        let actions = bench.experiment.restart(settings(Budget { trials, ..budget }), None);
        assert_eq!(over(&actions), Some(&End::Completed), "{budget:?}");
        let actions = bench.experiment.restart(settings(Budget { trials, ..Budget::default() }), None);
        assert_eq!(over(&actions), None);
        assert_eq!(assigned(&bench.slot(9, 0))[0].2, 2, "a trial that was broken off goes on");
    }
}

#[test]
fn a_trial_that_had_its_time_is_stopped_and_keeps_its_value() {
    let mut bench = with_budget(Budget { trial_seconds: Some(2.0), ..Budget::default() });
    bench.report(0, 0, 1, 1, 0.7);
    assert!(bench.handle(Event::TrialTimeUp { trial: 0, attempt: 0 }).is_empty(), "an attempt before");
    assert!(bench.handle(Event::TrialTimeUp { trial: 7, attempt: 1 }).is_empty(), "it does not run");
    assert_eq!(stops(&bench.handle(Event::TrialTimeUp { trial: 0, attempt: 1 })), [0]);
    assert_eq!(assigned(&bench.ended(0, 0, 1, Outcome::Lost { error: "killed".into() })), [(0, 2, 1)]);
    let trial = bench.trial(0);
    assert_eq!((trial.state, trial.value), (TrialState::Stopped, Some(0.7)));
    assert!(trial.why.unwrap().contains("it had its 2 s"));
}

#[test]
fn a_trials_time_does_not_overrule_its_pause_once_it_has_saved() {
    let mut settings = settings(3, 1);
    settings.budget.trial_seconds = Some(2.0);
    let mut bench = Bench::new(settings, asha(3, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.7);
    bench.pause(0, 0, 1, 1);
    assert!(bench.handle(Event::TrialTimeUp { trial: 0, attempt: 1 }).is_empty());
    assert_eq!(bench.state(0), TrialState::Paused);
}

#[test]
fn exceptions_are_retried_as_often_as_asked_and_losses_that_are_no_numbers_never() {
    let retries = Retries { exceptions: 1, ..Retries::default() };
    let mut bench = Bench::new(Settings { retries, ..settings(2, 1) }, Stopping::None);
    bench.slot(0, 0);
    assert_eq!(assigned(&bench.ended(0, 0, 1, failed("RuntimeError"))), [(0, 0, 2)]);
    assert_eq!(assigned(&bench.ended(0, 0, 2, failed("RuntimeError"))), [(0, 1, 1)]);
    assert_eq!(bench.state(0), TrialState::Failed);
    bench.ended(0, 1, 1, failed("the loss is NaN at step 3"));
    assert_eq!((bench.state(1), bench.trial(1).attempts), (TrialState::Failed, 1));
}

#[test]
fn a_search_without_further_points_ends_with_the_trials_it_has() {
    let mut experiment = Experiment::new(settings(9, 1), rule(&Stopping::None, &settings(9, 1)));
    experiment.handle(Event::Started);
    experiment.handle(suggested(0, Hparams::new()));
    let actions = experiment.handle(Event::Exhausted { trial: 1 });
    assert!(
        actions.iter().any(|a| matches!(a, Action::Notice { text } if text.contains("no further points")))
    );
    for trial in 2..9 {
        assert!(experiment.end().is_none());
        experiment.handle(Event::Exhausted { trial });
    }
    experiment.handle(Event::SlotJoined { slot: SlotKey(0), number: 0 });
    experiment.handle(Event::SlotReady { slot: SlotKey(0) });
    let (slot, timing) = (SlotKey(0), Timing::default());
    let ended = Event::Ended { slot, trial: 0, attempt: 1, outcome: Outcome::Finished, timing };
    assert_eq!(over(&experiment.handle(ended)), Some(&End::Completed));
    assert_eq!(experiment.results().len(), 1, "the others never were trials");
}

#[test]
fn of_several_objectives_the_trials_that_no_other_dominates_are_the_front() {
    let further = vec![Target { metric: "cost".into(), direction: Direction::Min }];
    let objective = Objective { further, ..settings(1, 1).objective };
    let mut bench = Bench::new(Settings { objective, ..settings(7, 1) }, asha(3, false));
    bench.slot(0, 0);
    let values = [(0.5, 5.0), (0.9, 9.0), (0.4, 6.0), (0.9, 9.0), (0.6, f64::NAN), (0.5, 4.0), (0.8, 8.0)];
    for (trial, (m, cost)) in (0..).zip(values) {
        let metrics = Metrics::from([("m".into(), m), ("cost".into(), cost)]);
        let actions = bench.handle(Event::Report { slot: SlotKey(0), trial, attempt: 1, epoch: 1, metrics });
        let stopped = actions.iter().any(|a| matches!(a, Action::Decide { verdict: Verdict::Stop, .. }));
        let outcome = match (trial, stopped) {
            (6, _) => failed("RuntimeError"),
            (_, true) => Outcome::Stopped,
            (_, false) => Outcome::Finished,
        };
        bench.ended(0, trial, 1, outcome);
    }
    // 0 and 2 are dominated by 5; 1 and 3 are equal; 4 has no cost; 6 has failed.
    assert_eq!(bench.experiment.pareto(), [1, 3, 5]);
    assert_eq!(bench.experiment.costs(5), [-0.5, 4.0]);
    assert_eq!(bench.trial(5).further, [Some(4.0)]);
}

/// On two slots an epoch is under way when the other one spends the last.
#[test]
fn what_is_reported_after_the_last_epoch_is_spent_does_not_count() {
    let budget = Budget { epochs: Some(3), trials: Some(9), ..Budget::default() };
    let mut bench = Bench::new(Settings { budget, ..settings(9, 2) }, asha(3, false));
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.report(0, 0, 1, 2, 0.1);
    assert_eq!(stops(&bench.report(1, 1, 1, 2, 0.2)), [0, 1], "two epochs, of which one was left");
    assert_eq!((bench.experiment.progress().epochs, bench.trial(1).history.len()), (2, 0));
    assert!(!bench.experiment.counts(SlotKey(1), 1, 1, 2));
    // A worker that waits at a rung for an answer gets one.
    let actions = bench.report(0, 0, 1, 3, 0.9);
    assert_eq!(bench.experiment.progress().epochs, 3, "there is room for one more, which was trained");
    assert!(matches!(actions[..], [Action::Decide { verdict: Verdict::Stop, .. }]), "{actions:?}");
    let actions = bench.report(1, 1, 1, 3, 0.9);
    assert!(matches!(actions[..], [Action::Decide { verdict: Verdict::Stop, .. }]), "{actions:?}");
    assert_eq!((bench.experiment.progress().epochs, bench.trial(1).history.len()), (3, 0));
}

/// Grid search of three points, asked for many more.
fn exhausted_after_three(settings: Settings, stopping: &Stopping) -> Bench {
    let rule = rule(stopping, &settings);
    let mut bench = Bench { experiment: Experiment::new(settings, rule), actions: Vec::new() };
    let mut asked = bench.experiment.handle(Event::Started);
    while !asked.is_empty() {
        let mut more = Vec::new();
        for action in asked {
            if let Action::Suggest { trial, .. } = action {
                more.extend(bench.experiment.handle(match trial {
                    0..3 => suggested(trial, [("x".to_owned(), trial.into())].into_iter().collect()),
                    _ => Event::Exhausted { trial },
                }));
            }
        }
        asked = more;
    }
    bench
}

/// Pauses at each rung, or finishes; how far each trial came.
fn train(bench: &mut Bench) -> Vec<u32> {
    let mut given = specs(&bench.slot(0, 0));
    while let Some((slot, spec)) = given.pop() {
        let mut epoch = spec.checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
        let paused = loop {
            epoch += 1;
            let actions = bench.report(slot, spec.trial, spec.attempt, epoch, f64::from(spec.trial));
            if actions.iter().any(|a| matches!(a, Action::Decide { verdict: Verdict::Pause, .. })) {
                break true;
            }
            if epoch == 9 {
                break false;
            }
        };
        given = specs(&match paused {
            true => bench.pause(slot, spec.trial, spec.attempt, epoch),
            false => bench.ended(slot, spec.trial, spec.attempt, Outcome::Finished),
        });
    }
    bench.experiment.results().iter().map(|trial| trial.epochs).collect()
}

#[test]
fn a_rule_learns_that_there_will_be_no_further_trial() {
    for trials in [Some(100), None] {
        let budget = Budget { trials, seconds: Some(1e6), ..Budget::default() };
        let settings = Settings { budget, ..settings(100, 1) };
        let mut bench = exhausted_after_three(settings, &asha(3, true));
        assert_eq!(train(&mut bench), [1, 1, 9], "{trials:?}: the best is trained to its end");
        assert_eq!(bench.experiment.end(), Some(&End::Completed));
    }
    let pbt = Stopping::Pbt { every: 3, quantile: 0.4, resample: 0.0, parameters: vec!["x".into()] };
    let mut bench = exhausted_after_three(settings(100, 1), &pbt);
    assert_eq!(train(&mut bench), [9, 9, 9], "three trials are the population");
}

#[test]
fn a_suggestion_that_a_constraint_refuses_is_asked_for_again_and_not_for_ever() {
    let settings = Settings { draws: 3, ahead: Ahead::Late(0), ..settings(2, 1) };
    let mut experiment = Experiment::new(settings.clone(), rule(&Stopping::None, &settings));
    assert_eq!(experiment.handle(Event::Started), [Action::Suggest { trial: 0, draw: 0 }]);
    let refused = || {
        let by = "the constraint \"x < 1\"".into();
        Event::Refused { trial: 0, hparams: Hparams::from_iter([("x".to_owned(), 4.into())]), by }
    };
    assert_eq!(experiment.handle(refused()), [Action::Suggest { trial: 0, draw: 1 }]);
    assert_eq!(experiment.handle(refused()), [Action::Suggest { trial: 0, draw: 2 }]);
    let told = crate::experiment::describe::event(&refused()).unwrap();
    assert_eq!((told.kind, told.text.as_str()), ("refused", "x=4 by the constraint \"x < 1\""));
    let actions = experiment.handle(refused());
    let Some(End::Aborted { error }) = over(&actions) else { panic!("{actions:?}") };
    assert!(error.contains("3 suggestions") && error.contains("\"x < 1\""), "{error}");
}
