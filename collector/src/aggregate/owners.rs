//! Packets by the region of their source and by the known scanner that sent them, for Prometheus.
//!
//! Rows are counted where they are, in arrays; what a source belongs to is remembered, since a lookup costs more than all else
//! that is done here (benches/results). Each worker has its own.

use std::sync::Arc;

use martlet_window::{IpVersion, Kind, Service, TrafficClass, address_from_bits};
use martlet_wire::v1::Columns;

use crate::config::Port;
use crate::geo::{Geo, Region, Snapshot};

/// IPv4 sources whose owners are remembered: 128 KiB.
const REMEMBERED: usize = 1 << 14;
/// Spreads neighbours over the places. Whoever aims at one place makes us look up more often, which is all.
const SPREAD: u32 = 0x9e37_79b1;

/// What packets are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKey {
    /// The region of the source.
    Region(TrafficClass, Kind, Region),
    /// A configured port that was scanned, and the region of the source.
    Port(TrafficClass, Port, Region),
    /// The list of known scanners that the source of a scan is on, if any.
    Scanner(TrafficClass, Option<Arc<str>>),
}

/// Counts packets by who sent them.
pub struct OwnerCounter {
    geo: Arc<Geo>,
    snapshot: Arc<Snapshot>,
    /// Ascending.
    ports: Arc<[Port]>,
    /// Empty until something is counted.
    remembered: Vec<Remembered>,
    /// Of the rows of a batch.
    owners: Vec<Place>,
    counts: [Option<Counts>; TrafficClass::ALL.len()],
}

/// Where a source is counted.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of its region.
    region: u16,
    /// 0 for none, or one more than the number of the list.
    scanner: u16,
}

/// A source, and where it is counted.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    source: u32,
    place: Place,
}

/// What no source is: no region has this number.
const FORGOTTEN: Remembered = Remembered { source: 0, place: Place { region: u16::MAX, scanner: 0 } };

/// Of one class.
#[derive(Debug)]
struct Counts {
    /// By kind and region.
    regions: Vec<u64>,
    /// By port and region.
    ports: Vec<u64>,
    /// By list; none comes first.
    scanners: Vec<u64>,
}

impl OwnerCounter {
    /// Counts these ports by region.
    #[must_use]
    pub fn new(geo: Arc<Geo>, ports: Arc<[Port]>) -> OwnerCounter {
        OwnerCounter {
            snapshot: geo.snapshot(),
            geo,
            ports,
            remembered: Vec::new(),
            owners: Vec::new(),
            counts: Default::default(),
        }
    }

    /// Adds the rows of a batch.
    pub fn add(&mut self, class: TrafficClass, columns: &Columns) {
        if columns.is_empty() {
            return;
        }
        self.look_up(columns);
        let (ports, lists) = (self.ports.len(), self.snapshot.scanner_lists().len());
        let counts = self.counts[class as usize].get_or_insert_with(|| Counts {
            regions: vec![0; Kind::ALL.len() * Region::COUNT],
            ports: vec![0; ports * Region::COUNT],
            scanners: vec![0; lists + 1],
        });
        for run in &columns.runs {
            let rows = self.owners[run.range()].iter().zip(&columns.packets[run.range()]);
            let kind = run.class.kind();
            let regions = &mut counts.regions[kind as usize * Region::COUNT..][..Region::COUNT];
            rows.clone().for_each(|(place, &packets)| regions[usize::from(place.region)] += u64::from(packets));
            if kind != Kind::Scan {
                continue;
            }
            rows.clone().for_each(|(place, &packets)| {
                counts.scanners[usize::from(place.scanner)] += u64::from(packets);
            });
            let class = run.class.unpack();
            let Service::Port(number) = class.service else { continue };
            if let Ok(port) = self.ports.binary_search(&Port { protocol: class.protocol, number }) {
                let regions = &mut counts.ports[port * Region::COUNT..][..Region::COUNT];
                rows.for_each(|(place, &packets)| regions[usize::from(place.region)] += u64::from(packets));
            }
        }
    }

    fn look_up(&mut self, columns: &Columns) {
        self.owners.clear();
        self.remembered.resize(REMEMBERED, FORGOTTEN);
        for run in &columns.runs {
            let ip = run.class.ip();
            for &source in &columns.sources[run.range()] {
                let place = match u32::try_from(source) {
                    Ok(source) if ip == IpVersion::V4 => self.place_of_ipv4(source),
                    _ => place(&self.snapshot, ip, source),
                };
                self.owners.push(place);
            }
        }
    }

    #[inline]
    fn place_of_ipv4(&mut self, source: u32) -> Place {
        let hash = source.wrapping_mul(SPREAD) >> (u32::BITS - REMEMBERED.ilog2());
        let remembered = &mut self.remembered[hash as usize];
        if remembered.source != source || remembered.place.region == FORGOTTEN.place.region {
            *remembered = Remembered { source, place: place(&self.snapshot, IpVersion::V4, source.into()) };
        }
        remembered.place
    }

