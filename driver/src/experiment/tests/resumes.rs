use lethe_flight::message::experiment::End;
use lethe_flight::message::training::{CheckpointRef, Verdict};

use super::*;

fn resume(bench: &mut Bench, settings: Settings) -> Vec<Action> {
    bench.experiment.restart(settings, None)
}

fn asks(actions: &[Action]) -> Vec<(&'static str, u32)> {
    let ask = |action: &Action| match action {
        Action::Suggest { trial, draw } => Some(("suggest", trial + 100 * draw)),
        Action::Check { trial, .. } => Some(("check", *trial)),
        Action::Prepare { trial, .. } => Some(("prepare", *trial)),
        _ => None,
    };
    actions.iter().filter_map(ask).collect()
}

#[test]
fn what_was_asked_and_not_answered_is_asked_again() {
    let settings =
        Settings { checked: true, function: with_model(), ahead: Ahead::Spare(3), ..settings(4, 1) };
    let mut experiment = Experiment::new(settings.clone(), rule(&Stopping::None, &settings));
    experiment.handle(Event::Started);
    let x = Hparams::from_iter([("x".to_owned(), 1.into())]);
    for trial in 0..3 {
        experiment.handle(suggested(trial, x.clone()));
    }
    experiment.handle(Event::Checked { trial: 0, refused: None });
    experiment.handle(Event::Checked { trial: 1, refused: Some("too wide".into()) });
    let expected = [("prepare", 0), ("suggest", 101), ("check", 2), ("suggest", 3)];
    assert_eq!(asks(&experiment.restart(settings.clone(), None)), expected);
    experiment.handle(Event::Prepared { trial: 0, program: program() });
    // A program is of the process that has gone.
    assert_eq!(asks(&experiment.restart(settings, None)), expected);
}

#[test]
fn a_suggestion_that_was_refused_leaves_no_trace() {
    let settings = Settings { checked: true, ..settings(1, 1) };
    let mut experiment = Experiment::new(settings.clone(), rule(&Stopping::None, &settings));
    experiment.handle(Event::Started);
    experiment.handle(suggested(0, Hparams::from_iter([("x".to_owned(), 1.into())])));
    experiment.handle(Event::Checked { trial: 0, refused: Some("too wide".into()) });
    assert_eq!(over(&experiment.handle(Event::Exhausted { trial: 0 })), Some(&End::Completed));
    assert!(experiment.results().is_empty());
}

