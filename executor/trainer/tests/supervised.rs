//! The native loop on real TorchScript programs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::path::Path;

use common::*;
use lethe_flight::message::training::{
    Direction, Loss, Metric, Objective, Optimizer, Outcome, Select, Supervised, Verdict,
};
use lethe_flight::message::worker::Run;
use serde_json::json;

fn failure(trial: &Run) -> String {
    let (ended, _) = run_trial(trial, |_, _, _| {});
    assert_eq!(ended.weights, None);
    match ended.outcome {
        Outcome::Failed { error } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trial_learns_and_reports_each_epoch() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let trial = classification(&folder, json!({"epochs": 8, "batch_size": 50, "lr": 0.03}));
    let (ended, reports) = run_trial(&trial, |_, _, _| {});
    assert_eq!(ended.outcome, Outcome::Finished);
    assert_eq!(reports.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let last = &reports[7].1;
    assert_eq!(last.keys().collect::<Vec<_>>(), ["accuracy", "loss", "train_loss"]);
    assert!(last["accuracy"] > 0.95, "{last:?}");
    assert!(last["train_loss"] < reports[0].1["train_loss"] && last["loss"] < 0.5);
    let names: Vec<_> = kept(&ended).into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["0.bias", "0.weight", "3.bias", "3.weight"]);
    assert!(ended.timing.train_s > 0.0 && ended.timing.setup_s > 0.0 && ended.timing.idle_s == 0.0);
}

#[test]
fn the_same_trial_twice_is_the_same_to_the_bit_also_after_others() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let trial = classification(&folder, none());
    let first = run_trial(&trial, |_, _, _| {});
    let first_weights = kept(&first.0);
    let mut other = classification(&folder, json!({"batch_size": 7, "optimizer": "sgd"}));
    other.spec.seed = 6;
    run_trial(&other, |_, _, _| {});
    let again = run_trial(&trial, |_, _, _| {});
    assert_eq!(first.1, again.1);
    assert_eq!(first_weights, kept(&again.0));
}

#[test]
fn the_seed_decides_order_and_dropout() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // One batch of all rows: only dropout is left to the seed.
    let mut trial = classification(&folder, json!({"batch_size": 1000}));
    let losses = |trial: &Run| run_trial(trial, |_, _, _| {}).1;
    let first = losses(&trial);
    trial.spec.seed += 1;
    let second = losses(&trial);
    assert!((first[0].1["train_loss"] - second[0].1["train_loss"]).abs() > 1e-4);
}

#[test]
fn tied_weights_stay_tied_and_are_trained_once() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let features: Vec<f32> = (0..20).map(|i| -1.0 + 2.0 * i as f32 / 19.0).collect();
    let view = view(folder.path(), &features, 4, Labels::Class(&[0, 1, 2, 3, 1]), 0);
    let plain = supervised(Some(Loss::CrossEntropy), vec![]);
    let trained = Supervised { optimizer: Optimizer::Sgd, lr: 0.5, ..plain };
    let (ended, _) = run_trial(&trial(&folder, "tied", view, trained, none()), |_, _, _| {});
    assert_eq!(ended.outcome, Outcome::Finished);
    let weights = kept(&ended);
    assert_eq!(values(&weights, "first.weight"), values(&weights, "second.weight"));
    assert_close(&values(&weights, "first.weight"), &floats(&fixture_json("tied.json")["trained"]), 1e-5);
}

#[test]
fn buffers_are_set_trained_and_kept() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let features: Vec<f32> = (0..20).map(|i| -1.0 + 2.0 * i as f32 / 19.0).collect();
    let view = view(folder.path(), &features, 4, Labels::Class(&[0, 1, 2, 0, 1]), 0);
    let run = trial(&folder, "normed", view, supervised(Some(Loss::CrossEntropy), vec![]), none());
    for _ in 0..2 {
        let (ended, _) = run_trial(&run, |_, _, _| {});
        let weights = sorted(kept(&ended));
        // Each trial begins with fresh buffers: three batches each.
        assert_eq!(weights["norm.num_batches_tracked"].data, 3i64.to_le_bytes());
        assert_ne!(weights["norm.running_mean"].data, vec![0; 12]);
        assert!(!weights.contains_key("scale"));
    }
}

