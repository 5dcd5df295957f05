//! The driver's process: child of the user's Python process.

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match drive() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lethe-driver: {error:#}");
            ExitCode::FAILURE
        }
    }
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
