//! Real files, real stores (a folder, memory), journals cut and damaged anywhere.

mod damage;
mod follow;
mod local;
mod mirrored;
mod page;
mod places;

use std::collections::BTreeMap;
use std::path::Path;

use lethe_flight::message::experiment::{Budget, Optimizer, Plan, Resume, Retries, Source, Stopping, Store};
use lethe_flight::message::training::{Direction, Function, Objective, Select};
use serde::{Deserialize, Serialize};

use super::{Entry, Folder, Header, Log, Reader, Record, Recovery};

/// As the driver's events: some with a body, some with text that JSON escapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Happened {
    Assigned { slot: u64, trial: u32, attempt: u32 },
    Reported { trial: u32, epoch: u32, value: Option<f64> },
    Failed { trial: u32, error: String },
}

fn plan() -> Plan {
    Plan {
        protocol: lethe_flight::PROTOCOL,
        version: lethe_flight::VERSION.into(),
        experiment: "digits".into(),
        seed: 1,
        source: Source::Search {
            space: Vec::new(),
            constraints: Vec::new(),
            checked: false,
            enqueued: Vec::new(),
            budget: Budget { trials: Some(3), ..Budget::default() },
            optimizer: Optimizer::Random,
            stopping: Stopping::None,
            workers: lethe_flight::message::gang::Workers::ONE,
        },
        objective: Objective {
            metric: "loss".into(),
            direction: Direction::Min,
            select: Select::Last,
            further: Vec::new(),
        },
        function: Function::Registered { name: "lethe.sleep".into(), epochs: 5 },
        data: None,
        slots: 2,
        directory: "/tmp/digits".into(),
        store: None,
        code: BTreeMap::new(),
        resume: Resume::New,
        retries: Retries::default(),
        checkpoint_every_s: None,
        shards: Default::default(),
    }
}

fn create(folder: &Path) -> Log {
    Log::create(Folder::lock(folder).unwrap(), &Header::new(&plan())).unwrap()
}

fn event(number: u32) -> Happened {
    match number % 3 {
        0 => Happened::Assigned { slot: u64::from(number), trial: number, attempt: 1 },
        1 => Happened::Reported { trial: number, epoch: 2, value: Some(f64::from(number) / 3.0) },
        _ => Happened::Failed { trial: number, error: "line 1\nline \"2\" — ü\u{2028}\u{0}".into() },
    }
}

fn write(log: &mut Log, numbers: std::ops::Range<u32>) {
    for number in numbers {
        log.event(u64::from(number), &event(number)).unwrap();
    }
    log.commit().unwrap();
}

fn expected(numbers: std::ops::Range<u32>) -> Vec<Record<Happened>> {
    numbers.map(|n| Record { at: u64::from(n), entry: Entry::Event(event(n)) }).collect()
}

fn read(folder: &Path) -> Vec<Record<Happened>> {
    Reader::open(folder).unwrap().collect::<Result<_, _>>().unwrap()
}

fn recover(folder: &Path) -> Recovery<Happened> {
    Recovery::open(Folder::lock(folder).unwrap()).unwrap()
}

fn file_store(folder: &Path) -> Store {
    Store { url: format!("file://{}", folder.display()), options: BTreeMap::new() }
}
