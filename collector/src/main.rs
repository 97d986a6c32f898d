//! The `martlet-collector` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    martlet_collector::cli::main()
}
