//! The rows of one window part.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use martlet_window::{CountRow, PackedClass};

/// Caps of one window part. At a cap the part is closed and the window goes on in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimits {
    /// Rows; 48 bytes each, and 12 for finding them.
    pub max_rows: u32,
    /// Observed addresses beyond the first that rows have hit, over all rows; 10 bytes each.
    pub max_further_targets: u32,
}

impl Default for TableLimits {
    fn default() -> TableLimits {
        TableLimits { max_rows: 131_072, max_further_targets: 131_072 }
    }
}

/// The table is at a cap: close the part and add what is left to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many of the packets were added.
    pub added: usize,
}

/// What a row needs to know of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The class of the packet.
    pub class: PackedClass,
    /// The source, as [`CountRow::source`].
    pub source: u128,
    /// A number for the observed address that it hit.
    pub target: u32,
    /// IP total length as stated.
    pub bytes: u32,
}

/// Packets that are added together. Finding rows is waiting for memory; looking for all of them before changing any
/// lets the processor wait for many at once (0.5 to 0.2 us a packet at 100 k rows).
pub const TOGETHER: usize = 64;

/// Count rows under construction, found by (class, source).
///
/// All memory is reserved when the table is made; adding allocates nothing, and clearing keeps it. Keys are hashed
/// with a key per process, since sources are chosen by the people we watch.
pub struct WindowTable {
    limits: TableLimits,
    rows: Vec<CountRow>,
    /// For each row the first observed address that it hit.
    first_target: Vec<u32>,
    /// Row numbers by key.
    index: HashTable<u32>,
    /// (row, observed address) beyond each row's first.
    further_targets: HashTable<(u32, u32)>,
    hasher: RandomState,
}

impl std::fmt::Debug for WindowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowTable({} of {} rows)", self.rows.len(), self.limits.max_rows)
    }
}

impl WindowTable {
    /// An empty table that will never grow.
    #[must_use]
    pub fn new(limits: TableLimits) -> WindowTable {
        let rows = limits.max_rows.max(1) as usize;
        WindowTable {
            limits,
            rows: Vec::with_capacity(rows),
            first_target: Vec::with_capacity(rows),
            index: HashTable::with_capacity(rows),
            further_targets: HashTable::with_capacity(limits.max_further_targets as usize),
            hasher: RandomState::default(),
        }
    }

    /// Adds packets to the rows of their keys.
    ///
    /// # Errors
    /// If one needs a new row or target and the cap is reached; an empty table takes at least one packet.
    pub fn add(&mut self, observations: &[Observation]) -> Result<(), Full> {
        let mut added = 0;
        for chunk in observations.chunks(TOGETHER) {
            let mut found = [None; TOGETHER];
            let mut hashes = [0; TOGETHER];
            for ((hash, found), seen) in hashes.iter_mut().zip(&mut found).zip(chunk) {
                *hash = self.hasher.hash_one((seen.class, seen.source));
                let at = self.index.find(*hash, |&at| self.rows[at as usize].key() == (seen.class, seen.source));
                *found = at.map(|&at| (at, self.first_target[at as usize] == seen.target));
            }
            for ((hash, found), seen) in hashes.into_iter().zip(found).zip(chunk) {
                let taken = match found {
                    Some((at, same_target)) => self.add_to_row(at, same_target, seen),
                    None => self.add_unfound(hash, seen),
                };
                if !taken {
                    return Err(Full { added });
                }
                added += 1;
            }
        }
        Ok(())
    }

    fn add_to_row(&mut self, at: u32, same_target: bool, seen: &Observation) -> bool {
        if !same_target && !self.add_target(at, seen.target) {
            return false;
        }
        let row = &mut self.rows[at as usize];
        row.packets = row.packets.saturating_add(1);
        row.bytes += u64::from(seen.bytes);
        true
    }

    /// Adds a packet whose row was not there when its chunk was looked up: another of the chunk may have made it.
    fn add_unfound(&mut self, hash: u64, seen: &Observation) -> bool {
        let rows = &self.rows;
        match self.index.find(hash, |&at| rows[at as usize].key() == (seen.class, seen.source)) {
            Some(&at) => self.add_to_row(at, self.first_target[at as usize] == seen.target, seen),
            None => self.add_row(hash, seen),
        }
    }

    fn add_row(&mut self, hash: u64, seen: &Observation) -> bool {
        let at = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        if at >= self.limits.max_rows.max(1) {
            return false;
        }
        let Observation { class, source, target, bytes } = *seen;
        self.rows.push(CountRow { class, source, packets: 1, targets: 1, bytes: u64::from(bytes) });
        self.first_target.push(target);
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.index.insert_unique(hash, at, |&at| hasher.hash_one(rows[at as usize].key()));
        true
    }

