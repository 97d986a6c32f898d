//! Writes manual pages and shell completions of Martlet's programs into a directory, for packages.
//!
//! They come from the command lines that the programs themselves read, so that they cannot say anything else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Write manual pages (man/) and completions (completions/) of all programs.
#[derive(Debug, Parser)]
#[command(name = "martlet-packaging", version)]
struct Args {
    /// Directory to write into; it is made if it is missing
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

#[expect(clippy::print_stderr, reason = "this is the command-line layer")]
fn main() -> ExitCode {
    let args = Args::parse();
    match martlet_packaging::write(&args.directory) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("martlet-packaging: cannot write into {}: {error}", args.directory.display());
            ExitCode::FAILURE
        }
    }
}
