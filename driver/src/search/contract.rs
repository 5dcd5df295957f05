//! What every optimizer has to keep, tested on each.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Optimizer as Choice, Parameter};
use lethe_flight::message::training::{Direction, Objective, Select, Target};
use serde_json::{Value, json};

use super::*;

fn parameters() -> Vec<Parameter> {
    serde_json::from_value(json!([
        {"name": "momentum", "domain": {"type": "uniform", "low": 0.0, "high": 0.9, "step": 0.1},
         "condition": {"parent": "kind", "values": ["sgd"]}},
        {"name": "nesterov", "domain": {"type": "choice", "values": [true, false]},
         "condition": {"parent": "momentum", "values": [0.8, 0.9]}},
        {"name": "kind", "domain": {"type": "choice", "values": ["adam", "sgd", "lion"]}},
        {"name": "lr", "domain": {"type": "log_uniform", "low": 1e-5, "high": 1e-1}},
        {"name": "layers", "domain": {"type": "integer", "low": 1, "high": 64, "log": true}},
        {"name": "batch", "domain": {"type": "ordinal", "values": [16, 32, 64, 128]}}
    ]))
    .unwrap()
}

fn constraints() -> Vec<String> {
    vec!["layers * batch <= 2048".into(), "kind <> 'lion' OR lr < 0.01".into(), "momentum < 0.85".into()]
}

fn objective(costs: usize) -> Objective {
    let further = (1..costs).map(|i| Target { metric: format!("m{i}"), direction: Direction::Min }).collect();
    Objective { metric: "loss".into(), direction: Direction::Min, select: Select::Last, further }
}

fn all() -> Vec<(Choice, usize)> {
    vec![
        (Choice::Random, 1),
        (Choice::Grid { points: 5 }, 1),
        (Choice::Sobol, 1),
        (Choice::Tpe { startup: 5 }, 1),
        (Choice::Tpe { startup: 5 }, 2),
        (Choice::Gp { startup: 5 }, 1),
        (Choice::Cmaes { sigma: 0.2, population: None }, 1),
        (Choice::Nsga2 { population: 8 }, 2),
    ]
}

fn made(choice: &Choice, costs: usize, constraints: Vec<String>) -> Box<dyn Optimizer> {
    optimizer(choice, Space::new(parameters(), constraints).unwrap(), &objective(costs), 11).unwrap()
}

fn point(suggestion: Suggestion) -> (Hparams, Option<Value>) {
    match suggestion {
        Suggestion::Point { hparams, note, .. } => (hparams, note),
        Suggestion::Exhausted => panic!("there are points left"),
    }
}

fn cost(h: &Hparams) -> f64 {
    let lr = h["lr"].as_f64().unwrap().log10() + 3.0;
    lr * lr + if h["kind"] == "sgd" { 0.0 } else { 1.0 } + h["layers"].as_f64().unwrap().ln() * 0.2
}

/// What becomes of trials: of seven one fails, one reports no number, one is stopped, one paused.
fn ended(trial: u32, hparams: Hparams, note: Option<Value>, objectives: usize) -> Observation {
    let first = cost(&hparams);
    let mut costs = vec![first];
    costs.resize(objectives, 3.0 - first * 0.5 + f64::from(trial % 3));
    let (standing, costs, epochs) = match trial % 7 {
        2 => (Standing::Failed, vec![], 0),
        3 => (Standing::Finished, vec![f64::NAN; objectives], 9),
        4 => (Standing::Stopped, costs, 3),
        5 => (Standing::Paused, costs, 1),
        _ => (Standing::Finished, costs, 9),
    };
    Observation { trial, hparams, standing, costs, epochs, note }
}

fn run(
    optimizer: &mut dyn Optimizer,
    mut observations: Vec<Observation>,
    to: u32,
    costs: usize,
) -> Vec<Observation> {
    for trial in observations.len() as u32..to {
        let (hparams, note) = point(optimizer.suggest(trial, 0, &observations));
        observations.push(ended(trial, hparams, note, costs));
    }
    observations
}

#[test]
fn suggestions_lie_in_their_domains_and_fulfil_conditions_and_constraints() {
    let space = Space::new(parameters(), constraints()).unwrap();
    for (choice, costs) in all() {
        let found = run(&mut *made(&choice, costs, constraints()), vec![], 40, costs);
        for Observation { hparams, .. } in &found {
            let whole = space.complete(hparams, &mut rng(0, 0, 0));
            assert_eq!(whole.as_ref().ok(), Some(hparams), "{choice:?}: {whole:?}");
            let product = hparams["layers"].as_i64().unwrap() * hparams["batch"].as_i64().unwrap();
            assert!(product <= 2048, "{choice:?}: {hparams:?}");
            assert_eq!(hparams.contains_key("momentum"), hparams["kind"] == "sgd", "{choice:?}: {hparams:?}");
            assert!(hparams.get("momentum").is_none_or(|m| m.as_f64().unwrap() < 0.85));
        }
    }
}

