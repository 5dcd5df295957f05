//! Trials for tests: fixtures, views and runs in a temporary folder.
#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../../../view/tests/file/mod.rs"]
pub mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lethe_flight::message::dataset::{Dtype, Order, Section, View};
use lethe_flight::message::training::{
    CheckpointRef, Direction, Function, Loss, Metric, Metrics, Objective, Optimizer, Schedule, Select,
    Supervised, TrialSpec, Verdict,
};
use lethe_flight::message::worker::Run;
use lethe_flight::tensors::{self, NamedTensor};
use lethe_trainer::data::ViewCache;
use lethe_trainer::function::{Attempt, Ended, Said, run};
use lethe_trainer::{Interrupter, Registry, torch};
use serde_json::{Value, json};
use tch::Device;
use tempfile::TempDir;

/// libtorch's random generator is the process's: trials run one at a time, in a trainer and here.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    torch::prepare(1).unwrap();
    guard
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// The initial state of a fixture's module.
pub fn state(name: &str) -> Vec<NamedTensor> {
    let fixture = fixture_json(&format!("{name}.json"));
    let entries = fixture["state"].as_object().unwrap();
    let tensor = |(name, entry): (&String, &Value)| {
        let dtype = entry["dtype"].as_str().unwrap();
        let values = entry["values"].as_array().unwrap();
        let data = match dtype {
            "int64" => values.iter().flat_map(|v| v.as_i64().unwrap().to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| (v.as_f64().unwrap() as f32).to_le_bytes()).collect(),
        };
        let shape = entry["shape"].as_array().unwrap().iter().map(|d| d.as_i64().unwrap()).collect();
        NamedTensor { name: name.clone(), dtype: dtype.into(), shape, data }
    };
    entries.iter().map(tensor).collect()
}

pub fn values(tensors: &[NamedTensor], name: &str) -> Vec<f32> {
    let tensor = tensors.iter().find(|t| t.name == name).unwrap();
    tensor.data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub enum Labels<'a> {
    Class(&'a [i64]),
    Value(&'a [f32]),
}

/// Writes a view file of `rows` rows whose last `validation` rows validate.
pub fn view(folder: &Path, features: &[f32], width: usize, labels: Labels, validation: usize) -> View {
    let rows = features.len() / width;
    let mut bytes = Vec::new();
    let offset = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.len() as u64
    };
    features.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    let labels_offset = offset(&mut bytes);
    let label = match labels {
        Labels::Class(labels) => {
            labels.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            Dtype::Int64
        }
        Labels::Value(labels) => {
            labels.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            Dtype::Float32
        }
    };
    let split_offset = offset(&mut bytes);
    (0..rows as u32).for_each(|row| bytes.extend(row.to_le_bytes()));
    let path = folder.join(format!("view-{rows}-{validation}-{}", bytes.len()));
    std::fs::write(&path, &bytes).unwrap();
    View {
        path: path.to_str().unwrap().into(),
        rows: rows as u64,
        inputs: vec![Section {
            name: "features".into(),
            dtype: Dtype::Float32,
            shape: vec![width as u64],
            offset: 0,
            taken: None,
        }],
        label: Some(Section {
            name: "label".into(),
            dtype: label,
            shape: Vec::new(),
            offset: labels_offset,
            taken: None,
        }),
        weight: None,
        split_offset,
        train: (rows - validation) as u64,
        validation: validation as u64,
        test: 0,
        order: Order::default(),
        local: None,
    }
}

/// Three classes on four features that a small network can learn; `rows` of them.
pub fn blobs(rows: usize) -> (Vec<f32>, Vec<i64>) {
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for row in 0..rows {
        let class = row % 3;
        labels.push(class as i64);
        features.extend((0..4).map(|i| noise() + if i == class { 1.5 } else { 0.0 }));
    }
    (features, labels)
}

pub fn supervised(loss: Option<Loss>, metrics: Vec<Metric>) -> Supervised {
    Supervised {
        loss,
        metrics,
        epochs: 3,
        batch_size: 32,
        drop_last: false,
        optimizer: Optimizer::Adam,
        lr: 0.01,
        weight_decay: 0.0,
        momentum: 0.0,
        schedule: Schedule::Constant,
        grad_clip: None,
        accumulate: 1,
        precision: Default::default(),
        sync_batch_norm: false,
    }
}

/// A trial of a fixture's module.
pub fn trial(folder: &TempDir, program: &str, view: View, supervised: Supervised, hparams: Value) -> Run {
    let initial = folder.path().join(format!("{program}.arrow"));
    tensors::write_file(&initial, &state(program)).unwrap();
    Run {
        spec: TrialSpec {
            experiment: "test".into(),
            trial: 0,
            attempt: 1,
            seed: 5,
            hparams: hparams.as_object().unwrap().clone(),
            function: Function::Supervised(supervised),
            program: None,
            data: None,
            objective: Objective {
                metric: "train_loss".into(),
                direction: Direction::Min,
                select: Select::Last,
                further: vec![],
            },
            rungs: vec![],
            decide_every: None,
            checkpoint: None,
            checkpoint_every_s: None,
            gang: None,
            best_so_far: None,
        },
        program: Some(fixture(&format!("{program}.pt")).to_str().unwrap().into()),
        initial: Some(initial.to_str().unwrap().into()),
        view: Some(view),
        checkpoint: None,
        weights: folder.path().join("kept.arrow").to_str().unwrap().into(),
        checkpoints: folder.path().join("saved").to_str().unwrap().into(),
    }
}

/// A classification trial of the fixture `mlp` on 300 rows, 60 of which validate.
pub fn classification(folder: &TempDir, hparams: Value) -> Run {
    let (features, labels) = blobs(300);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    trial(folder, "mlp", view, supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy]), hparams)
}

