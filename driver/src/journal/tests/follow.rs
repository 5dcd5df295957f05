//! The copy while the journal is written.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::journal::{Mirror, Position, Shipper, Writer};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_copy_follows_while_the_journal_is_written() {
    let (here, there, bucket) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mirror = Mirror::open(&file_store(bucket.path())).unwrap();
    let mut writer = Writer::start(create(here.path())).unwrap();
    let shipper = Shipper::start(mirror.clone(), &writer, mirror.begin().await.unwrap(), |_| {});
    let first = bucket.path().join("journal/00000001.log");
    writer.event(0, &event(0)).unwrap();
    writer.commit().await.unwrap();
    let seen = async {
        while !first.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, seen).await.expect("a segment comes by itself");
    // This driver is killed: what it has shipped is enough to go on.
    mirror.restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
    assert_eq!(read(there.path()), expected(0..1));
    for number in 1..30 {
        writer.event(u64::from(number), &event(number)).unwrap();
    }
    writer.close().await.unwrap();
    shipper.close(SOON).await.unwrap();
    mirror.restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
    assert_eq!(read(there.path()), expected(0..30));
}

#[tokio::test]
async fn another_drivers_segment_is_never_overwritten() {
    let here = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    let mirror = Mirror::new(Arc::clone(&store) as _, Location::from("runs"));
    let place = Location::from("runs/journal/00000001.log");
    store.put(&place, "of another".into()).await.unwrap();
    let (say, said) = mpsc::channel();
    let writer = Writer::start(create(here.path())).unwrap();
    let shipper = Shipper::start(mirror, &writer, Position::default(), move |text| say.send(text).unwrap());
    let notice = tokio::task::spawn_blocking(move || said.recv_timeout(SOON).unwrap()).await.unwrap();
    assert!(notice.contains("another driver") && notice.contains("copy ends"), "{notice}");
    assert!(shipper.close(SOON).await.is_err());
    assert_eq!(store.get(&place).await.unwrap().bytes().await.unwrap(), "of another");
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_recognised() {
    let here = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mirror = Mirror::new(store, Location::default());
    let log = create(here.path());
    for _ in 0..2 {
        let bytes = std::fs::read(here.path().join(crate::journal::FILE)).unwrap();
        mirror.put_segment(1, bytes.into()).await.unwrap();
    }
    let there = tempfile::tempdir().unwrap();
    let position = mirror.restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
    assert_eq!(position, Position { segment: 1, bytes: log.length() });
}

#[tokio::test]
async fn a_store_that_is_away_delays_no_commit_is_told_once_and_caught_up_with() {
    let (here, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A file where the folder should be: no put succeeds.
    let place = bucket.path().join("run");
    std::fs::write(&place, "in the way").unwrap();
    let mirror = Mirror::open(&file_store(&place)).unwrap();
    let (say, said) = mpsc::channel();
    let mut writer = Writer::start(create(here.path())).unwrap();
    let shipper = Shipper::start(mirror.clone(), &writer, Position::default(), move |t| say.send(t).unwrap());
    let listen = move || (said.recv_timeout(SOON).unwrap(), said);
    let (notice, said) = tokio::task::spawn_blocking(listen).await.unwrap();
    assert!(notice.contains("falls behind"), "{notice}");
    for number in 0..5 {
        writer.event(u64::from(number), &event(number)).unwrap();
        writer.commit().await.unwrap();
    }
    std::fs::remove_file(&place).unwrap();
    let listen = move || said.recv_timeout(SOON).unwrap();
    let notice = tokio::task::spawn_blocking(listen).await.unwrap();
    assert!(notice.contains("caught up"), "{notice}");
    writer.close().await.unwrap();
    shipper.close(SOON).await.unwrap();
    let there = tempfile::tempdir().unwrap();
    mirror.restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
    assert_eq!(read(there.path()), expected(0..5));
}
