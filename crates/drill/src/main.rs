//! martlet-drill: writes a drill to a capture file. Everything is in the library's `cli` module.

fn main() -> std::process::ExitCode {
    martlet_drill::cli::main()
}
