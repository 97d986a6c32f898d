//! The doorbell of martlet-sensor.

use std::process::ExitCode;

fn main() -> ExitCode {
    martlet_sensor::cli::main()
}
