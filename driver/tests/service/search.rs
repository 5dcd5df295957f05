//! Searches, from the first slot to the last message.

use std::time::{Duration, Instant};

use futures::StreamExt;
use lethe_flight::client;
use lethe_flight::message::experiment::{Cancel, End, TrialState, WatchEvent};
use lethe_flight::message::slot::ToSlot;
use lethe_flight::message::training::Outcome;
use lethe_flight::wire::action;

use crate::common::{Driver, Null, Slot, event, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_search_runs_over_the_slot_protocol() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(40, 2)).await.unwrap();
    let mut watch = driver.watch().await;
    let (a, b) = (Slot::open(&driver, 0).await, Slot::open(&driver, 1).await);
    let (a, b) = tokio::join!(tokio::spawn(a.work()), tokio::spawn(b.work()));
    let mut ran = [a.unwrap(), b.unwrap()].concat();
    ran.sort_unstable();
    assert_eq!(ran, (0..40).collect::<Vec<_>>());
    assert_eq!(event(&mut watch).await, WatchEvent::Over { end: End::Completed });
    assert!(within(watch.next()).await.is_none(), "over is the last message");
    let result = driver.result().await;
    assert_eq!(result.end, Some(End::Completed));
    let best = &result.trials[result.best.unwrap() as usize];
    assert!(result.trials.iter().all(|t| t.state == TrialState::Finished && t.value <= best.value));
    assert!(result.trials.iter().all(|t| t.history.len() == 3 && t.hparams["x"].as_f64() == t.value));
    assert_eq!(result.slots.iter().map(|slot| slot.trials).sum::<u32>(), 40);
    assert!(result.slots.iter().all(|slot| slot.held_s > 0.0 && slot.idle_s.len() == slot.trials as usize));
    assert!(result.wall_s > 0.0);
}

#[tokio::test]
async fn a_trial_goes_on_elsewhere_when_its_slots_connection_breaks() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(2, 2)).await.unwrap();
    let mut watch = driver.watch().await;
    let mut broken = Slot::open(&driver, 0).await;
    let spec = broken.assigned().await;
    broken.report(&spec, 1, 0.5).await;
    drop(broken);
    assert!(matches!(event(&mut watch).await, WatchEvent::Notice { text } if text.contains("attempt 2")));
    let mut ran = Slot::open(&driver, 1).await.work().await;
    ran.sort_unstable();
    assert_eq!(ran, [0, 1]);
    let result = driver.result().await;
    assert_eq!((result.trials[0].attempts, result.trials[0].slot), (2, Some(1)));
    assert_eq!(result.trials[0].state, TrialState::Finished);
}

#[tokio::test]
async fn a_slot_that_joins_again_replaces_its_old_connection() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(1, 1)).await.unwrap();
    let mut old = Slot::open(&driver, 5).await;
    assert_eq!(old.assigned().await.attempt, 1);
    let mut new = Slot::open(&driver, 5).await;
    assert_eq!(new.assigned().await.attempt, 2);
    assert!(matches!(old.next().await, Some(ToSlot::Release)));
    assert!(old.next().await.is_none(), "the old exchange ends");
}

#[tokio::test]
async fn a_cancelled_search_ends_though_a_worker_does_not_stop() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(5, 1)).await.unwrap();
    let mut watch = driver.watch().await;
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.25).await;
    let cancel = Cancel { experiment: "e".into(), reason: "Ctrl-C".into() };
    let _: Null = client::call(&mut driver.client().await, action::CANCEL, &cancel).await.unwrap();
    assert!(matches!(slot.next().await, Some(ToSlot::Stop { trial: 0, attempt: 1 })));
    assert!(matches!(slot.next().await, Some(ToSlot::Release)));
    assert!(matches!(event(&mut watch).await, WatchEvent::Over { end: End::Cancelled { .. } }));
    let result = driver.result().await;
    assert_eq!((result.trials[0].state, result.trials[0].value), (TrialState::Cancelled, Some(0.25)));
}

/// The slot's view: from its `ended` leaving to its next `assign` arriving, both ways over loopback. The
/// bound leaves room for what else runs, and little for a timer or a poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_trial_is_there_at_once() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(1001, 1)).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let mut waits = Vec::new();
    let mut spec = slot.assigned().await;
    for _ in 0..1000 {
        for epoch in 1..=3 {
            slot.report(&spec, epoch, 0.1).await;
        }
        let start = Instant::now();
        slot.end(&spec, Outcome::Finished).await;
        spec = slot.assigned().await;
        waits.push(start.elapsed());
    }
    waits.sort_unstable();
    println!(
        "ended to assign: median {:?}, 99th percentile {:?}, worst {:?}",
        waits[500], waits[990], waits[999]
    );
    assert!(waits[500] < Duration::from_millis(50), "median {:?}", waits[500]);
}
