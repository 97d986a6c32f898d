//! What a run says.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::connection::{Connection, Sample};
use super::history::Archived;
use super::options::Plan;
use super::pace::Pace;
use super::process::{Memory, Process};

/// How far from the end of a commit a batch is due that counts as at a boundary. A commit that takes less lies within.
const BOUNDARY: Duration = Duration::from_secs(1);

/// CPU time of the collector and of this program, before a run.
pub(super) struct Costs {
    collector: Option<(Process, f64)>,
    own: f64,
}

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    collector: Option<(f64, Memory)>,
    own_cpu_s: f64,
}

impl Costs {
    pub(super) fn begin(collector: Option<Process>) -> Result<Costs> {
        let collector = collector.map(|process| {
            process.forget_peak();
            process.cpu_seconds().map(|seconds| (process, seconds))
        });
        Ok(Costs { collector: collector.transpose()?, own: Process::own().cpu_seconds()? })
    }

    pub(super) fn end(&self) -> Result<Spent> {
        // A collector that has died is told as a broken connection; here it has no figures.
        let collector = self
            .collector
            .and_then(|(process, before)| Some((process.cpu_seconds().ok()? - before, process.memory().ok()?)));
        Ok(Spent { collector, own_cpu_s: Process::own().cpu_seconds()? - self.own })
    }
}

/// Milliseconds below which so many of the batches were acknowledged; `null` where there were none.
#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

/// The same near the ends of commits.
#[derive(Debug, Serialize)]
struct Boundary {
    p99: Option<f64>,
    batches: u64,
}

/// All figures of a run. What could not be measured is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    shape: &'static str,
    sensors: u16,
    rows_per_batch: u32,
    keys: Option<u32>,
    tls: bool,
    open_loop: bool,
    in_flight: Option<usize>,
    batches: u64,
    rows: u64,
    packets: u64,
    packets_sent: u64,
    seconds: f64,
    rows_per_s: f64,
    seconds_to_commit: f64,
    collector_cpu_s: Option<f64>,
    rows_per_cpu_s: Option<f64>,
    ack_ms: Latency,
    ack_ms_at_boundary: Boundary,
    ack_ms_elsewhere: Boundary,
    commits: usize,
    wire_bytes_per_row: f64,
    rss_mb: Option<f64>,
    rss_now_mb: Option<f64>,
    history: bool,
    archive_bytes_per_row: Option<f64>,
    refused: u64,
    nacks: u64,
    reused_batches: u64,
    prepared_mb: f64,
    load_cpu_s: f64,
    interrupted: bool,
    errors: Vec<String>,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "ratios of counts far below 2^52")]
    pub(super) fn new(
        plan: &Plan,
        connections: &[Connection],
        spent: &Spent,
        archived: Option<Archived>,
        prepared_bytes: usize,
        interrupted: bool,
        errors: Vec<String>,
    ) -> Result<Report> {
        let seen = || connections.iter().map(|connection| &connection.seen);
        let samples: Vec<Sample> = seen().flat_map(|it| it.samples.iter().copied()).collect();
        let commits = distinct_commits(seen().flat_map(|it| it.commits.iter().copied()).collect());
        let (batches, sent) = (samples.len() as u64, seen().map(|it| it.sent).sum::<u64>());
        let rows = batches * u64::from(plan.rows);
        let seconds = seen().map(|it| it.last_journaled).max().unwrap_or_default().as_secs_f64();
        let (near, far): (Vec<Sample>, Vec<Sample>) = samples.iter().partition(|it| is_at_boundary(it.due, &commits));
        let all = histogram(&samples)?;
        let over = |divisor: f64| if divisor > 0.0 { Some((rows as f64 / divisor).round()) } else { None };
        let wire_bytes: u64 = seen().map(|it| it.wire_bytes).sum();
        Ok(Report {
            shape: plan.shape.name(),
            sensors: plan.sensors,
            rows_per_batch: plan.rows,
            keys: plan.keys,
            tls: plan.tls,
            open_loop: matches!(plan.pace, Pace::Open(_)),
            in_flight: if let Pace::Closed(closed) = plan.pace { Some(closed.in_flight) } else { None },
            batches,
            rows,
            packets: seen().map(|it| it.packets).sum(),
            packets_sent: seen().map(|it| it.packets_sent).sum(),
            seconds: rounded(seconds),
            rows_per_s: over(seconds).unwrap_or(0.0),
            seconds_to_commit: rounded(commits.last().copied().unwrap_or_default().as_secs_f64()),
            collector_cpu_s: spent.collector.map(|(cpu_s, _)| rounded(cpu_s)),
            rows_per_cpu_s: spent.collector.and_then(|(cpu_s, _)| over(cpu_s)),
            ack_ms: Latency {
                p50: quantile_ms(&all, 0.5),
                p99: quantile_ms(&all, 0.99),
                p999: quantile_ms(&all, 0.999),
                max: quantile_ms(&all, 1.0),
            },
            ack_ms_at_boundary: Boundary::of(&near)?,
            ack_ms_elsewhere: Boundary::of(&far)?,
            commits: commits.len(),
            wire_bytes_per_row: if sent > 0 {
                rounded(wire_bytes as f64 / (sent * u64::from(plan.rows)) as f64)
            } else {
                0.0
            },
            rss_mb: spent.collector.map(|(_, memory)| rounded(memory.peak_kib as f64 / 1024.0)),
            rss_now_mb: spent.collector.map(|(_, memory)| rounded(memory.now_kib as f64 / 1024.0)),
            history: archived.is_some(),
            archive_bytes_per_row: archived.filter(|it| it.rows > 0.0).map(|it| rounded(it.bytes / it.rows)),
            refused: seen().map(|it| it.refused).sum(),
            nacks: seen().map(|it| it.nacks).sum(),
            reused_batches: seen().map(|it| it.reused).sum(),
            prepared_mb: rounded(prepared_bytes as f64 / f64::from(1 << 20)),
            load_cpu_s: rounded(spent.own_cpu_s),
            interrupted,
            errors,
        })
    }

    /// Whether every batch was sent and acknowledged as committed.
    pub(super) fn is_complete(&self) -> bool {
        !self.interrupted && self.errors.is_empty()
    }
}

