//! The examples of `docs/protocol.md` are messages of this protocol, exactly.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may

use std::collections::BTreeSet;

use lethe_flight::message::experiment::{self, Optimizer, *};
use lethe_flight::message::{dataset::*, gang::*, slot::*, training::*, worker::*};
use lethe_flight::process::*;
use lethe_flight::wire::{Flight, Put, Ticket};
use lethe_flight::{PROTOCOL, VERSION};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap()
}

/// The type and text of each fenced example.
fn examples(page: &str) -> Vec<(String, Value)> {
    let blocks = page.split("```json ").skip(1);
    let parse = |block: &str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let text = rest.split("```").next().unwrap();
        (name.to_owned(), serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}: {text}")))
    };
    blocks.map(parse).collect()
}

fn through<M: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let message: M = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"));
    serde_json::to_value(message).unwrap()
}

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        fn round_trip(name: &str, value: &Value) -> Value {
            match name { $(stringify!($name) => through::<$name>(value),)* other => panic!("unknown type {other}") }
        }
    };
}

messages!(
    DriverConfig,
    Started,
    ExecutorConfig,
    ExecutorInfo,
    TrainerConfig,
    Hello,
    Plan,
    Created,
    Function,
    Source,
    Optimizer,
    Stopping,
    Objective,
    Resume,
    Store,
    Suggested,
    Checked,
    ExperimentRef,
    WatchEvent,
    End,
    Put,
    Prepared,
    Cancel,
    ReplaceData,
    ExperimentResult,
    Ticket,
    CreateDataset,
    AnnouncePartition,
    SealDataset,
    LocateDataset,
    Located,
    DropDataset,
    DataSpec,
    DescribeDataset,
    Described,
    Flight,
    StoreCall,
    ExecutorLog,
    Stored,
    RegisterExecutor,
    ToExecutor,
    OpenSlot,
    SlotEvent,
    FromSlot,
    ToSlot,
    FromWorker,
    ToWorker,
    Outcome,
);

#[test]
fn each_example_is_what_the_code_says() {
    let examples = examples(&page());
    for (name, value) in &examples {
        assert_eq!(&round_trip(name, value), value, "{name}");
    }
    let shown: BTreeSet<_> = examples.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(shown, NAMES.iter().copied().collect(), "a message without an example, or the reverse");
}

#[test]
fn each_kind_of_a_message_has_an_example() {
    let examples = examples(&page());
    let kinds = |name: &str| -> BTreeSet<String> {
        let of = examples.iter().filter(|(n, _)| n == name);
        of.map(|(_, value)| value["type"].as_str().unwrap().to_owned()).collect()
    };
    // A new kind makes serde's error name all of them: that list is compared with the page.
    for (name, error) in [
        ("WatchEvent", serde_json::from_str::<WatchEvent>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        (
            "Optimizer",
            serde_json::from_str::<experiment::Optimizer>(r#"{"type":"?"}"#).unwrap_err().to_string(),
        ),
        ("Stopping", serde_json::from_str::<Stopping>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("FromSlot", serde_json::from_str::<FromSlot>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("ToSlot", serde_json::from_str::<ToSlot>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("ToExecutor", serde_json::from_str::<ToExecutor>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("Flight", serde_json::from_str::<Flight>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("SlotEvent", serde_json::from_str::<SlotEvent>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("FromWorker", serde_json::from_str::<FromWorker>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("ToWorker", serde_json::from_str::<ToWorker>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("Ticket", serde_json::from_str::<Ticket>(r#"{"type":"?"}"#).unwrap_err().to_string()),
        ("Put", serde_json::from_str::<Put>(r#"{"type":"?"}"#).unwrap_err().to_string()),
    ] {
        let known: BTreeSet<String> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        assert!(!known.is_empty(), "{error}");
        assert_eq!(kinds(name), known, "{name}");
    }
}

#[test]
fn the_page_names_this_protocol() {
    assert!(page().contains(&format!("`protocol` is a number, now {PROTOCOL}.")));
    assert!(page().contains(&format!("\"version\": \"{VERSION}\"")));
}
