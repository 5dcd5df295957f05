//! How good the optimizers' suggestions are on known functions, and how long they take: lines of JSON for
//! `benchmarks/search.py`.
//!
//! `search_quality [seeds [evaluations [optimizer[,optimizer…]]]]`

use std::error::Error;
use std::time::Instant;

use lethe_driver::search::{Observation, Optimizer, Space, Standing, Suggestion, optimizer};
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::Optimizer as Choice;
use lethe_flight::message::training::{Direction, Objective, Select};
use serde_json::{Value, json};

/// Observations at which the bounds of the models show.
const MANY: u32 = 10_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Function {
    name: &'static str,
    space: Value,
    cost: fn(&Hparams) -> f64,
}

fn main() -> Outcome<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, usual: u32| given.get(i).map_or(Ok(usual), |text| text.parse());
    let (seeds, evaluations) = (number(0, 10)?, number(1, 60)?);
    let choices = [
        ("random", json!({"type": "random"})),
        ("sobol", json!({"type": "sobol"})),
        ("tpe", json!({"type": "tpe", "startup": 10})),
        ("gp", json!({"type": "gp", "startup": 10})),
        ("cmaes", json!({"type": "cmaes", "sigma": 0.1667})),
    ];
    for (name, choice) in choices {
        if given.get(2).is_some_and(|names| !names.split(',').any(|one| one == name)) {
            continue;
        }
        let choice: Choice = serde_json::from_value(choice)?;
        for function in functions() {
            let mut regrets = Vec::new();
            let mut millis = Vec::new();
            for seed in 0..seeds {
                let (best, last) = search(&choice, &function, seed.into(), evaluations)?;
                regrets.push(best);
                millis.push(last);
            }
            println!(
                "{}",
                json!({"function": function.name, "optimizer": name, "regrets": regrets, "suggest_ms": millis})
            );
        }
        if given.get(1).is_none() {
            println!("{}", json!({"optimizer": name, "observations": MANY, "suggest_ms": at_many(&choice)?}));
        }
    }
    Ok(())
}

fn made(choice: &Choice, function: &Function, seed: u64) -> Outcome<(Space, Box<dyn Optimizer>)> {
    let space = Space::new(serde_json::from_value(function.space.clone())?, vec![])?;
    let objective =
        Objective { metric: "cost".into(), direction: Direction::Min, select: Select::Last, further: vec![] };
    Ok((space.clone(), optimizer(choice, space, &objective, seed)?))
}

/// The regret after so many evaluations, one after the other, and the last suggestion's milliseconds.
fn search(choice: &Choice, function: &Function, seed: u64, evaluations: u32) -> Outcome<(f64, f64)> {
    let (_, mut optimizer) = made(choice, function, seed)?;
    let mut observations = Vec::new();
    let (mut best, mut millis) = (f64::INFINITY, 0.0);
    for trial in 0..evaluations {
        let begin = Instant::now();
        let suggestion = optimizer.suggest(trial, 0, &observations);
        millis = begin.elapsed().as_secs_f64() * 1e3;
        let Suggestion::Point { hparams, note, .. } = suggestion else { return Err("exhausted".into()) };
        let cost = (function.cost)(&hparams);
        best = best.min(cost);
        let standing = Standing::Finished;
        observations.push(Observation { trial, hparams, standing, costs: vec![cost], epochs: 1, note });
    }
    Ok((best, millis))
}

/// Milliseconds of suggestions beside many trials of Hartmann's function: random ones, or where an optimizer
/// reads its own notes, its own.
fn at_many(choice: &Choice) -> Outcome<Vec<f64>> {
    let function = &functions()[1];
    let from = if matches!(choice, Choice::Cmaes { .. }) { choice } else { &Choice::Random };
    let (_, mut before) = made(from, function, 1)?;
    let (_, mut optimizer) = made(choice, function, 1)?;
    let mut observations = Vec::new();
    for trial in 0..MANY {
        if let Suggestion::Point { hparams, note, .. } = before.suggest(trial, 0, &observations) {
            let costs = vec![(function.cost)(&hparams)];
            observations.push(Observation {
                trial,
                hparams,
                standing: Standing::Finished,
                costs,
                epochs: 1,
                note,
            });
        }
    }
    let time = |i: u32| {
        let begin = Instant::now();
        optimizer.suggest(MANY + i, 0, &observations);
        begin.elapsed().as_secs_f64() * 1e3
    };
    Ok((0..5).map(time).collect())
}

