//! From the journal to files: one run.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use martlet_archive::{FileWriter, Labels, Network, Observer, ROW_GROUP_ROWS, Row, Written};
use martlet_journal::{Disk, Item, Reader};
use martlet_window::{BatchHeader, IpVersion, Origin, TrafficClass, address_from_bits};
use martlet_wire::v1::{BatchView, Columns, Limits};

use super::catalog::Catalog;
use super::directory::Directory;
use super::error::ArchiveError;
use crate::geo::{Owner, Snapshot};
use crate::journal::Record;

/// Owners that are remembered while rows are gathered, by their address: a source has many rows, and most of them soon.
const REMEMBERED: usize = 1 << 17;

/// What was read of the journal.
pub(super) struct Gathered {
    /// The records that were read.
    pub(super) records: Range<u64>,
    /// Their rows, unsorted.
    pub(super) rows: Vec<Row>,
    pub(super) labels: Labels,
    /// Records that could not be read although they count.
    pub(super) gaps: Vec<Range<u64>>,
}

/// How far a run goes.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// To this record, but not beyond about so many rows.
    Rows(u64, usize),
    /// To this record, whatever it takes.
    Record(u64),
}

/// Reads the journal.
pub(super) struct Gatherer<D: Disk> {
    reader: Reader<D>,
    buffer: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    columns: Columns,
}

impl<D: Disk> Gatherer<D> {
    pub(super) fn new(reader: Reader<D>) -> std::io::Result<Gatherer<D>> {
        let decompressor = zstd::bulk::Decompressor::new()?;
        Ok(Gatherer { reader, buffer: Vec::new(), decompressor, raw: Vec::new(), columns: Columns::default() })
    }

    /// Reads from a record on.
    pub(super) fn gather(
        &mut self,
        from: u64,
        until: Until,
        catalog: &Catalog,
        geo: &Snapshot,
    ) -> Result<Gathered, ArchiveError> {
        let (end, most) = match until {
            Until::Rows(end, most) => (end, most),
            Until::Record(end) => (end, usize::MAX),
        };
        let skips = catalog.skips(&(from..end))?;
        let is_skipped = |number: u64| skips.iter().any(|skip| skip.contains(&number));
        let mut gathered =
            Gathered { records: from..from, rows: Vec::new(), labels: Labels::default(), gaps: Vec::new() };
        let mut context = Context { sensors: catalog.sensors()?, owners: Owners::new(geo) };
        self.reader.seek(from);
        while gathered.records.end < end && gathered.rows.len() < most {
            match self.reader.next(&mut self.buffer).map_err(ArchiveError::Journal)? {
                Item::Record(number) => {
                    gathered.records.end = number + 1;
                    if !is_skipped(number) && !self.add(&mut gathered, &mut context)? {
                        gathered.gaps.push(number..number + 1);
                    }
                }
                Item::Damaged(range) => {
                    let range = range.start..range.end.min(end);
                    gathered.records.end = range.end;
                    gathered.gaps.extend(without(&range, &skips));
                }
                Item::End => break,
            }
        }
        Ok(gathered)
    }

    /// Adds the rows of the record in the buffer; `false` if it cannot be understood, which it once could.
    fn add(&mut self, gathered: &mut Gathered, context: &mut Context<'_>) -> Result<bool, ArchiveError> {
        let payload = match Record::read(&self.buffer) {
            Ok(Record::Batch { payload, .. }) => payload,
            Ok(Record::Sensor { origin, name }) => {
                context.sensors.insert(origin, name.as_str().to_owned());
                return Ok(true);
            }
            Ok(Record::Loss(_)) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let Ok(view) = BatchView::read(payload, &Limits::default()) else { return Ok(false) };
        if view.columns(&mut self.decompressor, &mut self.raw, &mut self.columns).is_err() {
            return Ok(false);
        }
        let Some(observer) = context.observer(&view.header) else { return Ok(false) };
        let observer = gathered.labels.number_observer(&observer);
        for run in &self.columns.runs {
            for place in run.range() {
                let source = self.columns.sources[place];
                gathered.rows.push(Row {
                    class: run.class,
                    source,
                    start: view.header.window.start,
                    bytes: self.columns.bytes[place],
                    packets: self.columns.packets[place].into(),
                    targets: self.columns.targets[place],
                    observer,
                    network: context.owners.number(address_from_bits(run.class.ip(), source), &mut gathered.labels),
                });
            }
        }
        Ok(true)
    }
}

/// Who sensors and sources are.
struct Context<'a> {
    sensors: HashMap<Origin, String>,
    owners: Owners<'a>,
}

