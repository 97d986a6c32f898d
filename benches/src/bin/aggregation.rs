//! `aggregation`: the table of sources beside other ways to count by key, in one run.

fn main() -> std::process::ExitCode {
    martlet_benches::aggregation::main()
}
