//! Days of drill traffic as an archive, what making their rollups takes, and how long answers take.
//!
//! ```text
//! history generate --directory D --sensors 100 --days 1    # count rows of so many sensors, in archive files by hour
//! history read --directory D                               # what of that is reading
//! history roll --directory D                               # time, memory, rows and bytes of making the marked days
//! history copy --directory D --weeks 11                    # the same days again and again before them, in SQLite only
//! history ask --directory D                                # latencies of questions
//! ```
//! Traffic is that of [`martlet_drill`]; its module `mix` says what is made up. Regions come from the built-in data, networks are made up.

#![expect(clippy::print_stdout, reason = "this is the program's own output")]

mod ask;
mod generate;
mod roll;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use martlet_collector::store::{Location, Store};
use rusqlite::Connection;

/// The secret of the sketches.
const SOURCE_KEY: [u8; 16] = *b"secret of a test";

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an archive.
    Generate(Generate),
    /// Only read it, as rollups do.
    Read(Place),
    /// Make rollups of it.
    Roll(Place),
    /// Copy rollups to the weeks before.
    Copy(Copy),
    /// Ask.
    Ask(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// Where store and archive are.
    #[arg(long)]
    directory: PathBuf,
}

#[derive(Debug, Args)]
struct Generate {
    #[command(flatten)]
    place: Place,
    /// Sensors.
    #[arg(long, default_value_t = 100)]
    sensors: u32,
    /// Addresses of each: 256 are a /24. A power of two.
    #[arg(long, default_value_t = 256)]
    addresses: u32,
    /// Days.
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Length of windows, in seconds.
    #[arg(long, default_value_t = 10)]
    window: i64,
    /// Of the first day; each has its own.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Copy {
    #[command(flatten)]
    place: Place,
    /// How often.
    #[arg(long, default_value_t = 11)]
    weeks: i64,
}

/// Runs the program.
///
/// # Errors
/// If something fails.
pub fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Generate(arguments) => generate::generate(&arguments),
        Command::Read(place) => roll::read(&place.directory),
        Command::Roll(place) => roll::roll(&place.directory),
        Command::Copy(arguments) => roll::copy(&arguments.place.directory, arguments.weeks),
        Command::Ask(place) => ask::ask(&place.directory),
    }
}

/// The store of a directory, with a catalog of the archive.
fn open(directory: &Path) -> Result<(Location, Connection)> {
    std::fs::create_dir_all(directory)?;
    let location = Location::in_directory(directory);
    Store::open(location.clone())?;
    Ok((location, Connection::open(directory.join(martlet_collector::store::STORE_NAME))?))
}