impl Context<'_> {
    fn observer(&self, header: &BatchHeader) -> Option<Observer> {
        let sensor: Arc<str> = self.sensors.get(&header.origin)?.as_str().into();
        let class: TrafficClass = header.class;
        Some(Observer { sensor, class, window_seconds: header.window.length.seconds() })
    }
}

/// Looks up sources, and remembers some.
struct Owners<'a> {
    geo: &'a Snapshot,
    hasher: foldhash::fast::RandomState,
    remembered: Vec<Option<(IpAddr, u32)>>,
}

impl<'a> Owners<'a> {
    fn new(geo: &'a Snapshot) -> Owners<'a> {
        Owners { geo, hasher: foldhash::fast::RandomState::default(), remembered: vec![None; REMEMBERED] }
    }

    fn number(&mut self, address: IpAddr, labels: &mut Labels) -> u32 {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(address);
        // The remainder is a place in the table.
        let slot = &mut self.remembered[usize::try_from(hash % REMEMBERED as u64).unwrap_or(0)];
        match slot {
            Some((remembered, number)) if *remembered == address => *number,
            _ => {
                let number = labels.number_network(&network_of(&self.geo.owner(address)));
                *slot = Some((address, number));
                number
            }
        }
    }
}

/// What an owner is in the archive.
#[must_use]
pub fn network_of(owner: &Owner<'_>) -> Network {
    Network {
        region: owner.region,
        asn: owner.asn,
        organisation: owner.organisation.as_ref().map(Cow::as_ref).map(Arc::from),
        known_scanner: owner.known_scanner.map(Arc::from),
        is_coarse: false,
    }
}

/// The parts of a range that none of these ascending ranges cover.
fn without(range: &Range<u64>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut from = range.start;
    for hole in holes {
        if hole.end <= from {
            continue;
        }
        if hole.start >= range.end {
            break;
        }
        if hole.start > from {
            parts.push(from..hole.start);
        }
        from = hole.end;
    }
    if from < range.end {
        parts.push(from..range.end);
    }
    parts
}

impl Gathered {
    /// Writes the rows into one file for each of their days, and makes them visible. `facts` go into each file's metadata.
    pub(super) fn write(
        mut self,
        operation: i64,
        directory: &Directory,
        facts: &[(String, String)],
        rests: bool,
    ) -> Result<Files, ArchiveError> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        sort(&mut self.rows);
        directory.stage(operation)?;
        let mut staged = Vec::new();
        for rows in self.rows.chunk_by(|a, b| a.day() == b.day()) {
            let day = rows[0].day();
            directory.step()?;
            let path = directory.staged_file(operation, day)?;
            let mut writer = FileWriter::create(&path, rows.len() as u64, facts, rests)?;
            for rows in rows.chunks(ROW_GROUP_ROWS) {
                directory.go_on()?;
                writer.extend(rows, &self.labels)?;
            }
            staged.push((day, writer.finish(&self.labels)?));
        }
        let place = |(day, written)| Ok((day, directory.place(operation, day)?, written));
        staged.into_iter().map(place).collect()
    }
}

/// Sorts rows by day, and within it as in a file.
fn sort(rows: &mut [Row]) {
    let day = rows[0].day();
    if rows.iter().any(|row| row.day() != day) {
        rows.sort_unstable_by_key(|row| (row.day(), row.key(), row.observer));
        return;
    }
    // Nearly always: a run holds an hour. Class and source of IPv4 are one number then, which is quick to compare.
    let place = |row: &Row| match row.class.ip() {
        IpVersion::V4 => (row.class.bits() << 32 | row.source, 0),
        // Above all IPv4: the version is the highest bit of a class.
        IpVersion::V6 => (u128::MAX, row.class.bits()),
    };
    // A stable sort would merge what batches have sorted, but only runs longer than the root of the rows: those of an hour are
    // shorter, and it takes twice as long then.
    rows.sort_unstable_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| (a.key(), a.observer).cmp(&(b.key(), b.observer)))
    });
}

/// Day, name and content of each file that a run has made.
pub(super) type Files = Vec<(i64, String, Written)>;

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn what_holes_leave_of_a_range() {
        let left = |holes: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let holes: Vec<_> = holes.iter().map(|&(first, end)| first..end).collect();
            without(&(5..10), &holes).into_iter().map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(left(&[]), [(5, 10)]);
        assert_eq!(left(&[(0, 3), (4, 6), (7, 8), (9, 12)]), [(6, 7), (8, 9)]);
        assert_eq!(left(&[(0, 20)]), []);
        assert_eq!(left(&[(10, 20)]), [(5, 10)]);
    }
}