/// With their known minimum taken off.
fn functions() -> Vec<Function> {
    let uniform = |name: String, low: f64, high: f64| json!({"name": name, "domain": {"type": "uniform", "low": low, "high": high}});
    let cube = |n: usize, low: f64, high: f64| (0..n).map(|i| uniform(format!("x{i}"), low, high)).collect();
    let net = json!({"parent": "model", "values": ["net"]});
    let tree = json!({"parent": "model", "values": ["tree"]});
    let linear = json!({"parent": "model", "values": ["linear"]});
    vec![
        Function {
            name: "branin",
            space: json!([uniform("x0".into(), -5.0, 10.0), uniform("x1".into(), 0.0, 15.0)]),
            cost: branin,
        },
        Function { name: "hartmann6", space: cube(6, 0.0, 1.0), cost: hartmann },
        Function { name: "ackley5", space: cube(5, -32.768, 32.768), cost: ackley },
        Function {
            name: "mixed",
            space: json!([
                {"name": "model", "domain": {"type": "choice", "values": ["linear", "tree", "net"]}},
                {"name": "decay", "domain": {"type": "log_uniform", "low": 1e-6, "high": 1e-1}},
                {"name": "ratio", "domain": {"type": "uniform", "low": 0.0, "high": 1.0}, "condition": linear},
                {"name": "depth", "domain": {"type": "integer", "low": 1, "high": 16}, "condition": tree},
                {"name": "leaf", "domain": {"type": "integer", "low": 1, "high": 64, "log": true}, "condition": tree},
                {"name": "lr", "domain": {"type": "log_uniform", "low": 1e-5, "high": 1.0}, "condition": net},
                {"name": "width", "domain": {"type": "integer", "low": 8, "high": 512, "log": true}, "condition": net},
                {"name": "dropout", "domain": {"type": "uniform", "low": 0.0, "high": 0.8, "step": 0.1}, "condition": net}
            ]),
            cost: mixed,
        },
    ]
}

fn x(h: &Hparams, name: &str) -> f64 {
    h.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn xs(h: &Hparams) -> Vec<f64> {
    (0..h.len()).map(|i| x(h, &format!("x{i}"))).collect()
}

fn branin(h: &Hparams) -> f64 {
    use std::f64::consts::PI;
    let (a, b) = (x(h, "x0"), x(h, "x1"));
    let bowl = b - 5.1 / (4.0 * PI * PI) * a * a + 5.0 / PI * a - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * a.cos() + 10.0 - 0.397_887_357_729_738_16
}

fn hartmann(h: &Hparams) -> f64 {
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let xs = xs(h);
    let term = |i: usize| {
        let inner: f64 = xs.iter().enumerate().map(|(j, x)| A[i][j] * (x - P[i][j]).powi(2)).sum();
        [1.0, 1.2, 3.0, 3.2][i] * (-inner).exp()
    };
    3.322_368_011_415_514 - (0..4).map(term).sum::<f64>()
}

fn ackley(h: &Hparams) -> f64 {
    use std::f64::consts::{E, TAU};
    let xs = xs(h);
    let n = xs.len() as f64;
    let square = xs.iter().map(|x| x * x).sum::<f64>() / n;
    let wave = xs.iter().map(|x| (TAU * x).cos()).sum::<f64>() / n;
    -20.0 * (-0.2 * square.sqrt()).exp() - wave.exp() + 20.0 + E
}

/// Three models of which the net is the best at lr 0.003, width 128 and dropout 0.3. The minimum is 0 up to
/// 1e-9.
fn mixed(h: &Hparams) -> f64 {
    let square = |x: f64| x * x;
    let decay = 0.02 * square(x(h, "decay").log10() + 3.0);
    match h.get("model").and_then(Value::as_str) {
        Some("linear") => 0.3 + square(x(h, "ratio") - 0.3) + decay,
        Some("tree") => {
            0.15 + 0.0025 * square(x(h, "depth") - 9.0) + 0.05 * square((x(h, "leaf") / 5.0).ln()) + decay
        }
        _ => {
            let (lr, width) = ((x(h, "lr") / 0.003).log10(), (x(h, "width") / 128.0).log2());
            0.1 * lr * lr
                + 0.025 * width * width
                + 0.05 * lr * width
                + 0.5 * square(x(h, "dropout") - 0.3)
                + decay
        }
    }
}