pub type Reports = Vec<(u32, Metrics)>;

/// Runs a trial on this thread; `look` sees each report and the interrupter.
pub fn run_trial(trial: &Run, mut look: impl FnMut(u32, &Metrics, &Interrupter)) -> (Ended, Reports) {
    run_with(&Registry::default(), trial, &mut look)
}

pub fn run_with(
    registry: &Registry,
    trial: &Run,
    look: &mut dyn FnMut(u32, &Metrics, &Interrupter),
) -> (Ended, Reports) {
    let interrupter = Interrupter::default();
    let other = interrupter.clone();
    let mut reports = Reports::new();
    let mut sink = |said: Said| {
        if let Said::Report { epoch, metrics } = said {
            reports.push((epoch, metrics.clone()));
            look(epoch, metrics, &other);
        }
        Ok(())
    };
    let attempt = Attempt {
        run: trial,
        device: tch::Device::Cpu,
        views: &mut ViewCache::default(),
        interrupter,
        arrived: Instant::now(),
        meeting: None,
        previous_end: None,
    };
    let ended = run(registry, attempt, &mut sink);
    (ended, reports)
}

pub struct Segment {
    pub ended: Ended,
    pub reports: Reports,
    /// Epochs and files, as they were announced.
    pub saved: Vec<(u32, PathBuf)>,
}

/// Runs one attempt; `decide` answers each report.
pub fn segment_on(
    device: Device,
    registry: &Registry,
    run_: &Run,
    mut decide: impl FnMut(u32) -> Verdict,
) -> Segment {
    let interrupter = Interrupter::default();
    let (mut reports, mut saved) = (Reports::new(), Vec::new());
    let mut sink = |said: Said| {
        match said {
            Said::Report { epoch, metrics } => {
                reports.push((epoch, metrics.clone()));
                interrupter.decide(decide(epoch));
            }
            Said::Checkpoint { epoch, path } => saved.push((epoch, path.to_owned())),
        }
        Ok(())
    };
    let attempt = Attempt {
        run: run_,
        device,
        views: &mut Default::default(),
        interrupter: interrupter.clone(),
        arrived: Instant::now(),
        meeting: None,
        previous_end: None,
    };
    let ended = run(registry, attempt, &mut sink);
    Segment { ended, reports, saved }
}

/// The attempt that goes on from a checkpoint of its own trial.
pub fn next(run: &Run, epoch: u32, file: &Path) -> Run {
    let mut next = run.clone();
    let checkpoint = CheckpointRef { trial: run.spec.trial, attempt: run.spec.attempt, epoch };
    next.spec.checkpoint = Some(checkpoint);
    next.spec.attempt += 1;
    next.checkpoint = Some(file.to_str().unwrap().into());
    next.initial = None;
    next.checkpoints = format!("{}-{}", run.checkpoints, next.spec.attempt);
    next
}

/// The weights that the trial kept.
pub fn kept(ended: &Ended) -> Vec<NamedTensor> {
    tensors::read_file(Path::new(ended.weights.as_ref().unwrap())).unwrap()
}

pub fn none() -> Value {
    json!({})
}

pub fn sorted(tensors: Vec<NamedTensor>) -> BTreeMap<String, NamedTensor> {
    tensors.into_iter().map(|t| (t.name.clone(), t)).collect()
}

pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "{found:?} is not {expected:?}");
    }
}
