//! Several named inputs, each of its own type and shape.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::file::ViewFile;
use common::{alone, assert_close, fixture, fixture_json, floats, none, run_trial, state, supervised, trial};
use lethe_flight::message::dataset::{Dtype, Sampling, View};
use lethe_flight::message::training::{Loss, Metric, Outcome};
use lethe_trainer::data::{Batches, MappedView};
use lethe_trainer::supervised::{Model, Origin};
use lethe_trainer::torch::Program;
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// `rows` rows, the last quarter of which validates: `image` uint8 `[2, 2]`, `kind` int64 `[1]`, class `kind % 3`.
fn pairs(rows: u32) -> ViewFile {
    let train = rows - rows / 4;
    let mut file = ViewFile::new(rows).split(0..train, train..rows);
    let kind = |row: u32| i64::from(row * 7 % 5);
    let image: Vec<u8> = (0..rows * 4).map(|i| (i * 11 % 8) as u8).collect();
    file.input("image", Dtype::Uint8, &[2, 2], &image);
    let kinds: Vec<u8> = (0..rows).flat_map(|row| kind(row).to_le_bytes()).collect();
    file.input("kind", Dtype::Int64, &[1], &kinds);
    file.classes((0..rows).map(|row| kind(row) % 3).collect());
    file
}

#[test]
fn forward_gets_the_inputs_in_their_order() {
    let _alone = alone();
    let program = Program::load(&fixture("pair.pt"), Device::Cpu).unwrap();
    let origin = Origin { what: "weights", remedy: "none" };
    let mut model = Model::new(program, &state("pair"), origin, Device::Cpu).unwrap();
    model.program.train(false).unwrap();
    let image = Tensor::arange(20, (Kind::Uint8, Device::Cpu)).reshape([5, 2, 2]);
    let kind = Tensor::arange(5, (Kind::Int64, Device::Cpu)).reshape([5, 1]);
    let outputs = model.program.forward(&[image.shallow_clone(), kind]).unwrap();
    let outputs = Vec::<f32>::try_from(outputs.detach().reshape([-1])).unwrap();
    assert_close(&outputs, &floats(&fixture_json("pair.json")["outputs"]), 1e-6);
    let error = model.program.forward(&[image]).unwrap_err().to_string();
    let expected =
        "the module's forward takes 2 tensors and the dataset has 1 inputs: forward needs an argument";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn each_type_is_gathered_as_it_is_in_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = ViewFile::new(9);
    let numbers = 0..9u8 * 6;
    let bytes = |of: &dyn Fn(u8) -> Vec<u8>| numbers.clone().flat_map(of).collect::<Vec<u8>>();
    file.input("f32", Dtype::Float32, &[2, 3], &bytes(&|n| f32::from(n).to_le_bytes().into()));
    file.input("f64", Dtype::Float64, &[6], &bytes(&|n| f64::from(n).to_le_bytes().into()));
    file.input("i8", Dtype::Int8, &[6, 1], &bytes(&|n| vec![n]));
    file.input("i16", Dtype::Int16, &[1, 3, 2], &bytes(&|n| i16::from(n).to_le_bytes().into()));
    file.input("i32", Dtype::Int32, &[6], &bytes(&|n| i32::from(n).to_le_bytes().into()));
    file.input("i64", Dtype::Int64, &[3, 2], &bytes(&|n| i64::from(n).to_le_bytes().into()));
    file.input("u8", Dtype::Uint8, &[6], &bytes(&|n| vec![n]));
    file.input("bool", Dtype::Bool, &[6], &bytes(&|n| vec![n % 2]));
    file.values((0..9u8).map(f32::from).collect());
    let view = Arc::new(MappedView::open(&file.write(folder.path())).unwrap());
    let mut batches = Batches::new(view, 4, Device::Cpu).unwrap();
    for rows in [&[7u32, 0, 8, 3][..], &[5, 5]] {
        let batch = batches.gather(rows).unwrap();
        let kinds: Vec<Kind> = batch.inputs.iter().map(Tensor::kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Float,
                Kind::Double,
                Kind::Int8,
                Kind::Int16,
                Kind::Int,
                Kind::Int64,
                Kind::Uint8,
                Kind::Bool
            ]
        );
        let n = rows.len() as i64;
        assert_eq!(batch.inputs[0].size(), [n, 2, 3]);
        assert_eq!(batch.inputs[3].size(), [n, 1, 3, 2]);
        let expected: Vec<f64> = rows.iter().flat_map(|&row| (row * 6..row * 6 + 6).map(f64::from)).collect();
        for (input, kind) in batch.inputs.iter().zip(kinds) {
            let found = Vec::<f64>::try_from(input.to_kind(Kind::Double).reshape([-1])).unwrap();
            let boolean = |value: &f64| if kind == Kind::Bool { value % 2.0 } else { *value };
            assert_eq!(found, expected.iter().map(boolean).collect::<Vec<_>>(), "{kind:?}");
        }
        assert_eq!(
            (batch.rows, batch.weight, batch.weights.is_none()),
            (rows.len(), rows.len() as f64, true)
        );
        assert_eq!(batch.labels.size(), [n]);
    }
}

fn finished(folder: &tempfile::TempDir, view: View, loss: Option<Loss>) -> common::Reports {
    let settings = json!({"epochs": 30, "lr": 0.05});
    let run = trial(folder, "pair", view, supervised(loss, vec![Metric::Accuracy]), settings);
    let (ended, reports) = run_trial(&run, |_, _, _| {});
    assert_eq!(ended.outcome, Outcome::Finished);
    reports
}

#[test]
fn a_module_of_two_inputs_learns() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let reports = finished(&folder, pairs(200).write(folder.path()), Some(Loss::CrossEntropy));
    assert!(reports[29].1["accuracy"] > 0.95, "{reports:?}");
}

#[test]
fn a_modules_own_steps_get_each_input_by_its_name_and_the_weight_where_it_counts() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let keys = |file: ViewFile| finished(&folder, file.write(folder.path()), None)[29].1["keys"];
    assert_eq!(keys(pairs(200)), 3.0);
    let weighted = || {
        let mut file = pairs(200);
        file.weights((0..200).map(|row| (row % 3) as f32).collect());
        file
    };
    assert_eq!(keys(weighted()), 4.0);
    let mut sampled = weighted();
    sampled.view.order.sampling = Sampling::Weighted;
    assert_eq!(keys(sampled), 3.0);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let failure = |file: ViewFile, loss| {
        let run =
            trial(&folder, "pair", file.write(Path::new(folder.path())), supervised(loss, vec![]), none());
        match run_trial(&run, |_, _, _| {}).0.outcome {
            Outcome::Failed { error } => error,
            other => panic!("{other:?}"),
        }
    };
    let mut more = pairs(20);
    more.floats("more", &[1], &[0.0; 20]);
    let error = failure(more, Some(Loss::CrossEntropy));
    assert!(
        error.lines().next().unwrap().contains("takes 2 tensors and the dataset has 3 inputs"),
        "{error}"
    );
    let mut taken = pairs(20);
    taken.view.inputs[1].name = "weight".into();
    let error = failure(taken, None);
    assert!(error.starts_with("the input \"weight\" needs another name"), "{error}");
}
