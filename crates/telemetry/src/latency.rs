//! Latencies: recorded without a lock, shown as a Prometheus histogram and as quantiles of the last five minutes.
//!
//! Both are made from the same counts. Each cell counts the values of one range of whole microseconds, with three significant
//! digits up to ten minutes: the cells of an [`hdrhistogram`] with these bounds, which computes the quantiles. A
//! longer value counts as 601 s, so that it lies behind every bound, and [`Latency::clamped`] says how many there were.
//!
//! An hdrhistogram is for one thread. Its synchronised kind makes a reader wait until every writer has recorded again, and
//! writers allocate for each reading. Here values come from connections that move between threads, some of which are quiet
//! for hours; so the cells are atomics, and reading copies them into a histogram.
//!
//! Recording is one relaxed addition: no lock, no allocation, no clock. It takes 5 ns on one thread and 6 to 7 ns on each of
//! two that record at the same time (2026-11-22, two shared cores of an AMD EPYC, optimised, values spread over 65 ms; the
//! test `what_one_record_costs` measures it). Quantiles take 0.2 ms to compute, a Prometheus histogram 0.1 ms.
//!
//! Memory is fixed: 168 KiB of cells, and 504 KiB of marks, which are first touched one by one in the first six minutes.
//! Whoever asks for quantiles has a histogram of 168 KiB meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram as Buckets, Metric, MetricFamily, MetricType};

use crate::counters::to_f64;

/// Significant decimal digits.
const DIGITS: u8 = 3;
/// As many cells as three digits need are a microsecond wide; from there on each half as many span twice the range of the
/// half before. See "HdrHistogram: a high dynamic range histogram", <https://hdrhistogram.org>.
const FINE: u64 = 2048;
const HALF: u64 = FINE / 2;
/// The longest value that is told apart.
const LONGEST_MICROS: u64 = 600_000_000;
/// What longer values count as: in a cell of their own.
const BEYOND_MICROS: u64 = 601_000_000;
/// Cells up to the one of 2^30 - 1 microseconds, as an hdrhistogram with these bounds has.
const CELLS: usize = 21 * 1024;

/// What quantiles are about. They may reach back one interval of marks farther.
const RECENT: Duration = Duration::from_secs(300);
/// How often it is noted what the cells hold.
const MARK_INTERVAL: Duration = Duration::from_secs(60);
/// The oldest of so many marks is at least as old as [`RECENT`].
const MARKS: usize = 6;

/// How long something takes, of any number of threads.
pub struct Latency {
    cells: Box<[AtomicU64]>,
    /// Locked by those who read and by whoever calls [`Latency::rotate`], never by those who record.
    marks: Mutex<Marks>,
}

/// What the cells held at some times.
struct Marks {
    taken: [Option<Instant>; MARKS],
    /// The low halves of the cells at each of these times: differences are right as long as fewer than 2^32 values
    /// come into one cell between two marks.
    cells: Vec<u32>,
    newest: usize,
}

/// What was recorded in the last five to six minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent {
    /// How many values.
    pub count: u64,
    /// Their quantiles, unless there were none.
    pub quantiles: Option<Quantiles>,
}

/// Quantiles, each at most 0.1 % too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the values are at most this.
    pub p50: Duration,
    /// 99 % are.
    pub p99: Duration,
    /// 99.9 % are.
    pub p999: Duration,
    /// All are.
    pub max: Duration,
}

impl Default for Latency {
    fn default() -> Latency {
        let cells = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        let marks = Marks { taken: [None; MARKS], cells: vec![0; MARKS * CELLS], newest: 0 };
        Latency { cells, marks: Mutex::new(marks) }
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency").finish_non_exhaustive()
    }
}

impl Latency {
    /// Records one value.
    pub fn record(&self, latency: Duration) {
        self.record_n(latency, 1);
    }

    /// Records a value `n` times.
    pub fn record_n(&self, latency: Duration, n: u64) {
        if let Some(cell) = self.cells.get(cell_of(micros(latency))) {
            cell.fetch_add(n, Relaxed);
        }
    }

