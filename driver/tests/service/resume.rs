//! Pauses, and experiments that go on in another driver.

use lethe_driver::commands;
use lethe_flight::client;
use lethe_flight::message::experiment::{
    Budget, Cancel, End, Plan, Resume, Source, Stopping, TrialState, WatchEvent,
};
use lethe_flight::message::training::{Direction, Outcome, Verdict};
use lethe_flight::wire::action;

use crate::common::{Driver, Null, Slot, event};

pub fn asha(driver: &Driver, trials: u32, slots: u32) -> Plan {
    let mut plan = driver.plan(trials, slots);
    let Source::Search { stopping, .. } = &mut plan.source else { panic!("no search") };
    *stopping = Stopping::Asha { reduction: 2, min_epochs: 1, pause: true };
    plan
}

fn extend(plan: &mut Plan, trials: u32) {
    let Source::Search { budget, .. } = &mut plan.source else { panic!("no search") };
    *budget = Budget { trials: Some(trials), ..*budget };
}

/// Runs to its end whatever comes; the epochs that were trained.
pub async fn finish(mut slot: Slot, value: impl Fn(u32) -> f64) -> Vec<(u32, u32)> {
    let mut trained = Vec::new();
    loop {
        let spec = match slot.next().await {
            Some(lethe_flight::message::slot::ToSlot::Assign { spec }) => *spec,
            _ => return trained,
        };
        let from = spec.checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
        let mut verdict = Verdict::GoOn;
        for epoch in from + 1..=3 {
            slot.report(&spec, epoch, value(spec.trial)).await;
            trained.push((spec.trial, epoch));
            if spec.rungs.contains(&epoch) {
                verdict = slot.decision().await;
            }
            match verdict {
                Verdict::GoOn => {}
                Verdict::Stop => break,
                Verdict::Pause => {
                    slot.pause(&spec, epoch).await;
                    break;
                }
            }
        }
        match verdict {
            Verdict::GoOn => slot.end(&spec, Outcome::Finished).await,
            Verdict::Stop => slot.end(&spec, Outcome::Stopped).await,
            Verdict::Pause => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_trial_goes_on_from_its_checkpoint_on_another_slot() {
    let driver = Driver::start().await;
    driver.create(&asha(&driver, 2, 1)).await.unwrap();
    let mut first = Slot::open(&driver, 0).await;
    let spec = first.assigned().await;
    first.report(&spec, 1, 0.9).await;
    assert_eq!(first.decision().await, Verdict::Pause);
    first.pause(&spec, 1).await;
    let other = first.assigned().await;
    assert_eq!(other.trial, 1, "the slot goes on with another trial");
    first.report(&other, 1, 0.1).await;
    let mut second = Slot::open(&driver, 1).await;
    // Of two, the best one is promoted.
    let promoted = second.assigned().await;
    assert_eq!((promoted.trial, promoted.attempt), (0, 2));
    assert_eq!(second.begins_after(&promoted).await, 1);
    assert_eq!(first.decision().await, Verdict::Pause);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_driver_goes_on_with_nothing_lost() {
    let driver = Driver::start().await;
    let plan = asha(&driver, 6, 1);
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let mut trained = Vec::new();
    // One trial is paused, and one has reported when the driver ends.
    for (trial, value) in [(0, 0.3), (1, 0.2)] {
        let spec = slot.assigned().await;
        assert_eq!(spec.trial, trial);
        slot.report(&spec, 1, value).await;
        trained.push((trial, 1));
        assert_eq!(slot.decision().await, Verdict::Pause);
        if trial == 0 {
            slot.pause(&spec, 1).await;
        }
    }
    let hparams: Vec<_> = driver.result().await.trials.iter().map(|trial| trial.hparams.clone()).collect();
    let driver = driver.replace().await;
    driver.resume(&plan).await;
    let mut watch = driver.watch().await;
    let slot = Slot::open(&driver, 0).await;
    trained.extend(finish(slot, |trial| f64::from(trial) / 10.0).await);
    assert!(matches!(event(&mut watch).await, WatchEvent::Notice { .. } | WatchEvent::Over { .. }));
    let result = driver.result().await;
    assert_eq!(result.end, Some(End::Completed));
    let after: Vec<_> = result.trials.iter().map(|trial| trial.hparams.clone()).collect();
    assert_eq!(after[..hparams.len()], hparams, "suggestions are kept");
    let of = |trial| trained.iter().filter(|(t, _)| *t == trial).map(|(_, epoch)| *epoch).collect::<Vec<_>>();
    assert_eq!(
        of(0).iter().filter(|&&epoch| epoch == 1).count(),
        1,
        "a paused trial's epoch is not repeated"
    );
    assert_eq!(of(1), [1, 1, 2, 3][..of(1).len()], "what was not saved is");
    assert!(result.trials.iter().all(|t| matches!(t.state, TrialState::Finished | TrialState::Stopped)));
    // Its journal tells the same story as often as it is asked.
    let told = || {
        let mut out = Vec::new();
        commands::replay(&driver.folder.path().join("e"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let story = told();
    assert_eq!(story, told());
    assert!(story.contains("resumed") && story.contains("promoted"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_experiment_is_extended_and_its_paused_trials_may_go_on() {
    let driver = Driver::start().await;
    let mut plan = asha(&driver, 3, 1);
    driver.create(&plan).await.unwrap();
    finish(Slot::open(&driver, 0).await, f64::from).await;
    let mut watch = driver.watch().await;
    while !matches!(event(&mut watch).await, WatchEvent::Over { .. }) {}
    let before = driver.result().await;
    assert_eq!(before.trials.len(), 3);
    let refused = driver.create(&plan).await.unwrap_err().to_string();
    assert!(refused.contains("already; resume it"), "{refused}");
    extend(&mut plan, 8);
    driver.resume(&plan).await;
    let trained = finish(Slot::open(&driver, 0).await, f64::from).await;
    let after = driver.result().await;
    assert_eq!(after.trials.len(), 8);
    assert_eq!(after.trials[2].history, before.trials[2].history, "a finished trial is not run again");
    assert!(trained.iter().all(|(trial, epoch)| *trial > 2 || *epoch > 1), "{trained:?}");
    assert_eq!(after.best, Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_plan_is_refused_with_what_differs() {
    let driver = Driver::start().await;
    let mut plan = asha(&driver, 3, 1);
    plan.code.insert("model".into(), "def model(hparams):\n    return Linear(64, 10)\n".into());
    driver.create(&plan).await.unwrap();
    let cancel = Cancel { experiment: "e".into(), reason: "test".into() };
    let _: Null = client::call(&mut driver.client().await, action::CANCEL, &cancel).await.unwrap();
    let mut watch = driver.watch().await;
    while !matches!(event(&mut watch).await, WatchEvent::Over { .. }) {}
    plan.code.insert("model".into(), "def model(hparams):\n    return Linear(64, 11)\n".into());
    plan.objective.metric = "loss".into();
    plan.resume = Resume::Resume { accept_changes: false };
    let refused = driver.create(&plan).await.unwrap_err().to_string();
    for line in [
        "accept_changes",
        "- model:     return Linear(64, 10)",
        "+ model:     return Linear(64, 11)",
        "~ objective.metric: \"m\" → \"loss\"",
    ] {
        assert!(refused.contains(line), "{line} is not in {refused}");
    }
    plan.resume = Resume::Resume { accept_changes: true };
    driver.create(&plan).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_answer_while_the_experiment_runs() {
    let driver = Driver::start().await;
    driver.create(&asha(&driver, 4, 1)).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.25).await;
    slot.decision().await;
    let metrics = driver.sql("select trial, epoch, metric, value from metrics").await.unwrap();
    assert_eq!(metrics, [["0", "1", "m", "0.25"]]);
    let states = driver.sql("select state, count(*) from trials group by state order by 2").await.unwrap();
    assert_eq!(states[0], ["running", "1"]);
    let kinds = driver.sql("select count(*) from events where kind = 'suggested'").await.unwrap();
    assert_eq!(kinds, [["4"]]);
    let refused = driver.sql("drop table trials").await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("select"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_another_direction_the_rule_compares_anew_what_was_reported() {
    let driver = Driver::start().await;
    let mut plan = asha(&driver, 2, 1);
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.9).await;
    assert_eq!(slot.decision().await, Verdict::Pause);
    slot.pause(&spec, 1).await;
    assert_eq!(slot.assigned().await.trial, 1);
    let cancel = Cancel { experiment: "e".into(), reason: "test".into() };
    let mut watch = driver.watch().await;
    let _: Null = client::call(&mut driver.client().await, action::CANCEL, &cancel).await.unwrap();
    while !matches!(event(&mut watch).await, WatchEvent::Over { .. }) {}
    plan.objective.direction = Direction::Min;
    plan.resume = Resume::Resume { accept_changes: true };
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    assert_eq!(spec.trial, 1);
    slot.report(&spec, 1, 0.1).await;
    assert_eq!(slot.decision().await, Verdict::GoOn, "of 0.9 and 0.1 the smaller goes on");
}
