//! The command line, and the plan of a run that it comes to.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use martlet_wire::v1::Limits;

use super::pace::{Closed, Open, Pace};
use super::shape::Shape;

const UNITS: &str = "\
Units:
  A row is one count row (source, class, packets, bytes, targets), a batch is what one sensor sends of one window.
  ack_ms             milliseconds from a batch's write (closed loop) or due time (--rate) to the Ack that says it is journaled
  ack_ms_at_boundary the same, of batches due within a second before or after the end of a commit; commits are seen in the Acks
  rows_per_s         rows divided by the seconds from the first send until everything is acknowledged as journaled
  rows_per_cpu_s     rows divided by the collector's user and system seconds from the first send until everything is
                     acknowledged as committed
  history            whether rows_per_cpu_s has the archive in it (--history); archive_bytes_per_row is of all its files
  rss_mb, rss_now_mb resident memory of the collector in MiB: peak since the start of this run, and at its end
  wire_bytes_per_row bytes of batch frames divided by rows, without TCP and TLS

A collector takes 64 connections from one address and 256 sensors unless ingest.max_connections_per_address and
ingest.max_sensors say otherwise. What is sent is of class drill.";

/// Loads a running collector with made-up sensors, and measures it.
#[derive(Clone, Debug, Parser)]
#[command(name = "martlet-load", version, after_help = UNITS)]
pub(super) struct Options {
    /// Where the collector takes batches; it is filled with drill data
    #[arg(long, default_value = "127.0.0.1:7460")]
    pub(super) collector: SocketAddr,
    /// Sensors, each with a connection of its own
    #[arg(long, default_value_t = 1)]
    sensors: u16,
    /// Rows of each batch
    #[arg(long, default_value_t = 1000)]
    rows: u32,
    /// Distinct sources (default: 100,000; storm: all of IPv4, so that every row has a source of its own)
    #[arg(long)]
    keys: Option<u32>,
    /// What the rows are
    #[arg(long, value_enum, default_value_t = Shape::Background)]
    shape: Shape,
    /// Batches of each sensor (default: 1000)
    #[arg(long, conflicts_with = "seconds")]
    batches: Option<u64>,
    /// Seconds for which batches are sent (closed loop) or are due (--rate)
    #[arg(long)]
    seconds: Option<f64>,
    /// Open loop: rows a second of all sensors together, due at fixed times
    #[arg(long, value_name = "ROWS_PER_S")]
    rate: Option<f64>,
    /// Closed loop: batches of a sensor without an answer, at most
    #[arg(long, default_value_t = 4, conflicts_with = "rate")]
    in_flight: usize,
    /// Consecutive windows of ten seconds that a sensor's batches go through, over and over, as ever new parts
    #[arg(long, default_value_t = 360)]
    windows: u32,
    /// Memory for frames that are encoded before the clock runs, in MiB; beyond it frames are sent again in new places
    #[arg(long, default_value_t = 2048)]
    memory_mb: usize,
    /// Seed of the rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Speak TLS and trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    pub(super) tls_ca: Option<PathBuf>,
    /// Name that the collector's certificate must have (default: the address)
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub(super) server_name: Option<String>,
    /// Show the certificates load-0.pem, load-1.pem and so on of this directory, a sensor's key and certificate in each, as
    /// `martlet-sensor enroll` writes them: the sensors are called load-0, load-1 and so on
    #[arg(long, value_name = "DIRECTORY", requires = "tls_ca")]
    pub(super) identities: Option<PathBuf>,
    /// The collector's process (default: whoever listens on the port)
    #[arg(long)]
    pub(super) pid: Option<u32>,
    /// Wait until everything is archived before the collector's CPU time is read, and ask its HTTP port here whether it is. Give the
    /// collector a small archive.pending_bytes, or it waits for the next hour
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) history: Option<SocketAddr>,
    /// Print one line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// When a sensor has sent enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// After so many batches of its own.
    Batches(u64),
    /// When so many seconds have passed.
    Seconds(f64),
}

/// A checked run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) sensors: u16,
    /// Rows of each batch.
    pub(super) rows: u32,
    /// Distinct sources; `None` for as many as there are addresses.
    pub(super) keys: Option<u32>,
    pub(super) windows: u32,
    pub(super) seed: u64,
    /// For all sensors together.
    pub(super) memory_bytes: usize,
    pub(super) pace: Pace,
    pub(super) end: End,
    pub(super) tls: bool,
}

impl Options {
    /// Checks the options against each other.
    pub(super) fn plan(&self) -> Result<Plan> {
        let max_rows = Limits::default().max_rows;
        ensure!((1..=max_rows).contains(&self.rows), "--rows: take 1 to {max_rows}");
        ensure!((1..=4096).contains(&self.sensors), "--sensors: take 1 to 4096");
        ensure!(self.shape != Shape::SingleGiant || self.sensors == 1, "--shape single-giant is one sensor");
        ensure!(self.keys != Some(0) && self.in_flight > 0, "--keys and --in-flight: take at least 1");
        ensure!((1..=60_480).contains(&self.windows), "--windows: take 1 to 60480 (a week)");
        let keys = self.keys.or((self.shape != Shape::Storm).then_some(100_000));
        if self.shape == Shape::Storm && keys.is_some_and(|keys| keys < self.rows) {
            bail!("--shape storm: every row of a batch has another source, so take at least as many --keys as --rows");
        }
        for (name, value) in [("--seconds", self.seconds), ("--rate", self.rate)] {
            ensure!(value.is_none_or(|it| it.is_finite() && it > 0.0), "{name}: take a number above 0");
        }
        let pace = match self.rate {
            Some(rate) => Pace::Open(Open::new(rate / f64::from(self.rows), self.sensors)),
            None => Pace::Closed(Closed { in_flight: self.in_flight }),
        };
        Ok(Plan {
            shape: self.shape,
            sensors: self.sensors,
            rows: self.rows,
            keys,
            windows: self.windows,
            seed: self.seed,
            memory_bytes: self.memory_mb.saturating_mul(1 << 20),
            pace,
            end: self.seconds.map_or(End::Batches(self.batches.unwrap_or(1000)), End::Seconds),
            tls: self.tls_ca.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan> {
        Options::try_parse_from(std::iter::once("martlet-load").chain(arguments.split_whitespace()))?.plan()
    }

    #[test]
    fn defaults_are_a_closed_loop_of_a_thousand_batches() {
        let plan = plan("").unwrap();
        assert_eq!((plan.end, plan.sensors, plan.keys), (End::Batches(1000), 1, Some(100_000)));
        assert!(matches!(plan.pace, Pace::Closed(Closed { in_flight: 4 })));
    }

    #[test]
    fn contradictions_are_refused() {
        for bad in [
            "--rows 0",
            "--rows 600000",
            "--sensors 0",
            "--shape single-giant --sensors 2",
            "--shape storm --keys 10 --rows 11",
            "--rate 0",
            "--seconds nan",
            "--batches 1 --seconds 1",
            "--rate 5 --in-flight 2",
            "--server-name a",
            "--identities a",
            "--windows 0",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_storm_has_every_address_unless_told_otherwise() {
        assert_eq!(plan("--shape storm").unwrap().keys, None);
        assert_eq!(plan("--shape storm --keys 5000").unwrap().keys, Some(5000));
    }
}