#[test]
fn what_ran_goes_on_from_its_checkpoint_first_of_all_and_at_no_cost() {
    let mut bench = Bench::plain(9, 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.report(0, 0, 1, 1, 0.5);
    bench.report(1, 1, 1, 1, 0.5);
    bench.handle(Event::Checkpointed { slot: SlotKey(1), trial: 1, attempt: 1, epoch: 1 });
    bench.report(1, 1, 1, 2, 0.6);
    for attempt in 2..9 {
        assert!(over(&resume(&mut bench, settings(9, 2))).is_none());
        assert_eq!(bench.experiment.progress().slots, 0);
        let first = specs(&bench.slot(10 * u64::from(attempt), 0))[0].1.clone();
        let second = specs(&bench.slot(10 * u64::from(attempt) + 1, 1))[0].1.clone();
        assert_eq!((first.trial, first.attempt, first.checkpoint), (0, attempt, None));
        let saved = CheckpointRef { trial: 1, attempt: 1, epoch: 1 };
        assert_eq!((second.trial, second.attempt, second.checkpoint), (1, attempt, Some(saved)));
        assert_eq!(bench.trial(1).history.len(), 1, "it trains epoch 2 again");
    }
}

#[test]
fn what_was_told_to_stop_has_stopped_and_a_lost_pause_reports_again() {
    let mut bench = Bench::new(settings(9, 2), asha(3, false));
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.report(0, 0, 1, 1, 0.9);
    bench.report(1, 1, 1, 1, 0.1);
    let actions = resume(&mut bench, settings(9, 2));
    assert!(actions.contains(&Action::TrialEnded { trial: 1, state: TrialState::Stopped, error: None }));
    assert_eq!(assigned(&bench.slot(2, 0)), [(2, 0, 2)]);

    let mut bench = Bench::new(settings(2, 1), asha(2, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    resume(&mut bench, settings(2, 1));
    assert_eq!(assigned(&bench.slot(1, 0)), [(1, 0, 2)]);
    let actions = bench.report(1, 0, 2, 1, 0.9);
    assert!(matches!(actions[..], [Action::Decide { verdict: Verdict::Pause, .. }]), "{actions:?}");
}

#[test]
fn a_paused_trial_stays_paused_and_one_whose_checkpoint_is_lost_begins_anew() {
    let mut bench = Bench::new(settings(4, 1), asha(2, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    bench.pause(0, 0, 1, 1);
    resume(&mut bench, settings(4, 1));
    assert_eq!(bench.state(0), TrialState::Paused);
    let saved = CheckpointRef { trial: 0, attempt: 1, epoch: 1 };
    assert!(bench.experiment.checkpoints().contains(&saved));
    let actions = bench.handle(Event::CheckpointsLost { checkpoints: vec![saved] });
    assert_eq!(actions, [Action::DropCheckpoint { checkpoint: saved }]);
    assert_eq!(assigned(&bench.slot(1, 0)), [(1, 1, 2)]);
    bench.report(1, 1, 2, 1, 0.1);
    let again = specs(&bench.pause(1, 1, 2, 1))[0].1.clone();
    assert_eq!((again.trial, again.attempt, again.checkpoint), (0, 2, None));
    assert!(bench.trial(0).history.is_empty());
}

#[test]
fn a_promoted_trial_that_no_slot_had_taken_goes_on_after_a_resume() {
    let mut bench = Bench::new(Settings { function: with_model(), ..settings(2, 1) }, asha(2, true));
    (0..2).for_each(|trial| _ = bench.handle(Event::Prepared { trial, program: program() }));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    bench.pause(0, 0, 1, 1);
    bench.report(0, 1, 1, 1, 0.1);
    assert_eq!(assigned(&bench.pause(0, 1, 1, 1)), [(0, 0, 2)]);
    let resumed = Settings { function: with_model(), ..settings(2, 1) };
    assert_eq!(asks(&resume(&mut bench, resumed)), [("prepare", 0)]);
    bench.slot(1, 0);
    let spec = specs(&bench.handle(Event::Prepared { trial: 0, program: program() }))[0].1.clone();
    assert_eq!((spec.trial, spec.checkpoint.map(|c| c.epoch)), (0, Some(1)));
}

/// Trial 0 has finished with 0.9, alone.
fn one_finished(stopping: Stopping) -> Bench {
    let mut bench = Bench::new(Settings { ahead: Ahead::Late(0), ..settings(1, 1) }, stopping);
    let mut actions = bench.slot(0, 0);
    for epoch in 1..=9 {
        let attempt = bench.trial(0).attempts;
        actions.extend(bench.report(0, 0, attempt, epoch, 0.9));
    }
    bench.ended(0, 0, 1, Outcome::Finished);
    assert!(bench.experiment.has_completed());
    bench
}

#[test]
fn an_extended_search_has_a_rule_that_knows_of_the_further_trials() {
    let mut bench = one_finished(asha(3, true));
    let more = Settings { ahead: Ahead::Late(0), ..settings(9, 1) };
    let actions = bench.experiment.restart(more, None);
    assert_eq!(asks(&actions), [("suggest", 1)], "as late as can be");
    bench.handle(suggested(1, Hparams::new()));
    bench.slot(1, 0);
    // Of the two values at the rung it is the worse, and seven trials are still to come.
    assert!(matches!(bench.report(1, 1, 1, 1, 0.1)[..], [Action::Decide { verdict: Verdict::Pause, .. }]));
}

/// Trials 0 to 2 are paused after their first epoch, with 0.1, 0.2 and 0.3; no slot is there.
fn three_paused() -> Bench {
    let mut bench = Bench::new(settings(9, 1), asha(4, true));
    bench.slot(0, 0);
    for trial in 0..3 {
        bench.report(0, trial, 1, 1, 0.1 * f64::from(trial + 1));
        bench.pause(0, trial, 1, 1);
    }
    bench
}

#[test]
fn a_paused_trial_does_what_another_rule_says() {
    let waits = |bench: &Bench| (0..3).map(|trial| bench.state(trial)).collect::<Vec<_>>();
    // Without a rule, or under one that does not look at this epoch, all three go on.
    for stopping in [Stopping::None, Stopping::Threshold { bound: 0.0, min_epochs: 5 }] {
        let mut bench = three_paused();
        let rule = rule(&stopping, &settings(9, 1));
        let promoted = bench.experiment.restart(settings(9, 1), Some(rule));
        let promoted = promoted.iter().filter(|a| matches!(a, Action::Promoted { .. })).count();
        assert_eq!((promoted, waits(&bench)), (3, vec![TrialState::Waiting; 3]), "{stopping:?}");
        let order: Vec<_> = (0..3).map(|slot| assigned(&bench.slot(10 + slot, slot as u32))[0].1).collect();
        assert_eq!(order[..2], [3, 0], "what ran goes first, then what was promoted");
    }
    // One that stops them, and one that keeps all but the best paused.
    let mut bench = three_paused();
    let threshold = Stopping::Threshold { bound: 0.15, min_epochs: 1 };
    let threshold = rule(&threshold, &settings(9, 1));
    bench.experiment.restart(settings(9, 1), Some(threshold));
    assert_eq!(waits(&bench), [TrialState::Stopped, TrialState::Waiting, TrialState::Waiting]);
    assert!(bench.trial(0).why.unwrap().contains("0.15"), "it says why");
    let mut bench = three_paused();
    let halving = rule(&asha(3, true), &settings(9, 1));
    bench.experiment.restart(settings(9, 1), Some(halving));
    assert_eq!(waits(&bench), [TrialState::Paused, TrialState::Paused, TrialState::Waiting]);
}

#[test]
fn a_rule_that_is_made_anew_looks_in_the_new_direction() {
    let mut bench = three_paused();
    let objective = Objective { direction: Direction::Min, ..settings(9, 1).objective };
    let other = Settings { objective, ..settings(9, 1) };
    bench.experiment.restart(other.clone(), Some(rule(&asha(3, true), &other)));
    assert_eq!(bench.state(2), TrialState::Paused);
    let first = assigned(&bench.slot(10, 0))[0].1;
    assert_eq!(first, 3, "it ran");
    assert_eq!(assigned(&bench.slot(11, 1))[0].1, 0, "of the three the smallest value");
}

#[test]
fn a_finished_search_is_extended_by_more_trials() {
    let mut bench = Bench::new(settings(2, 1), asha(2, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.0);
    bench.pause(0, 0, 1, 1);
    bench.report(0, 1, 1, 1, 1.0);
    let actions = bench.ended(0, 1, 1, Outcome::Finished);
    assert_eq!(assigned(&actions), [(0, 0, 2)], "the last one standing");
    bench.ended(0, 0, 2, Outcome::Finished);
    assert!(bench.experiment.has_completed());
    let more = settings(5, 1);
    let actions = bench.experiment.restart(more.clone(), Some(rule(&asha(2, true), &more)));
    assert_eq!(asks(&actions), [("suggest", 2), ("suggest", 3), ("suggest", 4)]);
    assert_eq!((bench.state(0), bench.state(1)), (TrialState::Finished, TrialState::Finished));
    assert_eq!(bench.experiment.best(), Some(1));
    for trial in 2..5 {
        bench.handle(suggested(trial, Hparams::new()));
    }
    assert_eq!(assigned(&bench.slot(5, 0)), [(5, 2, 1)]);
    // The new rule knows the rung's two values: 0.5 is the second of three.
    assert!(matches!(bench.report(5, 2, 1, 1, 0.5)[..], [Action::Decide { verdict: Verdict::Pause, .. }]));
}
