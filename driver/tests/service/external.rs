//! Points that the user gives, suggests or refuses.

use lethe_driver::commands;
use lethe_flight::client;
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{
    Budget, Checked, End, Optimizer, Plan, Source, Stopping, Suggested, Suggestion, TrialState, WatchEvent,
};
use lethe_flight::message::slot::ToSlot;
use lethe_flight::message::training::{Outcome, Verdict};
use lethe_flight::wire::action;

use crate::common::{Driver, Null, Slot, event};

fn point(x: f64) -> Hparams {
    [("x".to_owned(), x.into())].into_iter().collect()
}

fn source(plan: &mut Plan) -> (&mut Vec<Hparams>, &mut bool, &mut Budget, &mut Optimizer) {
    let Source::Search { enqueued, checked, budget, optimizer, .. } = &mut plan.source else {
        panic!("no search")
    };
    (enqueued, checked, budget, optimizer)
}

async fn suggest(driver: &Driver, trial: u32, result: Suggestion) {
    let suggested = Suggested { experiment: "e".into(), trial, result };
    let _: Null = client::call(&mut driver.client().await, action::SUGGESTED, &suggested).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_optimizer_is_asked_ahead_and_told_before_it_is_asked_again() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(3, 1);
    *source(&mut plan).3 = Optimizer::External { name: "mine".into(), ahead: 1 };
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    for trial in 0..2 {
        assert_eq!(event(&mut watch).await, WatchEvent::Ask { trial });
        suggest(&driver, trial, Suggestion::Hparams { hparams: point(0.25) }).await;
    }
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.5).await;
    slot.end(&spec, Outcome::Finished).await;
    let WatchEvent::Tell { trial: 0, state, hparams, values, history } = event(&mut watch).await else {
        panic!("not told")
    };
    assert_eq!((state, hparams, values), (TrialState::Finished, point(0.25), vec![Some(0.5)]));
    assert_eq!(history.len(), 1);
    assert_eq!(event(&mut watch).await, WatchEvent::Ask { trial: 2 });
    suggest(&driver, 2, Suggestion::Exhausted).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.7).await;
    slot.end(&spec, Outcome::Finished).await;
    loop {
        match event(&mut watch).await {
            WatchEvent::Over { end } => break assert_eq!(end, End::Completed),
            WatchEvent::Ask { trial } => panic!("asked about {trial}"),
            _ => {}
        }
    }
    assert_eq!(driver.result().await.trials.len(), 2, "the trial without a point never was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimizer_that_fails_ends_the_search_with_its_error() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(3, 1);
    *source(&mut plan).3 = Optimizer::External { name: "mine".into(), ahead: 1 };
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    assert_eq!(event(&mut watch).await, WatchEvent::Ask { trial: 0 });
    suggest(&driver, 0, Suggestion::Failed { error: "ValueError: no".into() }).await;
    loop {
        if let WatchEvent::Over { end } = event(&mut watch).await {
            break assert_eq!(end, End::Aborted { error: "ValueError: no".into() });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_points_go_first_and_a_refused_suggestion_is_drawn_again() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(2, 1);
    let (enqueued, checked, ..) = source(&mut plan);
    *enqueued = vec![point(0.125)];
    *checked = true;
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let mut shown = Vec::new();
    for (trial, refused) in [(0, None), (1, Some("x must be lower")), (1, None)] {
        let WatchEvent::Check { trial: asked, hparams } = event(&mut watch).await else {
            panic!("not asked")
        };
        assert_eq!(asked, trial);
        shown.push(hparams);
        let refused = refused.map(str::to_owned);
        let checked = Checked { experiment: "e".into(), trial, refused, error: None };
        let _: Null = client::call(&mut driver.client().await, action::CHECKED, &checked).await.unwrap();
    }
    assert_eq!(shown[0], point(0.125));
    assert_ne!(shown[1], shown[2], "another draw");
    assert_eq!(Slot::open(&driver, 0).await.work().await, [0, 1]);
    assert_eq!(driver.result().await.trials[1].hparams, shown[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimizer_is_told_once_of_a_trial_that_a_resume_ends() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(2, 1);
    *source(&mut plan).3 = Optimizer::External { name: "mine".into(), ahead: 1 };
    let Source::Search { stopping, .. } = &mut plan.source else { panic!("no search") };
    *stopping = Stopping::Threshold { bound: 0.5, min_epochs: 1 };
    driver.create(&plan).await.unwrap();
    for trial in 0..2 {
        suggest(&driver, trial, Suggestion::Hparams { hparams: point(0.25) }).await;
    }
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.1).await;
    assert_eq!(slot.decision().await, Verdict::Stop);
    // The driver dies before it hears that the trial has stopped; its slots are as many as before, or more.
    let driver = driver.replace().await;
    plan.slots = 3;
    source(&mut plan).3.clone_from(&Optimizer::External { name: "mine".into(), ahead: 3 });
    driver.resume(&plan).await;
    let mut watch = driver.watch().await;
    let (mut slot, mut told) = (Slot::open(&driver, 0).await, Vec::new());
    let spec = slot.assigned().await;
    assert_eq!(spec.trial, 1);
    slot.report(&spec, 1, 0.9).await;
    slot.end(&spec, Outcome::Finished).await;
    loop {
        match event(&mut watch).await {
            WatchEvent::Tell { trial, state, .. } => told.push((trial, state)),
            WatchEvent::Over { .. } => break,
            _ => {}
        }
    }
    assert_eq!(told, [(0, TrialState::Stopped), (1, TrialState::Finished)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_trial_that_has_ended_does_not_run_out() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(2, 1);
    *source(&mut plan).2 = Budget { trials: Some(2), trial_seconds: Some(0.2), ..Budget::default() };
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.end(&spec, Outcome::Finished).await;
    let spec = slot.assigned().await;
    // The first one's time would have run out before this.
    assert!(matches!(slot.next().await, Some(ToSlot::Stop { trial: 1, attempt: 1 })));
    slot.end(&spec, Outcome::Stopped).await;
    assert!(matches!(slot.next().await, Some(ToSlot::Release)));
    let journal = std::fs::read_to_string(driver.folder.path().join("e/journal.log")).unwrap();
    assert_eq!(journal.matches("trial_time_up").count(), 1, "{journal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_ends_when_its_time_is_up_and_stops_a_trial_that_has_had_its_own() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(3, 1);
    let budget = Budget { seconds: Some(0.3), trial_seconds: Some(0.1), ..Budget::default() };
    *source(&mut plan).2 = budget;
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.5).await;
    assert!(matches!(slot.next().await, Some(ToSlot::Stop { trial: 0, attempt: 1 })), "its time is up");
    slot.end(&spec, Outcome::Stopped).await;
    loop {
        if let WatchEvent::Over { end } = event(&mut watch).await {
            break assert_eq!(end, End::Completed);
        }
    }
    let first = &driver.result().await.trials[0];
    assert_eq!(first.state, TrialState::Stopped);
    assert!(first.why.as_ref().unwrap().contains("0.1 s"), "{:?}", first.why);
    let mut replayed = Vec::new();
    commands::replay(&driver.folder.path().join("e"), &mut replayed).unwrap();
    let replayed = String::from_utf8(replayed).unwrap();
    let stop = replayed.lines().find(|line| line.contains(" stop ")).unwrap();
    assert!(stop.ends_with("it had its 0.1 s"), "{stop}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grid_goes_through_its_combinations_and_ends_there() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(9, 1);
    *source(&mut plan).3 = Optimizer::Grid { points: 5 };
    driver.create(&plan).await.unwrap();
    Slot::open(&driver, 0).await.work().await;
    let trials = driver.result().await.trials;
    let points: Vec<f64> = trials.iter().map(|trial| trial.hparams["x"].as_f64().unwrap()).collect();
    assert_eq!(points, [0.0, 0.25, 0.5, 0.75, 1.0]);
}

/// Neither `lethe.Optimizer` nor Optuna's samplers know the constraints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_users_optimizer_suggests_against_a_constraint_is_asked_for_again() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(1, 1);
    *source(&mut plan).3 = Optimizer::External { name: "mine".into(), ahead: 1 };
    let Source::Search { constraints, .. } = &mut plan.source else { panic!("no search") };
    constraints.push("x < 0.5".into());
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    for x in [0.75, 0.5, 0.25] {
        assert_eq!(event(&mut watch).await, WatchEvent::Ask { trial: 0 });
        suggest(&driver, 0, Suggestion::Hparams { hparams: point(x) }).await;
    }
    assert_eq!(Slot::open(&driver, 0).await.work().await, [0]);
    assert_eq!(driver.result().await.trials[0].hparams, point(0.25));
    let refused =
        driver.sql("select text from events where kind = 'refused' order by sequence").await.unwrap();
    assert_eq!(refused.len(), 2);
    assert!(refused[0][0].contains("x=0.75") && refused[0][0].contains("\"x < 0.5\""), "{refused:?}");
}

/// More refusals in a row than any other optimizer is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grid_goes_past_what_a_predicate_refuses_and_ends_when_it_is_used_up() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(2, 1);
    *source(&mut plan).1 = true;
    *source(&mut plan).3 = Optimizer::Grid { points: 1101 };
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let slot = tokio::spawn(Slot::open(&driver, 0).await.work());
    let mut client = driver.client().await;
    let mut checks = 0;
    loop {
        match event(&mut watch).await {
            WatchEvent::Check { trial, hparams } => {
                checks += 1;
                let refused = (hparams["x"] != 1.0).then(|| "x is not 1".to_owned());
                let checked = Checked { experiment: "e".into(), trial, refused, error: None };
                let _: Null = client::call(&mut client, action::CHECKED, &checked).await.unwrap();
            }
            WatchEvent::Over { end } => break assert_eq!(end, End::Completed),
            _ => {}
        }
    }
    assert_eq!(
        (checks, slot.await.unwrap().len()),
        (1101, 1),
        "each combination once, and the last is tried"
    );
}

/// A trial's time is its own, whichever attempt it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_is_run_again_has_but_the_time_that_was_left() {
    use lethe_flight::message::slot::ToSlot;
    let driver = Driver::start().await;
    let mut plan = driver.plan(1, 1);
    source(&mut plan).2.trial_seconds = Some(2.0);
    driver.create(&plan).await.unwrap();
    let mut first = Slot::open(&driver, 0).await;
    assert_eq!(first.assigned().await.attempt, 1);
    // It trains so long, and is lost.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    drop(first);
    let mut second = Slot::open(&driver, 1).await;
    assert_eq!(second.assigned().await.attempt, 2);
    let begun = std::time::Instant::now();
    assert!(matches!(second.next().await, Some(ToSlot::Stop { trial: 0, attempt: 2 })));
    assert!(begun.elapsed().as_secs_f64() < 1.5, "half a second was left, not two: {:?}", begun.elapsed());
}
