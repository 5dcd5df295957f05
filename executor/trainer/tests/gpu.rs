//! Training on GPUs. Where there is none these tests say so and end; what can be shown without one is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use lethe_flight::message::training::{
    Function, Loss, Metric, Optimizer, Outcome, Precision, Rank, Supervised, Verdict,
};
use lethe_flight::message::worker::Run;
use lethe_trainer::data::ViewCache;
use lethe_trainer::function::{Attempt, Ended, Said, run};
use lethe_trainer::gang::{Gang, Meeting, Memory, store};
use lethe_trainer::torch::{self, Group, Reducer};
use lethe_trainer::{Interrupter, Registry};
use serde_json::json;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// CUDA takes those before the first that is not there.
const ALL: &str = "0,1,2,3,4,5,6,7";
const WAIT: Duration = Duration::from_secs(60);

/// How many there are; None, said, if none.
fn gpus() -> Option<u32> {
    if std::env::var_os("CUDA_VISIBLE_DEVICES").is_none() {
        // SAFETY: called under the lock of `alone`, before libtorch is asked for CUDA.
        unsafe { std::env::set_var("CUDA_VISIBLE_DEVICES", ALL) };
    }
    if torch::find_device() == Device::Cpu {
        eprintln!("skipped: there is no GPU that libtorch can use");
        return None;
    }
    Some(u32::try_from(tch::Cuda::device_count()).unwrap())
}

fn trained(trial: &Run, device: Device) -> (Ended, Reports) {
    let mut reports = Reports::new();
    let mut sink = |said: Said| {
        if let Said::Report { epoch, metrics } = said {
            reports.push((epoch, metrics.clone()));
        }
        Ok(())
    };
    let attempt = Attempt {
        run: trial,
        device,
        views: &mut ViewCache::default(),
        interrupter: Interrupter::default(),
        arrived: Instant::now(),
        meeting: None,
        previous_end: None,
    };
    let ended = run(&Registry::default(), attempt, &mut sink);
    assert_eq!(ended.outcome, Outcome::Finished);
    (ended, reports)
}

fn normed(folder: &TempDir) -> Run {
    let (features, labels) = blobs(300);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let function = Supervised {
        optimizer: Optimizer::Sgd,
        lr: 0.05,
        epochs: 10,
        ..supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy])
    };
    trial(folder, "normed", view, function, none())
}

#[test]
fn a_gpu_has_the_loss_curve_of_the_cpu() {
    let _alone = alone();
    let Some(_) = gpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let trial = normed(&folder);
    let (_, on_cpu) = trained(&trial, Device::Cpu);
    let (_, on_gpu) = trained(&trial, Device::Cuda(0));
    let (_, again) = trained(&trial, Device::Cuda(0));
    for (((_, found), (_, again)), (_, expected)) in on_gpu.iter().zip(&again).zip(&on_cpu) {
        for name in ["train_loss", "loss"] {
            assert!(
                (found[name] - expected[name]).abs() <= 1e-3 * expected[name].abs(),
                "{found:?}, {expected:?}"
            );
            assert!((found[name] - again[name]).abs() <= 1e-5 * again[name].abs(), "{found:?}, {again:?}");
        }
    }
    assert_eq!(on_gpu.len(), 10);
}

#[test]
fn mixed_precision_learns_on_a_gpu_with_float32_weights() {
    let _alone = alone();
    let Some(_) = gpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut trial = normed(&folder);
    let Function::Supervised(function) = &mut trial.spec.function else { panic!() };
    function.precision = Precision::Bfloat16;
    let (ended, reports) = trained(&trial, Device::Cuda(0));
    let of = |at: usize| reports[at].1["train_loss"];
    assert!(of(9) < 0.8 * of(0), "{} is not well below {}", of(9), of(0));
    assert!(kept(&ended).iter().all(|tensor| tensor.dtype != "bfloat16"));
}

