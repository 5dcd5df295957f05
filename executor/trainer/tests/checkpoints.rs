//! Pausing and going on, to the bit; and what a checkpoint may be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use lethe_flight::message::training::{
    Direction, Function, Loss, Metric, Objective, Outcome, Select, Verdict,
};
use lethe_flight::message::worker::Run;
use lethe_flight::tensors::{self, NamedTensor};
use lethe_trainer::function::Attempt;
use lethe_trainer::{Completion, Flow, Interrupter, Registry, Saved, TrialContext};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Eight epochs of six steps of the fixture `deep`.
fn deep(folder: &TempDir, select: Select, hparams: Value) -> Run {
    let (features, labels) = blobs(240);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let supervised = supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy]);
    let mut settings = json!({
        "epochs": 8, "batch_size": 31, "lr": 0.02, "schedule": "one_cycle", "grad_clip": 0.7, "weight_decay": 0.01,
        "momentum": 0.5,
    });
    settings.as_object_mut().unwrap().extend(hparams.as_object().unwrap().clone());
    let mut run = trial(folder, "deep", view, supervised, settings);
    run.spec.objective =
        Objective { metric: "loss".into(), direction: Direction::Min, select, further: vec![] };
    run
}

fn segment(registry: &Registry, run: &Run, decide: impl FnMut(u32) -> Verdict) -> Segment {
    segment_on(Device::Cpu, registry, run, decide)
}

fn straight(run: &Run) -> Segment {
    segment(&Registry::default(), run, |_| Verdict::GoOn)
}

/// Pauses after each of these epochs, with other work of the process in between.
fn paused_at(run: &Run, pauses: &[u32]) -> Segment {
    let mut run = run.clone();
    run.spec.rungs = pauses.to_vec();
    let mut reports = Reports::new();
    for &pause in pauses {
        let verdict = |epoch| if epoch == pause { Verdict::Pause } else { Verdict::GoOn };
        let part = segment(&Registry::default(), &run, verdict);
        assert_eq!((&part.ended.outcome, &part.ended.weights), (&Outcome::Paused, &None));
        reports.extend(part.reports);
        assert_eq!(part.saved.len(), 1);
        run = next(&run, pause, &part.saved[0].1);
        // A fresh process has drawn nothing; this one draws something else.
        lethe_trainer::torch::seed(u64::from(pause)).unwrap();
        _ = Tensor::zeros([7], (Kind::Float, Device::Cpu)).f_bernoulli_float_(0.5).unwrap();
    }
    let mut last = straight(&run);
    last.reports.splice(..0, reports);
    last
}

/// One pause after epoch 3: the attempt that goes on, and its checkpoint's file.
fn paused_once(run: &Run) -> (Run, PathBuf) {
    let mut run = run.clone();
    run.spec.rungs = vec![3];
    let part = segment(&Registry::default(), &run, |_| Verdict::Pause);
    assert_eq!((part.ended.outcome, part.reports.len()), (Outcome::Paused, 3));
    let (epoch, file) = part.saved.into_iter().next().unwrap();
    (next(&run, epoch, &file), file)
}

fn failure(run: &Run) -> String {
    match straight(run).ended.outcome {
        Outcome::Failed { error } => error,
        other => panic!("{other:?}"),
    }
}

/// Bit patterns: NaN is equal to itself.
fn bits(reports: &Reports) -> Vec<(u32, Vec<(String, u64)>)> {
    let each = |(epoch, metrics): &(u32, lethe_flight::message::training::Metrics)| {
        (*epoch, metrics.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect())
    };
    reports.iter().map(each).collect()
}

fn assert_same(found: &Segment, expected: &Segment, what: &str) {
    assert_eq!(found.ended.outcome, Outcome::Finished, "{what}");
    assert_eq!(bits(&found.reports), bits(&expected.reports), "{what}");
}

#[test]
fn a_trial_that_is_paused_ends_to_the_bit_as_one_that_is_not() {
    let _alone = alone();
    for optimizer in ["adam", "adamw", "sgd", "rmsprop"] {
        for select in [Select::Last, Select::Best] {
            let folder = tempfile::tempdir().unwrap();
            let run = deep(&folder, select, json!({"optimizer": optimizer}));
            let expected = straight(&run);
            let weights = kept(&expected.ended);
            for pauses in [&[1][..], &[3], &[1, 2, 5, 7]] {
                let what = format!("{optimizer} {select:?} {pauses:?}");
                let found = paused_at(&run, pauses);
                assert_same(&found, &expected, &what);
                assert!(kept(&found.ended) == weights, "{what}");
            }
        }
    }
}

