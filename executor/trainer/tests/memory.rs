//! What a worker holds of its data: batches and the order of rows, whatever the size of a row, and whoever else
//! maps the same view.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use common::file::{ViewFile, add_zeros};
use lethe_flight::message::dataset::View;
use lethe_trainer::data::{Batches, EpochOrder, MappedView, Paging, Steps};
use tch::Device;

/// Where a worker finds its view's description. Set: this process is one.
const VIEW: &str = "LETHE_TEST_VIEW";
/// What may differ between two processes that do the same, bytes.
const NOISE: i64 = 2 << 20;

/// A view of so many rows of 2 KB each.
fn view(folder: &Path, rows: u32) -> View {
    let mut file = ViewFile::new(rows);
    file.classes((0..rows).map(|row| i64::from(row % 3)).collect());
    let mut view = file.write(folder);
    add_zeros(&mut view, "features", &[512]);
    view
}

/// The other end of the tests below, in a process of its own: maps the view and gathers an epoch once it is told
/// to, and lives on until its stdin ends.
#[test]
fn a_worker() {
    let Ok(view) = std::env::var(VIEW) else { return };
    let view: View = serde_json::from_str(&view).unwrap();
    let mut lines = std::io::stdin().lines();
    println!("\nready");
    lines.next().unwrap().unwrap();
    let view = Arc::new(MappedView::open(&view).unwrap());
    let steps = Steps::new(view.train().len(), 256, false).unwrap();
    let mut batches = Batches::new(view.clone(), steps.capacity(), Device::Cpu).unwrap();
    let mut order = Vec::new();
    let mut paging = Paging::new(view.clone(), EpochOrder::new(view, 7).unwrap().fill(1, &mut order));
    for step in steps.iter() {
        paging.reach(step.places.clone());
        batches.gather(&order[step.places]).unwrap();
    }
    println!("done");
    assert!(lines.next().is_none());
}

struct Worker {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    before: i64,
}

impl Worker {
    fn start(view: &View) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["a_worker", "--exact", "--nocapture"])
            .env(VIEW, serde_json::to_string(view).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut worker = Self { process, stdin, stdout, before: 0 };
        worker.wait_for("ready");
        worker.before = worker.private();
        worker
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the worker ended before {word:?}");
        }
    }

    fn begin(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Bytes of memory that are this process's alone and in no file.
    fn private(&self) -> i64 {
        let path = format!("/proc/{}/smaps_rollup", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() << 10
    }

    /// What an epoch has added to its memory.
    fn grown(&mut self) -> i64 {
        self.wait_for("done");
        self.private() - self.before
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin.take();
        _ = self.process.wait();
    }
}

/// What each of so many workers, at once, adds to its memory.
fn grown(view: &View, workers: usize) -> Vec<i64> {
    let mut workers: Vec<Worker> = (0..workers).map(|_| Worker::start(view)).collect();
    workers.iter_mut().for_each(Worker::begin);
    workers.iter_mut().map(Worker::grown).collect()
}

#[test]
fn private_memory_does_not_grow_with_the_view() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) =
        (grown(&view(folder.path(), 10_000), 1)[0], grown(&view(folder.path(), 100_000), 1)[0]);
    // The order of rows is the worker's own.
    let order = 90_000 * 4;
    assert!(large - small < order + NOISE, "{small} bytes with 20 MB, {large} with 200 MB");
}

#[test]
fn eight_workers_hold_no_more_each_than_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let view = view(folder.path(), 100_000);
    let one = grown(&view, 1)[0];
    let eight = grown(&view, 8);
    assert!(eight.iter().all(|&each| each < one + NOISE), "{one} bytes alone, {eight:?} together");
}
