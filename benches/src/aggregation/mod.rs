//! The aggregation core alone, beside other ways to add up packets by source: the program `aggregation`.
//!
//! ```text
//! draw (rows of sources and packets, before the clock runs) -> ways (each counts the same rows) -> table (Markdown)
//! ```
//!
//! Every way begins with an empty table and grows it, is given the same batches of 1000 rows as they are after decoding,
//! and is on the clock until one table, or tables with no source in common, hold everything: ours has to merge the
//! tables of its threads. The number of sources and the sum of packets are compared after the clock.
//!
//! Where other work runs on the machine, the figures for a CPU-second are the ones to read. Scaling by CPU time is that of
//! threads that have a core each, with merging on one of them; it is not told of ways in which threads wait for others.
//!
//! The others have what is common for their kind: 64-bit counts, a fast keyed hash (but std's map has its own, as
//! it comes), 64 shards, and one lock for a whole batch where that is possible.

mod draw;
mod table;
mod ways;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use draw::{Rows, Shape};
use table::Case;
use ways::{Totals, Way};

/// Measures the table of sources beside other ways to count by key.
#[derive(Debug, Parser)]
#[command(name = "aggregation")]
struct Options {
    /// Numbers of distinct keys that rows are drawn from.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 10_000_000, 50_000_000])]
    keys: Vec<u32>,
    /// How keys are drawn.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Shape::Uniform, Shape::Zipf])]
    shapes: Vec<Shape>,
    /// Measure each so many times, and keep the best.
    #[arg(long, default_value_t = 2)]
    repeat: u32,
    /// Only these ways, by the beginnings of their names; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Memory that rows and tables may take, in GiB; the machine's free memory bounds it too.
    #[arg(long, default_value_t = 12)]
    memory_gib: u64,
    /// Few keys and few rows, to see that the program works: the figures mean nothing.
    #[arg(long)]
    quick: bool,
}

/// Runs the program and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let keys: &[u32] = if options.quick { &[1000, 20_000] } else { &options.keys };
    let memory = (options.memory_gib << 30).min(free_memory()?);
    let is_asked = |way: &Way| options.only.is_empty() || options.only.iter().any(|name| way.name().starts_with(name));
    let ways: Vec<Way> = Way::ALL.into_iter().filter(is_asked).collect();
    let mut out = std::io::stdout();
    for &shape in &options.shapes {
        for &keys in keys {
            let (rows, passes) = amount(keys, options.quick);
            let Some(rest) = memory.checked_sub(Rows::bytes(rows)) else {
                writeln!(out, "\n{keys} keys, {shape}: left out, since the rows alone take more memory than there is")?;
                continue;
            };
            let rows = Rows::draw(keys, shape, rows, passes);
            let mut case = Case::new(keys, shape, rows.updates());
            for &way in &ways {
                measure(way, &rows, rest, options.repeat, &mut case)?;
            }
            writeln!(out, "\n{case}")?;
        }
    }
    Ok(())
}

/// Rows that are drawn for so many keys, and how often they are counted: what is drawn for few keys stays in the caches, as
/// a batch that was just decoded does; of many keys most are to be seen.
fn amount(keys: u32, quick: bool) -> (usize, usize) {
    match keys {
        _ if quick => (50_000, 2),
        ..=100_000 => (1_000_000, 100),
        100_001..=2_000_000 => (5_000_000, 6),
        2_000_001..=20_000_000 => (30_000_000, 2),
        _ => (60_000_000, 1),
    }
}

fn measure(way: Way, rows: &Rows, memory: u64, repeat: u32, case: &mut Case) -> Result<()> {
    for threads in [1, 2] {
        if way.bytes(case.keys, threads) > memory {
            case.leave_out(way, threads);
            continue;
        }
        for _ in 0..repeat.max(1) {
            let outcome = way.run(rows, threads);
            let expected = Totals { sources: case.sources.unwrap_or(outcome.totals.sources), packets: rows.packets() };
            ensure!(
                outcome.totals == expected,
                "{}, {threads} threads: {:?} instead of {expected:?}",
                way.name(),
                outcome.totals
            );
            case.sources = Some(outcome.totals.sources);
            case.add(way, threads, outcome);
        }
    }
    Ok(())
}

/// Memory that can be had without swapping, in bytes.
fn free_memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    Ok(kib.context("/proc/meminfo does not say what is available")? << 10)
}

#[expect(clippy::print_stderr, reason = "this is the program's own standard error")]
fn complain(message: &str) {
    eprintln!("aggregation: {message}");
}
