//! `martlet-load`: loads a running collector and measures it.

fn main() -> std::process::ExitCode {
    martlet_benches::load::main()
}
