//! A trainer that knows one more training function than `lethe-trainer`: an executor is told to start this binary in
//! its place, and experiments ask for the function by its name.

mod factorisation;
mod ratings;

use std::process::ExitCode;

use factorisation::Factorisation;
use lethe_trainer::Trainer;

fn main() -> ExitCode {
    Trainer::builder().register("matrix_factorisation", Factorisation).run()
}
