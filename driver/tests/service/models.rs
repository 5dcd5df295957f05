//! Models come from the watcher; programs and weights are files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lethe_flight::message::experiment::{Cancel, End, Preparation, Prepared, TrialState, WatchEvent};
use lethe_flight::message::slot::ToSlot;
use lethe_flight::message::training::{Outcome, ProgramFormat, ProgramRef};
use lethe_flight::tensors::{self, NamedTensor};
use lethe_flight::wire::{Put, Ticket, action};
use lethe_flight::{blob, client};
use tonic::Code;

use crate::common::{Driver, Null, Slot, code, event, supervised, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_come_from_the_watcher_and_only_the_best_weights_stay() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(4, 1);
    plan.function = supervised();
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let mut slot = Slot::open(&driver, 0).await;
    let mut seeds = BTreeMap::new();
    for (trial, value) in [(0, 0.3), (1, 0.2), (2, 0.9), (3, 0.5)] {
        while !seeds.contains_key(&trial) {
            let WatchEvent::Prepare { trial, seed, .. } = event(&mut watch).await else {
                panic!("not asked")
            };
            seeds.insert(trial, seed);
            prepare(&driver, trial, seed).await;
        }
        let spec = slot.assigned().await;
        assert_eq!((spec.trial, spec.seed), (trial, seeds[&trial]));
        let hash = spec.program.clone().unwrap().hash;
        let program = client::get(&mut slot.client, &Ticket::Program { hash: hash.clone() }).await.unwrap();
        let path = driver.folder.path().join(format!("fetched-{trial}"));
        blob::receive(program, path.clone(), hash).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"a module");
        let ticket = Ticket::Initial { experiment: "e".into(), trial };
        let initial = client::get(&mut slot.client, &ticket).await.unwrap();
        let initial: Vec<_> = within(initial.try_collect()).await.unwrap();
        assert_eq!(initial[0].num_rows(), 1);
        let kept = driver.folder.path().join("kept");
        tensors::write_file(&kept, &[weights(u64::from(trial))]).unwrap();
        let put = |attempt| Put::Weights { experiment: "e".into(), trial, attempt };
        let stale = client::put_file(&mut slot.client, &put(2), kept.clone()).await.unwrap_err();
        assert_eq!(code(&stale), Code::FailedPrecondition);
        client::put_file(&mut slot.client, &put(1), kept).await.unwrap();
        slot.report(&spec, 3, value).await;
        slot.end(&spec, Outcome::Finished).await;
    }
    assert!(matches!(slot.next().await, Some(ToSlot::Release)));
    let initial = driver.folder.path().join("driver/experiments/e");
    within(async {
        while files(&driver.weights()) != ["trial-2.arrow"] || !files(&initial).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let ticket = Ticket::Weights { experiment: "e".into(), trial: 2 };
    let kept = client::get(&mut slot.client, &ticket).await.unwrap();
    let kept: Vec<_> = within(kept.try_collect()).await.unwrap();
    assert_eq!(kept[0].num_rows(), 1);
    let gone = Ticket::Weights { experiment: "e".into(), trial: 0 };
    assert_eq!(code(&client::get(&mut slot.client, &gone).await.err().unwrap()), Code::FailedPrecondition);
}

/// Puts a program and the trial's weights, as the shim does.
async fn prepare(driver: &Driver, trial: u32, seed: u64) {
    let mut client = driver.client().await;
    let folder = driver.folder.path();
    let (program, initial) = (folder.join("program"), folder.join("initial"));
    std::fs::write(&program, b"a module").unwrap();
    let hash = sha(b"a module");
    let put = Put::Program { hash: hash.clone() };
    let descriptor = put.render().unwrap();
    let frames = blob::send(program).await.unwrap().enumerate().map(move |(i, frame)| {
        let mut frame = frame.unwrap();
        if i == 0 {
            frame.flight_descriptor = Some(descriptor.clone());
        }
        frame
    });
    _ = client.do_put(frames).await.unwrap();
    tensors::write_file(&initial, &[weights(seed)]).unwrap();
    client::put_file(&mut client, &Put::Initial { experiment: "e".into(), trial }, initial).await.unwrap();
    let program = ProgramRef { format: ProgramFormat::Torchscript, hash };
    let result = Preparation::Ready { program };
    let prepared = Prepared { experiment: "e".into(), trial, result };
    let _: Null = client::call(&mut client, action::PREPARED, &prepared).await.unwrap();
}

fn sha(bytes: &[u8]) -> String {
    use sha2::Digest;
    blob::hex(&sha2::Sha256::digest(bytes))
}

fn weights(seed: u64) -> NamedTensor {
    NamedTensor { name: "w".into(), dtype: "int64".into(), shape: vec![], data: seed.to_le_bytes().to_vec() }
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_late_watcher_gets_open_requests_and_the_end() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(9, 1);
    plan.function = supervised();
    driver.create(&plan).await.unwrap();
    let error = "ValueError: width".to_owned();
    let answer = Prepared { experiment: "e".into(), trial: 0, result: Preparation::Failed { error } };
    let mut client = driver.client().await;
    let _: Null = client::call(&mut client, action::PREPARED, &answer).await.unwrap();
    // The answer to a request that comes after it: the failure has been handled.
    assert_eq!(driver.result().await.trials[0].state, TrialState::Failed);
    let mut late = driver.watch().await;
    for expected in 1..9 {
        let WatchEvent::Prepare { trial, .. } = event(&mut late).await else { panic!("not asked") };
        assert_eq!(trial, expected);
    }
    let early = Prepared {
        experiment: "e".into(),
        trial: 1,
        result: Preparation::Ready {
            program: ProgramRef { format: ProgramFormat::Torchscript, hash: "0".repeat(64) },
        },
    };
    let refused = client::call::<_, Null>(&mut client, action::PREPARED, &early).await.unwrap_err();
    assert!(refused.to_string().contains("has not been put"), "{refused}");
    let cancel = Cancel { experiment: "e".into(), reason: "enough".into() };
    let _: Null = client::call(&mut client, action::CANCEL, &cancel).await.unwrap();
    let end = WatchEvent::Over { end: End::Cancelled { reason: "enough".into() } };
    assert_eq!(event(&mut late).await, end);
    let mut later = driver.watch().await;
    assert!(matches!(within(later.next()).await, Some(Ok(WatchEvent::Progress(p))) if p.failed == 1));
    assert_eq!(event(&mut later).await, end);
}
