//! A seeded simulation of sensors, network and collector; see `martlet_tests::simulation`.

fn main() -> std::process::ExitCode {
    martlet_tests::simulation::cli::main()
}