    /// How many values were longer than ten minutes.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.cells.get(cell_of(BEYOND_MICROS)).map_or(0, |cell| cell.load(Relaxed))
    }

    /// Lets what is older than five minutes fall out of [`Latency::recent`]. To be called once a minute or more often, with
    /// a time that does not go back. It waits for nobody: while somebody reads, it leaves the work to the next call.
    pub fn rotate(&self, now: Instant) {
        if let Ok(mut marks) = self.marks.try_lock() {
            marks.take(&self.cells, now);
        }
    }

    /// What was recorded of late, for whoever asks now and then: it copies all cells.
    #[must_use]
    pub fn recent(&self, now: Instant) -> Recent {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let base = marks.base(now);
        let since = |(cell, count): (usize, &AtomicU64)| {
            let before = base.and_then(|base| base.get(cell)).copied().unwrap_or(0);
            (cell, u64::from(low(count.load(Relaxed)).wrapping_sub(before)))
        };
        let counts = self.cells.iter().enumerate().map(since).filter(|&(_, count)| count > 0);
        let mut count = 0;
        // The bounds are constants that it takes, as the tests see.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, BEYOND_MICROS, DIGITS).ok();
        for (cell, n) in counts {
            count += n;
            if let Some(histogram) = &mut histogram {
                histogram.saturating_record_n(lowest_of(cell), n);
            }
        }
        let histogram = histogram.filter(|histogram| !histogram.is_empty());
        Recent { count, quantiles: histogram.map(|histogram| Quantiles::of(&histogram)) }
    }

    /// All values ever recorded, as Prometheus has them. `bounds` are in microseconds, in ascending order.
    fn buckets(&self, bounds: &[u64]) -> Buckets {
        let mut waiting = bounds.iter().peekable();
        let mut buckets = Vec::with_capacity(bounds.len());
        let (mut count, mut sum) = (0, 0u64);
        for (cell, n) in self.cells.iter().enumerate() {
            while let Some(bound) = waiting.next_if(|&&bound| bound < lowest_of(cell)) {
                buckets.push(bucket(*bound, count));
            }
            let n = n.load(Relaxed);
            count += n;
            // Half of a cell's values are taken to be in its lower half.
            sum = sum.saturating_add(n.saturating_mul(u64::midpoint(lowest_of(cell), lowest_of(cell + 1) - 1)));
        }
        buckets.extend(waiting.map(|&bound| bucket(bound, count)));
        let mut histogram = Buckets::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(to_f64(sum) / 1e6);
        histogram
    }
}

impl Marks {
    fn take(&mut self, cells: &[AtomicU64], now: Instant) {
        if self.taken[self.newest].is_some_and(|at| now.saturating_duration_since(at) < MARK_INTERVAL) {
            return;
        }
        self.newest = (self.newest + 1) % MARKS;
        self.taken[self.newest] = Some(now);
        for (mark, cell) in self.cells.chunks_mut(CELLS).nth(self.newest).into_iter().flatten().zip(cells) {
            *mark = low(cell.load(Relaxed));
        }
    }

    /// The newest mark that is old enough; none in the first minutes.
    fn base(&self, now: Instant) -> Option<&[u32]> {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= RECENT;
        let old = (0..MARKS).filter(|&mark| self.taken[mark].is_some_and(is_old));
        self.cells.chunks(CELLS).nth(old.max_by_key(|&mark| self.taken[mark])?)
    }
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Quantiles {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: Duration::from_micros(histogram.max()) }
    }
}

/// Whole microseconds, as far as they are told apart.
fn micros(latency: Duration) -> u64 {
    match u64::try_from(latency.as_micros()) {
        Ok(micros) if micros <= LONGEST_MICROS => micros,
        _ => BEYOND_MICROS,
    }
}

/// The cell of a number of microseconds.
#[expect(clippy::cast_possible_truncation, reason = "a place among the cells")]
const fn cell_of(micros: u64) -> usize {
    let doublings = (micros | (FINE - 1)).ilog2() - HALF.ilog2();
    (doublings as u64 * HALF + (micros >> doublings)) as usize
}

/// The least number of microseconds of a cell.
const fn lowest_of(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < FINE {
        return cell;
    }
    let doublings = cell / HALF - 1;
    (cell - doublings * HALF) << doublings
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is kept")]
const fn low(count: u64) -> u32 {
    count as u32
}

fn bucket(bound_micros: u64, count: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(to_f64(bound_micros) / 1e6);
    bucket.set_cumulative_count(count);
    bucket
}

/// A Prometheus histogram that is read off a [`Latency`] at scrape time, in seconds. A value counts for a bound up to 0.1 %
/// above it, and the sum is as exact.
pub struct LatencyFamily {
    description: Desc,
    name: String,
    help: String,
    bounds_micros: &'static [u64],
    latency: Arc<Latency>,
}

impl LatencyFamily {
    /// A histogram with these upper bounds, in microseconds and ascending. Its name should end in `_seconds`.
    ///
    /// # Errors
    /// If name or help is not one that Prometheus takes.
    pub fn new(
        name: &str,
        help: &str,
        bounds_micros: &'static [u64],
        latency: Arc<Latency>,
    ) -> Result<LatencyFamily, prometheus::Error> {
        let description = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())?;
        Ok(LatencyFamily { description, name: name.to_owned(), help: help.to_owned(), bounds_micros, latency })
    }
}

