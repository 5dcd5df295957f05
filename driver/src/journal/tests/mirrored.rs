//! A journal and its copy, when one of them is behind, torn, or another's.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::journal::{FILE, Mirror, Position, Shipper, Writer};

const SOON: Duration = Duration::from_secs(20);

fn mirror(store: &Arc<InMemory>) -> Mirror {
    Mirror::new(Arc::clone(store) as _, Location::from("runs/digits"))
}

async fn objects(store: &Arc<InMemory>) -> Vec<String> {
    let mut names: Vec<String> =
        store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

/// Runs a driver that ships records in so many segments.
async fn run(folder: &Path, mirror: &Mirror, position: Position, log: Log, ranges: &[std::ops::Range<u32>]) {
    let mut log = log;
    let mut position = position;
    for range in ranges {
        write(&mut log, range.clone());
        let length = log.length();
        let writer = Writer::start(log).unwrap();
        let shipper = Shipper::start(mirror.clone(), &writer, position, |_| {});
        writer.close().await.unwrap();
        shipper.close(SOON).await.unwrap();
        let segment = position.segment + 1;
        position = Position { segment, bytes: length };
        log = recover(folder).finish().unwrap().0;
    }
}

#[tokio::test]
async fn a_journal_comes_back_whole_on_another_host() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(InMemory::new());
    let begin = mirror(&store).begin().await.unwrap();
    run(here.path(), &mirror(&store), begin, create(here.path()), &[0..4, 4..6, 6..9]).await;
    let names = objects(&store).await;
    assert_eq!(names, (1..=3).map(|n| format!("runs/digits/journal/{n:08}.log")).collect::<Vec<_>>());
    let taken = mirror(&store).begin().await.unwrap_err().to_string();
    assert!(taken.contains("already"), "{taken}");

    let folder = Folder::lock(there.path()).unwrap();
    let position = mirror(&store).restore(&folder).await.unwrap();
    drop(folder);
    assert_eq!(read(there.path()), expected(0..9));
    let bytes = std::fs::read(there.path().join(FILE)).unwrap();
    assert_eq!(bytes, std::fs::read(here.path().join(FILE)).unwrap());
    assert_eq!(position, Position { segment: 3, bytes: bytes.len() as u64 });
    // And goes on there, in the next segment.
    let log = recover(there.path()).finish().unwrap().0;
    run(there.path(), &mirror(&store), position, log, std::slice::from_ref(&(9..12))).await;
    assert_eq!(objects(&store).await.len(), 4);

    // The first host comes back. It may learn what was decided elsewhere meanwhile,
    let folder = Folder::lock(here.path()).unwrap();
    mirror(&store).restore(&folder).await.unwrap();
    drop(folder);
    assert_eq!(read(here.path()), expected(0..12));
}

#[tokio::test]
async fn journals_that_went_two_ways_are_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(InMemory::new());
    run(
        here.path(),
        &mirror(&store),
        Position::default(),
        create(here.path()),
        std::slice::from_ref(&(0..4)),
    )
    .await;
    let folder = Folder::lock(there.path()).unwrap();
    let position = mirror(&store).restore(&folder).await.unwrap();
    drop(folder);
    let log = recover(there.path()).finish().unwrap().0;
    run(there.path(), &mirror(&store), position, log, &[4..8, 8..9]).await;
    // Here another decision was taken in its place.
    let mut log = recover(here.path()).finish().unwrap().0;
    write(&mut log, 20..40);
    drop(log);
    let before = std::fs::read(here.path().join(FILE)).unwrap();
    let refused = mirror(&store).restore(&Folder::lock(here.path()).unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("differ") && refused.contains("elsewhere"), "{refused}");
    assert_eq!(std::fs::read(here.path().join(FILE)).unwrap(), before);
}

#[tokio::test]
async fn a_crashed_host_gets_back_what_only_the_store_has_and_ships_what_only_it_has() {
    let here = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    run(here.path(), &mirror(&store), Position::default(), create(here.path()), &[0..4, 4..6, 6..9]).await;
    let path = here.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    // The disk lost its last writes, at any place.
    for cut in (0..whole.len()).step_by(61) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let folder = Folder::lock(here.path()).unwrap();
        let position = mirror(&store).restore(&folder).await.unwrap();
        assert_eq!(position, Position { segment: 3, bytes: whole.len() as u64 });
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut after {cut}");
    }
    // The store lost its last segments: the journal here is the longer one.
    store.delete(&Location::from("runs/digits/journal/00000003.log")).await.unwrap();
    let position = mirror(&store).restore(&Folder::lock(here.path()).unwrap()).await.unwrap();
    assert_eq!(position.segment, 2);
    let log = recover(here.path()).finish().unwrap().0;
    run(here.path(), &mirror(&store), position, log, std::slice::from_ref(&(9..10))).await;
    let there = tempfile::tempdir().unwrap();
    mirror(&store).restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
    assert_eq!(read(there.path()), expected(0..10));
}

#[tokio::test]
async fn a_torn_last_segment_is_cut_off_and_the_next_one_follows_its_last_record() {
    let whole = tempfile::tempdir().unwrap();
    let original = Arc::new(InMemory::new());
    run(whole.path(), &mirror(&original), Position::default(), create(whole.path()), &[0..4, 4..6]).await;
    let last = Location::from("runs/digits/journal/00000002.log");
    let segment = original.get(&last).await.unwrap().bytes().await.unwrap();
    for cut in 0..segment.len() {
        let store = Arc::new(original.fork());
        store.put(&last, segment.slice(..cut).into()).await.unwrap();
        let there = tempfile::tempdir().unwrap();
        let position = mirror(&store).restore(&Folder::lock(there.path()).unwrap()).await.unwrap();
        let kept = 4 + segment[..cut].iter().filter(|b| **b == b'\n').count() as u32;
        assert_eq!(read(there.path()), expected(0..kept), "cut after {cut}");
        let (mut log, torn) = recover(there.path()).finish().unwrap();
        assert_eq!((torn, log.length()), (None, position.bytes));
        if cut % 40 == 0 {
            write(&mut log, kept..8);
            run(there.path(), &mirror(&store), position, log, std::slice::from_ref(&(8..9))).await;
            let third = tempfile::tempdir().unwrap();
            mirror(&store).restore(&Folder::lock(third.path()).unwrap()).await.unwrap();
            assert_eq!(read(third.path()), expected(0..9));
        }
    }
}

#[tokio::test]
async fn a_missing_segment_is_said_and_nothing_is_made_up() {
    let here = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    run(here.path(), &mirror(&store), Position::default(), create(here.path()), &[0..4, 4..6, 6..9]).await;
    store.delete(&Location::from("runs/digits/journal/00000002.log")).await.unwrap();
    let there = tempfile::tempdir().unwrap();
    let refused = mirror(&store).restore(&Folder::lock(there.path()).unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("00000002.log is missing"), "{refused}");
    assert!(!there.path().join(FILE).exists());
}
