//! What happens to datasets, step by step.

use lethe_flight::Error;
use lethe_flight::message::dataset::{AnnouncePartition, CreateDataset, Location, SealDataset};
use lethe_flight::message::slot::ToExecutor;

use super::Catalog;

fn catalog() -> Catalog {
    let mut catalog = Catalog::new(2);
    catalog.create(&CreateDataset { dataset: "d".into(), files: None }).unwrap();
    catalog.join("a");
    catalog.join("b");
    catalog
}

fn partition(partition: u32, rows: u64, executor: &str) -> AnnouncePartition {
    AnnouncePartition {
        dataset: "d".into(),
        partition,
        rows,
        bytes: 8 * rows,
        hash: format!("{rows:032x}"),
        schema: "s".into(),
        executor: executor.into(),
        address: format!("{executor}:1"),
    }
}

fn seal(partitions: u32) -> SealDataset {
    SealDataset { dataset: "d".into(), partitions }
}

/// Partitions that the executor is told to copy now.
fn copies(catalog: &mut Catalog, executor: &str) -> Vec<u32> {
    let mut partitions = Vec::new();
    while let Some(order) = catalog.next_order(executor) {
        let ToExecutor::Copy { partition, locations, .. } = order else { panic!("{order:?}") };
        assert!(!locations.is_empty() && locations.iter().all(|place| place.executor != executor));
        partitions.push(partition);
    }
    partitions
}

fn holders(catalog: &Catalog, partition: usize) -> Vec<String> {
    let located = catalog.locate("d").unwrap();
    located.partitions[partition].locations.iter().map(|Location { executor, .. }| executor.clone()).collect()
}