#[test]
fn settings_without_state_are_resumed_too() {
    let _alone = alone();
    for hparams in [
        json!({"optimizer": "sgd", "momentum": 0, "schedule": "constant"}),
        json!({"optimizer": "rmsprop", "momentum": 0, "schedule": "cosine"}),
        json!({"optimizer": "sgd", "schedule": "step"}),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = deep(&folder, Select::Last, hparams.clone());
        let expected = straight(&run);
        let weights = kept(&expected.ended);
        let found = paused_at(&run, &[3, 6]);
        assert_same(&found, &expected, &hparams.to_string());
        assert!(kept(&found.ended) == weights, "{hparams}");
    }
}

/// Changes a checkpoint's tensors.
fn edit(file: &Path, change: impl FnOnce(&mut Vec<NamedTensor>)) {
    let mut tensors = tensors::read_file(file).unwrap();
    change(&mut tensors);
    tensors::write_file(file, &tensors).unwrap();
}

#[test]
fn each_part_of_a_checkpoint_counts() {
    let _alone = alone();
    for (optimizer, parts) in [
        ("adam", &["optimizer/exp_avg/", "optimizer/exp_avg_sq/", "optimizer/step/"][..]),
        ("sgd", &["optimizer/momentum_buffer/"]),
        ("rmsprop", &["optimizer/momentum_buffer/", "optimizer/square_avg/"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = deep(&folder, Select::Last, json!({"optimizer": optimizer}));
        let expected = bits(&straight(&run).reports)[3..].to_vec();
        for part in
            ["model/first.weight", "model/norm.running_mean", "model/seen", "buffer/scale", "random/cpu"]
                .iter()
                .chain(parts)
        {
            let (next, file) = paused_once(&run);
            assert_eq!(bits(&straight(&next).reports), expected);
            edit(&file, |tensors| {
                let mut found = 0;
                for tensor in tensors.iter_mut().filter(|t| t.name.starts_with(part)) {
                    found += 1;
                    match tensor.dtype.as_str() {
                        // The generator's position among its numbers.
                        "uint8" => tensor.data[16] ^= 1,
                        "int64" => tensor.data.fill(0),
                        _ => tensor.data.chunks_mut(4).for_each(|value| {
                            let changed = f32::from_le_bytes(value.try_into().unwrap()) * 1.5 + 0.25;
                            value.copy_from_slice(&changed.to_le_bytes());
                        }),
                    }
                }
                assert!(found > 0, "{part}");
            });
            assert_ne!(bits(&straight(&next).reports), expected, "{optimizer}: {part}");
        }
    }
}

#[test]
fn the_best_moment_is_kept_across_pauses_unless_others_are_better_meanwhile() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Best, none());
    // The largest loss is wanted: the first epoch's.
    run.spec.objective.direction = Direction::Max;
    let expected = straight(&run);
    let most = expected.reports.iter().map(|(_, m)| m["loss"]).fold(0.0, f64::max);
    assert_eq!(expected.reports[0].1["loss"], most, "the fixture's first epoch is its best");
    let weights = kept(&expected.ended);
    for pauses in [&[1, 4][..], &[3]] {
        assert!(kept(&paused_at(&run, pauses).ended) == weights, "{pauses:?}");
    }
    let (mut next, _) = paused_once(&run);
    // A trial may be stopped before its next report.
    let interrupted = |next: &Run| {
        let interrupter = Interrupter::default();
        interrupter.stop();
        let attempt = Attempt {
            run: next,
            device: Device::Cpu,
            views: &mut Default::default(),
            interrupter,
            arrived: std::time::Instant::now(),
            meeting: None,
            previous_end: None,
        };
        lethe_trainer::function::run(&Registry::default(), attempt, &mut |_| Ok(()))
    };
    let ended = interrupted(&next);
    assert_eq!(ended.outcome, Outcome::Stopped);
    assert!(kept(&ended) == weights);
    next.spec.best_so_far = Some(most + 1.0);
    assert_eq!(straight(&next).ended.weights, None);
    // Another trial's best moment is not this one's.
    next.spec.best_so_far = None;
    next.spec.checkpoint.as_mut().unwrap().trial += 1;
    assert_eq!(interrupted(&next).weights, None);
    let own = straight(&next);
    assert!(kept(&own.ended) != weights);
}

