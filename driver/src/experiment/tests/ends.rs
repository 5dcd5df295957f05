use super::*;
use lethe_flight::message::experiment::End;
use lethe_flight::message::training::Verdict;

fn cancelled() -> End {
    End::Cancelled { reason: "Ctrl-C".into() }
}

fn cancel(bench: &mut Bench) -> Vec<Action> {
    bench.handle(Event::Cancel { reason: "Ctrl-C".into() })
}

#[test]
fn a_search_is_complete_when_all_its_trials_have_ended() {
    let mut bench = Bench::plain(3, 1);
    bench.slot(0, 0);
    for trial in 0..2 {
        assert_eq!(over(&bench.finish(0, trial, 0.1)), None);
    }
    let actions = bench.finish(0, 2, 0.2);
    assert_eq!(actions.last(), Some(&Action::Over { end: End::Completed }));
    assert_eq!(bench.experiment.end(), Some(&End::Completed));
}

#[test]
fn a_cancelled_search_stops_what_runs_and_waits_for_its_last_words() {
    let mut bench = Bench::plain(9, 3);
    for slot in 0..3 {
        bench.slot(u64::from(slot), slot);
    }
    bench.handle(Event::SlotJoined { slot: SlotKey(3), number: 3 });
    bench.report(0, 0, 1, 1, 0.3);
    let actions = cancel(&mut bench);
    let stops = actions.iter().filter(|a| matches!(a, Action::Stop { .. })).count();
    assert_eq!(stops, 3);
    assert!(actions.contains(&Action::Release { slot: SlotKey(3) }), "it runs nothing");
    assert!(actions.contains(&Action::StartDrainTimer));
    assert_eq!(over(&actions), None);
    let actions = bench.ended(0, 0, 1, Outcome::Stopped);
    assert!(actions.contains(&Action::Release { slot: SlotKey(0) }));
    bench.finish(1, 1, 0.5);
    let actions = bench.ended(2, 2, 1, failed("boom"));
    assert_eq!(over(&actions), Some(&cancelled()));
    assert_eq!((bench.state(0), bench.trial(0).value), (TrialState::Cancelled, Some(0.3)));
    assert_eq!((bench.state(1), bench.state(2)), (TrialState::Finished, TrialState::Failed));
    assert_eq!((bench.state(3), bench.trial(3).attempts), (TrialState::Cancelled, 0));
    assert_eq!(bench.experiment.best(), Some(1));
}

#[test]
fn a_worker_that_does_not_stop_delays_the_end_only_until_the_timer() {
    let mut bench = Bench::plain(9, 1);
    bench.slot(0, 0);
    cancel(&mut bench);
    let actions = bench.handle(Event::DrainExpired);
    assert!(actions.contains(&Action::Release { slot: SlotKey(0) }));
    assert_eq!(over(&actions), Some(&cancelled()));
    assert!(bench.ended(0, 0, 1, Outcome::Finished).is_empty(), "too late");
    assert_eq!(bench.state(0), TrialState::Cancelled);
    assert!(cancel(&mut bench).is_empty(), "over once");
}

#[test]
fn a_rung_reached_while_the_search_is_cancelled_ends_the_trial() {
    let mut bench = Bench::new(settings(9, 1), asha(3, false));
    bench.slot(0, 0);
    cancel(&mut bench);
    assert!(matches!(bench.report(0, 0, 1, 1, 0.9)[..], [Action::Decide { verdict: Verdict::Stop, .. }]));
    bench.ended(0, 0, 1, Outcome::Stopped);
    assert_eq!(bench.state(0), TrialState::Cancelled);
}

#[test]
fn a_search_without_slots_can_be_cancelled() {
    let mut bench = Bench::plain(9, 1);
    assert_eq!(over(&cancel(&mut bench)), Some(&cancelled()));
}

#[test]
fn a_slot_lost_in_the_drain_ends_its_trial() {
    let mut bench = Bench::plain(9, 1);
    bench.slot(0, 0);
    cancel(&mut bench);
    assert_eq!(over(&bench.leave(0)), Some(&cancelled()));
}

#[test]
fn a_fatal_slot_failure_aborts_with_its_error() {
    let mut bench = Bench::plain(9, 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    let error = "column pixels holds a null in row 3".to_owned();
    bench.handle(Event::SlotFailed { slot: SlotKey(0), error: error.clone(), fatal: true });
    let actions = bench.ended(1, 1, 1, Outcome::Stopped);
    assert_eq!(over(&actions), Some(&End::Aborted { error }));
}

#[test]
fn five_failures_first_of_all_abort_and_quote_the_first() {
    let mut bench = Bench::plain(9, 1);
    bench.slot(0, 0);
    for trial in 0..4 {
        bench.ended(0, trial, 1, failed(&format!("RuntimeError: shapes {trial}\nat line 3")));
    }
    assert_eq!(bench.experiment.end(), None);
    let actions = bench.ended(0, 4, 1, failed("RuntimeError: shapes 4"));
    let Some(End::Aborted { error }) = over(&actions) else { panic!("{actions:?}") };
    let first = error.lines().next().unwrap();
    assert!(
        first.contains("first 5 trials all failed") && first.contains("RuntimeError: shapes 0"),
        "{first}"
    );
    assert!(error.contains("at line 3"));
}

#[test]
fn losses_that_are_no_numbers_do_not_abort() {
    let mut bench = Bench::plain(9, 1);
    bench.slot(0, 0);
    for trial in 0..3 {
        bench.ended(0, trial, 1, failed("the loss is NaN at step 12 of epoch 1"));
    }
    for trial in 3..6 {
        bench.ended(0, trial, 1, failed("the loss is not finite at step 1"));
    }
    for trial in 6..8 {
        bench.ended(0, trial, 1, failed("RuntimeError"));
    }
    assert_eq!(bench.experiment.end(), None);
    bench.finish(0, 8, 0.1);
    assert_eq!(bench.experiment.end(), Some(&End::Completed));
}

#[test]
fn one_success_among_the_first_five_keeps_the_search_going() {
    let mut bench = Bench::plain(9, 1);
    bench.slot(0, 0);
    bench.finish(0, 0, 0.1);
    for trial in 1..8 {
        bench.ended(0, trial, 1, failed("RuntimeError"));
    }
    assert_eq!(bench.experiment.end(), None);
}

#[test]
fn a_small_search_of_failures_completes_without_a_best() {
    let mut bench = Bench::plain(3, 1);
    bench.slot(0, 0);
    for trial in 0..3 {
        bench.ended(0, trial, 1, failed("RuntimeError"));
    }
    assert_eq!((bench.experiment.end(), bench.experiment.best()), (Some(&End::Completed), None));
}