#[test]
fn a_dataset_is_sealed_when_complete_and_located_when_sealed() {
    let mut catalog = catalog();
    catalog.announce(partition(2, 5, "a")).unwrap();
    catalog.announce(partition(0, 3, "a")).unwrap();
    let missing = catalog.seal(&seal(3)).unwrap_err();
    assert!(matches!(missing, Error::Precondition(_)) && missing.to_string().contains("partition 1"));
    assert!(matches!(catalog.locate("d"), Err(Error::Precondition(_))));
    catalog.announce(partition(1, 0, "b")).unwrap();
    catalog.seal(&seal(3)).unwrap();
    catalog.seal(&seal(3)).unwrap();
    let located = catalog.locate("d").unwrap();
    assert_eq!(located.rows, 8);
    assert_eq!(located.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(located.partitions[1].locations[0].address, "b:1");
}

#[test]
fn a_partition_announced_again_must_have_the_same_rows() {
    let mut catalog = catalog();
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.announce(partition(0, 3, "b")).unwrap();
    let error = catalog.announce(partition(0, 4, "b")).unwrap_err().to_string();
    assert!(error.contains("4 rows") && error.contains('3'), "{error}");
    catalog.seal(&seal(1)).unwrap();
    assert_eq!(catalog.locate("d").unwrap().partitions[0].locations.len(), 2);
    assert!(catalog.announce(partition(1, 3, "a")).is_err(), "a sealed dataset does not grow");
}

#[test]
fn an_executor_that_leaves_takes_its_locations_with_it() {
    let mut catalog = catalog();
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.announce(partition(0, 3, "b")).unwrap();
    catalog.seal(&seal(1)).unwrap();
    catalog.leave("a");
    let located = catalog.locate("d").unwrap();
    assert_eq!(located.partitions[0].locations.iter().map(|l| &l.executor).collect::<Vec<_>>(), ["b"]);
    let late = catalog.announce(partition(0, 3, "a")).unwrap_err();
    assert!(late.to_string().contains("not registered"));
}

#[test]
fn unknown_names_and_wrong_counts_are_refused() {
    let mut catalog = catalog();
    assert!(catalog.create(&CreateDataset { dataset: "../d".into(), files: None }).is_err());
    assert!(catalog.locate("other").unwrap_err().to_string().contains("other"));
    assert!(catalog.seal(&seal(0)).is_err());
    catalog.announce(partition(0, 1, "a")).unwrap();
    catalog.announce(partition(1, 1, "a")).unwrap();
    assert!(catalog.seal(&seal(1)).unwrap_err().to_string().contains("partition 1"));
}

#[test]
fn a_partition_that_is_computed_again_must_have_the_same_contents() {
    let mut catalog = catalog();
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.seal(&seal(1)).unwrap();
    catalog.leave("a");
    let other = AnnouncePartition { hash: "f".repeat(32), ..partition(0, 3, "b") };
    let error = catalog.announce(other.clone()).unwrap_err();
    assert!(
        matches!(error, Error::Precondition(_)) && error.to_string().contains("not deterministic"),
        "{error}"
    );
    assert!(holders(&catalog, 0).is_empty());
    catalog.announce(partition(0, 3, "b")).unwrap();
    assert_eq!(holders(&catalog, 0), ["b"]);
    let schema = AnnouncePartition { schema: "t".into(), ..partition(0, 3, "b") };
    assert!(catalog.announce(schema).unwrap_err().to_string().contains("schema"));
}

#[test]
fn a_put_that_goes_on_may_replace_what_an_executor_took_with_it() {
    let mut catalog = catalog();
    catalog.announce(partition(0, 3, "a")).unwrap();
    assert!(catalog.announce(partition(0, 4, "b")).is_err());
    catalog.leave("a");
    catalog.announce(partition(0, 4, "b")).unwrap();
    catalog.seal(&seal(1)).unwrap();
    assert_eq!(catalog.locate("d").unwrap().rows, 4);
}

#[test]
fn what_is_held_once_is_copied_to_where_least_lies() {
    let mut catalog = catalog();
    catalog.join("c");
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.announce(partition(1, 10, "b")).unwrap();
    catalog.announce(partition(2, 2, "a")).unwrap();
    assert_eq!(copies(&mut catalog, "c"), [0; 0], "not before all is put");
    catalog.seal(&seal(3)).unwrap();
    // c has nothing: it gets the first, and the second while it has least (3 of 5 and 10); then a has least.
    assert_eq!(copies(&mut catalog, "c"), [0, 1]);
    assert_eq!(copies(&mut catalog, "b"), [2]);
    assert_eq!(copies(&mut catalog, "a"), [0; 0]);
    assert_eq!(copies(&mut catalog, "c"), [0; 0], "said once");
    for (number, rows, executor) in [(0, 3, "c"), (1, 10, "c"), (2, 2, "b")] {
        catalog.announce(partition(number, rows, executor)).unwrap();
    }
    assert!((0..3).all(|number| holders(&catalog, number).len() == 2));
    assert!(["a", "b", "c"].iter().all(|executor| copies(&mut catalog, executor).is_empty()));
}

#[test]
fn who_leaves_or_joins_changes_what_is_copied() {
    let mut catalog = Catalog::new(2);
    catalog.create(&CreateDataset { dataset: "d".into(), files: None }).unwrap();
    catalog.join("a");
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.seal(&seal(1)).unwrap();
    assert_eq!(copies(&mut catalog, "a"), [0; 0], "there is nobody else");
    catalog.join("b");
    assert_eq!(copies(&mut catalog, "b"), [0]);
    // Its connection broke: it is told again.
    catalog.join("b");
    assert_eq!(copies(&mut catalog, "b"), [0]);
    catalog.join("c");
    assert_eq!(copies(&mut catalog, "c"), [0; 0], "one copy is under way");
    catalog.leave("b");
    assert_eq!(copies(&mut catalog, "c"), [0]);
    catalog.announce(partition(0, 3, "c")).unwrap();
    catalog.leave("a");
    assert_eq!(holders(&catalog, 0), ["c"]);
    catalog.join("e");
    assert_eq!(copies(&mut catalog, "e"), [0]);
}

#[test]
fn with_one_copy_nothing_is_copied_and_what_is_lost_is_not_either() {
    let mut once = Catalog::new(1);
    once.create(&CreateDataset { dataset: "d".into(), files: None }).unwrap();
    once.join("a");
    once.join("b");
    once.announce(partition(0, 3, "a")).unwrap();
    once.seal(&seal(1)).unwrap();
    assert_eq!(copies(&mut once, "b"), [0; 0]);
    let mut twice = catalog();
    twice.announce(partition(0, 3, "a")).unwrap();
    twice.seal(&seal(1)).unwrap();
    twice.leave("a");
    assert_eq!(copies(&mut twice, "b"), [0; 0], "there is nothing to copy from");
}

#[test]
fn a_dropped_dataset_is_gone_everywhere_and_for_good() {
    let mut catalog = catalog();
    catalog.announce(partition(0, 3, "a")).unwrap();
    catalog.seal(&seal(1)).unwrap();
    assert_eq!(catalog.names(), ["d"]);
    catalog.drop_dataset("d").unwrap();
    catalog.drop_dataset("d").unwrap();
    assert!(catalog.names().is_empty());
    let dropped =
        |order: Option<ToExecutor>| matches!(order, Some(ToExecutor::Drop { dataset }) if dataset == "d");
    assert!(dropped(catalog.next_order("a")) && dropped(catalog.next_order("b")));
    assert!(catalog.next_order("b").is_none(), "no copy either");
    for error in [
        catalog.locate("d").unwrap_err(),
        catalog.create(&CreateDataset { dataset: "d".into(), files: None }).unwrap_err(),
        catalog.announce(partition(0, 3, "b")).unwrap_err(),
    ] {
        assert!(error.to_string().contains("unpersisted"), "{error}");
    }
    assert!(dropped(catalog.next_order("b")), "who still has some of it is told again");
    assert!(catalog.drop_dataset("other").unwrap_err().to_string().contains("other"));
}
