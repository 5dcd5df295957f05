use lethe_flight::message::experiment::Listed;
use lethe_flight::message::gang::Workers;

use super::*;

/// Trials that take so many slots each, in this order.
fn bench(workers: &[u32], slots: u32) -> Bench {
    elastic(&workers.iter().map(|&workers| Workers::exactly(workers)).collect::<Vec<_>>(), slots)
}

fn elastic(workers: &[Workers], slots: u32) -> Bench {
    let mut settings = settings(workers.len() as u32, slots);
    for (replicate, &workers) in (0..).zip(workers) {
        let (name, hparams) = (String::new(), Hparams::new());
        settings.listed.push(Listed { name, hparams, replicate, data: None, without: Vec::new(), workers });
    }
    Bench::new(settings, Stopping::None)
}

fn ranks(actions: &[Action]) -> Vec<(u64, u32, u32, u32)> {
    let rank = |(slot, spec): (u64, TrialSpec)| {
        let gang = spec.gang.unwrap();
        (slot, spec.trial, gang.rank, gang.world)
    };
    specs(actions).into_iter().map(rank).collect()
}

fn stopped(actions: &[Action]) -> Vec<u64> {
    let slot = |action: &Action| match action {
        Action::Stop { slot, .. } => Some(slot.0),
        _ => None,
    };
    actions.iter().filter_map(slot).collect()
}

fn notices(actions: &[Action]) -> Vec<&str> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::Notice { text } = action {
            found.push(text.as_str());
        }
    }
    found
}

#[test]
fn a_gang_waits_until_it_is_whole_and_gets_its_ranks_at_once() {
    let mut bench = bench(&[3], 3);
    let first = bench.slot(0, 0);
    assert_eq!(first, [Action::StartGatherTimer { trial: 0, attempt: 1, short: true }]);
    let time_up = Event::GatherTimeUp { trial: 0, attempt: 1 };
    assert_eq!(notices(&bench.handle(time_up)), ["trial 0 waits for 3 slots at once: 1 is free"]);
    assert!(bench.slot(1, 1).is_empty(), "it is said once");
    assert_eq!(ranks(&bench.slot(2, 2)), [(0, 0, 0, 3), (1, 0, 1, 3), (2, 0, 2, 3)]);
}

#[test]
fn slots_are_kept_for_the_gang_that_waits() {
    // One trial of one slot runs; the gang after it is not overtaken by the next ones.
    let mut bench = bench(&[1, 2, 1, 1], 2);
    assert_eq!(assigned(&bench.slot(0, 0)), [(0, 0, 1)]);
    assert!(assigned(&bench.slot(1, 1)).is_empty());
    assert_eq!(ranks(&bench.finish(0, 0, 0.5)), [(0, 1, 0, 2), (1, 1, 1, 2)]);
    assert_eq!(assigned(&bench.finish(0, 1, 0.5)), [(0, 2, 1)]);
}

#[test]
fn what_was_lost_does_not_overtake_the_gang_that_waits() {
    let mut bench = bench(&[1, 2], 2);
    assert_eq!(assigned(&bench.slot(0, 0)), [(0, 0, 1)]);
    assert!(assigned(&bench.slot(1, 1)).is_empty());
    // Lost trials are the first of those that are ready.
    assert!(assigned(&bench.leave(0)).is_empty());
    assert_eq!(bench.state(0), TrialState::Waiting);
    assert_eq!(ranks(&bench.slot(2, 0)), [(1, 1, 0, 2), (2, 1, 1, 2)]);
    assert_eq!(assigned(&bench.finish(1, 1, 0.5)), [(1, 0, 2)]);
}

