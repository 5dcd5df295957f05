//! What the driver's program does beside serving: `replay`, `query` and `sample`.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::Parameter;
use lethe_flight::{Error, Result, limits, wire};
use serde::Deserialize;

use crate::experiment::describe::Line;
use crate::search::{Optimizer, RandomSearch, Space, Suggestion, rng};
use crate::service::open;

/// Prints an experiment's decisions from its journal, each with its reason: seconds since the first, what, whom,
/// why. It only reads, and prints the same each time.
///
/// # Errors
/// If there is no journal in the folder, it is damaged, or `out` cannot be written.
pub fn replay(folder: &Path, out: &mut impl Write) -> Result<()> {
    let mut chronicle = open::read(folder)?;
    let lines = chronicle.told();
    let first = lines.first().map_or(0, |(at, _)| *at);
    for (at, line) in &lines {
        written(writeln!(out, "{:>10.3}  {}", at.saturating_sub(first) as f64 / 1e3, render(line)))?;
    }
    Ok(())
}

fn render(line: &Line) -> String {
    let mut text = format!("{:<14}", line.kind);
    let fields = [
        ("trial", line.trial.map(u64::from)),
        ("attempt", line.attempt.map(u64::from)),
        ("connection", line.slot.map(|slot| slot.0)),
        ("epoch", line.epoch.map(u64::from)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            text += &format!(" {name} {value}");
        }
    }
    // A traceback has many lines; the first says what it was.
    if let Some(first) = line.text.lines().next() {
        text += &format!("  {first}");
    }
    text.trim_end().to_owned()
}

#[derive(Deserialize)]
struct Query {
    directory: PathBuf,
    query: String,
}

/// Reads one line of JSON, `{"directory": …, "query": …}`, and writes the answer over the journal's tables as an
/// Arrow IPC stream.
///
/// # Errors
/// If there is no journal, or the query cannot be answered.
pub async fn query(input: &mut impl BufRead, out: &mut impl Write) -> Result<()> {
    let Query { directory, query } = question(input)?;
    let mut chronicle = open::read(&directory)?;
    // Slots of a driver that was killed were held until the last that is known of it.
    let last = chronicle.last();
    let mut answer = chronicle.snapshot(last)?.query(&query).await?;
    let mut writer = StreamWriter::try_new(&mut *out, &answer.schema)?;
    while let Some(batch) = answer.rows.next().await {
        writer.write(&batch?)?;
    }
    Ok(writer.finish()?)
}

#[derive(Deserialize)]
struct Sample {
    space: Vec<Parameter>,
    #[serde(default)]
    constraints: Vec<String>,
    /// The first points, which are completed.
    #[serde(default)]
    enqueued: Vec<Hparams>,
    seed: u64,
    count: u32,
}

/// Reads one line of JSON, a search space, and writes so many points of it, a line each: those of random search.
///
/// # Errors
/// If the space cannot be used; said in the last line too.
pub fn sample(input: &mut impl BufRead, out: &mut impl Write) -> Result<()> {
    let sampled = points(question(input)?, out);
    if let Err(error) = &sampled {
        let line = serde_json::json!({ "error": error.to_string() });
        written(writeln!(out, "{line}"))?;
    }
    sampled
}

fn points(sample: Sample, out: &mut impl Write) -> Result<()> {
    let Sample { space, constraints, enqueued, seed, count } = sample;
    let space = Space::new(space, constraints)?;
    let mut search = RandomSearch::new(space.clone(), seed);
    for trial in 0..count {
        let hparams = match enqueued.get(trial as usize) {
            Some(given) => space.complete(given, &mut rng(seed, trial, 0))?,
            None => match search.suggest(trial, 0, &[]) {
                Suggestion::Point { hparams, .. } => hparams,
                Suggestion::Exhausted => {
                    return Err(Error::Invalid(
                        "no point of the space fulfils its constraints; relax them".into(),
                    ));
                }
            },
        };
        written(writeln!(out, "{}", serde_json::json!({ "hparams": hparams })))?;
    }
    Ok(())
}

fn question<Q: for<'de> Deserialize<'de>>(input: &mut impl BufRead) -> Result<Q> {
    let mut line = Vec::new();
    let limit = limits::CONTROL_BYTES as u64 + 1;
    input.take(limit).read_until(b'\n', &mut line).map_err(|e| Error::file("stdin", e))?;
    wire::parse(&line)
}

fn written(result: std::io::Result<()>) -> Result<()> {
    result.map_err(|e| Error::file("stdout", e))
}
