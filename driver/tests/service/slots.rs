//! Where the slots' time went: in the result, in the tables, and in the journal.

use std::io::BufReader;

use arrow::ipc::reader::StreamReader;
use arrow::util::display::array_value_to_string;
use lethe_driver::commands;
use lethe_flight::message::training::Outcome;

use crate::common::{Driver, Slot};

const QUERY: &str = "select slot, executor, device, worker_pid, trials, train_s, held_s >= 0 from slots";

/// What the journal's tables answer, without a driver.
async fn later(driver: &Driver) -> Vec<Vec<String>> {
    let directory = driver.folder.path().join("e");
    let line = serde_json::json!({ "directory": directory, "query": QUERY }).to_string();
    let mut out = Vec::new();
    commands::query(&mut BufReader::new(line.as_bytes()), &mut out).await.unwrap();
    let batches = StreamReader::try_new(&out[..], None).unwrap().map(Result::unwrap);
    let row = |batch: &arrow::record_batch::RecordBatch, row| {
        batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect()
    };
    batches.flat_map(|batch| (0..batch.num_rows()).map(|n| row(&batch, n)).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_outlive_their_driver_and_those_of_all_runs_are_there() {
    let driver = Driver::start().await;
    let plan = driver.plan(3, 1);
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.5).await;
    slot.end(&spec, Outcome::Finished).await;
    slot.assigned().await;
    let row = |trials: &str, train_s: &str| {
        ["0", "x", "cpu", "1", trials, train_s, "true"].map(str::to_owned).to_vec()
    };
    assert_eq!(driver.sql(QUERY).await.unwrap(), [row("1", "0.5")]);
    let driver = driver.replace().await;
    assert_eq!(later(&driver).await, [row("1", "0.5")], "of a driver that was killed");
    driver.resume(&plan).await;
    assert_eq!(Slot::open(&driver, 0).await.work().await, [1, 2]);
    let both = [row("1", "0.5"), row("2", "1.0")];
    assert_eq!(driver.sql(QUERY).await.unwrap(), both);
    let result = driver.result().await;
    assert_eq!(result.slots.iter().map(|slot| slot.trials).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(result.slots[1].idle_s, [0.001, 0.001]);
    assert_eq!(later(&driver).await, both);
}
