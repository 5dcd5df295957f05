use super::*;
use crate::experiment::trial_seed;
use lethe_flight::message::training::Verdict;

#[test]
fn more_trials_than_slots_are_kept_ready() {
    let ahead = 8;
    let mut bench = Bench::plain(100, 2);
    let asked = |bench: &Bench| bench.actions.iter().filter(|a| matches!(a, Action::Suggest { .. })).count();
    assert_eq!(asked(&bench), 2 + ahead);
    assert_eq!(assigned(&bench.slot(0, 0)), [(0, 0, 1)]);
    assert_eq!(asked(&bench), 3 + ahead, "the trial handed out is replaced");
    bench.slot(1, 1);
    bench.slot(2, 2);
    assert_eq!(asked(&bench), 6 + ahead, "three slots are there, though two were expected");
}

#[test]
fn a_trial_that_needs_a_model_waits_for_it() {
    let function = with_model();
    let mut bench = Bench::new(Settings { function, ..settings(9, 1) }, Stopping::None);
    let prepare = bench.actions.iter().find(|a| matches!(a, Action::Prepare { trial: 1, .. })).unwrap();
    let Action::Prepare { seed, hparams, .. } = prepare else { unreachable!() };
    assert_eq!((*seed, hparams["x"].as_u64()), (trial_seed(1, 1), Some(1)));
    assert!(assigned(&bench.slot(0, 0)).is_empty());
    let actions = bench.handle(Event::Prepared { trial: 1, program: program() });
    let (_, spec) = &specs(&actions)[0];
    assert_eq!((spec.trial, spec.seed, spec.program.clone()), (1, trial_seed(1, 1), Some(program())));
    assert!(assigned(&bench.handle(Event::Prepared { trial: 1, program: program() })).is_empty());
}

#[test]
fn a_failed_preparation_fails_the_trial_and_the_search_goes_on() {
    let function = with_model();
    let mut bench = Bench::new(Settings { function, ..settings(3, 1) }, Stopping::None);
    bench.slot(0, 0);
    bench.handle(Event::PreparationFailed { trial: 0, error: "ValueError: width".into() });
    assert_eq!(bench.trial(0).error.as_deref(), Some("ValueError: width"));
    assert_eq!(bench.state(0), TrialState::Failed);
    let actions = bench.handle(Event::Prepared { trial: 1, program: program() });
    assert_eq!(assigned(&actions), [(0, 1, 1)]);
}

#[test]
fn seeds_fit_63_bits_and_differ() {
    let seeds: std::collections::BTreeSet<_> = (0..1000).map(|trial| trial_seed(7, trial)).collect();
    assert_eq!(seeds.len(), 1000);
    assert!(seeds.iter().all(|seed| i64::try_from(*seed).is_ok()));
    assert_ne!(trial_seed(7, 0), trial_seed(8, 0));
}

#[test]
fn a_lost_trial_goes_before_new_ones_and_keeps_its_seed() {
    let mut bench = Bench::plain(10, 2);
    let first = specs(&bench.slot(0, 0))[0].1.clone();
    bench.slot(1, 1);
    bench.report(0, 0, 1, 1, 0.5);
    assert!(assigned(&bench.leave(0)).is_empty());
    assert_eq!(bench.state(0), TrialState::Waiting);
    let again = specs(&bench.finish(1, 1, 0.1))[0].1.clone();
    assert_eq!((again.trial, again.attempt, again.seed), (0, 2, first.seed));
    assert!(bench.trial(0).history.is_empty(), "the new attempt's history starts anew");
}

#[test]
fn a_trial_lost_four_times_fails_with_the_reason() {
    let mut bench = Bench::plain(1, 1);
    let mut actions = bench.slot(0, 0);
    for attempt in 1..=4 {
        assert_eq!(assigned(&actions), [(0, 0, attempt)]);
        actions = bench.ended(0, 0, attempt, Outcome::Lost { error: "killed by signal 9".into() });
    }
    assert_eq!(bench.state(0), TrialState::Failed);
    assert!(bench.trial(0).error.unwrap().contains("killed by signal 9"));
    assert_eq!(over(&actions), Some(&lethe_flight::message::experiment::End::Completed));
}

#[test]
fn a_users_failure_is_not_retried() {
    let mut bench = Bench::plain(2, 1);
    bench.slot(0, 0);
    assert_eq!(assigned(&bench.ended(0, 0, 1, failed("the loss is NaN at step 3"))), [(0, 1, 1)]);
    assert_eq!((bench.state(0), bench.trial(0).attempts), (TrialState::Failed, 1));
}

#[test]
fn stale_and_repeated_messages_change_nothing() {
    let mut bench = Bench::new(settings(5, 2), asha(3, false));
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.leave(0);
    bench.slot(2, 0);
    assert_eq!(bench.trial(0).attempts, 2, "handed out again");
    let before = bench.experiment.results();
    assert!(bench.report(0, 0, 1, 1, 0.9).is_empty(), "the first attempt's slot has gone");
    assert!(bench.report(2, 0, 1, 1, 0.9).is_empty(), "the attempt is stale");
    assert!(bench.report(1, 0, 2, 1, 0.9).is_empty(), "another slot has the trial");
    assert!(bench.ended(2, 0, 1, Outcome::Finished).is_empty());
    assert!(bench.ended(2, 77, 1, Outcome::Finished).is_empty());
    assert_eq!(bench.experiment.results(), before);
    assert_eq!(bench.report(2, 0, 2, 1, 0.9).len(), 1, "a decision");
    assert!(bench.report(2, 0, 2, 1, 0.9).is_empty(), "decided once");
    assert_eq!(bench.trial(0).history.len(), 1);
}

