//! Experiments with a copy in an object store, which may be away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lethe_flight::message::experiment::{End, Plan, Store, TrialState, WatchEvent};
use lethe_flight::message::training::{Outcome, Verdict};

use crate::common::{Driver, Slot, event, within};
use crate::resume::{asha, finish};

/// In a folder, which is away as long as a file lies where its own folder should.
struct Bucket(tempfile::TempDir);

impl Bucket {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn plan(&self, driver: &Driver, trials: u32) -> Plan {
        let url = format!("file://{}", self.0.path().display());
        Plan { store: Some(Store { url, options: BTreeMap::new() }), ..asha(driver, trials, 1) }
    }

    fn checkpoints(&self) -> PathBuf {
        self.0.path().join("checkpoints")
    }

    fn go_away(&self) {
        std::fs::write(self.checkpoints(), "in the way").unwrap();
    }

    fn come_back(&self) {
        std::fs::remove_file(self.checkpoints()).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn become_so(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn pause_first(slot: &mut Slot) {
    let spec = slot.assigned().await;
    slot.report(&spec, 1, 0.9).await;
    assert_eq!(slot.decision().await, Verdict::Pause);
    slot.pause(&spec, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_costs_no_trial_and_its_copy_catches_up() {
    let (driver, bucket) = (Driver::start().await, Bucket::new());
    bucket.go_away();
    driver.create(&bucket.plan(&driver, 2)).await.unwrap();
    let mut watch = driver.watch().await;
    let mut slot = Slot::open(&driver, 0).await;
    pause_first(&mut slot).await;
    let next = slot.assigned().await;
    assert_eq!((next.trial, next.attempt), (1, 1), "what lies on the driver's disk counts");
    let own = driver.folder.path().join("e/checkpoints");
    assert_eq!(names(&own), ["trial-0-1-1.arrow"]);
    let behind = event(&mut watch).await;
    assert!(matches!(&behind, WatchEvent::Notice { text } if text.contains("falls behind")), "{behind:?}");
    bucket.come_back();
    let caught_up = event(&mut watch).await;
    assert!(matches!(&caught_up, WatchEvent::Notice { text } if text.contains("caught up")), "{caught_up:?}");
    assert_eq!(names(&bucket.checkpoints()), names(&own));
    slot.end(&next, Outcome::Finished).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_the_copy_has_the_files_that_are_here_and_no_others() {
    let (driver, bucket) = (Driver::start().await, Bucket::new());
    driver.create(&bucket.plan(&driver, 5)).await.unwrap();
    let mut watch = driver.watch().await;
    let slot = Slot::open(&driver, 0).await;
    let (trained, end) = tokio::join!(finish(slot, f64::from), async {
        loop {
            if let WatchEvent::Over { end } = event(&mut watch).await {
                break end;
            }
        }
    });
    assert_eq!(end, End::Completed);
    assert!(trained.iter().any(|(_, epoch)| *epoch == 3), "a trial went through all of its pauses");
    let there = names(&bucket.checkpoints());
    assert_eq!(there, names(&driver.folder.path().join("e/checkpoints")));
    assert!(!there.is_empty());
    let result = driver.result().await;
    assert!(result.trials.iter().all(|t| matches!(t.state, TrialState::Finished | TrialState::Stopped)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_goes_on_brings_the_copy_into_line() {
    let (driver, bucket) = (Driver::start().await, Bucket::new());
    bucket.go_away();
    let plan = bucket.plan(&driver, 3);
    driver.create(&plan).await.unwrap();
    let mut slot = Slot::open(&driver, 0).await;
    pause_first(&mut slot).await;
    slot.assigned().await;
    // The driver is killed while its copy is behind; one before it has left a file that nothing refers to.
    let driver = driver.replace().await;
    bucket.come_back();
    std::fs::create_dir(bucket.checkpoints()).unwrap();
    std::fs::write(bucket.checkpoints().join("trial-9-1-1.arrow"), "old").unwrap();
    driver.resume(&plan).await;
    become_so(|| names(&bucket.checkpoints()) == ["trial-0-1-1.arrow"]).await;
}
