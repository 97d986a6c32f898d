//! What the autonomous systems of sources sent in a day.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState as TableState;
use martlet_window::{DistinctSources, IpVersion, Kind, TrafficClass};

use super::quarters;
use super::records::Record;
use super::sketch::Sketch;

/// The autonomous system of sources of which none is known.
pub const UNKNOWN_ASN: i64 = -1;
/// All that came when there were too many to be told apart.
pub const OTHER_ASNS: i64 = -2;

type Key = (TrafficClass, IpVersion, Kind, i64);

#[derive(Debug)]
struct Sum {
    organisation: Option<Arc<str>>,
    bytes: u64,
    packets: Vec<u64>,
    sets: Vec<DistinctSources>,
}

/// What one source sent to one service, by segment.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub(super) class: TrafficClass,
    pub(super) ip: IpVersion,
    pub(super) kind: Kind,
    pub(super) asn: Option<u32>,
    pub(super) organisation: Option<&'a Arc<str>>,
    pub(super) bytes: u64,
    pub(super) packets: &'a [u64],
    pub(super) hash: u64,
}

/// Sums by autonomous system.
#[derive(Debug)]
pub(super) struct NetworkSums {
    sums: HashMap<Key, Sum, TableState>,
    limit: usize,
}

impl NetworkSums {
    pub(super) fn new(limit: usize) -> NetworkSums {
        NetworkSums { sums: HashMap::default(), limit }
    }

    pub(super) fn add(&mut self, share: &Share<'_>) {
        let asn = share.asn.map_or(UNKNOWN_ASN, i64::from);
        let mut key = (share.class, share.ip, share.kind, asn);
        if asn >= 0 && self.sums.len() >= self.limit && !self.sums.contains_key(&key) {
            key.3 = OTHER_ASNS;
        }
        let segments = share.packets.len();
        let fresh = || Sum {
            organisation: None,
            bytes: 0,
            packets: vec![0; segments],
            sets: vec![DistinctSources::default(); segments],
        };
        let sum = self.sums.entry(key).or_insert_with(fresh);
        sum.bytes = sum.bytes.saturating_add(share.bytes);
        for (segment, &packets) in share.packets.iter().enumerate().filter(|(_, packets)| **packets > 0) {
            sum.packets[segment] = sum.packets[segment].saturating_add(packets);
            sum.sets[segment].insert(&[share.hash]);
        }
        // One of several names, whatever came first.
        if key.3 >= 0 && sum.organisation.as_ref() < share.organisation {
            sum.organisation = share.organisation.cloned();
        }
    }

    /// The rows.
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    pub(super) fn into_records(self) -> std::io::Result<Vec<Record>> {
        let mut sums: Vec<(Key, Sum)> = self.sums.into_iter().collect();
        sums.sort_unstable_by_key(|(key, _)| *key);
        let record = |((class, ip, kind, asn), sum): (Key, Sum)| {
            let packets = sum.packets.iter().fold(0, |all: u64, &packets| all.saturating_add(packets));
            let (segments, sketch) = (quarters::encode(&sum.packets), Sketch::of_sets(&sum.sets)?);
            let Sum { organisation, bytes, .. } = sum;
            Ok(Record::Network { class, ip, kind, asn, organisation, packets, bytes, segments, sketch })
        };
        sums.into_iter().map(record).collect()
    }
}
