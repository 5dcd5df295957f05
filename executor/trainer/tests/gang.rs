//! Ranks that train one model together, as threads of this process that meet in a store of its memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use lethe_flight::message::dataset::{Dtype, LocalRows, Section, View};
use lethe_flight::message::training::{
    Direction, Function, Loss, Metric, Optimizer, Outcome, Precision, Rank, Supervised,
};
use lethe_flight::message::worker::Run;
use lethe_flight::tensors::NamedTensor;
use lethe_trainer::data::ViewCache;
use lethe_trainer::function::{Attempt, Ended, Said, run};
use lethe_trainer::gang::Memory;
use lethe_trainer::{Interrupter, Registry, torch};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Ran {
    ended: Ended,
    reports: Reports,
    checkpoint: Option<String>,
}

/// Runs the trial on so many ranks. `look` sees each report of a rank, and may stop it.
fn gang(trial: &Run, world: u32, look: impl Fn(u32, u32, &Interrupter) + Send + Sync) -> Vec<Ran> {
    gang_of(&vec![trial.clone(); world as usize], look)
}

/// The same of a run for each rank.
fn gang_of(trials: &[Run], look: impl Fn(u32, u32, &Interrupter) + Send + Sync) -> Vec<Ran> {
    let world = trials.len() as u32;
    let meeting = Memory::default();
    let rank = |rank: u32| {
        torch::prepare(1).unwrap();
        let mut trial = trials[rank as usize].clone();
        if world > 1 {
            trial.spec.gang = Some(Rank { rank, world });
        }
        trial.weights = format!("{}-{rank}", trial.weights);
        trial.checkpoints = format!("{}-{rank}", trial.checkpoints);
        let interrupter = Interrupter::default();
        let (mut reports, mut checkpoint) = (Reports::new(), None);
        let mut sink = |said: Said| {
            match said {
                Said::Report { epoch, metrics } => {
                    reports.push((epoch, metrics.clone()));
                    look(rank, epoch, &interrupter);
                }
                Said::Checkpoint { path, .. } => checkpoint = Some(path.to_str().unwrap().to_owned()),
            }
            Ok(())
        };
        let attempt = Attempt {
            run: &trial,
            device: tch::Device::Cpu,
            views: &mut ViewCache::default(),
            interrupter: interrupter.clone(),
            arrived: Instant::now(),
            meeting: Some(&meeting),
            previous_end: None,
        };
        let ended = run(&Registry::default(), attempt, &mut sink);
        Ran { ended, reports, checkpoint }
    };
    std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> = (0..world).map(|r| scope.spawn(move || rank(r))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn finished(ran: &[Ran]) -> Vec<NamedTensor> {
    for one in ran {
        assert_eq!(one.ended.outcome, Outcome::Finished);
    }
    kept(&ran[0].ended)
}

fn sgd(loss: Option<Loss>, metrics: Vec<Metric>, epochs: u32) -> Supervised {
    Supervised { optimizer: Optimizer::Sgd, lr: 0.05, epochs, ..supervised(loss, metrics) }
}

/// 300 rows less so many, 60 of which validate.
fn normed(folder: &TempDir, fewer: usize, function: Supervised, hparams: Value) -> Run {
    let (features, labels) = blobs(300 - fewer);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    trial(folder, "normed", view, function, hparams)
}

fn assert_same_curve(found: &Reports, expected: &Reports, tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for ((epoch, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, value) in expected {
            let off = (found[name] - value).abs() / value.abs().max(1e-12);
            assert!(off <= tolerance, "{name} of epoch {epoch}: {} is not {value}", found[name]);
        }
    }
}

#[test]
fn ranks_have_the_loss_curve_of_one_rank() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // 231 rows in batches of 32, the last of 7: neither divides by 2 or 3. More than 100 steps.
    let mut function = sgd(Some(Loss::CrossEntropy), vec![Metric::Accuracy], 13);
    function.sync_batch_norm = true;
    let trial = normed(&folder, 9, function, none());
    let alone = gang(&trial, 1, |_, _, _| {});
    let weights = sorted(finished(&alone));
    for world in [2, 3] {
        let together = gang(&trial, world, |_, _, _| {});
        let found = sorted(finished(&together));
        assert_eq!(together[0].reports.len(), 13);
        assert!(together[1].reports.is_empty(), "rank 0 speaks for all");
        assert_same_curve(&together[0].reports, &alone[0].reports, 1e-5);
        for name in ["line.weight", "norm.weight", "norm.running_mean", "norm.running_var"] {
            let of = |weights: &std::collections::BTreeMap<String, NamedTensor>| {
                values(&[weights[name].clone()], name)
            };
            assert_close(&of(&found), &of(&weights), 1e-4);
        }
    }
}

#[test]
fn ranks_that_share_no_memory_have_the_loss_curve_of_one_rank() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // Nine are too many for it: their gradients go through Gloo, as between hosts. The last batch of 16 leaves ranks
    // with one row or two.
    let trial = tied(&folder, Supervised { batch_size: 32, ..sgd(Some(Loss::CrossEntropy), vec![], 13) });
    let alone = gang(&trial, 1, |_, _, _| {});
    finished(&alone);
    let together = gang(&trial, 9, |_, _, _| {});
    finished(&together);
    assert_same_curve(&together[0].reports, &alone[0].reports, 1e-5);
}