#[test]
fn an_instance_made_anew_goes_on_as_the_one_that_was_there() {
    for (choice, costs) in all() {
        let mut there = made(&choice, costs, vec![]);
        let found = run(&mut *there, vec![], 30, costs);
        for trial in 0..30 {
            let before = found[..trial as usize].to_vec();
            let (hparams, note) = point(made(&choice, costs, vec![]).suggest(trial, 0, &before));
            assert_eq!(
                (&hparams, &note),
                (&found[trial as usize].hparams, &found[trial as usize].note),
                "{choice:?}"
            );
        }
        // Also through the journal's JSON.
        let text = found.iter().map(|o| serde_json::to_string(&(&o.hparams, &o.note)).unwrap());
        let read = found.iter().zip(text).map(|(o, text)| {
            let (hparams, note) = serde_json::from_str(&text).unwrap();
            Observation { hparams, note, ..o.clone() }
        });
        let read: Vec<_> = read.collect();
        let anew = point(made(&choice, costs, vec![]).suggest(30, 0, &read));
        assert_eq!(anew, point(there.suggest(30, 0, &found)), "{choice:?}");
    }
}

#[test]
fn suggestions_differ_while_others_run_and_when_one_is_refused() {
    for (choice, costs) in all() {
        let mut optimizer = made(&choice, costs, vec![]);
        let mut observations = run(&mut *optimizer, vec![], 20, costs);
        for trial in 20..28 {
            let (hparams, note) = point(optimizer.suggest(trial, 0, &observations));
            let (other, _) = point(optimizer.suggest(trial, 1, &observations));
            assert_ne!(hparams, other, "{choice:?}");
            assert!(observations.iter().all(|o| o.hparams != hparams), "{choice:?}: {hparams:?} twice");
            let (standing, costs) = (Standing::Running, vec![]);
            observations.push(Observation { trial, hparams, standing, costs, epochs: 0, note });
        }
    }
}

#[test]
fn a_search_whose_trials_all_fail_goes_on() {
    for (choice, costs) in all() {
        let mut optimizer = made(&choice, costs, vec![]);
        let mut observations = Vec::new();
        for trial in 0..20 {
            let (hparams, note) = point(optimizer.suggest(trial, 0, &observations));
            let (standing, costs) = (Standing::Failed, vec![f64::NAN; costs]);
            observations.push(Observation { trial, hparams, standing, costs, epochs: 1, note });
        }
    }
}

#[test]
fn those_that_learn_find_better_points_than_chance() {
    let best = |choice: &Choice, costs: usize| {
        let found = run(&mut *made(choice, costs, vec![]), vec![], 60, costs);
        let late = found[40..].iter().map(|o| cost(&o.hparams));
        late.sum::<f64>() / 20.0
    };
    let chance = best(&Choice::Random, 1);
    for (choice, costs) in all().into_iter().filter(|(_, costs)| *costs == 1) {
        if made(&choice, 1, vec![]).learns() {
            let mean = best(&choice, costs);
            assert!(mean < 0.7 * chance, "{choice:?}: {mean}, by chance {chance}");
        }
    }
}

#[test]
fn several_objectives_are_refused_by_those_that_have_one() {
    let space = || Space::new(parameters(), vec![]).unwrap();
    for choice in [Choice::Gp { startup: 5 }, Choice::Cmaes { sigma: 0.2, population: None }] {
        let refusal = optimizer(&choice, space(), &objective(2), 0).err().unwrap().to_string();
        assert!(refusal.contains("nsga2"), "{refusal}");
    }
    assert!(optimizer(&Choice::Cmaes { sigma: 0.0, population: None }, space(), &objective(1), 0).is_err());
    for population in [2, 4_000_000_000] {
        let choice = Choice::Cmaes { sigma: 0.2, population: Some(population) };
        let refusal = optimizer(&choice, space(), &objective(1), 0).err().unwrap().to_string();
        assert!(refusal.contains(&population.to_string()), "{refusal}");
    }
    assert!(optimizer(&Choice::Nsga2 { population: 1 }, space(), &objective(2), 0).is_err());
    assert!(optimizer(&Choice::Grid { points: 0 }, space(), &objective(1), 0).is_err());
}
