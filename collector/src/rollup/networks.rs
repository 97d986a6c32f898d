//! What the autonomous systems of sources sent in a day.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState as TableState;
use martlet_window::{DistinctSources, IpVersion, Kind, TrafficClass};

use super::cells::insert;
use super::quarters;
use super::records::Record;
use super::sketch::{Seen, Sketch};
use crate::archive::Labels;

/// The autonomous system of sources of which none is known.
pub const UNKNOWN_ASN: i64 = -1;
/// All that came when there were too many to be told apart.
pub const OTHER_ASNS: i64 = -2;

type Key = (TrafficClass, IpVersion, Kind, i64);

#[derive(Debug)]
struct Sum {
    key: Key,
    organisation: Option<Arc<str>>,
    bytes: u64,
    /// By segment, as the sets.
    packets: Vec<u64>,
    sets: Vec<DistinctSources>,
}

/// Whose sources are meant: a class, IP version, kind, and a number of the labels' networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of {
    pub(super) class: TrafficClass,
    pub(super) ip: IpVersion,
    pub(super) kind: Kind,
    pub(super) network: u32,
}

/// Sums by autonomous system.
#[derive(Debug)]
pub(super) struct NetworkSums {
    sums: Vec<Sum>,
    by_key: HashMap<Key, usize, TableState>,
    /// The same by class, IP version and kind, and by the labels' numbers.
    by_number: [Vec<u32>; TrafficClass::ALL.len() * 2 * Kind::ALL.len()],
    limit: usize,
    segments: usize,
}

const NOWHERE: u32 = u32::MAX;

impl NetworkSums {
    pub(super) fn new(limit: usize, segments: usize) -> NetworkSums {
        let by_number = std::array::from_fn(|_| Vec::new());
        NetworkSums { sums: Vec::new(), by_key: HashMap::default(), by_number, limit, segments }
    }

    /// Adds packets of each segment.
    pub(super) fn add(&mut self, of: Of, labels: &Labels, packets: &[u64], bytes: u64) {
        let sum = self.sum(of, labels);
        sum.bytes = sum.bytes.saturating_add(bytes);
        sum.packets.iter_mut().zip(packets).for_each(|(sum, packets)| *sum = sum.saturating_add(*packets));
    }

    /// Adds a source, with the segments in which it was seen.
    pub(super) fn see(&mut self, of: Of, labels: &Labels, seen: Seen) {
        insert(&mut self.sum(of, labels).sets, seen);
    }

    fn sum(&mut self, of: Of, labels: &Labels) -> &mut Sum {
        let row = (of.class as usize * 2 + usize::from(of.ip == IpVersion::V6)) * Kind::ALL.len() + of.kind as usize;
        let number = of.network as usize;
        let places = &mut self.by_number[row];
        if places.len() <= number {
            places.resize(number + 1, NOWHERE);
        }
        if places[number] == NOWHERE {
            let place = self.find(of, labels);
            // A sum takes far more than a byte: memory ends before the numbers do.
            self.by_number[row][number] = u32::try_from(place).unwrap_or(NOWHERE);
        }
        &mut self.sums[self.by_number[row][number] as usize]
    }

    #[cold]
    fn find(&mut self, of: Of, labels: &Labels) -> usize {
        let network = labels.network(of.network);
        let mut key = (of.class, of.ip, of.kind, network.asn.map_or(UNKNOWN_ASN, i64::from));
        if key.3 >= 0 && self.sums.len() >= self.limit && !self.by_key.contains_key(&key) {
            key.3 = OTHER_ASNS;
        }
        let place = *self.by_key.entry(key).or_insert(self.sums.len());
        if place == self.sums.len() {
            let (packets, sets) = (vec![0; self.segments], vec![DistinctSources::default(); self.segments]);
            self.sums.push(Sum { key, organisation: None, bytes: 0, packets, sets });
        }
        // One of several names, whatever came first.
        let sum = &mut self.sums[place];
        if key.3 >= 0 && sum.organisation < network.organisation {
            sum.organisation.clone_from(&network.organisation);
        }
        place
    }

    /// The rows.
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    pub(super) fn into_records(mut self) -> std::io::Result<Vec<Record>> {
        self.sums.sort_unstable_by_key(|sum| sum.key);
        let record = |Sum { key: (class, ip, kind, asn), organisation, bytes, packets, sets }: Sum| {
            let (segments, sketch) = (quarters::encode(&packets), Sketch::of_sets(&sets)?);
            let packets = packets.iter().fold(0, |all: u64, &packets| all.saturating_add(packets));
            Ok(Record::Network { class, ip, kind, asn, organisation, packets, bytes, segments, sketch })
        };
        self.sums.into_iter().map(record).collect()
    }
}
