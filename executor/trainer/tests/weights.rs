//! Rows that count by their weights, and orders that draw by them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::file::ViewFile;
use common::{alone, assert_close, kept, none, run_trial, supervised, trial, values};
use lethe_flight::message::dataset::{Sampling, View};
use lethe_flight::message::training::{Loss, Metric, Metrics, Outcome};
use lethe_flight::tensors::NamedTensor;
use lethe_trainer::function::Ended;
use serde_json::{Value, json};
use tempfile::TempDir;

/// These rows of ten, of four features and a value each, the last `validation` of which validate.
fn lines(rows: &[u32], weights: Option<Vec<f32>>, validation: u32) -> ViewFile {
    let count = rows.len() as u32;
    let train = count - validation;
    let mut file = ViewFile::new(count).split(0..train, train..count);
    let features: Vec<f32> =
        rows.iter().flat_map(|row| (0..4).map(move |i| ((row * 5 + i * 3) % 7) as f32 / 7.0)).collect();
    file.floats("features", &[4], &features);
    file.values(rows.iter().map(|row| (row % 4) as f32 - 1.0).collect());
    weights.into_iter().for_each(|weights| file.weights(weights));
    file
}

fn run(folder: &TempDir, view: View, hparams: Value) -> (Ended, Vec<Metrics>) {
    let mut settings = json!({"optimizer": "sgd", "lr": 0.1, "batch_size": 100, "epochs": 5});
    settings.as_object_mut().unwrap().extend(hparams.as_object().unwrap().clone());
    let metrics = if view.validation > 0 { vec![Metric::Mae] } else { vec![] };
    let run = trial(folder, "line", view, supervised(Some(Loss::Mse), metrics), settings);
    let (ended, reports) = run_trial(&run, |_, _, _| {});
    (ended, reports.into_iter().map(|(_, metrics)| metrics).collect())
}

fn trained(folder: &TempDir, file: ViewFile, hparams: Value) -> (Vec<NamedTensor>, Vec<Metrics>) {
    let (ended, reports) = run(folder, file.write(folder.path()), hparams);
    assert_eq!(ended.outcome, Outcome::Finished);
    (kept(&ended), reports)
}

#[test]
fn a_row_of_weight_three_counts_as_three_rows_and_one_of_weight_0_as_none() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let weights = vec![3.0, 1.0, 0.0, 1.0, 0.0, 1.0, 2.0];
    let (found, reports) = trained(&folder, lines(&[0, 1, 2, 3, 4, 5, 6], Some(weights), 3), none());
    let (expected, plain) = trained(&folder, lines(&[0, 0, 0, 1, 3, 5, 6, 6], None, 3), none());
    assert_close(&values(&found, "weight"), &values(&expected, "weight"), 1e-5);
    assert_close(&values(&found, "bias"), &values(&expected, "bias"), 1e-5);
    for (weighted, plain) in reports.iter().zip(&plain) {
        for name in ["train_loss", "loss"] {
            assert!((weighted[name] - plain[name]).abs() < 1e-5, "{name}: {weighted:?} {plain:?}");
        }
        // The other metrics count each row alike.
        assert!((weighted["mae"] - plain["mae"]).abs() > 1e-3, "{weighted:?} {plain:?}");
    }
}

#[test]
fn the_loss_of_an_epoch_is_weighted_across_batches_and_a_batch_of_weight_0_is_0() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let file = || lines(&[0, 1, 2, 3, 4, 5], Some(vec![4.0, 0.0, 0.0, 0.0, 1.0, 0.0]), 0);
    let still = |batch_size: u32| json!({"lr": 0, "epochs": 1, "batch_size": batch_size});
    let whole = trained(&folder, file(), still(6)).1;
    for batch_size in [1, 2, 4] {
        let parts = trained(&folder, file(), still(batch_size)).1;
        assert!((whole[0]["train_loss"] - parts[0]["train_loss"]).abs() < 1e-6, "{whole:?} {parts:?}");
    }
    let nothing = trained(&folder, lines(&[0, 1, 2], Some(vec![0.0; 3]), 0), json!({"epochs": 2}));
    assert!(nothing.1.iter().all(|report| report["train_loss"] == 0.0), "{nothing:?}");
}

#[test]
fn weights_that_rows_are_drawn_by_count_in_no_loss() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let still = json!({"lr": 0, "epochs": 1, "batch_size": 2});
    // Of the training rows only the second is ever drawn; rows that validate have weight 0.
    let mut file = lines(&[0, 1, 2, 3, 4, 5], Some(vec![0.0, 9.0, 0.0, 0.0, 0.0, 0.0]), 2);
    file.view.order.sampling = Sampling::Weighted;
    let found = trained(&folder, file, still.clone()).1;
    let expected = trained(&folder, lines(&[1, 4, 5], None, 2), still).1;
    for name in ["train_loss", "loss", "mae"] {
        assert!((found[0][name] - expected[0][name]).abs() < 1e-6, "{name}: {found:?} {expected:?}");
    }
}

#[test]
fn weights_that_are_no_numbers_from_0_fail_the_trial() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for (weight, text) in [(-1.0, "-1"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let view = lines(&[0, 1, 2], Some(vec![1.0, weight, 1.0]), 0).write(folder.path());
        let Outcome::Failed { error } = run(&folder, view, none()).0.outcome else { panic!("{weight}") };
        assert!(error.starts_with(&format!("the weight column has {text}: weights are")), "{error}");
    }
    let mut drawn = lines(&[0, 1, 2], Some(vec![0.0; 3]), 0);
    drawn.view.order.sampling = Sampling::Weighted;
    let Outcome::Failed { error } = run(&folder, drawn.write(folder.path()), none()).0.outcome else {
        panic!()
    };
    assert!(error.starts_with("the weights of all rows that train are 0"), "{error}");
}
