//! The standard trainer: `Supervised` and `lethe.sleep`.

fn main() -> std::process::ExitCode {
    lethe_binaries::log_to_stderr();
    lethe_trainer::Trainer::builder().run()
}