#[test]
fn a_pause_at_the_last_epoch_is_the_end() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Last, none());
    run.spec.decide_every = Some(8);
    let part = segment(&Registry::default(), &run, |_| Verdict::Pause);
    assert_eq!((part.ended.outcome, part.saved.len()), (Outcome::Finished, 0));
    assert!(part.ended.weights.is_some());
}

#[test]
fn a_decision_is_awaited_at_each_multiple_too() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Last, none());
    run.spec.rungs = vec![1];
    run.spec.decide_every = Some(3);
    let part =
        segment(&Registry::default(), &run, |epoch| if epoch < 6 { Verdict::GoOn } else { Verdict::Stop });
    assert_eq!((part.ended.outcome, part.reports.len()), (Outcome::Stopped, 6));
    // Any decision given at another epoch is forgotten.
    let part =
        segment(&Registry::default(), &run, |epoch| if epoch == 2 { Verdict::Stop } else { Verdict::GoOn });
    assert_eq!(part.ended.outcome, Outcome::Finished);
}

#[test]
fn checkpoints_by_time_interrupt_nothing_and_each_can_be_resumed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Last, none());
    let expected = straight(&run);
    assert_eq!(expected.saved, []);
    let weights = kept(&expected.ended);
    run.spec.checkpoint_every_s = Some(3600.0);
    assert_eq!(straight(&run).saved, []);
    run.spec.checkpoint_every_s = Some(0.0);
    let saving = straight(&run);
    assert_same(&saving, &expected, "saving");
    assert!(kept(&saving.ended) == weights);
    assert_eq!(saving.saved.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), (1..8).collect::<Vec<_>>());
    run.spec.checkpoint_every_s = None;
    for (epoch, file) in saving.saved {
        let resumed = straight(&next(&run, epoch, &file));
        assert_eq!(bits(&resumed.reports), bits(&expected.reports)[epoch as usize..]);
        assert!(kept(&resumed.ended) == weights, "{epoch}");
    }
}

