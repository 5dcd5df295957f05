//! A journal on the local disk.

use super::*;
use crate::journal::{FILE, Writer};

#[test]
fn what_was_committed_is_read_back_in_order_and_the_log_goes_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = create(folder.path());
    write(&mut log, 0..10);
    log.event(99, &event(99)).unwrap();
    drop(log);
    assert_eq!(read(folder.path()), expected(0..10), "what was not committed is not there");

    let recovery = recover(folder.path());
    assert_eq!(recovery.header(), &Header::new(&plan()));
    let (mut log, torn) = recovery.finish().unwrap();
    assert_eq!(torn, None);
    log.resumed(10, &plan()).unwrap();
    write(&mut log, 11..20);
    drop(log);
    let records = read(folder.path());
    assert_eq!(records[..10], expected(0..10));
    assert_eq!(records[10], Record { at: 10, entry: Entry::Resumed(Box::new(plan())) });
    assert_eq!(records[11..], expected(11..20));
}

#[test]
fn secrets_of_the_store_are_written_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let options = [("aws_secret_access_key".to_owned(), "hush".to_owned())].into();
    let plan = Plan { store: Some(Store { url: "s3://bucket/x".into(), options }), ..plan() };
    let mut log = Log::create(Folder::lock(folder.path()).unwrap(), &Header::new(&plan)).unwrap();
    log.resumed(1, &plan).unwrap();
    log.commit().unwrap();
    let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
    assert_eq!(text.matches("s3://bucket/x").count(), 2);
    assert!(!text.contains("hush") && !text.contains("secret"), "{text}");
}

#[test]
fn two_drivers_cannot_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let log = create(folder.path());
    let refused = Folder::lock(folder.path()).unwrap_err().to_string();
    let holder = format!("process {}", std::process::id());
    assert!(refused.contains("in use by") && refused.contains(&holder), "{refused}");
    assert_eq!(read(folder.path()), [], "reading needs no lock");
    drop(log);
    Folder::lock(folder.path()).unwrap();
}

#[test]
fn a_second_experiment_of_the_name_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut create(folder.path()), 0..3);
    let locked = Folder::lock(folder.path()).unwrap();
    let refused = Log::create(locked, &Header::new(&plan())).err().unwrap().to_string();
    assert!(refused.contains("already") && refused.contains("resume"), "{refused}");
    assert_eq!(read(folder.path()), expected(0..3));
}

#[test]
fn a_newer_format_is_refused_by_name_before_its_contents_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = Vec::new();
    let newer = serde_json::json!({"lethe": "journal", "format": 2, "version": "9.1.0", "scheme": []});
    crate::journal::line::append(&mut line, &newer).unwrap();
    std::fs::write(folder.path().join(FILE), line).unwrap();
    let refused = Reader::<Happened>::open(folder.path()).err().unwrap().to_string();
    assert!(refused.contains("format 2") && refused.contains("9.1.0"), "{refused}");
    let nothing = tempfile::tempdir().unwrap();
    let refused = Reader::<Happened>::open(nothing.path()).err().unwrap().to_string();
    assert!(refused.contains("no experiment to resume"), "{refused}");
}

#[test]
fn an_unknown_event_is_an_error_with_its_line_and_is_never_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = create(folder.path());
    write(&mut log, 0..2);
    log.event(2, &serde_json::json!({"type": "teleported"})).unwrap();
    log.commit().unwrap();
    let length = log.length();
    drop(log);
    let mut recovery = recover(folder.path());
    let errors: Vec<String> =
        recovery.by_ref().filter_map(|record| record.err().map(|error| error.to_string())).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("line 4") && errors[0].contains("teleported"), "{}", errors[0]);
    assert!(recovery.finish().is_err());
    assert_eq!(std::fs::metadata(folder.path().join(FILE)).unwrap().len(), length);
}

#[tokio::test]
async fn the_writer_puts_what_it_is_given_into_the_file_and_onto_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(create(folder.path())).unwrap();
    for number in 0..50 {
        writer.event(u64::from(number), &event(number)).unwrap();
        if number % 7 == 0 {
            writer.commit().await.unwrap();
            assert_eq!(read(folder.path()), expected(0..number + 1));
        }
    }
    writer.commit().await.unwrap();
    let written = *writer.written().borrow();
    assert_eq!(written, std::fs::metadata(folder.path().join(FILE)).unwrap().len());
    let mut synced = writer.synced();
    let within = std::time::Duration::from_secs(20);
    tokio::time::timeout(within, synced.wait_for(|n| *n == written)).await.unwrap().unwrap();
    writer.event(50, &event(50)).unwrap();
    writer.close().await.unwrap();
    assert_eq!(read(folder.path()), expected(0..51));
    Folder::lock(folder.path()).unwrap();
}

#[tokio::test]
async fn a_commit_whose_caller_went_away_is_written_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(create(folder.path())).unwrap();
    writer.event(0, &event(0)).unwrap();
    {
        let commit = std::pin::pin!(writer.commit());
        assert!(futures::poll!(commit).is_pending() || read(folder.path()) == expected(0..1));
    }
    writer.event(1, &event(1)).unwrap();
    writer.commit().await.unwrap();
    assert_eq!(read(folder.path()), expected(0..2));
}