    fn add_target(&mut self, at: u32, target: u32) -> bool {
        let pair = (at, target);
        let hash = self.hasher.hash_one(pair);
        if self.further_targets.find(hash, |&known| known == pair).is_some() {
            return true;
        }
        if self.further_targets.len() >= self.limits.max_further_targets as usize {
            return false;
        }
        let hasher = &self.hasher;
        self.further_targets.insert_unique(hash, pair, |known| hasher.hash_one(known));
        self.rows[at as usize].targets += 1;
        true
    }

    /// The rows in the order of their first packets.
    #[must_use]
    pub fn rows(&self) -> &[CountRow] {
        &self.rows
    }

    /// The rows sorted by key, as a batch wants them. Nothing can be added afterwards until [`Self::clear`].
    pub fn sorted_rows(&mut self) -> &[CountRow] {
        self.clear_index();
        self.rows.sort_unstable_by_key(CountRow::key);
        &self.rows
    }

    /// Empties the table and keeps its memory.
    pub fn clear(&mut self) {
        self.clear_index();
        self.rows.clear();
        self.first_target.clear();
    }

    /// Forgets where rows are. Wiping an index costs its whole size, which quiet windows should not pay: few rows
    /// are taken out one by one.
    fn clear_index(&mut self) {
        const FEW: usize = 4096;
        if self.index.len() < FEW {
            for (at, row) in (0u32..).zip(&self.rows) {
                let hash = self.hasher.hash_one(row.key());
                if let Ok(entry) = self.index.find_entry(hash, |&known| known == at) {
                    entry.remove();
                }
            }
        } else {
            self.index.clear();
        }
        if !self.further_targets.is_empty() {
            self.further_targets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::{Class, IpVersion, Kind, Marks, Service};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn class(port: u16) -> PackedClass {
        let service = Service::Port(port);
        Class { ip: IpVersion::V4, protocol: 6, service, kind: Kind::Scan, marks: Marks::NONE }.into()
    }

    fn seen(port: u16, source: u128, target: u32, bytes: u32) -> Observation {
        Observation { class: class(port), source, target, bytes }
    }

    proptest! {
        #[test]
        fn counts_what_a_plain_map_counts(packets in proptest::collection::vec((0u16..4, 0u128..6, 0u32..5, 20u32..1500), 0..300)) {
            let mut table = WindowTable::new(TableLimits { max_rows: 64, max_further_targets: 256 });
            // Twice, so that a cleared table is used too.
            for _ in 0..2 {
                let mut model: BTreeMap<_, (u32, u64, BTreeSet<u32>)> = BTreeMap::new();
                let seen: Vec<_> = packets.iter().map(|&(port, source, target, bytes)| seen(port, source, target, bytes)).collect();
                prop_assert_eq!(table.add(&seen), Ok(()));
                for &(port, source, target, bytes) in &packets {
                    let entry = model.entry((class(port), source)).or_default();
                    entry.0 += 1;
                    entry.1 += u64::from(bytes);
                    entry.2.insert(target);
                }
                let rows: Vec<_> = table.sorted_rows().iter().map(|r| (r.key(), r.packets, r.bytes, r.targets)).collect();
                let expected: Vec<_> = model
                    .into_iter()
                    .map(|(key, (packets, bytes, targets))| (key, packets, bytes, u32::try_from(targets.len()).unwrap()))
                    .collect();
                prop_assert_eq!(rows, expected);
                table.clear();
            }
        }
    }

    #[test]
    fn full_means_full_and_changes_nothing() {
        let mut table = WindowTable::new(TableLimits { max_rows: 2, max_further_targets: 1 });
        let taken = [seen(1, 1, 7, 40), seen(1, 1, 8, 40)];
        assert_eq!(table.add(&taken), Ok(()));
        assert_eq!(table.add(&[seen(1, 1, 8, 40), seen(1, 1, 9, 40)]), Err(Full { added: 1 }));
        assert_eq!(table.add(&[seen(2, 1, 7, 40), seen(3, 1, 7, 40), seen(1, 1, 7, 40)]), Err(Full { added: 1 }));
        let packets: u32 = table.sorted_rows().iter().map(|row| row.packets).sum();
        assert_eq!(packets, 4);
    }

    #[test]
    fn a_table_takes_at_least_one_packet() {
        let mut table = WindowTable::new(TableLimits { max_rows: 0, max_further_targets: 0 });
        assert_eq!(table.add(&[seen(1, 1, 7, 40)]), Ok(()));
    }
}