#[test]
fn another_trials_checkpoint_goes_on_with_this_ones_hyperparameters() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (mut next, file) = paused_once(&deep(&folder, Select::Last, none()));
    next.spec.trial = 9;
    next.spec.hparams.insert("lr".into(), 0.into());
    next.spec.hparams.insert("schedule".into(), "constant".into());
    next.spec.hparams.insert("optimizer".into(), "adamw".into());
    next.spec.hparams.insert("batch_size".into(), 60.into());
    let resumed = straight(&next);
    assert_eq!((&resumed.ended.outcome, resumed.reports.len()), (&Outcome::Finished, 5));
    let saved = sorted(tensors::read_file(&file).unwrap());
    for tensor in kept(&resumed.ended) {
        let same = tensor.data == saved[&format!("model/{}", tensor.name)].data;
        // Nothing is learned at lr 0, but for the buffers.
        assert_eq!(
            same,
            !tensor.name.starts_with("norm.r") && !tensor.name.contains("num_") && tensor.name != "seen"
        );
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = deep(&folder, Select::Last, json!({"optimizer": "sgd"}));
    let (mut next, file) = paused_once(&run);
    next.spec.hparams.insert("optimizer".into(), "adam".into());
    let error = failure(&next);
    assert!(error.starts_with("the checkpoint's optimizer is \"sgd\", the trial's is \"adam\""), "{error}");
    next.spec.hparams.insert("optimizer".into(), "sgd".into());

    let whole = std::fs::read(&file).unwrap();
    let broken = |change: &dyn Fn(&mut Vec<NamedTensor>)| {
        std::fs::write(&file, &whole).unwrap();
        edit(&file, change);
        failure(&next)
    };
    let at = |tensors: &[NamedTensor], name: &str| tensors.iter().position(|t| t.name == name).unwrap();
    let error = broken(&|tensors| {
        let shorter = at(tensors, "model/first.weight");
        tensors[shorter].shape = vec![4, 16];
    });
    assert!(error.starts_with("the weights in the checkpoint of first.weight have shape [4, 16]"), "{error}");
    let error = broken(&|tensors| {
        let gone = at(tensors, "model/first.weight");
        tensors.remove(gone);
    });
    assert!(error.starts_with("there are no weights in the checkpoint for first.weight: "), "{error}");
    let error = broken(&|tensors| {
        let other = at(tensors, "optimizer/momentum_buffer/first.weight");
        tensors[other].shape = vec![64];
    });
    assert!(
        error.starts_with("optimizer/momentum_buffer/first.weight of the checkpoint has shape [64]"),
        "{error}"
    );
    let error = broken(&|tensors| {
        let other = at(tensors, "random/cpu");
        tensors[other].data.pop();
        tensors[other].shape[0] -= 1;
    });
    assert!(error.starts_with("random/cpu of the checkpoint: "), "{error}");
    let meta = |text: &'static str| {
        broken(&|tensors| {
            let meta = at(tensors, "meta");
            tensors[meta].data = text.into();
            tensors[meta].shape = vec![text.len() as i64];
        })
    };
    let error = meta(r#"{"format": 7, "epoch": 3, "step": 18}"#);
    assert!(error.contains("has format 7, this trainer reads format 1"), "{error}");
    let error = meta(r#"{"format": 1, "epoch": 3, "step": 18}"#);
    assert!(error.contains("names no optimizer: another training function has saved it"), "{error}");
    assert!(meta("{").contains("its meta is no JSON"));
    // Weights are no checkpoint.
    tensors::write_file(&file, &state("deep")).unwrap();
    assert!(failure(&next).ends_with("is not a checkpoint: it has no meta"));
    // A file that is damaged or not there may be there the next time.
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(straight(&next).ended.outcome, Outcome::Lost { .. }));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(straight(&next).ended.outcome, Outcome::Lost { .. }));
}

fn registered(run: &mut Run, name: &str, epochs: u32) {
    run.spec.function = Function::Registered { name: name.into(), epochs };
}

#[test]
fn a_function_that_saves_nothing_when_it_is_to_pause_ends_stopped() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Last, none());
    run.spec.rungs = vec![1];
    let mut registry = Registry::default();
    let report = |trial: &mut TrialContext, epoch| trial.report(epoch, [("loss".to_string(), 1.0)].into());
    registry.register("pauses", move |trial: &mut TrialContext| report(trial, 1).map(|_| Completion::Paused));
    registry.register("saves", move |trial: &mut TrialContext| {
        report(trial, 1)?;
        trial.save(Saved::default())?;
        Ok(Completion::Paused)
    });
    registry.register("goes on", move |trial: &mut TrialContext| {
        assert_eq!(report(trial, 1)?, Flow::Pause);
        assert_eq!(report(trial, 2)?, Flow::Stop);
        Ok(Completion::Stopped)
    });
    for (name, outcome, reports) in
        [("pauses", Outcome::Stopped, 1), ("saves", Outcome::Paused, 1), ("goes on", Outcome::Stopped, 1)]
    {
        registered(&mut run, name, 2);
        let part = segment(&registry, &run, |_| Verdict::Pause);
        assert_eq!((part.ended.outcome, part.reports.len()), (outcome, reports), "{name}");
    }
    registered(&mut run, "saves", 2);
    let part = segment(&registry, &run, |_| Verdict::GoOn);
    let error = "the training function paused without being told to";
    assert_eq!(part.ended.outcome, Outcome::Failed { error: error.into() });
}

#[test]
fn the_sleeper_sleeps_on_where_it_was_paused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = deep(&folder, Select::Last, json!({"seconds": 2.0, "reports": 4}));
    registered(&mut run, "lethe.sleep", 4);
    let (resumed, _) = paused_once(&run);
    let begin = std::time::Instant::now();
    let part = straight(&resumed);
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(part.ended.outcome, Outcome::Finished);
    assert_eq!(part.reports, [(4, [("loss".to_string(), 1.0)].into())]);
    // Anew, it would take all of its time.
    assert!((0.45..2.0).contains(&took), "the last quarter of 2 s took {took} s");
}
