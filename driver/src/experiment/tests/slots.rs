use super::*;

#[test]
fn a_slot_gets_trials_only_when_ready_and_one_at_a_time() {
    let mut bench = Bench::plain(5, 1);
    assert!(assigned(&bench.handle(Event::SlotJoined { slot: SlotKey(0), number: 0 })).is_empty());
    assert_eq!(assigned(&bench.handle(Event::SlotReady { slot: SlotKey(0) })), [(0, 0, 1)]);
    assert!(bench.handle(Event::SlotReady { slot: SlotKey(0) }).is_empty(), "a repeated ready frees nothing");
}

#[test]
fn the_same_slot_on_a_new_connection_replaces_the_old_one() {
    let mut bench = Bench::plain(5, 1);
    bench.slot(0, 7);
    let actions = bench.slot(1, 7);
    assert!(actions.contains(&Action::Release { slot: SlotKey(0) }));
    assert_eq!(assigned(&actions), [(1, 0, 2)]);
    assert!(bench.leave(0).is_empty(), "the old connection's end is old news");
    assert_eq!(bench.experiment.progress().slots, 1);
}

#[test]
fn a_slot_that_fails_alone_leaves_and_its_trial_is_run_elsewhere() {
    let mut bench = Bench::plain(5, 2);
    bench.slot(0, 0);
    bench.slot(1, 1);
    let event = Event::SlotFailed { slot: SlotKey(0), error: "no GPU".into(), fatal: false };
    let actions = bench.handle(event);
    assert!(actions.iter().any(|a| matches!(a, Action::Notice { text } if text.contains("no GPU"))));
    assert_eq!(assigned(&bench.finish(1, 1, 0.1)), [(1, 0, 2)]);
}

#[test]
fn slots_that_come_after_the_end_are_released() {
    let mut bench = Bench::plain(1, 1);
    bench.slot(0, 0);
    let actions = bench.finish(0, 0, 0.1);
    assert!(actions.contains(&Action::Release { slot: SlotKey(0) }));
    assert!(over(&actions).is_some());
    let late = bench.handle(Event::SlotJoined { slot: SlotKey(1), number: 1 });
    assert_eq!(late, [Action::Release { slot: SlotKey(1) }]);
}