impl Collector for LatencyFamily {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metric = Metric::default();
        metric.set_histogram(self.latency.buckets(self.bounds_micros));
        let mut family = MetricFamily::default();
        family.set_name(self.name.clone());
        family.set_help(self.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_cells_are_those_of_hdrhistogram() {
        let histogram = Histogram::<u64>::new_with_bounds(1, BEYOND_MICROS, DIGITS).unwrap();
        assert_eq!(histogram.distinct_values(), CELLS);
        for cell in 0..CELLS {
            let (lowest, next) = (lowest_of(cell), lowest_of(cell + 1));
            assert_eq!((cell_of(lowest), cell_of(next - 1)), (cell, cell));
            assert_eq!((histogram.lowest_equivalent(next - 1), histogram.next_non_equivalent(lowest)), (lowest, next));
        }
        assert!(cell_of(LONGEST_MICROS) < cell_of(BEYOND_MICROS) && cell_of(BEYOND_MICROS) < CELLS);
    }

    #[test]
    fn what_is_recorded_shows_up_both_ways() {
        let latency = Arc::new(Latency::default());
        for millis in 1..=1000 {
            latency.record(Duration::from_millis(millis));
        }
        latency.record_n(Duration::from_secs(20), 2);
        let recent = latency.recent(Instant::now());
        let quantiles = recent.quantiles.unwrap();
        assert_eq!(recent.count, 1002);
        for (is, should_be) in
            [(quantiles.p50, 0.501), (quantiles.p99, 0.992), (quantiles.p999, 20.0), (quantiles.max, 20.0)]
        {
            assert!((is.as_secs_f64() / should_be - 1.0).abs() <= 0.001, "{is:?} instead of {should_be} s");
        }

        let registry = Registry::new();
        let family =
            LatencyFamily::new("martlet_test_seconds", "Time.", &[500, 2500, 100_000, 10_000_000], latency.clone());
        registry.register(Box::new(family.unwrap())).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "# TYPE martlet_test_seconds histogram",
            "martlet_test_seconds_bucket{le=\"0.0005\"} 0",
            "martlet_test_seconds_bucket{le=\"0.0025\"} 2",
            "martlet_test_seconds_bucket{le=\"0.1\"} 100",
            "martlet_test_seconds_bucket{le=\"10\"} 1000",
            "martlet_test_seconds_bucket{le=\"+Inf\"} 1002",
            "martlet_test_seconds_count 1002",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        }
        let sum = text.lines().find_map(|line| line.strip_prefix("martlet_test_seconds_sum ")).unwrap();
        assert!((sum.parse::<f64>().unwrap() / 540.5 - 1.0).abs() < 0.001, "{sum}");
    }

    #[test]
    fn what_is_too_short_or_too_long_is_counted_all_the_same() {
        let latency = Latency::default();
        assert_eq!(latency.recent(Instant::now()), Recent { count: 0, quantiles: None });
        latency.record(Duration::ZERO);
        latency.record(Duration::from_secs(600));
        assert_eq!(latency.clamped(), 0);
        latency.record(Duration::from_micros(LONGEST_MICROS + 1));
        latency.record(Duration::MAX);
        assert_eq!((latency.clamped(), latency.recent(Instant::now()).count), (2, 4));
        let buckets = latency.buckets(&[1, LONGEST_MICROS]);
        let counts = buckets.get_bucket().iter().map(Bucket::cumulative_count);
        assert_eq!(counts.collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_is_older_than_five_minutes_falls_out_minute_by_minute() {
        let latency = Latency::default();
        let begun = Instant::now();
        let mut counts = Vec::new();
        for minute in 0..12 {
            let now = begun + MINUTE * minute;
            // Asked for more often than it has to be.
            latency.rotate(now);
            latency.rotate(now + MINUTE / 2);
            counts.push(latency.recent(now).count);
            latency.record(Duration::from_millis(1));
        }
        assert_eq!(counts, [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5]);
        let recent = latency.recent(begun + MINUTE * 12 - Duration::from_millis(1));
        assert_eq!(recent.count, 6, "up to a minute more than five");
        assert_eq!(latency.recent(begun + MINUTE * 30).count, 1, "since the newest mark");
        assert_eq!(latency.buckets(&[]).get_sample_count(), 12, "Prometheus forgets nothing");
    }

    #[test]
    fn threads_lose_nothing() {
        let latency = Latency::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let latency = &latency;
                scope.spawn(move || (0..10_000).for_each(|n| latency.record(Duration::from_micros(n * thread))));
            }
        });
        assert_eq!(latency.recent(Instant::now()).count, 40_000);
    }

    /// Prints the figures of the module's comment: `cargo test --release -p martlet-telemetry -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn what_one_record_costs() {
        const RECORDS: u32 = 20_000_000;
        for threads in [1, 2] {
            let latency = Latency::default();
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        (0..RECORDS).for_each(|n| latency.record(Duration::from_micros((n & 0xffff).into())))
                    });
                }
            });
            println!("{threads} threads: {:.1} ns a record", begun.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS));
        }
        let latency = Latency::default();
        (0..60_000).for_each(|n| latency.record(Duration::from_micros(n)));
        let begun = Instant::now();
        let recent = latency.recent(begun);
        println!("quantiles: {:?} {recent:?}", begun.elapsed());
        let begun = Instant::now();
        let buckets = latency.buckets(&[1000, 100_000]);
        println!("buckets: {:?} of {}", begun.elapsed(), buckets.get_sample_count());
        let begun = Instant::now();
        latency.rotate(begun);
        println!("rotation: {:?}", begun.elapsed());
    }
}