#[test]
fn a_shared_batch_norm_keeps_its_digits_and_batches_in_parts_fit_together() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // Means a thousand times the deviation; 243 rows in batches of 32, the last of 19, which two ranks cut alike.
    let (mut features, labels) = blobs(303);
    features.iter_mut().for_each(|value| *value += 1000.0);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let mut function = Supervised { lr: 1e-6, ..sgd(Some(Loss::CrossEntropy), vec![], 2) };
    function.sync_batch_norm = true;
    let whole = trial(&folder, "normed", view, function, none());
    let expected = gang(&whole, 1, |_, _, _| {});
    finished(&expected);
    let found = gang(&whole, 2, |_, _, _| {});
    finished(&found);
    let of = |ran: &[Ran]| ran[0].reports[1].1["train_loss"];
    assert!((of(&found) - of(&expected)).abs() < 1e-3, "{} is not {}", of(&found), of(&expected));
    let mut parts = whole.clone();
    let Function::Supervised(function) = &mut parts.spec.function else { panic!() };
    function.accumulate = 8;
    finished(&gang(&parts, 2, |_, _, _| {}));
    // Of a last batch of one row batch norm wants to know nothing, wherever it is.
    parts.spec.hparams.insert("batch_size".into(), 121.into());
    for ran in gang(&parts, 2, |_, _, _| {}) {
        let (Outcome::Failed { error } | Outcome::Lost { error }) = ran.ended.outcome else { panic!() };
        assert!(error.contains("set drop_last=True") || error.contains("another rank"), "{error}");
    }
}

#[test]
fn all_ranks_end_with_the_same_weights() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // Ranks compare their weights after each epoch, to the bit. Dropout, batch norm by rank, and a parameter that gets
    // no gradient at first.
    let (features, labels) = blobs(261);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let mut trial = trial(
        &folder,
        "deep",
        view,
        supervised(Some(Loss::CrossEntropy), vec![]),
        json!({"batch_size": 40, "drop_last": true, "epochs": 6}),
    );
    trial.spec.checkpoint_every_s = Some(0.0);
    let together = gang(&trial, 3, |_, _, _| {});
    finished(&together);
    let of = |rank: usize| {
        let path = format!("{}-{rank}", trial.weights);
        Path::new(&path).exists().then(|| lethe_flight::tensors::read_file(Path::new(&path)).unwrap())
    };
    assert!(of(0).is_some());
    assert!(of(1).is_none() && together[1].checkpoint.is_none(), "rank 0 keeps and saves");
    assert!(together[0].checkpoint.is_some());
}

#[test]
fn ranks_that_come_to_other_weights_are_told() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let one = tied(&folder, sgd(Some(Loss::CrossEntropy), vec![], 3));
    let mut other = one.clone();
    let Function::Supervised(function) = &mut other.spec.function else { panic!() };
    function.lr *= 2.0;
    for ran in gang_of(&[one, other], |_, _, _| {}) {
        let Outcome::Failed { error } = ran.ended.outcome else { panic!("{:?}", ran.ended.outcome) };
        assert!(error.starts_with("ranks have other weights after the same steps"), "{error}");
    }
}

#[test]
fn metrics_that_do_not_add_up_are_those_of_one_rank() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(290);
    let values: Vec<f32> = labels.iter().map(|&label| f32::from(u8::from(label == 1))).collect();
    let view = view(folder.path(), &features, 4, Labels::Value(&values), 83);
    let metrics = vec![Metric::R2, Metric::RocAuc, Metric::Mae, Metric::Mse];
    let trial = trial(&folder, "line", view, sgd(Some(Loss::Mse), metrics, 3), none());
    let alone = gang(&trial, 1, |_, _, _| {});
    finished(&alone);
    for world in [2, 3] {
        let together = gang(&trial, world, |_, _, _| {});
        finished(&together);
        assert_same_curve(&together[0].reports, &alone[0].reports, 1e-5);
    }
}

