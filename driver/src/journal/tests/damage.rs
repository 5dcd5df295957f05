//! Journals that were cut, or have changed, anywhere.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::journal::FILE;

/// What a reader makes of these bytes: the records before it stops, and whether it stops at an error.
fn outcome(bytes: &[u8]) -> (Vec<Record<Happened>>, Option<String>, u64) {
    let mut reader = match Reader::<Happened, _>::new(bytes, "it".into()) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error.to_string()), 0),
    };
    let (mut records, mut error) = (Vec::new(), None);
    for record in &mut reader {
        match record {
            Ok(record) => records.push(record),
            Err(found) => error = Some(found.to_string()),
        }
    }
    let valid = reader.valid();
    let torn = reader.torn().map_or(0, |torn| torn.bytes);
    assert!(error.is_some() || valid + torn == bytes.len() as u64);
    (records, error, valid)
}

/// Of nine records.
static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| journal(9));

fn journal(records: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    write(&mut create(folder.path()), 0..records);
    std::fs::read(folder.path().join(FILE)).unwrap()
}

#[test]
fn a_journal_cut_anywhere_reads_as_its_whole_records() {
    let bytes = journal(9);
    let header = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in 0..=bytes.len() {
        let (records, error, valid) = outcome(&bytes[..cut]);
        let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count().saturating_sub(1) as u32;
        assert_eq!(records, expected(0..whole), "cut after {cut}");
        assert_eq!(error.is_some(), cut < header, "cut after {cut}: {error:?}");
        assert!(cut < header || bytes[..valid as usize].ends_with(b"\n"));
    }
}

#[test]
fn going_on_after_any_cut_leaves_a_journal_without_a_seam() {
    let bytes = journal(4);
    let header = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in (header..bytes.len()).step_by(7) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), &bytes[..cut]).unwrap();
        let mut recovery = recover(folder.path());
        let whole = recovery.by_ref().map(Result::unwrap).count() as u32;
        let (mut log, torn) = recovery.finish().unwrap();
        assert_eq!(torn.is_some(), bytes[cut - 1] != b'\n');
        write(&mut log, whole..8);
        drop(log);
        assert_eq!(read(folder.path()), expected(0..8));
    }
}

#[test]
fn an_end_of_zeros_is_torn() {
    let mut bytes = journal(5);
    let length = bytes.len();
    bytes.truncate(length - 20);
    bytes.resize(length + 4096, 0);
    let (records, error, _) = outcome(&bytes);
    assert_eq!((records, error), (expected(0..4), None));
}

#[test]
fn damage_before_the_end_names_file_line_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = journal(9);
    let starts: Vec<usize> =
        std::iter::once(0).chain((0..bytes.len()).filter(|i| bytes[*i] == b'\n').map(|i| i + 1)).collect();
    bytes[starts[4] + 20] ^= 1;
    let path = folder.path().join(FILE);
    std::fs::write(&path, &bytes).unwrap();
    let mut recovery = recover(folder.path());
    let error = recovery.by_ref().find_map(Result::err).unwrap().to_string();
    let place = format!("{} is damaged in line 5 (byte {})", path.display(), starts[4]);
    assert!(error.contains(&place), "{error}");
    assert!(recovery.finish().is_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is cut off");
    // Nor without looking at the records.
    assert!(recover(folder.path()).finish().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_byte_yields_a_wrong_record(at in 0.0f64..1.0, byte in any::<u8>()) {
        let mut bytes = JOURNAL.clone();
        let index = (at * bytes.len() as f64) as usize;
        prop_assume!(bytes[index] != byte);
        let line = bytes[..index].iter().filter(|b| **b == b'\n').count();
        bytes[index] = byte;
        let (records, error, _) = outcome(&bytes);
        // Records up to the changed one, which is line `line` counted from 0, the header being the first.
        prop_assert_eq!(records, expected(0..(line.max(1) - 1) as u32));
        // A changed newline spoils two records.
        let at_end = line == 9 || line == 8 && JOURNAL[index] == b'\n';
        prop_assert_eq!(error.is_none(), at_end, "{:?}", error);
    }

    #[test]
    fn bytes_that_are_no_journal_are_refused_or_torn_and_never_a_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300), keep in 0usize..2000,
    ) {
        let mut bytes = JOURNAL.clone();
        bytes.truncate(keep);
        bytes.extend(&noise);
        let (records, _, _) = outcome(&bytes);
        prop_assert!(expected(0..9).starts_with(&records));
    }
}
