//! Load on a real collector, and what it costs the collector: the program `martlet-load`.
//!
//! ```text
//! options -> shape (rows) -> frames (encoded before the clock runs)
//!                               |
//!            pace (when) -> connection (what is unanswered) <-> transport (TCP, TLS) <-> collector
//!                               ^                                                            |
//!                             drive (poll, one thread for up to 64 sensors)     process (/proc: CPU, memory)
//!                               |                                                            |
//!                             report  <-------------------------------------------------------
//! ```
//!
//! **Closed loop**: each sensor has at most so many batches unanswered. The load adapts to the collector, so latency shows
//! how long an answer takes, not how long a batch waits for its turn. **Open loop** (`--rate`): batches are due at fixed
//! times whatever the answers do, and latency runs from the due time, so that a collector that stalls is charged for all
//! batches that should have been sent meanwhile.
//!
//! **Boundaries** are seen through the answers: when an Ack's `committed` advances, a commit has just ended. A scrape of
//! the collector's metrics would say the same later, and would cost the collector time that we count.
//!
//! **What the load itself costs** is kept off the clock: frames are generated and encoded before, and sending one is a copy.
//! What does not fit into `--memory-mb` is sent as an earlier frame in a new place (stream, sequence, predecessor, window),
//! which costs a SHA-256 and a CRC32C over it; the report says of how many batches that is true.

mod connection;
mod drive;
mod frames;
mod history;
mod options;
mod pace;
mod process;
mod report;
mod shape;
mod transport;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};

use connection::Connection;
use options::Options;
pub(crate) use process::Process;
use report::{Costs, Report};
use transport::Dialer;

/// Runs the program and returns its exit status: 0 if every batch was acknowledged as committed.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let plan = options.plan()?;
    let stop = stop_on_signals()?;
    let dialer = Dialer::new(options)?;
    let collector = Process::find(options.pid, options.collector);
    if let Err(error) = &collector {
        complain(&format!("the collector's CPU and memory are not measured: {error:#}"));
    }
    let frames = frames::prepare(&plan, &stop)?;
    let prepared_bytes = frames.iter().map(frames::Frames::bytes).sum();
    let connections = frames
        .into_iter()
        .zip(0..)
        .map(|(frames, number)| Connection::open(&dialer, &plan, number, frames))
        .collect::<Result<Vec<Connection>>>()?;

    let costs = Costs::begin(collector.ok())?;
    let start = Instant::now();
    let (connections, failures) = drive::drive(connections, start, &stop);
    let interrupted = stop.load(Ordering::Relaxed) && failures.is_empty();
    let archived = options.history.map(|http| history::wait(http, &stop)).transpose()?;
    let costs = costs.end()?;

    for failure in &failures {
        complain(failure);
    }
    let report = Report::new(&plan, &connections, &costs, archived, prepared_bytes, interrupted, failures)?;
    let text = if options.json { serde_json::to_string(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(report.is_complete())
}

/// A flag that the first signal sets; a second one ends the program at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot listen for signals")?;
    }
    Ok(stop)
}

#[expect(clippy::print_stderr, reason = "this is the program's own standard error")]
fn complain(message: &str) {
    eprintln!("martlet-load: {message}");
}