#[test]
fn a_modules_own_steps_are_weighted_by_rows() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(121);
    let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
    let view = view(folder.path(), &features, 4, Labels::Value(&labels), 20);
    // The last batch has one row.
    let trial = trial(&folder, "own", view, sgd(None, vec![], 4), json!({"batch_size": 50}));
    let alone = gang(&trial, 1, |_, _, _| {});
    finished(&alone);
    let mut together = gang(&trial, 3, |_, _, _| {});
    finished(&together);
    // A mean of what is no mean of rows, the largest error, is another number.
    let mut expected = alone[0].reports.clone();
    for (_, metrics) in together[0].reports.iter_mut().chain(&mut expected) {
        assert!(metrics.remove("worst").is_some() && metrics.remove("rows").is_some());
    }
    assert_same_curve(&together[0].reports, &expected, 1e-5);
}

#[test]
fn a_batch_in_parts_has_the_gradients_of_the_whole() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(290);
    let values: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
    let view = view(folder.path(), &features, 4, Labels::Value(&values), 60);
    let whole = trial(&folder, "line", view, sgd(Some(Loss::Mse), vec![Metric::R2], 3), none());
    let mut parts = whole.clone();
    let Function::Supervised(function) = &mut parts.spec.function else { panic!() };
    function.accumulate = 5;
    let expected = gang(&whole, 1, |_, _, _| {});
    for world in [1, 2] {
        let found = gang(&parts, world, |_, _, _| {});
        finished(&found);
        assert_same_curve(&found[0].reports, &expected[0].reports, 1e-5);
    }
    // It is computed in parts: batch norm, which is not shared, sees theirs.
    let losses = |accumulate: u32| {
        let function = Supervised { accumulate, ..sgd(Some(Loss::CrossEntropy), vec![], 1) };
        let ran = gang(&normed(&folder, 9, function, none()), 1, |_, _, _| {});
        finished(&ran);
        ran[0].reports[0].1["train_loss"]
    };
    assert!((losses(5) - losses(1)).abs() > 1e-4);
}

#[test]
fn mixed_precision_learns_with_float32_weights() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(300);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let function = supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy]);
    let full = trial(&folder, "mlp", view, function, json!({"epochs": 8, "lr": 0.03}));
    let mut mixed = full.clone();
    let Function::Supervised(function) = &mut mixed.spec.function else { panic!() };
    function.precision = Precision::Bfloat16;
    let expected = gang(&full, 1, |_, _, _| {});
    for world in [1, 2] {
        let found = gang(&mixed, world, |_, _, _| {});
        assert!(finished(&found).iter().all(|tensor| tensor.dtype == "float32"));
        let (found, expected) = (&found[0].reports[7].1, &expected[0].reports[7].1);
        assert!(found["accuracy"] > 0.95, "{found:?}");
        // bfloat16 has 8 bits: the same to two digits, and not to five.
        if world == 1 {
            let off = (found["loss"] - expected["loss"]).abs() / expected["loss"];
            assert!(off > 1e-5 && off < 0.2, "{found:?} {expected:?}");
        }
    }
}

#[test]
fn a_gang_goes_on_from_its_checkpoint_to_the_bit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // What ranks drop is drawn by their process, of which there is one here: a module that drops nothing.
    let mut function = supervised(Some(Loss::CrossEntropy), vec![]);
    // Ranks wait for each other in the forward pass too.
    function.sync_batch_norm = true;
    let mut whole = normed(&folder, 0, function, json!({"epochs": 4}));
    whole.spec.objective.direction = Direction::Min;
    let expected = gang(&whole, 2, |_, _, _| {});
    // Told to stop after its second report, it has saved at the end of the first and second epochs.
    whole.spec.checkpoint_every_s = Some(0.0);
    let first = gang(&whole, 2, |rank, epoch, interrupter| {
        if rank == 0 && epoch == 3 {
            interrupter.stop();
        }
    });
    assert_eq!(first[0].ended.outcome, Outcome::Stopped);
    assert_eq!(first[1].ended.outcome, Outcome::Stopped, "the others stop with it");
    let mut rest = whole.clone();
    rest.checkpoint = first[0].checkpoint.clone();
    let found = gang(&rest, 2, |_, _, _| {});
    assert_eq!(found[0].reports, expected[0].reports[2..], "as if it had not been interrupted");
    assert_eq!(finished(&found), finished(&expected));
    // On another number of ranks it goes on too.
    for world in [1, 3] {
        let found = gang(&rest, world, |_, _, _| {});
        finished(&found);
        assert_eq!(found[0].reports.len(), 2);
    }
}