#[test]
fn rank_0_speaks_for_all_and_the_others_follow_it() {
    let mut bench = bench(&[2, 1, 1], 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    assert!(bench.report(1, 0, 1, 1, 0.9).is_empty(), "what another rank reports is nobody's");
    bench.report(0, 0, 1, 1, 0.3);
    let actions = bench.ended(0, 0, 1, Outcome::Finished);
    assert_eq!(stopped(&actions), [1]);
    assert_eq!(bench.state(0), TrialState::Finished);
    assert_eq!(bench.trial(0).value, Some(0.3));
    assert_eq!(assigned(&actions), [(0, 1, 1)], "the other slot is at work still");
    assert_eq!(assigned(&bench.ended(1, 0, 1, Outcome::Stopped)), [(1, 2, 1)]);
}

#[test]
fn a_rank_that_is_lost_takes_its_gang_with_it_once() {
    let mut bench = bench(&[2], 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    let actions = bench.leave(1);
    assert_eq!(stopped(&actions), [0]);
    assert_eq!(bench.state(0), TrialState::Waiting);
    // The other rank is lost too: the trial's loss has been counted.
    assert!(notices(&bench.leave(0)).is_empty());
    bench.slot(2, 0);
    assert_eq!(ranks(&bench.slot(3, 1)), [(2, 0, 0, 2), (3, 0, 1, 2)]);
    assert_eq!(bench.trial(0).attempts, 2);
    // A message of the former gang's is old news.
    assert!(bench.ended(0, 0, 1, failed("late")).is_empty());
    assert_eq!(bench.state(0), TrialState::Running);
}

#[test]
fn an_exception_on_any_rank_is_the_trials() {
    let mut bench = bench(&[2], 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    let actions = bench.ended(1, 0, 1, failed("ValueError: no"));
    assert_eq!(stopped(&actions), [0]);
    assert_eq!(bench.trial(0).error.as_deref(), Some("ValueError: no"));
    assert!(over(&actions).is_none(), "the other rank is to say that it has ended");
    assert!(over(&bench.ended(0, 0, 1, Outcome::Stopped)).is_some());
}

#[test]
fn a_gang_that_cannot_become_whole_gives_up_and_says_how_many_came() {
    let mut bench = bench(&[3], 3);
    let waits = bench.slot(0, 0);
    assert!(waits.contains(&Action::StartGatherTimer { trial: 0, attempt: 1, short: true }));
    bench.slot(1, 1);
    let actions = bench.handle(Event::GatherTimeUp { trial: 0, attempt: 1 });
    assert!(actions.contains(&Action::StartGatherTimer { trial: 0, attempt: 1, short: false }));
    bench.handle(Event::GatherTimeUp { trial: 0, attempt: 1 });
    let error = bench.trial(0).error.unwrap();
    assert!(error.starts_with("trial 0 needs 3 slots at once, and 2 came in time: "), "{error}");
}

#[test]
fn an_elastic_gang_takes_what_is_there_after_a_while() {
    let mut bench = elastic(&[Workers { least: 2, most: 4 }], 4);
    let first = bench.slot(0, 0);
    assert!(first.contains(&Action::StartGatherTimer { trial: 0, attempt: 1, short: true }));
    // One is too few: it waits on, and begins with the next.
    let actions = bench.handle(Event::GatherTimeUp { trial: 0, attempt: 1 });
    assert_eq!(notices(&actions), ["trial 0 waits for 2 to 4 slots at once: 1 is free"]);
    assert!(actions.contains(&Action::StartGatherTimer { trial: 0, attempt: 1, short: false }));
    assert_eq!(ranks(&bench.slot(1, 1)), [(0, 0, 0, 2), (1, 0, 1, 2)]);
    // Two more are there when it is lost: it goes on with all but the lost one, after the short while.
    bench.slot(2, 2);
    bench.slot(3, 3);
    let actions = bench.leave(1);
    assert_eq!(stopped(&actions), [0]);
    assert!(actions.contains(&Action::StartGatherTimer { trial: 0, attempt: 2, short: true }));
    bench.ended(0, 0, 1, Outcome::Stopped);
    let actions = bench.handle(Event::GatherTimeUp { trial: 0, attempt: 2 });
    assert_eq!(ranks(&actions), [(0, 0, 0, 3), (2, 0, 1, 3), (3, 0, 2, 3)]);
}

#[test]
fn an_elastic_gang_does_not_wait_where_all_expected_slots_are_free() {
    let mut bench = elastic(&[Workers { least: 1, most: 4 }, Workers { least: 1, most: 2 }], 3);
    bench.slot(0, 0);
    bench.slot(1, 1);
    assert_eq!(ranks(&bench.slot(2, 2)), [(0, 0, 0, 3), (1, 0, 1, 3), (2, 0, 2, 3)]);
    let mut bench = elastic(&[Workers { least: 1, most: 4 }], 1);
    let actions = bench.slot(0, 0);
    assert_eq!(assigned(&actions), [(0, 0, 1)]);
    assert_eq!(specs(&actions)[0].1.gang, None, "alone it is no gang");
}

#[test]
fn a_gang_waits_for_slots_that_prepare_their_data() {
    let mut bench = elastic(&[Workers { least: 1, most: 3 }], 3);
    bench.slot(0, 0);
    bench.handle(Event::SlotJoined { slot: SlotKey(1), number: 1 });
    for _ in 0..3 {
        let actions = bench.handle(Event::GatherTimeUp { trial: 0, attempt: 1 });
        assert_eq!(actions, [Action::StartGatherTimer { trial: 0, attempt: 1, short: true }]);
    }
    bench.handle(Event::SlotReady { slot: SlotKey(1) });
    let actions = bench.handle(Event::GatherTimeUp { trial: 0, attempt: 1 });
    assert_eq!(ranks(&actions), [(0, 0, 0, 2), (1, 0, 1, 2)]);
}

#[test]
fn a_gang_whose_slots_are_at_work_waits_on() {
    let mut bench = bench(&[1, 2], 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.handle(Event::GatherTimeUp { trial: 1, attempt: 1 });
    let actions = bench.handle(Event::GatherTimeUp { trial: 1, attempt: 1 });
    assert_eq!(actions, [Action::StartGatherTimer { trial: 1, attempt: 1, short: false }]);
    assert_eq!(ranks(&bench.finish(0, 0, 0.5)).len(), 2);
}

#[test]
fn trials_of_one_replicate_have_its_seed() {
    let mut settings = settings(3, 1);
    for replicate in [0, 0, 1] {
        let (name, hparams) = (String::new(), Hparams::new());
        settings.listed.push(Listed {
            name,
            hparams,
            replicate,
            data: None,
            without: Vec::new(),
            workers: Workers::ONE,
        });
    }
    let seeds: Vec<u64> = (0..3).map(|trial| settings.seed_of(trial)).collect();
    assert_eq!((seeds[0], seeds[2]), (seeds[1], crate::experiment::trial_seed(settings.seed, 1)));
    assert_eq!(seeds[0], crate::experiment::trial_seed(settings.seed, 0), "as a search's first trial");
}

#[test]
fn lost_data_cost_no_retry_and_hold_the_gang_until_they_are_back() {
    let mut bench = elastic(&[Workers { least: 1, most: 3 }], 3);
    bench.slot(0, 0);
    bench.slot(1, 1);
    let mut begun = bench.slot(2, 2);
    let limit = settings(1, 3).retries.infrastructure;
    for attempt in 1..=limit + 2 {
        let last = 1 + u64::from(attempt);
        assert_eq!(ranks(&begun), [(0, 0, 0, 3), (1, 0, 1, 3), (last, 0, 2, 3)]);
        let actions = bench.handle(Event::SlotLacks { slot: SlotKey(last), partitions: 2 });
        assert_eq!(stopped(&actions), [0, 1]);
        let expected =
            format!("trial 0 is run again (attempt {}): 2 partitions of its data are lost", attempt + 1);
        assert_eq!(notices(&actions), [expected]);
        for slot in [0, 1] {
            assert!(assigned(&bench.ended(slot, 0, attempt, Outcome::Stopped)).is_empty());
        }
        // Two slots would do for it, without these data.
        for _ in 0..4 {
            let time_up = Event::GatherTimeUp { trial: 0, attempt: attempt + 1 };
            assert!(matches!(bench.handle(time_up)[..], [Action::StartGatherTimer { short: false, .. }]));
        }
        begun = bench.slot(last + 1, 2);
    }
    assert_eq!(bench.experiment.state.trial(0).unwrap().losses, 0);
}

#[test]
fn slots_whose_data_stay_lost_are_not_waited_for_without_end() {
    let mut bench = elastic(&[Workers { least: 2, most: 3 }], 3);
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.slot(2, 2);
    bench.handle(Event::SlotLacks { slot: SlotKey(2), partitions: 1 });
    bench.ended(0, 0, 1, Outcome::Stopped);
    bench.ended(1, 0, 1, Outcome::Stopped);
    let time_up = || Event::GatherTimeUp { trial: 0, attempt: 2 };
    let rounds = (0..100).take_while(|_| ranks(&bench.handle(time_up())).is_empty()).count();
    assert!((1..100).contains(&rounds), "{rounds}");
}