/// Dropout draws from the GPU's generator, whose state is in checkpoints.
#[test]
fn a_paused_trial_goes_on_as_if_it_had_not_paused() {
    let _alone = alone();
    let Some(_) = gpus() else { return };
    let gpu = Device::Cuda(0);
    let folder = tempfile::tempdir().unwrap();
    let (features, labels) = blobs(240);
    let view = view(folder.path(), &features, 4, Labels::Class(&labels), 60);
    let supervised = supervised(Some(Loss::CrossEntropy), vec![Metric::Accuracy]);
    let mut trial =
        trial(&folder, "deep", view, supervised, json!({"epochs": 8, "batch_size": 31, "lr": 0.02}));
    let straight = segment_on(gpu, &Registry::default(), &trial, |_| Verdict::GoOn).reports;
    trial.spec.rungs = vec![3];
    let paused = segment_on(gpu, &Registry::default(), &trial, |_| Verdict::Pause);
    assert_eq!((paused.ended.outcome, paused.reports.len()), (Outcome::Paused, 3));
    torch::seed(7).unwrap();
    let goes_on = next(&trial, 3, &paused.saved[0].1);
    let rest = segment_on(gpu, &Registry::default(), &goes_on, |_| Verdict::GoOn);
    assert_eq!((rest.ended.outcome, straight.len()), (Outcome::Finished, 8));
    for ((epoch, found), (_, expected)) in paused.reports.iter().chain(&rest.reports).zip(&straight) {
        for (name, value) in expected {
            assert!(
                (found[name] - value).abs() <= 1e-5 * value.abs(),
                "epoch {epoch}, {name}: {found:?}, {expected:?}"
            );
        }
    }
}

fn attempt() -> store::Attempt {
    store::Attempt { experiment: "gpu".into(), trial: 0, attempt: 1, interrupter: Interrupter::default() }
}

/// One rank for each GPU.
#[test]
fn ranks_on_gpus_average_their_gradients() {
    let _alone = alone();
    let Some(world) = gpus() else { return };
    let meeting = Memory::default();
    let rank = |rank: u32| {
        let device = Device::Cuda(rank as usize);
        let gang = Gang::join(Rank { rank, world }, device, &meeting, &attempt(), WAIT).unwrap();
        assert!(gang.shared().is_none());
        let weight = Tensor::full([3], f64::from(rank), (Kind::Float, device)).set_requires_grad(true);
        gang.group().broadcast(std::slice::from_ref(&weight)).unwrap();
        let parameters = [weight];
        let mut reducer = Reducer::new(gang.group(), &parameters, false, None).unwrap();
        let rows = Tensor::full([3], f64::from(rank + 1), (Kind::Float, device));
        let loss = (&parameters[0] * rows).sum(Kind::Float);
        reducer.prepare(&loss).unwrap();
        loss.backward();
        let gradient = Vec::<f32>::try_from(parameters[0].grad().to(Device::Cpu)).unwrap();
        let weights = Vec::<f32>::try_from(parameters[0].to(Device::Cpu)).unwrap();
        drop(reducer);
        gang.leave();
        (weights, gradient)
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> = (0..world).map(|number| scope.spawn(move || rank(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mean = (1..=world).sum::<u32>() as f32 / world as f32;
    for (weights, gradient) in found {
        assert_eq!(weights, [0.0; 3], "rank 0's");
        assert_close(&gradient, &[mean; 3], 1e-6);
    }
}

fn alone_in_a_group() -> Group {
    let meeting = Memory::default();
    Group::new(meeting.host(), Rank { rank: 0, world: 1 }, WAIT, WAIT, meeting.store(&attempt())).unwrap()
}

/// The bridge, libtorch_cuda and NCCL's library fit together: it is the last of them that sees no GPU.
#[test]
#[cfg(nccl)]
fn nccl_is_loaded_and_says_what_is_missing() {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

    let _alone = alone();
    if gpus().is_some() {
        alone_in_a_group().join_gpus(WAIT).unwrap();
        return;
    }
    // SAFETY: its initialisers have no preconditions.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    // Not all of CUDA's libraries are installed everywhere.
    let Ok(library) = library.inspect_err(|error| eprintln!("skipped: {error}")) else { return };
    std::mem::forget(library);
    let error = alone_in_a_group().join_gpus(WAIT).unwrap_err().to_string();
    assert!(error.contains("no GPUs found"), "{error}");
}

#[test]
fn a_gang_with_and_without_gpus_does_not_begin() {
    let _alone = alone();
    let meeting = Memory::default();
    let rank = |rank: u32, device: Device| {
        Gang::join(Rank { rank, world: 2 }, device, &meeting, &attempt(), WAIT).err().unwrap().to_string()
    };
    let (with, without) = std::thread::scope(|scope| {
        let with = scope.spawn(|| rank(0, Device::Cuda(0)));
        let without = rank(1, Device::Cpu);
        (with.join().unwrap(), without)
    });
    assert!(without.starts_with("some workers of this trial have a GPU, and this one has none"), "{without}");
    assert!(!with.is_empty());
}