#[test]
fn a_rank_that_is_gone_is_noticed_by_the_others() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut broken = normed(&folder, 0, sgd(Some(Loss::CrossEntropy), vec![], 5), none());
    broken.spec.objective.metric = "train_loss".into();
    let begun = Instant::now();
    // Rank 1 fails by itself: its program is another one.
    let meeting = Memory::default();
    let one = |rank: u32, run_of: &Run| {
        torch::prepare(1).unwrap();
        let mut trial = run_of.clone();
        trial.spec.gang = Some(Rank { rank, world: 2 });
        let interrupter = Interrupter::default();
        let attempt = Attempt {
            run: &trial,
            device: tch::Device::Cpu,
            views: &mut ViewCache::default(),
            interrupter,
            arrived: Instant::now(),
            meeting: Some(&meeting),
            previous_end: None,
        };
        run(&Registry::default(), attempt, &mut |_: Said| Ok(())).outcome
    };
    let mut wrong = broken.clone();
    wrong.program = Some(folder.path().join("nothing").to_str().unwrap().into());
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| one(0, &broken));
        let second = scope.spawn(|| one(1, &wrong));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert!(matches!(second, Outcome::Failed { .. }), "{second:?}");
    let Outcome::Lost { error } = first else { panic!("{first:?}") };
    assert!(error.starts_with("another rank of the gang was lost"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// A view of 240 rows that train and 60 that validate for each rank, of which it has so many.
fn dealt(folder: &TempDir, train: &[usize], validation: &[usize]) -> Vec<View> {
    let (features, labels) = blobs(300);
    let (mut trained, mut validated) = (0, 240);
    let rows = |of: &[usize]| of.iter().map(|&rows| rows as u64).collect::<Vec<u64>>();
    (0..train.len())
        .map(|rank| {
            let own = (trained..trained + train[rank]).chain(validated..validated + validation[rank]);
            (trained, validated) = (trained + train[rank], validated + validation[rank]);
            let own: Vec<usize> = own.collect();
            let features: Vec<f32> =
                own.iter().flat_map(|row| features[4 * row..4 * (row + 1)].to_vec()).collect();
            let labels: Vec<i64> = own.iter().map(|&row| labels[row]).collect();
            let inner = folder.path().join(rank.to_string());
            std::fs::create_dir_all(&inner).unwrap();
            let mut view = view(&inner, &features, 4, Labels::Class(&labels), validation[rank]);
            let local = LocalRows { rank: rank as u32, train: rows(train), validation: rows(validation) };
            view.local = Some(local);
            view
        })
        .collect()
}

#[test]
fn ranks_of_rows_of_their_own_count_each_of_them_once() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // With one batch an epoch the curve is that of one rank; without a step worth the name, so is the loss of all rows.
    for (batch_size, lr, epochs) in [(300, 0.05, 8), (32, 1e-9, 2)] {
        let metrics = vec![Metric::Accuracy];
        let function = Supervised { lr, batch_size, ..sgd(Some(Loss::CrossEntropy), metrics, epochs) };
        let whole = tied(&folder, function.clone());
        let expected = gang(&whole, 1, |_, _, _| {});
        finished(&expected);
        for (train, validation) in [
            (vec![100, 140], vec![45, 15]),
            (vec![239, 1], vec![1, 59]),
            // Ranks without any row of one kind.
            (vec![240, 0, 0], vec![0, 20, 40]),
        ] {
            let views = dealt(&folder, &train, &validation);
            let runs: Vec<Run> =
                views.into_iter().map(|view| Run { view: Some(view), ..whole.clone() }).collect();
            let found = gang_of(&runs, |_, _, _| {});
            finished(&found);
            assert_same_curve(&found[0].reports, &expected[0].reports, 1e-5);
        }
    }
}

#[test]
fn weights_of_rows_count_over_all_ranks_where_each_has_its_own() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let function = Supervised { batch_size: 300, ..sgd(Some(Loss::CrossEntropy), vec![], 5) };
    let mut whole = tied(&folder, function);
    let weigh = |view: &mut View, first: usize| {
        let mut bytes = std::fs::read(&view.path).unwrap();
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        let offset = bytes.len() as u64;
        (first..first + view.rows as usize)
            .for_each(|row| bytes.extend((1.0 + (row % 7) as f32).to_le_bytes()));
        std::fs::write(&view.path, bytes).unwrap();
        let (name, shape) = ("weight".into(), Vec::new());
        view.weight = Some(Section { name, dtype: Dtype::Float32, shape, offset, taken: None });
    };
    // The last 60 rows validate: of one rank the first of them come after its last that trains.
    weigh(whole.view.as_mut().unwrap(), 0);
    let expected = gang(&whole, 1, |_, _, _| {});
    finished(&expected);
    let mut views = dealt(&folder, &[90, 150], &[0, 60]);
    weigh(&mut views[0], 0);
    weigh(&mut views[1], 90);
    let runs: Vec<Run> = views.into_iter().map(|view| Run { view: Some(view), ..whole.clone() }).collect();
    let found = gang_of(&runs, |_, _, _| {});
    finished(&found);
    assert_same_curve(&found[0].reports, &expected[0].reports, 1e-5);
}

/// A module without dropout, and without batch norm, which depends on whose rows come together.
fn tied(folder: &TempDir, function: Supervised) -> Run {
    let (features, labels) = blobs(300);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    trial(folder, "tied", view, function, none())
}
