//! The driver's process: how it starts, and that it never outlives its owner.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lethe_flight::message::experiment::Hello;
use lethe_flight::process::{DriverConfig, Owner, Started};
use lethe_flight::wire::action;
use lethe_flight::{PROTOCOL, Token, client, owner};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn config(folder: &Path, pid: u32) -> DriverConfig {
    DriverConfig {
        token: SECRET.into(),
        bind: "127.0.0.1".into(),
        port: 0,
        owner: Owner { pid, started: owner::start_time(pid).unwrap() },
        directory: folder.join("driver").display().to_string(),
        log: folder.join("log").display().to_string(),
        copies: 2,
    }
}

fn start(config: &DriverConfig) -> (Child, Started) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lethe-driver"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{}", serde_json::to_string(config).unwrap()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

fn ends_within(child: &mut Child, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the driver did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn it_serves_and_ends_with_its_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, started) = start(&config(folder.path(), std::process::id()));
    let Started::Ready { port, pid, .. } = started else { panic!("{started:?}") };
    assert_eq!(pid, child.id());
    let mut client =
        client::connect(&format!("127.0.0.1:{port}"), &Token::new(SECRET).unwrap()).await.unwrap();
    let hello: Hello = client::call(&mut client, action::HELLO, &()).await.unwrap();
    assert_eq!(hello.protocol, PROTOCOL);
    assert!(folder.path().join("driver").is_dir());
    drop(child.stdin.take());
    ends_within(&mut child, 5);
    assert!(!folder.path().join("driver").exists(), "its folder goes with it");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("driver listens") && !log.contains(SECRET), "{log}");
}

#[test]
fn it_ends_when_its_owner_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let (mut child, started) = start(&config(folder.path(), owner.id()));
    assert!(matches!(started, Started::Ready { .. }), "{started:?}");
    owner.kill().unwrap();
    ends_within(&mut child, 5);
    owner.wait().unwrap();
}

#[test]
fn an_address_that_it_cannot_have_is_said_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (mut child, started) = start(&DriverConfig { port, ..config(folder.path(), std::process::id()) });
    let Started::Failed { error } = started else { panic!("{started:?}") };
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    ends_within(&mut child, 5);
}
