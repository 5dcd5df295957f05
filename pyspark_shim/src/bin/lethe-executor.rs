//! The executor's process: one for each Spark executor and application.

use std::process::ExitCode;

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lethe-executor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> anyhow::Result<()> {
    let config: lethe_flight::process::ExecutorConfig = lethe_binaries::configuration()?;
    let lines = lethe_binaries::log_to_both(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(lethe_executor::run(config, lines));
    // What still reads or writes a file is of no more use to anyone.
    runtime.shutdown_background();
    ended.inspect_err(|error| tracing::error!(%error, "the executor failed")).map_err(Into::into)
}
