use lethe_flight::message::training::{CheckpointRef, Verdict};

use super::*;

fn promoted(actions: &[Action]) -> Vec<u32> {
    let promoted = |action: &Action| match action {
        Action::Promoted { trial, .. } => Some(*trial),
        _ => None,
    };
    actions.iter().filter_map(promoted).collect()
}

fn verdict(actions: &[Action]) -> Verdict {
    let verdict = |action: &Action| match action {
        Action::Decide { verdict, .. } => Some(*verdict),
        _ => None,
    };
    actions.iter().find_map(verdict).unwrap()
}

fn checkpoint(trial: u32, attempt: u32, epoch: u32) -> CheckpointRef {
    CheckpointRef { trial, attempt, epoch }
}

fn drops(actions: &[Action], dropped: CheckpointRef) -> bool {
    actions.contains(&Action::DropCheckpoint { checkpoint: dropped })
}

fn pbt(slots: u32, trials: u32) -> Bench {
    let parameters = vec!["x".into()];
    let stopping = Stopping::Pbt { every: 2, quantile: 0.5, resample: 0.0, parameters };
    let mut bench = Bench::new(settings(trials, slots), stopping);
    (0..slots).for_each(|slot| _ = bench.slot(u64::from(slot), slot));
    bench
}

#[test]
fn a_paused_trial_goes_on_from_its_checkpoint_on_whichever_slot_is_free() {
    let mut bench = Bench::new(settings(4, 2), asha(2, true));
    bench.slot(0, 0);
    bench.slot(1, 1);
    assert_eq!(verdict(&bench.report(0, 0, 1, 1, 0.9)), Verdict::Pause);
    let actions = bench.pause(0, 0, 1, 1);
    assert!(actions.contains(&Action::Paused { trial: 0 }));
    assert_eq!(assigned(&actions), [(0, 2, 1)], "its slot goes on with another trial");
    assert_eq!(bench.state(0), TrialState::Paused);
    assert_eq!(verdict(&bench.report(1, 1, 1, 1, 0.1)), Verdict::Pause);
    let actions = bench.pause(1, 1, 1, 1);
    assert_eq!(promoted(&actions), [0]);
    let (slot, spec) = specs(&actions)[0].clone();
    assert_eq!((slot, spec.trial, spec.attempt), (1, 0, 2), "before trial 3, which has not begun");
    assert_eq!(spec.checkpoint, Some(checkpoint(0, 1, 1)));
    bench.report(1, 0, 2, 2, 0.95);
    assert_eq!(bench.trial(0).history.len(), 2, "what was reported before the pause still counts");
}

#[test]
fn a_promotion_that_comes_before_the_pause_is_complete_waits_for_it() {
    let mut bench = Bench::new(settings(4, 3), asha(2, true));
    (0..3).for_each(|slot| _ = bench.slot(u64::from(slot), slot));
    bench.report(0, 0, 1, 1, 0.9);
    bench.report(1, 1, 1, 1, 0.1);
    let actions = bench.pause(1, 1, 1, 1);
    assert_eq!(promoted(&actions), [0], "it is still saving");
    assert_eq!(assigned(&actions), [(1, 3, 1)], "meanwhile the slot takes a new trial");
    let actions = bench.pause(0, 0, 1, 1);
    assert_eq!(specs(&actions)[0].1.checkpoint, Some(checkpoint(0, 1, 1)));
    assert_eq!(assigned(&actions), [(0, 0, 2)]);
}

#[test]
fn a_pause_that_is_lost_is_run_again_and_reports_again() {
    let mut bench = Bench::new(settings(2, 2), asha(2, true));
    bench.slot(0, 0);
    bench.slot(1, 1);
    bench.report(0, 0, 1, 1, 0.9);
    bench.leave(0);
    bench.report(1, 1, 1, 1, 0.1);
    let actions = bench.pause(1, 1, 1, 1);
    assert!(promoted(&actions).is_empty(), "trial 0 is not paused");
    assert_eq!(assigned(&actions), [(1, 0, 2)]);
    assert_eq!(specs(&actions)[0].1.checkpoint, None);
    assert_eq!(verdict(&bench.report(1, 0, 2, 1, 0.9)), Verdict::GoOn, "the best of two");
}

