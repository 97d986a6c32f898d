//! Sources of a day that have something in common which only all of their packets show: the tool that they are confirmed to use,
//! many ports, several sensors.
//!
//! A mark says what one packet looks like, and some marks are met by chance. So a tool is **confirmed** of a source when what it sent
//! on one UTC day would hardly come about by chance. The rules look at sums over the day's rows, and so at nothing but the set of
//! rows. docs/fingerprints.md has them, with their chances, and docs/history.md the table.

use std::collections::BTreeMap;

use martlet_window::{DistinctSources, IpVersion, Kind, Mark, Marks, TrafficClass};

use super::cells::insert;
use super::records::Record;
use super::sketch::{Seen, Sketch};

/// Packets that a rule wants at least where one is too weak.
const CONFIRMING_PACKETS: u64 = 2;
/// Of the packets with nmap's shape one in so many has to have a pair: before a second sequence number comes none has.
const NMAP_SHARE: u64 = 8;

/// What sources have in common. The number is that of the store, and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Population {
    /// Confirmed to be Mirai or a descendant.
    Mirai = 0,
    /// Confirmed to use ZMap, up to 4.0.
    Zmap = 1,
    /// Confirmed to use masscan.
    Masscan = 2,
    /// Confirmed to use nmap.
    Nmap = 3,
    /// Confirmed to use unicornscan.
    Unicornscan = 4,
    /// Scanned [`MULTI_PORT`](super::MULTI_PORT) ports or more, and are on no list of known scanners.
    MultiPort = 5,
    /// Reached two sensors or more.
    SeveralSensors = 6,
}

impl Population {
    /// All, in the order of their numbers.
    pub const ALL: [Population; 7] = [
        Population::Mirai,
        Population::Zmap,
        Population::Masscan,
        Population::Nmap,
        Population::Unicornscan,
        Population::MultiPort,
        Population::SeveralSensors,
    ];

    /// The name in the API and in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Population::Mirai => "mirai",
            Population::Zmap => "zmap",
            Population::Masscan => "masscan",
            Population::Nmap => "nmap",
            Population::Unicornscan => "unicornscan",
            Population::MultiPort => "multi_port",
            Population::SeveralSensors => "several_sensors",
        }
    }

    /// Whether it is a tool, and its packets those with the tool's mark.
    #[must_use]
    pub const fn is_tool(self) -> bool {
        !matches!(self, Population::MultiPort | Population::SeveralSensors)
    }

    /// Whether sources of a kind can belong to it: only scans have tools and ports that are counted.
    #[must_use]
    pub fn has_kind(self, kind: Kind) -> bool {
        kind == Kind::Scan || self == Population::SeveralSensors
    }
}

/// Packets of one source on a day by the marks that rules look at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marked {
    mirai: u64,
    zmap: u64,
    masscan_ipid: u64,
    nmap_shape: u64,
    nmap: u64,
    unicornscan: u64,
}

/// Marks that rules look at.
const LOOKED_AT: [Mark; 6] =
    [Mark::Mirai, Mark::Zmap, Mark::MasscanIpid, Mark::NmapShape, Mark::Nmap, Mark::Unicornscan];

impl Marked {
    /// Whether any rule looks at packets with these marks.
    pub(super) fn concerns(marks: Marks) -> bool {
        !marks.is_empty() && LOOKED_AT.iter().any(|&mark| marks.contains(mark))
    }

    /// Adds packets that all have the same marks.
    pub(super) fn add(&mut self, marks: Marks, packets: u64) {
        let counts = [
            &mut self.mirai,
            &mut self.zmap,
            &mut self.masscan_ipid,
            &mut self.nmap_shape,
            &mut self.nmap,
            &mut self.unicornscan,
        ];
        for (mark, count) in LOOKED_AT.into_iter().zip(counts) {
            if marks.contains(mark) {
                *count = count.saturating_add(packets);
            }
        }
    }

    /// The tools that are confirmed of a source with so many TCP SYNs, each with the packets that have its mark.
    pub(super) fn confirmed(&self, syns: u64) -> impl Iterator<Item = (Population, u64)> + use<> {
        let Marked { mirai, zmap, masscan_ipid, nmap_shape, nmap, unicornscan } = *self;
        let repeated = |packets: u64| packets >= CONFIRMING_PACKETS;
        [
            (Population::Mirai, mirai, mirai > 0),
            (Population::Zmap, zmap, zmap > 0),
            (Population::Masscan, masscan_ipid, repeated(masscan_ipid) && masscan_ipid.saturating_mul(2) >= syns),
            (Population::Nmap, nmap, repeated(nmap) && nmap.saturating_mul(NMAP_SHARE) >= nmap_shape),
            (Population::Unicornscan, unicornscan, unicornscan > 0),
        ]
        .into_iter()
        .filter(|&(_, _, is_confirmed)| is_confirmed)
        .map(|(population, packets, _)| (population, packets))
    }
}

