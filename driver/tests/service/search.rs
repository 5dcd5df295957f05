//! Searches, from the first slot to the last message.

use std::time::{Duration, Instant};

use futures::StreamExt;
use lethe_flight::client;
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Cancel, End, Listed, Report, Source, TrialState, WatchEvent};
use lethe_flight::message::gang::{Operation, StoreCall, Stored, Workers};
use lethe_flight::message::slot::{FromSlot, ToSlot};
use lethe_flight::message::training::{Outcome, Rank};
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

#[tokio::test]
async fn a_gang_gets_its_slots_at_once_and_rank_0_speaks_for_it() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(1, 2);
    let of = |name: &str, workers| Listed {
        name: name.into(),
        hparams: Hparams::new(),
        replicate: 0,
        data: None,
        without: Vec::new(),
        workers: Workers::exactly(workers),
    };
    plan.source = Source::Listed { trials: vec![of("both", 2), of("one", 1)], trial_seconds: None };
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let (mut a, mut b) = (Slot::open(&driver, 0).await, Slot::open(&driver, 1).await);
    let (first, second) = (a.assigned().await, b.assigned().await);
    assert_eq!((first.trial, second.trial, first.attempt, second.attempt), (0, 0, 1, 1));
    let ranks = (first.gang.unwrap(), second.gang.unwrap());
    assert_eq!(ranks, (Rank { rank: 0, world: 2 }, Rank { rank: 1, world: 2 }));
    b.report(&second, 1, 9.0).await;
    a.report(&first, 1, 0.25).await;
    a.end(&first, Outcome::Finished).await;
    assert!(matches!(within(b.next()).await, Some(ToSlot::Stop { trial: 0, attempt: 1 })));
    b.end(&second, Outcome::Stopped).await;
    let last = a.assigned().await;
    assert_eq!((last.trial, last.gang), (1, None));
    assert_eq!((last.seed, first.seed), (first.seed, second.seed), "one replicate");
    a.report(&last, 1, 0.5).await;
    a.end(&last, Outcome::Finished).await;
    let over = async { while event(&mut watch).await != (WatchEvent::Over { end: End::Completed }) {} };
    within(over).await;
    let result = driver.result().await;
    assert_eq!(result.trials[0].value, Some(0.25));
    assert_eq!(result.trials[0].why.as_deref(), Some("both"));
    assert_eq!(result.slots[0].trials, 2);
}

#[tokio::test]
async fn ranks_find_each_other_through_the_store_of_their_attempt() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(1, 2)).await.unwrap();
    let ask = |experiment: &str, operation| StoreCall {
        experiment: experiment.into(),
        trial: 0,
        attempt: 1,
        operation,
    };
    let experiment = driver.plan(1, 2).experiment;
    let (mut a, mut b) = (driver.client().await, driver.client().await);
    let get = ask(&experiment, Operation::Get { key: "0".into(), wait_s: 10.0 });
    let set = ask(&experiment, Operation::Set { key: "0".into(), value: b"10.0.0.7".into() });
    let (got, set) = tokio::join!(
        client::call::<_, Stored>(&mut a, action::STORE, &get),
        client::call::<_, Stored>(&mut b, action::STORE, &set)
    );
    assert_eq!((got.unwrap(), set.unwrap()), (Stored::Value { value: b"10.0.0.7".into() }, Stored::Done));
    let other = ask("other", Operation::Get { key: "0".into(), wait_s: 0.0 });
    let error = client::call::<_, Stored>(&mut a, action::STORE, &other).await.unwrap_err().to_string();
    assert!(error.contains("experiment \"other\" is unknown"), "{error}");
}

#[tokio::test]
async fn a_plan_of_too_many_workers_is_refused() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(1, 2);
    let name = String::new();
    let hparams = Hparams::new();
    let trials = vec![Listed {
        name,
        hparams,
        replicate: 0,
        data: None,
        without: Vec::new(),
        workers: Workers { least: 3, most: 2 },
    }];
    plan.source = Source::Listed { trials, trial_seconds: None };
    let error = driver.create(&plan).await.unwrap_err().to_string();
    assert!(error.contains("the least of workers is 3; it must be between 1 and 2"), "{error}");
    plan.source = Source::Listed { trials: Vec::new(), trial_seconds: None };
    let error = driver.create(&plan).await.unwrap_err().to_string();
    assert!(error.contains("the number of trials is 0"), "{error}");
}

#[tokio::test]
async fn what_functions_print_is_shown_and_kept() {
    let driver = Driver::start().await;
    driver.create(&driver.plan(1, 1)).await.unwrap();
    let mut watch = driver.watch().await;
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    let (trial, attempt) = (spec.trial, spec.attempt);
    slot.sender.send(&FromSlot::Log { trial, attempt, text: "hello\n".into() }).await.unwrap();
    slot.sender
        .send(&FromSlot::Log { trial, attempt: 9, text: "of another attempt\n".into() })
        .await
        .unwrap();
    let report = |epoch: u32| Report { epoch, metrics: [("m".to_owned(), f64::from(epoch))].into() };
    slot.sender
        .send(&FromSlot::Reports { trial, attempt, reports: vec![report(1), report(2)] })
        .await
        .unwrap();
    assert_eq!(event(&mut watch).await, WatchEvent::Log { trial: 0, text: "hello\n".into() });
    slot.end(&spec, Outcome::Finished).await;
    assert_eq!(event(&mut watch).await, WatchEvent::Over { end: End::Completed });
    let result = driver.result().await;
    assert_eq!(result.trials[0].history, [report(1), report(2)]);
    let log = driver.weights().with_file_name("logs").join("trial-0.log");
    let kept = async {
        while tokio::fs::read_to_string(&log).await.ok().as_deref() != Some("hello\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(kept).await;
}
