//! A day's services in the order of their packets, and of their sources, in pages: what a list of the busiest services of many
//! days reads instead of the days' services.
//!
//! docs/history.md specifies a page.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::Kind;

use super::frames;
use super::records::{Record, Slot};
use crate::live::ServiceKey;
use crate::varint;

/// Entries of a page.
pub(super) const PAGE: usize = 1024;
/// zstd's fastest regular level.
const LEVEL: i32 = 1;
/// Longest page that is believed, in bytes.
const MOST_BYTES: usize = PAGE * 20;

/// What services are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Order {
    /// Packets.
    Packets = 0,
    /// Distinct sources of each day, added up over days.
    Sources = 1,
}

impl Order {
    /// Both.
    pub const ALL: [Order; 2] = [Order::Packets, Order::Sources];
}

/// A service without what takes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Light {
    pub(super) service: ServiceKey,
    pub(super) kind: Kind,
    pub(super) packets: u64,
    pub(super) sources: u64,
}

impl Light {
    const fn value(&self, order: Order) -> u64 {
        match order {
            Order::Packets => self.packets,
            Order::Sources => self.sources,
        }
    }
}

/// The services of a day.
#[derive(Debug, Default)]
pub(super) struct Ranks(BTreeMap<Slot, Vec<Light>>);

impl Ranks {
    /// Adds one, and says how many there are of its slot.
    pub(super) fn push(&mut self, slot: Slot, light: Light) -> usize {
        let lights = self.0.entry(slot).or_default();
        lights.push(light);
        lights.len()
    }

    /// The slots that there are.
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.0.keys().copied().collect()
    }

    /// Keeps the services of a slot with the most packets, and returns the others. What is kept is the same however often this
    /// is called on the way: all of a service is known when it is added.
    pub(super) fn prune(&mut self, slot: Slot, limit: usize) -> Vec<Light> {
        let Some(lights) = self.0.get_mut(&slot).filter(|lights| lights.len() > limit) else {
            return Vec::new();
        };
        let order = |light: &Light| (Reverse(light.packets), light.service, light.kind);
        lights.select_nth_unstable_by_key(limit, order);
        let mut others = lights.split_off(limit);
        others.sort_unstable_by_key(|light| (light.service, light.kind));
        others
    }

    /// The pages.
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    pub(super) fn into_records(self) -> std::io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for (slot, mut lights) in self.0 {
            for order in Order::ALL {
                lights.sort_unstable_by_key(|light| (light.kind, Reverse(light.value(order)), light.service));
                for of_kind in lights.chunk_by(|a, b| a.kind == b.kind) {
                    for (page, lights) in of_kind.chunks(PAGE).enumerate() {
                        let entries: Vec<Entry> =
                            lights.iter().map(|light| (light.value(order), light.service)).collect();
                        let (kind, entries) = (of_kind[0].kind, write_page(&entries)?);
                        records.push(Record::Ranks { slot, kind, ordering: order as u8, page, entries });
                    }
                }
            }
        }
        Ok(records)
    }
}

/// How many, and which service.
pub(super) type Entry = (u64, ServiceKey);

fn write_page(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(entries.len() * 10);
    let mut before = u64::MAX;
    for &(value, service) in entries {
        varint::write(before - value, &mut content);
        content.extend_from_slice(&service.bits().to_be_bytes());
        before = value;
    }
    zstd::bulk::compress(&content, LEVEL)
}

/// The entries of a page, descending; `None` if it is damaged.
pub(super) fn read_page(page: &[u8]) -> Option<Vec<Entry>> {
    let content = frames::unpack(page, MOST_BYTES)?;
    let (mut rest, mut entries, mut before) = (content.as_slice(), Vec::with_capacity(PAGE), u64::MAX);
    while !rest.is_empty() {
        before = before.checked_sub(varint::read(&mut rest)?)?;
        let (&bits, behind) = rest.split_first_chunk()?;
        rest = behind;
        entries.push((before, ServiceKey::from_bits(u64::from_be_bytes(bits))?));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::{Class, IpVersion, Marks, Service, TrafficClass};
    use proptest::prelude::*;

    fn service(port: u16) -> ServiceKey {
        let (ip, protocol, service) = (IpVersion::V4, 6, Service::Port(port));
        ServiceKey::new(Class { ip, protocol, service, kind: Kind::Scan, marks: Marks::NONE }.into())
    }

    proptest! {
        #[test]
        fn the_most_packets_are_kept_however_often_is_pruned(
            packets in proptest::collection::vec(1u64..9, 1..60), limit in 1usize..20, every in 1usize..30,
        ) {
            let slot = Slot { class: TrafficClass::Real, scope: 0 };
            let light = |port: usize| {
                let port = u16::try_from(port).unwrap();
                Light { service: service(port), kind: Kind::Scan, packets: packets[usize::from(port)], sources: 1 }
            };
            let (mut ranks, mut taken) = (Ranks::default(), Vec::new());
            for port in 0..packets.len() {
                ranks.push(slot, light(port));
                if port % every == 0 {
                    taken.extend(ranks.prune(slot, limit));
                }
            }
            taken.extend(ranks.prune(slot, limit));
            let mut all: Vec<Light> = (0..packets.len()).map(light).collect();
            all.sort_by_key(|light| (Reverse(light.packets), light.service));
            let expected: Vec<Entry> = all.iter().take(limit).map(|light| (light.packets, light.service)).collect();
            prop_assert_eq!(taken.len(), all.len().saturating_sub(limit));
            let records = ranks.into_records().unwrap();
            let Record::Ranks { entries, .. } = &records[0] else { panic!("{records:?}") };
            prop_assert_eq!(read_page(entries), Some(expected));
        }

        #[test]
        fn damaged_pages_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_page(&bytes);
            let _ = read_page(&zstd::bulk::compress(&bytes, LEVEL).unwrap());
        }
    }
}