#[derive(Debug)]
struct Sum {
    packets: u64,
    /// By segment.
    sets: Vec<DistinctSources>,
}

/// The populations of a day.
#[derive(Debug)]
pub(super) struct PopulationSums {
    sums: BTreeMap<(TrafficClass, IpVersion, Kind, Population), Sum>,
    segments: usize,
}

impl PopulationSums {
    pub(super) const fn new(segments: usize) -> PopulationSums {
        PopulationSums { sums: BTreeMap::new(), segments }
    }

    /// Adds a source, with the segments in which it was seen. Everything that it could belong to is known from then on, if only as 0.
    pub(super) fn add(
        &mut self,
        (class, ip, kind): (TrafficClass, IpVersion, Kind),
        seen: Seen,
        belongs: &[(Population, u64)],
    ) {
        for population in Population::ALL.into_iter().filter(|population| population.has_kind(kind)) {
            let fresh = || Sum { packets: 0, sets: vec![DistinctSources::default(); self.segments] };
            let sum = self.sums.entry((class, ip, kind, population)).or_insert_with(fresh);
            if let Some((_, packets)) = belongs.iter().find(|(of, _)| *of == population) {
                sum.packets = sum.packets.saturating_add(*packets);
                insert(&mut sum.sets, seen);
            }
        }
    }

    /// The rows; `is_complete` says of which classes all sources were told apart.
    pub(super) fn into_records(self, is_complete: impl Fn(TrafficClass) -> bool) -> std::io::Result<Vec<Record>> {
        let record = |((class, ip, kind, population), sum): (_, Sum)| {
            let (packets, sketch) = (sum.packets, Sketch::of_sets(&sum.sets)?);
            Ok(Record::Population { class, ip, kind, population, packets, is_complete: is_complete(class), sketch })
        };
        self.sums.into_iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(packets: &[(&[Mark], u64)], syns: u64) -> Vec<(Population, u64)> {
        let mut marked = Marked::default();
        for &(marks, packets) in packets {
            marked.add(marks.iter().fold(Marks::NONE, |marks, &mark| marks.with(mark)), packets);
        }
        marked.confirmed(syns).collect()
    }

    #[test]
    fn strong_marks_are_confirmed_by_one_packet() {
        assert_eq!(confirmed(&[(&[Mark::Mirai], 1)], 1_000_000), [(Population::Mirai, 1)]);
        assert_eq!(confirmed(&[(&[Mark::ZmapIpid, Mark::Zmap], 1)], 9), [(Population::Zmap, 1)]);
        assert_eq!(confirmed(&[(&[Mark::ZmapIpid], 9)], 9), [], "54321 alone");
        assert_eq!(confirmed(&[(&[Mark::Unicornscan], 1)], 9), [(Population::Unicornscan, 1)]);
    }

    #[test]
    fn masscan_is_confirmed_by_two_packets_that_are_half_of_the_syns() {
        let ipid: &[Mark] = &[Mark::MasscanIpid];
        assert_eq!(confirmed(&[(ipid, 1)], 1), []);
        assert_eq!(confirmed(&[(ipid, 2)], 2), [(Population::Masscan, 2)]);
        assert_eq!(confirmed(&[(ipid, 2)], 4), [(Population::Masscan, 2)]);
        assert_eq!(confirmed(&[(ipid, 2)], 5), []);
        // Of a million SYNs 15 by chance.
        assert_eq!(confirmed(&[(ipid, 15)], 1_000_000), []);
        // Rows with and without the shape are of the same scan.
        assert_eq!(confirmed(&[(ipid, 1), (&[Mark::MasscanIpid, Mark::Masscan], 1)], 2), [(Population::Masscan, 2)]);
    }

    #[test]
    fn nmap_is_confirmed_by_two_pairs_that_are_an_eighth_of_the_shape() {
        let pair: &[Mark] = &[Mark::NmapShape, Mark::Nmap];
        assert_eq!(confirmed(&[(pair, 1), (&[Mark::NmapShape], 1)], 2), []);
        assert_eq!(confirmed(&[(pair, 2), (&[Mark::NmapShape], 14)], 16), [(Population::Nmap, 2)]);
        assert_eq!(confirmed(&[(pair, 2), (&[Mark::NmapShape], 15)], 17), []);
        // Other SYNs of the source, as of a shared address, do not count against it.
        assert_eq!(confirmed(&[(pair, 2), (&[Mark::NmapShape], 2)], 1_000), [(Population::Nmap, 2)]);
        // Random sequence numbers with nmap's shape, as a masscan may send them, have one pair in 32,768 packets by chance.
        assert_eq!(confirmed(&[(pair, 2), (&[Mark::NmapShape], 60_000)], 60_002), []);
    }
}
