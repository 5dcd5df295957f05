//! The page that documents the format has all events, with their fields.

use std::collections::{BTreeMap, BTreeSet};

use lethe_flight::message::training::{CheckpointRef, Outcome, ProgramRef, Timing};
use serde_json::{Value, json};

use crate::experiment::{Event, SlotKey};

const PAGE: &str = include_str!("../../../../docs/journal.md");

/// One of each, with all of its fields.
fn events() -> Vec<Event> {
    let (slot, trial, attempt, epoch) = (SlotKey(1), 2, 1, 3);
    let program: ProgramRef = serde_json::from_value(json!({"format": "torchscript", "hash": "0"})).unwrap();
    let error = "error".to_owned();
    vec![
        Event::Started,
        Event::Suggested { trial, hparams: Default::default(), why: error.clone(), note: Some(json!(1)) },
        Event::Refused { trial, hparams: Default::default(), by: error.clone() },
        Event::Exhausted { trial },
        Event::Checked { trial, refused: None },
        Event::Prepared { trial, program },
        Event::PreparationFailed { trial, error: error.clone() },
        Event::SlotJoined { slot, number: 0 },
        Event::SlotWorker { slot, executor: error.clone(), worker_pid: 1, device: error.clone() },
        Event::SlotReady { slot },
        Event::SlotLeft { slot, reason: error.clone() },
        Event::SlotLacks { slot, partitions: 1 },
        Event::SlotFailed { slot, error: error.clone(), fatal: false },
        Event::Report { slot, trial, attempt, epoch, metrics: Default::default() },
        Event::Checkpointed { slot, trial, attempt, epoch },
        Event::Ended { slot, trial, attempt, outcome: Outcome::Finished, timing: Timing::default() },
        Event::CheckpointsLost { checkpoints: vec![CheckpointRef { trial, attempt, epoch }] },
        Event::TrialTimeUp { trial, attempt },
        Event::GatherTimeUp { trial: 1, attempt: 1 },
        Event::TimeUp,
        Event::Cancel { reason: error.clone() },
        Event::Abort { error },
        Event::DrainExpired,
    ]
}

/// The types that the code knows, in its own words: those between the backquotes of its refusal.
fn known() -> BTreeSet<String> {
    let refused = serde_json::from_str::<Event>(r#"{"type": "no such"}"#).unwrap_err().to_string();
    let (_, expected) = refused.split_once("expected").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_has_each_event_and_its_fields() {
    let quoted =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let table = PAGE.split_once("### Events").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `type`"));
    let documented: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (quoted(cells[1]).pop_first().unwrap(), quoted(cells[2]))
        })
        .collect();
    let coded: BTreeMap<String, BTreeSet<String>> = events()
        .iter()
        .map(|event| {
            let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else { panic!("{event:?}") };
            let name = fields.remove("type").unwrap();
            (name.as_str().unwrap().to_owned(), fields.keys().cloned().collect())
        })
        .collect();
    assert_eq!(coded.keys().cloned().collect::<BTreeSet<_>>(), known(), "one of each is tested");
    assert_eq!(documented, coded);
}
