//! What sensors see: batches that can be told apart in any sum.

use std::collections::BTreeMap;

use martlet_observe::aggregate::{Observation, TableLimits, WindowTable};
use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Mark, Marks, Origin, Posture,
    RejectReason, SensorName, Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::Totals;

use super::random::Random;

/// Length of a bucket of the collector, in seconds.
pub(super) const BUCKET_SECONDS: i64 = 60;
/// Bits of a counter of rejected frames that one batch has for itself: its frames are counted there as 1, so that a batch
/// that counts once, twice or thrice shows.
const DIGIT_BITS: usize = 2;
/// Batches that share one counter.
const DIGITS: usize = 12;
/// Batches of one sensor in one bucket that can be told apart.
pub(super) const MOST_IN_BUCKET: usize = DIGITS * RejectReason::ALL.len();

/// Which batch, in the order in which they were made.
pub(super) type BatchId = usize;

/// Somebody who observes. Copies of its machine are the same.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) origin: Origin,
    pub(super) name: SensorName,
}

/// One batch, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Whose.
    pub(super) identity: usize,
    pub(super) header: BatchHeader,
    pub(super) rows: Vec<CountRow>,
    /// Which of the batches of its sensor and bucket it is.
    pub(super) place: usize,
}

impl Made {
    /// What it adds to the totals of its stream.
    pub(super) fn held(&self) -> Totals {
        let watched = self.header.exposure.map_or(0, |exposure| exposure.watched_ms.into());
        Totals { windows: u64::from(self.header.part == 0), packets: self.header.capture.packets, watched_ms: watched }
    }

    /// Start of its bucket.
    pub(super) fn bucket(&self) -> i64 {
        let start = self.header.window.start;
        start - start.rem_euclid(BUCKET_SECONDS)
    }

    /// How often it counts, as the counters of rejected frames of its sensor and bucket say.
    pub(super) fn times(&self, rejected: &[u64]) -> u64 {
        let (reason, digit) = (self.place / DIGITS, self.place % DIGITS);
        rejected[reason] >> (DIGIT_BITS * digit) & ((1 << DIGIT_BITS) - 1)
    }
}

/// Makes batches.
pub(super) struct Maker {
    random: Random,
    /// How many batches each sensor has in each bucket.
    places: BTreeMap<(usize, i64), usize>,
    largest_rows: u64,
}

impl Maker {
    pub(super) fn new(random: Random, largest_rows: u64) -> Maker {
        Maker { random, places: BTreeMap::new(), largest_rows }
    }

    /// A part of the window that begins at `start`. None if its bucket has as many as can be told apart.
    pub(super) fn make(&mut self, identity: usize, start: i64, part: u32) -> Option<Made> {
        let bucket = start - start.rem_euclid(BUCKET_SECONDS);
        let place = self.places.entry((identity, bucket)).or_default();
        if *place >= MOST_IN_BUCKET {
            return None;
        }
        let place = std::mem::replace(place, *place + 1);
        let rows = self.rows();
        let packets: u64 = rows.iter().map(|row| u64::from(row.packets)).sum();
        let mut rejected = [0; RejectReason::ALL.len()];
        rejected[place / DIGITS] = 1 << (DIGIT_BITS * (place % DIGITS));
        let random = &mut self.random;
        let watched_ms = if part == 0 { 10_000 } else { random.between(0, 9) * 1000 + 1 };
        let exposure = (!random.percent(3)).then(|| Exposure {
            watched_ms: u32::try_from(watched_ms).unwrap(),
            ipv4_addresses: random.pick(&[1, 256, 65_536]),
            ipv6_prefixes: random.pick(&[0, 1]),
        });
        let header = BatchHeader {
            // Filled in when it has a place in a spool.
            origin: Origin([0; 16]),
            epoch: 0,
            sequence: 0,
            predecessor: Digest::default(),
            class: TrafficClass::Real,
            posture: Posture::Silent,
            window: Window { start, length: WindowLength::DEFAULT },
            part,
            exposure,
            unavailable: if random.percent(5) { Marks::DESTINATION_TESTS } else { Marks::NONE },
            capture: CaptureStatistics {
                frames: packets + rejected.iter().sum::<u64>(),
                packets,
                kernel_drops: random.between(0, 3),
                interface_drops: random.between(0, 1),
                rejected,
            },
        };
        Some(Made { identity, header, rows, place })
    }

    fn rows(&mut self) -> Vec<CountRow> {
        let random = &mut self.random;
        let most = match random.between(1, 100) {
            1..=25 => 0,
            26..=95 => random.between(1, 12),
            96..=98 => random.between(100, 400.min(self.largest_rows)),
            _ => self.largest_rows,
        };
        let mut table = WindowTable::new(TableLimits { max_rows: 2048, max_further_targets: 256 });
        let is_large = most > 50;
        let observations: Vec<Observation> = (0..most).map(|_| observation(random, is_large)).collect();
        // What no longer fits is left out.
        let _ = table.add(&observations);
        table.sorted_rows().collect()
    }
}

fn observation(random: &mut Random, is_large: bool) -> Observation {
    let is_v6 = random.percent(10);
    let port = Service::Port(random.pick(&[22, 23, 80, 443, 445, 2323]));
    let (protocol, service) = match random.between(0, 9) {
        0 => (17, Service::Port(53)),
        1 => (1, Service::Icmp { icmp_type: 8, code: 0 }),
        2 => (47, Service::None),
        _ => (6, port),
    };
    let mark = if random.percent(20) { Marks::NONE.with(Mark::Mirai) } else { Marks::NONE };
    let class = Class {
        ip: if is_v6 { IpVersion::V6 } else { IpVersion::V4 },
        protocol,
        service,
        kind: if random.percent(15) { Kind::Backscatter } else { Kind::Scan },
        marks: mark,
    };
    // Sources of large batches do not compress, and are so many that sketches become estimates.
    let bits = random.next();
    let source = match (is_v6, is_large) {
        (true, _) => u128::from(bits) << 64 | 1,
        (false, true) => u128::from(bits >> 32),
        (false, false) => u128::from(0x0a00_0000 + bits % 60),
    };
    Observation { class: class.into(), source, target: u32::try_from(bits % 7).unwrap(), bytes: 40 }
}