impl Boundary {
    fn of(samples: &[Sample]) -> Result<Boundary> {
        let histogram = histogram(samples)?;
        Ok(Boundary { p99: quantile_ms(&histogram, 0.99), batches: histogram.len() })
    }
}

/// Written with three decimals: more would claim what clocks and ticks do not know.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Each sensor sees the end of a commit by an Ack of its own, some milliseconds apart: one commit, at the first of them.
fn distinct_commits(mut seen: Vec<Duration>) -> Vec<Duration> {
    seen.sort_unstable();
    seen.dedup_by(|later, first| later.saturating_sub(*first) < Duration::from_millis(100));
    seen
}

/// Whether a batch that was due then is near the end of a commit; `commits` ascend.
fn is_at_boundary(due: Duration, commits: &[Duration]) -> bool {
    let next = commits.partition_point(|&commit| commit < due);
    let near = |commit: Option<&Duration>| commit.is_some_and(|commit| commit.abs_diff(due) <= BOUNDARY);
    near(commits.get(next)) || near(next.checked_sub(1).and_then(|before| commits.get(before)))
}

/// Latencies in microseconds, up to an hour, with three significant digits.
fn histogram(samples: &[Sample]) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_max(3_600_000_000, 3)?;
    for sample in samples {
        histogram.saturating_record(u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX));
    }
    Ok(histogram)
}

#[expect(clippy::cast_precision_loss, reason = "at most an hour of microseconds")]
fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1000.0)
}

/// A number, or a dash where there is none.
struct Maybe(Option<f64>);

impl fmt::Display for Maybe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, f.precision()) {
            (Some(number), Some(digits)) => write!(f, "{number:.digits$}"),
            (Some(number), None) => write!(f, "{number}"),
            (None, _) => f.write_str("-"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = self.in_flight.map_or("open loop".to_owned(), |count| format!("{count} in flight"));
        let tls = if self.tls { ", TLS" } else { "" };
        writeln!(f, "{}: {} sensors, {} rows a batch, {pace}{tls}", self.shape, self.sensors, self.rows_per_batch)?;
        writeln!(
            f,
            "  {} batches, {} rows in {:.3} s: {:.0} rows/s, {:.0} rows per CPU second of the collector ({:.2} s); {:.2} bytes/row",
            self.batches,
            self.rows,
            self.seconds,
            self.rows_per_s,
            Maybe(self.rows_per_cpu_s),
            Maybe(self.collector_cpu_s),
            self.wire_bytes_per_row,
        )?;
        writeln!(
            f,
            "  acknowledged in ms: p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}; p99 near the ends of {} commits {:.2}, elsewhere {:.2}",
            Maybe(self.ack_ms.p50),
            Maybe(self.ack_ms.p99),
            Maybe(self.ack_ms.p999),
            Maybe(self.ack_ms.max),
            self.commits,
            Maybe(self.ack_ms_at_boundary.p99),
            Maybe(self.ack_ms_elsewhere.p99),
        )?;
        write!(
            f,
            "  resident {:.1} MiB at most, {:.1} at the end; the load itself took {:.2} CPU-s, {} batches were made of earlier ones",
            Maybe(self.rss_mb),
            Maybe(self.rss_now_mb),
            self.load_cpu_s,
            self.reused_batches,
        )?;
        if self.history {
            write!(f, "\n  archived, {:.2} bytes a row", Maybe(self.archive_bytes_per_row))?;
        }
        if self.is_complete() { Ok(()) } else { write!(f, "\n  incomplete") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_boundary_is_a_second_around_the_end_of_a_commit() {
        let commits = [at(5.0), at(10.0)];
        for (due, near) in
            [(0.0, false), (3.9, false), (4.1, true), (6.0, true), (6.1, false), (10.5, true), (20.0, false)]
        {
            assert_eq!(is_at_boundary(at(due), &commits), near, "{due}");
        }
        assert!(!is_at_boundary(at(1.0), &[]));
    }

    #[test]
    fn percentiles_are_those_of_the_batches_near_a_commit() {
        // A batch each 10 ms; those near the commit at 5 s take 50 ms, the others 1 ms.
        let commits = [at(5.0)];
        let samples: Vec<Sample> = (0..1000)
            .map(|n| {
                let due = Duration::from_millis(n * 10);
                let slow = is_at_boundary(due, &commits);
                Sample { due, latency: Duration::from_millis(if slow { 50 } else { 1 }) }
            })
            .collect();
        let (near, far): (Vec<Sample>, Vec<Sample>) = samples.iter().partition(|it| is_at_boundary(it.due, &commits));
        let (near, far) = (Boundary::of(&near).unwrap(), Boundary::of(&far).unwrap());
        assert_eq!((near.batches, far.batches), (201, 799));
        assert!((near.p99.unwrap() - 50.0).abs() < 0.1 && (far.p99.unwrap() - 1.0).abs() < 0.01, "{near:?} {far:?}");
        assert_eq!(Boundary::of(&[]).unwrap().p99, None);
    }

    #[test]
    fn a_commit_that_all_sensors_see_is_one() {
        let seen = vec![at(10.003), at(5.0), at(5.01), at(10.0), at(5.02)];
        assert_eq!(distinct_commits(seen), [at(5.0), at(10.0)]);
    }
}
