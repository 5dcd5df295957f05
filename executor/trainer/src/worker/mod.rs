//! The trainer's process: one exchange with its executor, and one thread that trains.

mod client;
mod current;
mod lifeline;
mod thread;

use std::io::{BufRead, Read};
use std::process::ExitCode;

use lethe_flight::process::TrainerConfig;

use crate::error::{Error, Result};
use crate::function::{Registry, TrainingFunction};
use crate::torch;

pub use client::{End, serve};
pub use lifeline::lifeline;

/// The longest configuration that is read, bytes.
const CONFIG_BYTES: u64 = 64 << 10;

/// A trainer process. `lethe-trainer` is one without functions of its own.
pub struct Trainer;

impl Trainer {
    pub fn builder() -> TrainerBuilder {
        TrainerBuilder { registry: Registry::default() }
    }
}

pub struct TrainerBuilder {
    registry: Registry,
}

impl TrainerBuilder {
    /// Registers a Rust training function under the name by which experiments ask for it.
    #[must_use]
    pub fn register(mut self, name: impl Into<String>, function: impl TrainingFunction + 'static) -> Self {
        self.registry.register(name, function);
        self
    }

    /// Runs the process: the configuration comes as one line on stdin, and the process ends when stdin ends,
    /// when the executor ends the exchange, or on `exit`. The log goes to stderr.
    pub fn run(self) -> ExitCode {
        match run(self.registry) {
            Ok(()) => exit(0),
            Err(error) => {
                eprintln!("lethe-trainer: {error}");
                exit(1)
            }
        }
    }
}

fn run(registry: Registry) -> Result<()> {
    torch::keep_memory();
    let config = read_config(&mut std::io::stdin().lock())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Worker(format!("the async runtime did not start: {e}")))?;
    let life = lifeline(std::io::stdin())?;
    let end = runtime.block_on(serve(config, registry, life))?;
    tracing::info!("the trainer ends: {end}");
    Ok(())
}

fn read_config(stdin: &mut impl BufRead) -> Result<TrainerConfig> {
    let mut line = String::new();
    let read = stdin.take(CONFIG_BYTES).read_line(&mut line);
    read.map_err(|e| Error::Worker(format!("cannot read the configuration from stdin: {e}")))?;
    serde_json::from_str(&line).map_err(|e| {
        Error::Worker(format!(
            "stdin's first line is not a trainer's configuration: {e}; lethe-executor starts it"
        ))
    })
}

/// Ends the process at once. The training thread may still be inside libtorch, whose destructors must not run
/// under it; there is nothing to flush.
fn exit(code: i32) -> ExitCode {
    torch::exit(code);
    ExitCode::from(code as u8)
}
