//! The standard trainer: `Supervised` and `lethe.sleep`.

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    lethe_trainer::Trainer::builder().run()
}
