//! Runs of rows in the order in which they came, until they are sorted for the merger.
//!
//! A batch's runs are few rows each, of ever other services: in a hash table each of them would wait for memory several times.
//! Here they are written one behind another, and sorted when the worker hands over; batches come sorted, so that most of the
//! sorting is merging. Nothing depends on hashes that a sender could aim at.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::{Kind, PackedClass};

use super::delta::{RecentDelta, Sums};
use crate::ingest::SensorId;
use crate::live::{RECENT_SERVICES, RowKey, ServiceKey, ServiceKind, Sorted, SortedKey as _};

/// Where the parts of a run's place in the order lie.
const KIND: u32 = 64;
const SERVICE: u32 = 66;
const SENSOR: u32 = 48;
/// The low bits are the run's number.
const NUMBER: u128 = (1 << SENSOR) - 1;

/// Runs or keys between calls that let others go first: a tenth of a millisecond, about.
const RELAX: usize = 1 << 11;

/// The step of a run that belongs to none of the recent past.
pub(super) const NO_STEP: u32 = u32::MAX;

/// Runs that came.
#[derive(Debug, Default)]
pub(super) struct RowLog {
    /// Service, kind, sensor and number of each run.
    order: Vec<u128>,
    runs: Vec<LoggedRun>,
    /// Hashes of the sources of all rows.
    hashes: Vec<u64>,
    /// Steps of batches without rows: a quiet step is another than one that was not watched.
    quiet: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct LoggedRun {
    sums: Sums,
    /// Number of its step in its bucket.
    step: u32,
    /// Its rows.
    rows: u32,
    /// Where its hashes begin.
    begin: usize,
}

impl RowLog {
    pub(super) const fn is_empty(&self) -> bool {
        self.order.is_empty() && self.quiet.is_empty()
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.order.capacity() * size_of::<u128>()
            + self.runs.capacity() * size_of::<LoggedRun>()
            + self.hashes.capacity() * size_of::<u64>()
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.runs.clear();
        self.hashes.clear();
        self.quiet.clear();
    }

    /// Notes a batch without rows.
    pub(super) fn push_quiet(&mut self, step: u32) {
        if !self.quiet.contains(&step) {
            self.quiet.push(step);
        }
    }

    /// Adds a run: all rows of one class in a batch. `hashes` are those of its sources.
    #[inline]
    pub(super) fn push(&mut self, sensor: SensorId, class: PackedClass, step: u32, sums: Sums, hashes: &[u64]) {
        let (service, kind) = (ServiceKey::new(class).bits(), class.kind() as u8);
        let number = self.runs.len() as u128 & NUMBER;
        let order = u128::from(service) << SERVICE | u128::from(kind) << KIND | u128::from(sensor.0) << SENSOR | number;
        self.order.push(order);
        // A batch has at most 2^32 rows.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let rows = hashes.len() as u32;
        self.runs.push(LoggedRun { sums, step, rows, begin: self.hashes.len() });
        self.hashes.extend_from_slice(hashes);
    }

    /// Brings the runs into order.
    pub(super) fn sort(&mut self) {
        // The stable sort finds what is sorted already.
        self.order.sort();
    }

    fn run(&self, order: u128) -> &LoggedRun {
        // The low bits are the place of a run of this log.
        &self.runs[(order & NUMBER) as usize]
    }

    fn hashes(&self, run: &LoggedRun) -> &[u64] {
        &self.hashes[run.begin..][..run.rows as usize]
    }

    /// The counts by service, kind and sensor, of runs that were sorted.
    pub(super) fn rows(&self, relax: &mut dyn FnMut()) -> Sorted<RowKey> {
        // Where runs are long there are large sets, whose hashes do not stay.
        let mut rows = Sorted::with_capacity(self.order.len(), self.hashes.len().min(4 * self.order.len()));
        let mut hashes = Vec::new();
        for group in self.order.chunk_by(|a, b| a >> SENSOR == b >> SENSOR) {
            let mut sums = Sums::default();
            hashes.clear();
            for &order in group {
                let run = self.run(order);
                sums.add(run.sums);
                hashes.extend_from_slice(self.hashes(run));
            }
            rows.push(row_key(group[0]), sums.packets, sums.bytes, &mut hashes);
            if rows.len().is_multiple_of(RELAX) {
                relax();
            }
        }
        rows.trim();
        rows
    }

