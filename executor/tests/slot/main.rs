//! A slot between a driver and a worker process: checkpoints that travel, and a worker that does not stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod bench;
mod worker;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lethe_flight::message::slot::{FromSlot, ToSlot};
use lethe_flight::message::training::{CheckpointRef, Outcome, Timing, Verdict};
use lethe_flight::tensors;

use bench::{Bench, HUNG, PATIENCE, STOP, checkpointed, lost, outcome, report};
use worker::tensor;

#[tokio::test]
async fn a_checkpoint_has_arrived_before_its_pause_is_said_and_goes_to_the_next_attempt() {
    let mut bench = Bench::start(9).await;
    bench.assign(3, "pauses", None).await;
    assert_eq!(bench.next().await, report(3, 2));
    bench.decide(3, Verdict::Pause).await;
    assert_eq!(bench.next().await, checkpointed(3, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Paused);
    let checkpoint = CheckpointRef { trial: 3, attempt: 1, epoch: 2 };
    assert_eq!(tensors::read_file(&bench.driver.file(&checkpoint)).unwrap(), [tensor(2)]);
    // Another trial may go on from it.
    bench.assign(4, "resumes", Some(checkpoint)).await;
    assert_eq!(bench.next().await, report(4, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Finished);
    let gone = CheckpointRef { trial: 7, ..checkpoint };
    bench.assign(5, "resumes", Some(gone)).await;
    assert!(lost(bench.next().await).starts_with("the trial's files did not arrive: "));
    bench.end().await;
}

#[tokio::test]
async fn a_pause_whose_checkpoint_does_not_arrive_is_a_lost_attempt() {
    let mut bench = Bench::start(9).await;
    bench.driver.refuses.store(true, Ordering::SeqCst);
    bench.assign(1, "pauses", None).await;
    assert_eq!(bench.next().await, report(1, 2));
    bench.decide(1, Verdict::Pause).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the disk is full");
    bench.driver.refuses.store(false, Ordering::SeqCst);
    bench.assign(2, "saves outside", None).await;
    assert!(lost(bench.next().await).contains("the worker saved its checkpoint of epoch 2 as"));
    assert!(Path::new(&bench.folder.path().join("outside-2.arrow")).exists(), "it is left alone");
    bench.assign(3, "saves nothing", None).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the worker saved none");
    assert_eq!(bench.begun(), [2], "only the first was put");
    bench.end().await;
}

#[tokio::test]
async fn checkpoints_on_their_way_hold_up_nothing_and_the_newest_replaces_the_one_that_waits() {
    let mut bench = Bench::start(0).await;
    bench.assign(1, "saves often", None).await;
    // Reports and decisions pass while the first checkpoint travels.
    assert_eq!(bench.next().await, report(1, 4));
    bench.decide(1, Verdict::GoOn).await;
    assert_eq!(bench.next().await, report(1, 5));
    bench.has_begun(1).await;
    assert_eq!(bench.begun(), [1]);
    bench.driver.gate.add_permits(2);
    assert_eq!(bench.next().await, checkpointed(1, 1));
    assert_eq!(bench.next().await, checkpointed(1, 4));
    bench.decide(1, Verdict::Stop).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    assert_eq!(bench.begun(), [1, 4]);
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_loses_no_checkpoint_that_was_complete() {
    let mut bench = Bench::start(0).await;
    bench.assign(1, "saves and dies", None).await;
    assert_eq!(bench.next().await, report(1, 3));
    bench.decide(1, Verdict::GoOn).await;
    bench.driver.gate.add_permits(2);
    assert_eq!(bench.next().await, checkpointed(1, 1));
    assert_eq!(bench.next().await, checkpointed(1, 2));
    assert!(lost(bench.next().await).contains("died"));
    assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_stop_is_killed_and_replaced() {
    let mut bench = Bench::start(9).await;
    for (trial, by_verdict) in [(1, false), (2, true)] {
        bench.assign(trial, "hears nothing", None).await;
        assert_eq!(bench.next().await, report(trial, 1));
        let begin = Instant::now();
        match by_verdict {
            true => bench.decide(trial, Verdict::Stop).await,
            false => bench.say(ToSlot::Stop { trial, attempt: 1 }).await,
        }
        let ended =
            FromSlot::Ended { trial, attempt: 1, outcome: Outcome::Stopped, timing: Timing::default() };
        assert_eq!(bench.next().await, ended);
        assert!(begin.elapsed() >= STOP);
        assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
    }
    // One that stops in time is not killed: the same worker takes the next trial.
    bench.assign(3, "stops", None).await;
    assert_eq!(bench.next().await, report(3, 1));
    bench.say(ToSlot::Stop { trial: 3, attempt: 1 }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    bench.assign(4, "pauses", None).await;
    assert_eq!(bench.next().await, report(4, 2));
    tokio::time::sleep(STOP + Duration::from_millis(500)).await;
    bench.decide(4, Verdict::Pause).await;
    assert_eq!(bench.next().await, checkpointed(4, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Paused);
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_ends_with_its_attempt_is_handed_no_other() {
    let mut bench = Bench::start(9).await;
    bench.assign(1, "fails and leaves", None).await;
    assert_eq!(outcome(bench.next().await), Outcome::Failed { error: "it broke".into() });
    // It is still connected, and would take this one along.
    bench.assign(2, "pauses", None).await;
    assert!(matches!(bench.next().await, FromSlot::Ready { .. }));
    assert_eq!(bench.next().await, report(2, 2));
    bench.decide(2, Verdict::Pause).await;
    assert_eq!(bench.next().await, checkpointed(2, 2));
    assert_eq!(outcome(bench.next().await), Outcome::Paused);
    bench.end().await;
}

#[tokio::test]
async fn a_slot_whose_files_travel_is_released_and_left_at_once() {
    for by_task in [false, true] {
        let mut bench = Bench::start(0).await;
        bench.assign(1, "pauses", None).await;
        assert_eq!(bench.next().await, report(1, 2));
        bench.decide(1, Verdict::Pause).await;
        // Its checkpoint is on the way to a driver that does not take it.
        bench.has_begun(1).await;
        match by_task {
            false => bench.end().await,
            true => {
                bench.events = Box::new(futures::stream::empty());
                let left = async { while let Some(Ok(_)) = bench.from.next().await {} };
                tokio::time::timeout(PATIENCE, left).await.expect("its exchange ends with its task");
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_whose_files_travel_is_stopped() {
    let mut bench = Bench::start(9).await;
    let checkpoint = CheckpointRef { trial: HUNG, attempt: 1, epoch: 2 };
    bench.assign(1, "resumes", Some(checkpoint)).await;
    bench.say(ToSlot::Stop { trial: 1, attempt: 1 }).await;
    assert_eq!(outcome(bench.next().await), Outcome::Stopped);
    // The same worker takes the next trial.
    bench.assign(2, "saves nothing", None).await;
    assert_eq!(lost(bench.next().await), "the trial's checkpoint did not arrive: the worker saved none");
    bench.assign(3, "resumes", Some(checkpoint)).await;
    bench.end().await;
}
