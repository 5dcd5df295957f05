//! Optimizers and schedules against the numbers that PyTorch gives (`tests/fixtures/make.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::{alone, assert_close, fixture_json, floats, supervised};
use lethe_flight::message::training::{Optimizer as Kind, Schedule, Supervised};
use lethe_trainer::supervised::{Rates, Settings};
use lethe_trainer::torch::{Optimizer, OptimizerOptions};
use tch::Tensor;

fn tensor(values: &[f32]) -> Tensor {
    let shape: &[i64] = if values.len() == 4 { &[2, 2] } else { &[3] };
    Tensor::from_slice(values).reshape(shape)
}

#[test]
fn five_steps_of_each_optimizer_are_pytorchs() {
    let _alone = alone();
    let fixture = fixture_json("optimizers.json");
    for (name, case) in fixture["cases"].as_object().unwrap() {
        let kind = match name.split('_').next().unwrap() {
            "adam" => Kind::Adam,
            "adamw" => Kind::Adamw,
            "rmsprop" => Kind::Rmsprop,
            _ => Kind::Sgd,
        };
        let number = |key: &str| case[key].as_f64();
        let momentum = number("momentum").unwrap_or(0.0);
        let options = OptimizerOptions {
            kind,
            weight_decay: number("weight_decay").unwrap_or(0.0),
            grad_clip: number("clip"),
            keeps_momentum: momentum > 0.0,
        };
        let first = fixture["first"].as_array().unwrap();
        let parameters: Vec<Tensor> =
            first.iter().map(|values| tensor(&floats(values)).set_requires_grad(true)).collect();
        let mut optimizer = Optimizer::new(&parameters, &options).unwrap();
        for step in fixture["gradients"].as_array().unwrap() {
            // The gradient of `sum(parameter * g)` is g.
            let sums = parameters.iter().zip(step.as_array().unwrap());
            let loss = sums.map(|(p, g)| (p * tensor(&floats(g))).sum(tch::Kind::Float)).sum::<Tensor>();
            loss.backward();
            let beta = if matches!(kind, Kind::Adam | Kind::Adamw) { 0.9 } else { momentum };
            optimizer.step(case["lr"].as_f64().unwrap(), beta).unwrap();
            assert!(!parameters[0].grad().defined(), "the gradient is dropped after the step");
        }
        for (parameter, expected) in parameters.iter().zip(case["parameters"].as_array().unwrap()) {
            let found = Vec::<f32>::try_from(parameter.detach().reshape([-1])).unwrap();
            println!("{name}: {found:?}");
            assert_close(&found, &floats(expected), 2e-6);
        }
    }
}

#[test]
fn a_parameter_without_a_gradient_stays_as_it_is() {
    let _alone = alone();
    let parameters = [tensor(&[1.0, 2.0, 3.0]), tensor(&[1.0; 4])].map(|t| t.set_requires_grad(true));
    for kind in [Kind::Adam, Kind::Adamw, Kind::Sgd, Kind::Rmsprop] {
        let options =
            OptimizerOptions { kind, weight_decay: 0.1, grad_clip: Some(1.0), keeps_momentum: true };
        let mut optimizer = Optimizer::new(&parameters, &options).unwrap();
        let before = parameters[1].copy();
        parameters[0].sum(tch::Kind::Float).backward();
        optimizer.step(0.1, 0.9).unwrap();
        assert_eq!(parameters[1], before);
        assert!(parameters[0].get(0).double_value(&[]) < 1.0);
    }
}

#[test]
fn each_step_of_each_schedule_is_pytorchs() {
    let fixture = fixture_json("schedules.json");
    for (name, rates) in fixture.as_object().unwrap() {
        let (schedule, optimizer) = match name.as_str() {
            "constant" => (Schedule::Constant, Kind::Sgd),
            "cosine" => (Schedule::Cosine, Kind::Sgd),
            "step" => (Schedule::Step, Kind::Sgd),
            "one_cycle" => (Schedule::OneCycle, Kind::Sgd),
            _ => (Schedule::OneCycle, Kind::Adam),
        };
        let plain = supervised(None, vec![]);
        let defaults = Supervised { epochs: 6, lr: 0.2, momentum: 0.9, schedule, optimizer, ..plain };
        let found = Rates::new(&Settings::resolve(&defaults, &Default::default()).unwrap(), 5);
        for (step, expected) in rates.as_array().unwrap().iter().enumerate() {
            let rate = found.at(step as u64);
            let (lr, momentum) = (expected[0].as_f64().unwrap(), expected[1].as_f64().unwrap());
            assert!((rate.lr - lr).abs() < 1e-9, "{name} at {step}: {rate:?}, not {expected}");
            assert!((rate.momentum - momentum).abs() < 1e-9, "{name} at {step}: {rate:?}, not {expected}");
        }
    }
}