    /// The counts of each step of the recent past, of runs that were sorted, by number of the step.
    pub(super) fn steps(&self, relax: &mut dyn FnMut()) -> Vec<(u32, RecentDelta)> {
        let recent = || self.runs.iter().map(|run| run.step).filter(|&step| step != NO_STEP);
        let most = recent().chain(self.quiet.iter().copied()).max();
        let mut steps: Vec<Option<Box<StepLog>>> = Vec::new();
        steps.resize_with(most.map_or(0, |most| most as usize + 1), || None);
        for orders in self.order.chunks(RELAX) {
            relax();
            for &order in orders {
                let run = self.run(order);
                if run.step != NO_STEP {
                    let step = steps[run.step as usize].get_or_insert_default();
                    step.push(row_key(order).into(), run.sums, self.hashes(run));
                }
            }
        }
        for &quiet in &self.quiet {
            steps[quiet as usize].get_or_insert_default();
        }
        let mut finish = |(step, log): (u32, Option<Box<StepLog>>)| {
            relax();
            Some((step, log?.finish()))
        };
        (0..).zip(steps).filter_map(&mut finish).collect()
    }
}

const fn service(order: u128) -> ServiceKey {
    // 62 bits are left.
    ServiceKey::from_trusted_bits((order >> SERVICE) as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "each takes its own bits")]
fn row_key(order: u128) -> RowKey {
    // The bits came from a kind.
    let kind = Kind::from_number((order >> KIND) as u8 & 3).unwrap_or(Kind::Other);
    RowKey { service: service(order), kind, sensor: SensorId((order >> SENSOR) as u16) }
}

/// What one step got, by service and kind ascending.
#[derive(Debug, Default)]
struct StepLog {
    services: Vec<(ServiceKind, Sums, usize)>,
    hashes: Vec<u64>,
}

impl StepLog {
    fn push(&mut self, service: ServiceKind, added: Sums, hashes: &[u64]) {
        self.hashes.extend_from_slice(hashes);
        let end = self.hashes.len();
        match self.services.last_mut().filter(|last| last.0 == service) {
            Some((_, sums, last_end)) => {
                sums.add(added);
                *last_end = end;
            }
            None => self.services.push((service, added, end)),
        }
    }

    fn finish(self) -> RecentDelta {
        let mut step = RecentDelta::default();
        step.sources.insert(&self.hashes);
        // Sets only for what is kept by itself: they are the expensive part.
        let lightest = self.lightest();
        let mut rest: BTreeMap<ServiceKind, (Sums, Vec<u64>)> = BTreeMap::new();
        let (mut begin, mut scratch) = (0, Vec::new());
        for (place, &(service, sums, end)) in self.services.iter().enumerate() {
            step.sums.add(sums);
            let hashes = &self.hashes[std::mem::replace(&mut begin, end)..end];
            if lightest.is_none_or(|lightest| (Reverse(sums.packets), place) <= lightest) {
                scratch.clear();
                scratch.extend_from_slice(hashes);
                step.services.push(service, sums.packets, sums.bytes, &mut scratch);
            } else {
                let (rest, rest_hashes) = rest.entry(service.overflow()).or_default();
                rest.add(sums);
                rest_hashes.extend_from_slice(hashes);
            }
        }
        for (key, (sums, hashes)) in &mut rest {
            step.services.push(*key, sums.packets, sums.bytes, hashes);
        }
        step
    }

    /// The last in the order of weight that has room, if not all have.
    fn lightest(&self) -> Option<(Reverse<u64>, usize)> {
        let last = RECENT_SERVICES.checked_sub(1).filter(|_| self.services.len() > RECENT_SERVICES)?;
        let weights = self.services.iter().enumerate().map(|(place, row)| (Reverse(row.1.packets), place));
        let mut weights: Vec<_> = weights.collect();
        Some(*weights.select_nth_unstable(last).1)
    }
}