    /// Takes out what was counted; each key comes once.
    pub fn drain(&mut self, mut out: impl FnMut(OwnerKey, u64)) {
        for (class, counts) in TrafficClass::ALL.into_iter().zip(&mut self.counts) {
            let Some(Counts { regions, ports, scanners }) = counts else { continue };
            for (kind, regions) in Kind::ALL.into_iter().zip(regions.chunks_mut(Region::COUNT)) {
                take(regions, |region, packets| out(OwnerKey::Region(class, kind, region), packets));
            }
            for (&port, regions) in self.ports.iter().zip(ports.chunks_mut(Region::COUNT)) {
                take(regions, |region, packets| out(OwnerKey::Port(class, port, region), packets));
            }
            let lists = self.snapshot.scanner_lists().iter().map(|list| Some(list.name.as_str()));
            for (name, packets) in std::iter::once(None).chain(lists).zip(scanners) {
                match std::mem::take(packets) {
                    0 => {}
                    packets => out(OwnerKey::Scanner(class, name.map(Arc::from)), packets),
                }
            }
        }
        self.refresh();
    }

    /// Goes on with the newest data. Nothing must be counted that was not taken out.
    fn refresh(&mut self) {
        let newest = self.geo.snapshot();
        if Arc::ptr_eq(&newest, &self.snapshot) {
            return;
        }
        self.snapshot = newest;
        self.remembered.clear();
        self.counts = Default::default();
    }
}

fn take(regions: &mut [u64], mut out: impl FnMut(Region, u64)) {
    for (number, packets) in regions.iter_mut().enumerate().filter(|(_, packets)| **packets > 0) {
        out(Region::from_number(number).unwrap_or_default(), std::mem::take(packets));
    }
}

fn place(snapshot: &Snapshot, ip: IpVersion, source: u128) -> Place {
    let (region, list) = snapshot.region_and_list(address_from_bits(ip, source));
    let small = |number: usize| u16::try_from(number).ok();
    Place {
        region: small(region.number()).unwrap_or_default(),
        // Lists are files; of more than 65,534 the last are not told apart from none.
        scanner: list.and_then(|list| small(list + 1)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use martlet_window::{Class, Marks};
    use martlet_wire::v1::Run;

    use super::*;
    use crate::config::{GeoConfig, TCP};

    fn class(port: u16, kind: Kind) -> Class {
        Class { ip: IpVersion::V4, protocol: TCP, service: Service::Port(port), kind, marks: Marks::NONE }
    }

    #[test]
    fn packets_are_counted_by_region_port_and_list() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("Example.txt");
        std::fs::write(&list, "192.0.2.0/24\n").unwrap();
        let config = GeoConfig { scanner_lists: vec![list.clone()], ..GeoConfig::default() };
        let (geo, mut watcher) = Geo::open(&config).unwrap();
        let port = Port { protocol: TCP, number: 23 };
        let mut counter = OwnerCounter::new(geo, [port].into());
        // One of Japan, one on the list, one that is both nobody's and on none.
        let sources: Vec<u128> = [0xcbb2_8001_u32, 0xc000_0201, 0x7f00_0001].map(u128::from).into();
        let mut columns = Columns::default();
        for (class, packets) in
            [(class(23, Kind::Scan), 1), (class(24, Kind::Scan), 10), (class(23, Kind::Backscatter), 100)]
        {
            columns.sources.extend(&sources);
            columns.packets.extend([packets; 3]);
            let end = columns.packets.len();
            let place = |at| u32::try_from(at).unwrap();
            columns.runs.push(Run { class: class.into(), start: place(end - 3), end: place(end) });
        }
        let sums = |counter: &mut OwnerCounter| {
            let mut sums = BTreeMap::new();
            counter.drain(|key, packets| assert_eq!(sums.insert(key, packets), None));
            sums
        };
        for drill in [false, true] {
            let class = if drill { TrafficClass::Drill } else { TrafficClass::Real };
            counter.add(class, &columns);
            let region = |kind, name| OwnerKey::Region(class, kind, Region::parse(name).unwrap());
            let expected = [
                (region(Kind::Scan, "JP"), 11),
                (region(Kind::Scan, "ZZ"), 22),
                (region(Kind::Backscatter, "JP"), 100),
                (region(Kind::Backscatter, "ZZ"), 200),
                (OwnerKey::Port(class, port, Region::parse("JP").unwrap()), 1),
                (OwnerKey::Port(class, port, Region::UNKNOWN), 2),
                (OwnerKey::Scanner(class, None), 22),
                (OwnerKey::Scanner(class, Some("Example".into())), 11),
            ];
            assert_eq!(sums(&mut counter), BTreeMap::from(expected));
        }
        assert!(sums(&mut counter).is_empty());
        // What was remembered is forgotten when the lists change.
        std::fs::write(&list, "203.178.0.0/16\n127.0.0.0/8\n").unwrap();
        (0..2).for_each(|_| watcher.poll(0));
        assert!(sums(&mut counter).is_empty());
        counter.add(TrafficClass::Real, &columns);
        let sums = sums(&mut counter);
        assert_eq!(sums[&OwnerKey::Scanner(TrafficClass::Real, Some("Example".into()))], 22);
        assert_eq!(sums[&OwnerKey::Scanner(TrafficClass::Real, None)], 11);
    }
}