#[test]
fn a_short_last_batch_is_kept_or_dropped() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let features: Vec<f32> = (0..20).map(|i| -1.0 + 2.0 * i as f32 / 19.0).collect();
    let view = view(folder.path(), &features, 4, Labels::Class(&[0, 1, 2, 0, 1]), 0);
    let run = |hparams| {
        trial(&folder, "normed", view.clone(), supervised(Some(Loss::CrossEntropy), vec![]), hparams)
    };
    let steps = |run: &Run| {
        let weights = sorted(kept(&run_trial(run, |_, _, _| {}).0));
        i64::from_le_bytes(weights["norm.num_batches_tracked"].data[..].try_into().unwrap())
    };
    // Three epochs of five rows. BatchNorm refuses to train on one row, so batches of three.
    assert_eq!(steps(&run(json!({"batch_size": 3}))), 6);
    assert_eq!(steps(&run(json!({"batch_size": 3, "drop_last": true}))), 3);
    let mut default = run(json!({"batch_size": 3}));
    let lethe_flight::message::training::Function::Supervised(function) = &mut default.spec.function else {
        panic!()
    };
    function.drop_last = true;
    assert_eq!(steps(&default), 3);
    let error = failure(&run(json!({"batch_size": 6, "drop_last": true})));
    assert!(error.starts_with("batch_size=6 is more than the 5 rows that train"), "{error}");
}

#[test]
fn a_module_may_own_its_loss_and_metrics() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let features: Vec<f32> = (0..400).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
    let labels: Vec<f32> = features.chunks(4).map(|f| f[0] - 2.0 * f[3]).collect();
    let view = view(folder.path(), &features, 4, Labels::Value(&labels), 30);
    let settings = json!({"epochs": 60, "lr": 0.05});
    let mut run = trial(&folder, "own", view, supervised(None, vec![Metric::Mae, Metric::R2]), settings);
    run.spec.objective.metric = "worst".into();
    let (ended, reports) = run_trial(&run, |_, _, _| {});
    assert_eq!(ended.outcome, Outcome::Finished);
    let last = &reports[59].1;
    assert_eq!(last.keys().collect::<Vec<_>>(), ["loss", "mae", "r2", "rows", "train_loss", "worst"]);
    assert!(last["r2"] > 0.95 && last["mae"] < last["worst"], "{last:?}");
    assert_eq!(last["rows"], 30.0);
}

#[test]
fn a_loss_that_is_nan_fails_the_trial_with_its_step() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (mut features, labels) = blobs(300);
    features[0] = f32::NAN;
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 0);
    let nan =
        trial(&folder, "mlp", view, supervised(Some(Loss::CrossEntropy), vec![]), json!({"batch_size": 300}));
    let error = failure(&nan);
    assert!(error.starts_with("the loss is NaN at step 1 (epoch 1): lower lr"), "{error}");
    // A later step of a later epoch: the weights grow past float32.
    let wild = classification(&folder, json!({"optimizer": "sgd", "lr": 1e30, "batch_size": 120}));
    let error = failure(&wild);
    assert!(error.starts_with("the loss is "), "{error}");
    assert!(error.contains("at step 2 (epoch 1)") || error.contains("at step 3 (epoch 2)"), "{error}");
}

#[test]
fn a_stop_ends_the_trial_within_a_step_and_keeps_the_last_report() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let long = json!({"epochs": 1_000_000});
    let (ended, reports) = run_trial(&classification(&folder, long), |epoch, _, interrupter| {
        if epoch == 4 {
            interrupter.stop();
        }
    });
    assert_eq!(ended.outcome, Outcome::Stopped);
    assert_eq!(reports.len(), 4);
    let stopped = kept(&ended);
    let (ended, _) = run_trial(&classification(&folder, json!({"epochs": 4})), |_, _, _| {});
    assert_eq!(stopped, kept(&ended));
}