#[test]
fn an_attempt_that_pauses_without_a_checkpoint_counts_as_lost() {
    let mut bench = Bench::new(settings(2, 1), asha(2, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    assert_eq!(assigned(&bench.ended(0, 0, 1, Outcome::Paused)), [(0, 0, 2)]);
}

#[test]
fn a_trial_whose_time_is_up_while_it_pauses_has_stopped() {
    let mut bench = Bench::new(settings(2, 1), asha(2, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    bench.handle(Event::TrialTimeUp { trial: 0, attempt: 1 });
    let actions = bench.pause(0, 0, 1, 1);
    assert!(drops(&actions, checkpoint(0, 1, 1)));
    assert_eq!(bench.state(0), TrialState::Stopped);
}

#[test]
fn a_checkpoint_is_dropped_when_the_next_is_there_and_when_the_trial_ends() {
    let mut bench = Bench::plain(2, 1);
    bench.slot(0, 0);
    let save = |epoch| Event::Checkpointed { slot: SlotKey(0), trial: 0, attempt: 1, epoch };
    assert!(bench.handle(save(1)).is_empty());
    assert!(drops(&bench.handle(save(3)), checkpoint(0, 1, 1)));
    assert!(drops(&bench.handle(save(2)), checkpoint(0, 1, 2)), "late: the one after epoch 3 is kept");
    let stale = Event::Checkpointed { slot: SlotKey(7), trial: 0, attempt: 1, epoch: 4 };
    assert!(drops(&bench.handle(stale), checkpoint(0, 1, 4)), "of an attempt that was given up");
    assert!(drops(&bench.ended(0, 0, 1, Outcome::Finished), checkpoint(0, 1, 3)));
}

#[test]
fn a_donors_checkpoint_is_kept_until_nobody_begins_from_it() {
    let mut bench = pbt(1, 2);
    bench.report(0, 0, 1, 2, 0.9);
    bench.pause(0, 0, 1, 2);
    bench.report(0, 1, 1, 2, 0.1);
    // Trial 0, with the lower number of two that are as far, goes on; then 1, from the checkpoint of 0.
    assert_eq!(assigned(&bench.pause(0, 1, 1, 2)), [(0, 0, 2)]);
    bench.report(0, 0, 2, 4, 0.95);
    let actions = bench.pause(0, 0, 2, 4);
    assert!(drops(&actions, checkpoint(0, 1, 2)), "nobody has begun from it");
    assert!(drops(&actions, checkpoint(1, 1, 2)), "trial 1 goes on from another's");
    let spec = specs(&actions)[0].1.clone();
    assert_eq!((spec.trial, spec.checkpoint), (1, Some(checkpoint(0, 2, 4))));
    let x = spec.hparams["x"].as_f64().unwrap();
    assert!(x == 0.0, "perturbed from the donor's, which is 0: {x}");
    // The donor ends; its checkpoint stays, because the borrower may be lost and begin from it again.
    let (again, actions) =
        (checkpoint(0, 2, 4), bench.ended(0, 1, 2, Outcome::Lost { error: "killed".into() }));
    assert_eq!(specs(&actions)[0].1.checkpoint, Some(again));
    bench.report(0, 1, 3, 6, 0.5);
    let actions = bench.pause(0, 1, 3, 6);
    assert!(!drops(&actions, again), "trial 0 itself is paused there");
    assert_eq!(assigned(&actions), [(0, 0, 3)]);
    assert!(drops(&bench.ended(0, 0, 3, Outcome::Finished), again));
}

#[test]
fn a_trial_waits_for_a_donor_that_is_saving() {
    let mut bench = pbt(2, 2);
    bench.report(0, 0, 1, 2, 0.1);
    bench.report(1, 1, 1, 2, 0.9);
    let actions = bench.pause(0, 0, 1, 2);
    assert_eq!((promoted(&actions), assigned(&actions)), (vec![0], vec![]), "from what trial 1 is saving");
    assert_eq!(bench.state(0), TrialState::Paused);
    let specs = specs(&bench.pause(1, 1, 1, 2));
    let from: Vec<_> = specs.iter().map(|(_, spec)| (spec.trial, spec.checkpoint)).collect();
    assert_eq!(from, [(0, Some(checkpoint(1, 1, 2))), (1, Some(checkpoint(1, 1, 2)))]);
}

#[test]
fn a_donor_that_is_lost_while_it_saves_holds_nobody_up() {
    let mut bench = pbt(2, 2);
    bench.report(0, 0, 1, 2, 0.1);
    bench.report(1, 1, 1, 2, 0.9);
    bench.pause(0, 0, 1, 2);
    let actions = bench.leave(1);
    assert_eq!(assigned(&actions), [(0, 1, 2)], "lost trials go first");
    let actions = bench.slot(2, 1);
    assert_eq!(specs(&actions)[0].1.checkpoint, Some(checkpoint(0, 1, 2)), "its own");
}

#[test]
fn paused_trials_count_as_stopped_at_the_end_and_the_best_of_them_as_the_best() {
    let mut bench = Bench::new(settings(4, 2), asha(4, true));
    bench.slot(0, 0);
    bench.report(0, 0, 1, 1, 0.9);
    bench.pause(0, 0, 1, 1);
    bench.handle(Event::TimeUp);
    assert_eq!(bench.experiment.end(), None, "trial 1 runs");
    bench.report(0, 1, 1, 1, 0.5);
    assert!(over(&bench.ended(0, 1, 1, Outcome::Stopped)).is_some());
    assert_eq!((bench.state(0), bench.state(1)), (TrialState::Stopped, TrialState::Stopped));
    assert_eq!(bench.experiment.best(), Some(0));
    assert!(bench.experiment.checkpoints().contains(&checkpoint(0, 1, 1)), "it may be extended");
}
