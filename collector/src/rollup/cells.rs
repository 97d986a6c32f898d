//! Sums of packets and sets of sources by a few things: region, mark, sensor and so on.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState as TableState;
use martlet_window::{DistinctSources, IpVersion, Kind};

use super::quarters::{QUARTERS, Quarters};
use super::sketch::{Seen, Sketch};

/// What packets are told apart by beside their service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dimension {
    /// IP protocol; its name is the number.
    Protocol = 0,
    /// Source region.
    Region = 1,
    /// List of known scanners.
    Scanner = 2,
    /// Mark.
    Mark = 3,
    /// Sensor.
    Sensor = 4,
}

/// Texts that have numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32, TableState>,
}

impl Names {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let text: Arc<str> = text.into();
        // Memory ends before the numbers do.
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.numbers.contains_key(text)
    }

    pub(super) fn count(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, number: u32) -> &Arc<str> {
        &self.texts[number as usize]
    }
}

/// What the packets of a cell have in common, in one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CellKey(u64);

impl CellKey {
    pub(super) fn new(slot: u16, dimension: Dimension, ip: IpVersion, kind: Kind, name: u32) -> CellKey {
        let small =
            u64::from(slot) << 6 | (dimension as u64) << 3 | (kind as u64) << 1 | u64::from(ip == IpVersion::V6);
        CellKey(small << 32 | u64::from(name))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits, and 16 of those above")]
    pub(super) fn parts(self) -> (u16, Dimension, IpVersion, Kind, u32) {
        let small = self.0 >> 32;
        let dimension = match small >> 3 & 7 {
            0 => Dimension::Protocol,
            1 => Dimension::Region,
            2 => Dimension::Scanner,
            3 => Dimension::Mark,
            _ => Dimension::Sensor,
        };
        let kind = Kind::from_number((small >> 1 & 3) as u8).unwrap_or(Kind::Other);
        let ip = if small & 1 == 1 { IpVersion::V6 } else { IpVersion::V4 };
        ((small >> 6) as u16, dimension, ip, kind, self.0 as u32)
    }
}

/// What a row adds to a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Quarter hour of the day.
    pub(super) quarter: usize,
    /// The segment of that.
    pub(super) segment: usize,
    /// Hash of the source.
    pub(super) hash: u64,
}

/// A sum.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) quarters: Quarters,
    /// By segment.
    pub(super) sets: Vec<DistinctSources>,
    /// The source that came last, and the segments in which it did: rows of one source come together.
    last: Seen,
}

impl Cell {
    pub(super) fn new(segments: usize) -> Cell {
        let sets = vec![DistinctSources::default(); segments];
        Cell { packets: 0, bytes: 0, quarters: [0; QUARTERS], sets, last: (0, 0) }
    }

    /// Counts packets, and leaves the source to whoever knows all sources at the end.
    pub(super) fn count(&mut self, amount: &Amount) {
        self.packets = self.packets.saturating_add(amount.packets);
        self.bytes = self.bytes.saturating_add(amount.bytes);
        let quarter = &mut self.quarters[amount.quarter];
        *quarter = quarter.saturating_add(amount.packets);
    }

    /// Counts packets and their source.
    pub(super) fn add(&mut self, amount: &Amount) {
        self.count(amount);
        if self.last.0 != amount.hash {
            self.last = (amount.hash, 0);
        }
        if self.last.1 >> amount.segment & 1 == 0 {
            self.last.1 |= 1 << amount.segment;
            self.sets[amount.segment].insert(&[amount.hash]);
        }
    }

    /// Adds a source, with the segments in which it was seen.
    pub(super) fn see(&mut self, (hash, mask): Seen) {
        insert(&mut self.sets, (hash, mask));
    }

    pub(super) fn sketch(&self) -> std::io::Result<Sketch> {
        Sketch::of_sets(&self.sets)
    }
}

/// Adds a source to the set of each segment in which it was seen.
pub(super) fn insert(sets: &mut [DistinctSources], (hash, mask): Seen) {
    let of = sets.iter_mut().enumerate().filter(|(segment, _)| mask >> segment & 1 == 1);
    of.for_each(|(_, set)| set.insert(&[hash]));
}

/// Cells by key.
#[derive(Debug)]
pub(super) struct Cells {
    segments: usize,
    places: HashMap<CellKey, usize, TableState>,
    cells: Vec<(CellKey, Cell)>,
}

impl Cells {
    pub(super) fn new(segments: usize) -> Cells {
        Cells { segments, places: HashMap::default(), cells: Vec::new() }
    }

    /// The place of a key's cell.
    pub(super) fn place(&mut self, key: CellKey) -> usize {
        let place = *self.places.entry(key).or_insert(self.cells.len());
        if place == self.cells.len() {
            self.cells.push((key, Cell::new(self.segments)));
        }
        place
    }

    /// The cell at a place.
    pub(super) fn at(&mut self, place: usize) -> &mut Cell {
        &mut self.cells[place].1
    }

    /// The cell of a key.
    pub(super) fn cell(&mut self, key: CellKey) -> &mut Cell {
        let place = self.place(key);
        self.at(place)
    }

    /// The cells, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(CellKey, Cell)> {
        self.cells.iter()
    }
}

/// Places of cells that differ in their names only: rows of one protocol and kind come one behind the other, and a place that is
/// remembered costs less than one that is looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Places([Vec<u32>; DIMENSIONS]);

const DIMENSIONS: usize = Dimension::Sensor as usize + 1;
const NOWHERE: u32 = u32::MAX;

impl Places {
    /// The place of a cell; `find` says it where it is not known.
    pub(super) fn get(&mut self, dimension: Dimension, name: u32, find: impl FnOnce() -> usize) -> usize {
        let (places, name) = (&mut self.0[dimension as usize], name as usize);
        if places.len() <= name {
            places.resize(name + 1, NOWHERE);
        }
        if places[name] == NOWHERE {
            // A cell takes far more than a byte: memory ends before the numbers do.
            places[name] = u32::try_from(find()).unwrap_or(NOWHERE);
        }
        places[name] as usize
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}
