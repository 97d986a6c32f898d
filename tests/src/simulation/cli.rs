//! The command line of the simulation.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the program's output")]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Parser;

use super::campaign::{Report, Summary, run_all};

/// How often a long run says how far it has come, in seconds.
const PROGRESS: u64 = 10;

/// Runs sensors, a network and a collector in one process, lets everything go wrong that a seed decides, and checks that
/// each batch was counted exactly once or is counted as lost.
///
/// Each seed is a world of its own. The same seed gives the same world, so that a failure is repeated by the command that
/// is printed with it.
#[derive(Debug, Parser)]
#[command(name = "simulate", version)]
struct Arguments {
    /// Seeds to run: from A up to, but not including, B; or one.
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Threads; each runs one seed at a time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Tell what happens in each world, with the simulated time in seconds, one world after the other. With RUST_LOG
    /// set, also what the daemons log.
    #[arg(long)]
    verbose: bool,
    /// Go on after a seed has failed.
    #[arg(long)]
    keep_going: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is no number: write 0..1000"));
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => number(text).map(|seed| seed..seed.saturating_add(1))?,
    };
    if range.is_empty() { Err("there is no seed in this range".to_owned()) } else { Ok(range) }
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.verbose {
        // What the daemons themselves would log.
        let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
        tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
    }
    let since = Instant::now();
    let jobs = if arguments.verbose { 1 } else { arguments.jobs };
    let (all, done, said) = (arguments.seeds.end - arguments.seeds.start, AtomicU64::new(0), AtomicU64::new(0));
    let summary = run_all(arguments.seeds, jobs, arguments.verbose, |report| {
        tell(report, arguments.verbose);
        let (done, now) = (done.fetch_add(1, Relaxed) + 1, since.elapsed().as_secs() / PROGRESS);
        if said.fetch_max(now, Relaxed) < now {
            eprintln!("{done} of {all} seeds in {} s", since.elapsed().as_secs());
        }
        report.result.is_ok() || arguments.keep_going
    });
    conclude(&summary, since);
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report, is_verbose: bool) {
    if is_verbose {
        println!("seed {}: {} steps, fingerprint {:016x}", report.seed, report.steps, report.fingerprint);
    }
    if let Err(what) = &report.result {
        println!("seed {} FAILED: {what}", report.seed);
        println!("  replay: cargo run -p martlet-tests --bin simulate -- --seeds {} --verbose", report.seed);
    }
}

fn conclude(summary: &Summary, since: Instant) {
    let Summary { seeds, steps, simulated, faults, findings, failures } = summary;
    println!(
        "{seeds} seeds in {:.1} s: {} failed; {steps} steps, {:.1} simulated hours, {} faults",
        since.elapsed().as_secs_f64(),
        failures.len(),
        simulated.as_secs_f64() / 3600.0,
        faults.total()
    );
    println!("batches: {} made, {} counted, {} not", findings.batches, findings.counted, findings.not_counted);
    for (kind, count) in faults.iter() {
        println!("{count:>12}  {kind}");
    }
    for (seed, _) in failures {
        println!("failed: seed {seed}");
    }
}