#[test]
fn only_reports_at_rungs_are_decided_and_all_are_kept() {
    let mut bench = Bench::new(settings(5, 2), asha(3, false));
    let spec = specs(&bench.slot(0, 0))[0].1.clone();
    assert_eq!(spec.rungs, [1, 3]);
    bench.slot(1, 1);
    let verdict = |actions: &[Action]| match actions {
        [Action::Decide { slot, trial, attempt: 1, verdict, .. }] => (slot.0, *trial, *verdict),
        other => panic!("{other:?}"),
    };
    assert_eq!(verdict(&bench.report(0, 0, 1, 1, 0.5)), (0, 0, Verdict::GoOn));
    assert!(bench.report(0, 0, 1, 2, 0.6).is_empty());
    assert_eq!(verdict(&bench.report(1, 1, 1, 1, 0.4)), (1, 1, Verdict::Stop));
    bench.ended(1, 1, 1, Outcome::Stopped);
    assert_eq!(bench.state(1), TrialState::Stopped);
    assert_eq!(bench.trial(0).history.iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_trial_run_again_counts_once_at_its_rung() {
    let mut bench = Bench::new(settings(5, 1), asha(2, false));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    bench.ended(0, 0, 1, Outcome::Lost { error: "killed".into() });
    bench.report(0, 0, 2, 1, 0.9);
    bench.ended(0, 0, 2, Outcome::Finished);
    // Of two values one is kept; counted twice, 0.9 would make three, of which also one.
    bench.report(0, 1, 1, 1, 0.95);
    bench.ended(0, 1, 1, Outcome::Finished);
    bench.report(0, 2, 1, 1, 0.1);
    bench.ended(0, 2, 1, Outcome::Stopped);
    // Four values: two are kept. With 0.9 there twice the second place would be 0.9 all the same, the third not.
    let actions = bench.report(0, 3, 1, 1, 0.91);
    assert!(matches!(actions[..], [Action::Decide { verdict: Verdict::GoOn, .. }]));
}

#[test]
fn the_epochs_of_a_trial_decide_its_rungs() {
    let mut experiment = Experiment::new(settings(1, 1), rule(&asha(3, false), &settings(1, 1)));
    experiment.handle(Event::Started);
    let hparams = [("epochs".to_owned(), 30.into())].into_iter().collect();
    experiment.handle(suggested(0, hparams));
    experiment.handle(Event::SlotJoined { slot: SlotKey(0), number: 0 });
    let actions = experiment.handle(Event::SlotReady { slot: SlotKey(0) });
    assert_eq!(specs(&actions)[0].1.rungs, [1, 3, 9, 27]);
}

#[test]
fn a_trials_value_is_its_last_report_or_its_best() {
    for (select, direction, expected) in [
        (Select::Last, Direction::Max, 0.4),
        (Select::Best, Direction::Max, 0.8),
        (Select::Best, Direction::Min, 0.2),
    ] {
        let objective = Objective { metric: "m".into(), direction, select, further: Vec::new() };
        let mut bench = Bench::new(Settings { objective, ..settings(1, 1) }, Stopping::None);
        bench.slot(0, 0);
        for (epoch, value) in (1..).zip([f64::NAN, 0.2, 0.8, 0.4]) {
            bench.report(0, 0, 1, epoch, value);
        }
        assert_eq!(bench.trial(0).value, Some(expected));
        assert_eq!(bench.trial(0).metrics["m"], expected);
        assert_eq!(bench.trial(0).epochs, 4);
    }
}

#[test]
fn the_best_is_the_best_value_and_among_equals_the_lowest_number() {
    let mut bench = Bench::plain(6, 3);
    for slot in 0..3 {
        bench.slot(u64::from(slot), slot);
    }
    let new_best = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::NewBest { trial, superseded } => Some((*trial, *superseded)),
            _ => None,
        })
    };
    assert_eq!(new_best(&bench.finish(1, 1, f64::NAN)), None, "NaN is no best");
    let actions = bench.finish(2, 2, 0.5);
    assert_eq!(new_best(&actions), Some((2, None)));
    assert_eq!(specs(&actions)[0].1.best_so_far, Some(0.5));
    assert_eq!(new_best(&bench.finish(0, 0, 0.5)), Some((0, Some(2))), "the lower number");
    assert_eq!(new_best(&bench.finish(1, 3, 0.4)), None);
    assert_eq!(new_best(&bench.finish(2, 4, 0.6)), Some((4, Some(0))));
    assert_eq!(bench.experiment.progress().best_trial, Some(4));
    bench.report(0, 5, 1, 1, 0.9);
    bench.ended(0, 5, 1, failed("boom"));
    assert_eq!(bench.experiment.best(), Some(4), "a failed trial is not the best");
}
