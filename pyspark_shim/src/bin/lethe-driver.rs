//! The driver's process: child of the user's Python process. With a command it answers that and ends.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lethe_driver::commands;

const USAGE: &str = "usage: lethe-driver              serves; the shim starts it so
       lethe-driver replay FOLDER  prints an experiment's decisions from its journal
       lethe-driver query          answers SQL over a journal's tables: {\"directory\", \"query\"} on stdin
       lethe-driver sample         draws points of a search space: {\"space\", \"seed\", \"count\"} on stdin";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => drive(),
        ["replay", folder] => answer(|out| commands::replay(Path::new(folder), out)),
        ["sample"] => answer(|out| commands::sample(&mut std::io::stdin().lock(), out)),
        ["query"] => answer(|out| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| lethe_flight::Error::file("the async runtime", e))?;
            runtime.block_on(commands::query(&mut std::io::stdin().lock(), out))
        }),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lethe-driver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn answer(
    work: impl FnOnce(&mut BufWriter<std::io::Stdout>) -> lethe_flight::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout());
    let done = work(&mut out);
    // What was written before an error is said too.
    match out.flush() {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        flushed => flushed?,
    }
    done.map_err(Into::into)
}

fn drive() -> anyhow::Result<()> {
    let config: lethe_flight::process::DriverConfig = lethe_binaries::configuration()?;
    lethe_binaries::log_to(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ran = runtime.block_on(lethe_driver::run(config));
    // What still reads or writes a file is of no more use to anyone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ran.map_err(Into::into)
}