#[test]
fn a_stop_from_another_thread_interrupts_an_epoch() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(300_000);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 0);
    let endless = json!({"epochs": 1_000_000, "batch_size": 1});
    let run = trial(&folder, "mlp", view, supervised(Some(Loss::CrossEntropy), vec![]), endless);
    let interrupter = lethe_trainer::Interrupter::default();
    let stopper = interrupter.clone();
    let ended = std::thread::scope(|scope| {
        let training = scope.spawn(|| {
            lethe_trainer::function::run(
                &lethe_trainer::Registry::default(),
                lethe_trainer::function::Attempt {
                    run: &run,
                    device: tch::Device::Cpu,
                    views: &mut Default::default(),
                    interrupter,
                    arrived: std::time::Instant::now(),
                    meeting: None,
                    previous_end: None,
                },
                &mut |_| panic!("an epoch of 300,000 steps has ended before the stop"),
            )
        });
        stopper.stop();
        training.join().unwrap()
    });
    assert_eq!((ended.outcome, ended.weights), (Outcome::Stopped, None));
}

#[test]
fn a_decision_at_a_rung_stops_or_goes_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = classification(&folder, json!({"epochs": 9}));
    run.spec.rungs = vec![1, 3];
    let (ended, reports) = run_trial(&run, |epoch, _, interrupter| {
        if epoch == 1 || epoch == 3 {
            interrupter.decide(if epoch == 3 { Verdict::Stop } else { Verdict::GoOn });
        }
    });
    assert_eq!((ended.outcome, reports.len()), (Outcome::Stopped, 3));
}

#[test]
fn the_weights_kept_are_those_of_the_report_that_counts() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // The largest loss is wanted: the first reports are the best.
    let mut run = classification(&folder, json!({"epochs": 6}));
    run.spec.objective =
        Objective { metric: "loss".into(), direction: Direction::Max, select: Select::Best, further: vec![] };
    let (ended, reports) = run_trial(&run, |_, _, _| {});
    let best = kept(&ended);
    let value = |(_, metrics): &(u32, lethe_flight::message::training::Metrics)| metrics["loss"];
    let (at, most) = reports.iter().map(value).enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(at < 5, "the last report is the best: the test shows nothing ({reports:?})");
    let mut short = run.clone();
    short.spec.hparams.insert("epochs".into(), (at + 1).into());
    short.spec.objective.select = Select::Last;
    assert_eq!(best, kept(&run_trial(&short, |_, _, _| {}).0));
    // No worse than the experiment's best is kept, worse is not.
    run.spec.best_so_far = Some(most);
    assert!(run_trial(&run, |_, _, _| {}).0.weights.is_some());
    run.spec.best_so_far = Some(most + 1e-9);
    assert_eq!(run_trial(&run, |_, _, _| {}).0.weights, None);
}

#[test]
fn what_does_not_fit_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, mut labels) = blobs(90);
    labels[17] = 12;
    let cross = || supervised(Some(Loss::CrossEntropy), vec![]);
    let of = |labels: &[i64], program: &str, supervised| {
        let view = view(folder.path(), &features, 4, Labels::Class(labels), 30);
        trial(&folder, program, view, supervised, none())
    };
    let error = failure(&of(&labels, "mlp", cross()));
    assert_eq!(error, "label 12 is out of range: the model has 3 outputs, so labels must be 0 to 2");
    labels[17] = -1;
    let error = failure(&of(&labels, "mlp", cross()));
    assert_eq!(error, "label -1 is out of range: classes count from 0");
    labels[17] = 0;
    let error = failure(&of(&labels, "line", supervised(Some(Loss::BinaryCrossEntropy), vec![])));
    assert!(error.starts_with("the loss binary_cross_entropy needs labels 0 and 1"), "{error}");
    let error = failure(&of(&labels, "mlp", supervised(Some(Loss::Mse), vec![])));
    assert!(error.starts_with("this loss needs one output a row"), "{error}");
    let error = failure(&of(&labels, "mlp", supervised(None, vec![])));
    assert!(error.contains("training_step"), "{error}");
    let error = failure(&of(&labels, "mlp", supervised(Some(Loss::CrossEntropy), vec![Metric::Mae])));
    assert_eq!(error, "the metric mae needs one output a row; the model has 3");
    let mut unknown = of(&labels, "mlp", cross());
    unknown.spec.objective.metric = "f1".into();
    let error = failure(&unknown);
    assert_eq!(error, "the experiment's metric \"f1\" is not reported; name one of: loss, train_loss");
    let narrow = view(folder.path(), &features, 3, Labels::Class(&[0; 120]), 0);
    let error = failure(&trial(&folder, "mlp", narrow, cross(), none()));
    assert!(error.lines().next().unwrap().contains("shapes cannot be multiplied"), "{error}");
}

#[test]
fn weights_that_do_not_fit_the_program_are_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = classification(&folder, none());
    let initial = Path::new(run.initial.as_ref().unwrap());
    let mut weights = state("mlp");
    let removed = weights.remove(1);
    lethe_flight::tensors::write_file(initial, &weights).unwrap();
    assert!(failure(&run).starts_with("there are no initial weights for 0.weight"));
    weights.push(lethe_flight::tensors::NamedTensor { shape: vec![4, 16], ..removed.clone() });
    lethe_flight::tensors::write_file(initial, &weights).unwrap();
    assert!(failure(&run).starts_with("the initial weights of 0.weight have shape [4, 16]"));
    weights.pop();
    weights.push(removed);
    weights.push(lethe_flight::tensors::NamedTensor { name: "9.bias".into(), ..weights[0].clone() });
    lethe_flight::tensors::write_file(initial, &weights).unwrap();
    assert!(failure(&run).starts_with("the initial weights have 9.bias, which the program has not"));
}

#[test]
fn a_panic_of_a_registered_function_is_its_trials_failure() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = classification(&folder, none());
    run.spec.function =
        lethe_flight::message::training::Function::Registered { name: "broken".into(), epochs: 1 };
    let mut registry = lethe_trainer::Registry::default();
    let unknown = run_with(&registry, &run, &mut |_, _, _| {}).0;
    assert!(
        matches!(unknown.outcome, Outcome::Failed { error } if error.contains("no training function \"broken\"; it has: lethe.sleep"))
    );
    registry.register("broken", |_: &mut lethe_trainer::TrialContext| -> lethe_trainer::Result<_> {
        panic!("oh no")
    });
    let ended = run_with(&registry, &run, &mut |_, _, _| {}).0;
    assert_eq!(ended.outcome, Outcome::Failed { error: "the training function panicked: oh no".into() });
}

#[test]
fn the_sleeper_reports_as_often_as_asked_and_wakes_for_a_stop() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = classification(&folder, json!({"seconds": 0.01, "reports": 4}));
    run.spec.function =
        lethe_flight::message::training::Function::Registered { name: "lethe.sleep".into(), epochs: 4 };
    let begin = std::time::Instant::now();
    let (ended, reports) = run_trial(&run, |_, _, _| {});
    assert!(begin.elapsed().as_secs_f64() >= 0.01);
    assert_eq!((ended.outcome, reports.len(), ended.weights), (Outcome::Finished, 4, None));
    run.spec.hparams.insert("seconds".into(), 4000.into());
    let interrupter = lethe_trainer::Interrupter::default();
    interrupter.stop();
    let attempt = lethe_trainer::function::Attempt {
        run: &run,
        device: tch::Device::Cpu,
        views: &mut Default::default(),
        interrupter,
        arrived: begin,
        meeting: None,
        previous_end: None,
    };
    let ended = lethe_trainer::function::run(&Default::default(), attempt, &mut |_| Ok(()));
    assert_eq!(ended.outcome, Outcome::Stopped);
}
