//! The rows of a batch as columns, sorted by class, then source.
//!
//! ```text
//! varint              number of runs
//! per run             varint rows in it, varint class bits, varint base: IP length of the run's typical packet
//! per row, a column   varint source: the first of a run as it is, then the distance to the one before it;
//!                     for IPv6 the upper 64 bits so, then the lower 64: a distance if the upper ones are equal
//! per row, a column   varint packets - 1
//! per row, a column   varint zigzag(bytes - packets * base), modulo 2^64
//! per row, a column   varint targets - 1
//! ```

use martlet_window::{CountRow, IpVersion, PackedClass};

use super::bytes::{put_varint, take_eight_small, take_u64, take_varint, unzigzag, zigzag};
use crate::WireError;

/// Most bytes that the header of an IP packet can state: IPv6's own and a full payload length.
const LONGEST_PACKET: u64 = 65_575;

/// Rows of one class, next to each other in the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The class of all rows of the run.
    pub class: PackedClass,
    /// Place of its first row in the columns.
    pub start: u32,
    /// Place behind its last row.
    pub end: u32,
}

impl Run {
    /// The run's place in the columns.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The rows of a batch, column by column. Buffers are reused from batch to batch.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Runs of rows with the same class, ascending by class.
    pub runs: Vec<Run>,
    /// Source addresses as [`CountRow::source`], ascending within a run.
    pub sources: Vec<u128>,
    /// Packets, at least 1.
    pub packets: Vec<u32>,
    /// Bytes.
    pub bytes: Vec<u64>,
    /// Distinct targets, from 1 to the row's packets.
    pub targets: Vec<u32>,
    bases: Vec<u64>,
}

impl Columns {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The rows one by one, for tests and slow paths.
    pub fn rows(&self) -> impl Iterator<Item = CountRow> {
        self.runs.iter().flat_map(|run| {
            run.range().map(|i| CountRow {
                class: run.class,
                source: self.sources[i],
                packets: self.packets[i],
                targets: self.targets[i],
                bytes: self.bytes[i],
            })
        })
    }

    /// Reads the columns of a batch of `rows` rows and checks every rule that rows obey.
    pub(crate) fn read(&mut self, mut raw: &[u8], rows: u32) -> Result<(), WireError> {
        let raw = &mut raw;
        let rows = rows as usize;
        self.clear();
        self.read_runs(raw, rows)?;
        self.read_sources(raw)?;
        read_counts(raw, rows, &mut self.packets)?;
        self.read_bytes(raw)?;
        read_counts(raw, rows, &mut self.targets)?;
        if self.targets.iter().zip(&self.packets).any(|(targets, packets)| targets > packets) {
            return Err(WireError::Inconsistent);
        }
        if raw.is_empty() { Ok(()) } else { Err(WireError::BadColumn) }
    }

    /// Reads the runs, and the sources if they are wanted.
    pub(crate) fn read_keys(
        &mut self,
        mut raw: &[u8],
        rows: u32,
        wants_sources: impl FnOnce(&[Run]) -> bool,
    ) -> Result<(), WireError> {
        self.clear();
        self.read_runs(&mut raw, rows as usize)?;
        if wants_sources(&self.runs) { self.read_sources(&mut raw) } else { Ok(()) }
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.sources.clear();
        self.packets.clear();
        self.bytes.clear();
        self.targets.clear();
        self.bases.clear();
    }

    fn read_runs(&mut self, raw: &mut &[u8], rows: usize) -> Result<(), WireError> {
        let runs = take_u64(raw)?;
        let mut start = 0u64;
        for _ in 0..runs {
            let length = take_u64(raw)?;
            let class = PackedClass::from_bits(take_varint::<128>(raw)?).ok_or(WireError::BadValue("class"))?;
            let base = take_u64(raw)?;
            let end = start.checked_add(length).filter(|&end| end > start && end <= rows as u64);
            let end = end.ok_or(WireError::BadColumn)?;
            if self.runs.last().is_some_and(|last| last.class >= class) {
                return Err(WireError::NotSorted);
            }
            // Both ends are at most `rows`, which is a u32.
            let (Ok(from), Ok(to)) = (u32::try_from(start), u32::try_from(end)) else {
                return Err(WireError::BadColumn);
            };
            self.runs.push(Run { class, start: from, end: to });
            self.bases.push(base);
            start = end;
        }
        if start == rows as u64 { Ok(()) } else { Err(WireError::BadColumn) }
    }

    fn read_sources(&mut self, raw: &mut &[u8]) -> Result<(), WireError> {
        for run in &self.runs {
            match run.class.ip() {
                IpVersion::V4 => read_v4(raw, run.range().len(), &mut self.sources)?,
                IpVersion::V6 => read_v6(raw, run.range().len(), &mut self.sources)?,
            }
        }
        Ok(())
    }

    fn read_bytes(&mut self, raw: &mut &[u8]) -> Result<(), WireError> {
        for (run, &base) in self.runs.iter().zip(&self.bases) {
            let mut packets = &self.packets[run.range()];
            while let Some((&count, rest)) = packets.split_first() {
                if let Some((eight, rest)) = packets.split_first_chunk::<8>()
                    && base <= LONGEST_PACKET
                    && raw.first_chunk() == Some(&[0; 8])
                {
                    // Eight rows of typical packets.
                    self.bytes.extend_from_slice(&eight.map(|count| u64::from(count) * base));
                    (*raw, packets) = (&raw[8..], rest);
                    continue;
                }
                let expected = u64::from(count).wrapping_mul(base);
                let bytes = expected.wrapping_add_signed(unzigzag(take_u64(raw)?));
                if bytes > u64::from(count) * LONGEST_PACKET {
                    return Err(WireError::Inconsistent);
                }
                self.bytes.push(bytes);
                packets = rest;
            }
        }
        Ok(())
    }
}

/// Reads so many counts.
fn read_counts(raw: &mut &[u8], rows: usize, out: &mut Vec<u32>) -> Result<(), WireError> {
    while out.len() < rows {
        let eight = if rows - out.len() >= 8 { take_eight_small(raw) } else { None };
        match eight {
            Some(eight) => out.extend_from_slice(&eight.map(|less_one| u32::from(less_one) + 1)),
            None => out.push(take_count(raw)?),
        }
    }
    Ok(())
}

/// A count that is at least 1 and is sent less 1.
fn take_count(raw: &mut &[u8]) -> Result<u32, WireError> {
    let less_one = take_u64(raw)?;
    u32::try_from(less_one).ok().and_then(|count| count.checked_add(1)).ok_or(WireError::BadColumn)
}

/// Reads the sources of a run.
fn read_v4(raw: &mut &[u8], rows: usize, out: &mut Vec<u128>) -> Result<(), WireError> {
    let mut source = 0;
    for place in 0..rows {
        let step = take_u64(raw)?;
        if step == 0 && place > 0 {
            return Err(WireError::NotSorted);
        }
        source = u64::saturating_add(source, step);
        if source > u64::from(u32::MAX) {
            return Err(WireError::BadColumn);
        }
        out.push(u128::from(source));
    }
    Ok(())
}

/// Reads the sources of a run.
fn read_v6(raw: &mut &[u8], rows: usize, out: &mut Vec<u128>) -> Result<(), WireError> {
    let mut previous = None;
    for _ in 0..rows {
        let source = take_v6(raw, previous)?;
        if previous.is_some_and(|previous| previous >= source) {
            return Err(WireError::NotSorted);
        }
        out.push(source);
        previous = Some(source);
    }
    Ok(())
}

fn take_v6(raw: &mut &[u8], previous: Option<u128>) -> Result<u128, WireError> {
    let (upper, lower) = split(previous.unwrap_or(0));
    let step = take_u64(raw)?;
    let value = take_u64(raw)?;
    let new_upper = upper.checked_add(step).ok_or(WireError::BadColumn)?;
    let new_lower =
        if previous.is_some() && step == 0 { lower.checked_add(value).ok_or(WireError::BadColumn)? } else { value };
    Ok(u128::from(new_upper) << 64 | u128::from(new_lower))
}

#[expect(clippy::cast_possible_truncation, reason = "two halves of 64 bits")]
const fn split(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

/// Columns under construction: one buffer each, so that rows are looked at once and need not exist together.
#[derive(Default)]
pub(crate) struct Writer {
    runs: Vec<u8>,
    sources: Vec<u8>,
    packets: Vec<u8>,
    bytes: Vec<u8>,
    targets: Vec<u8>,
    run: Option<OpenRun>,
    closed_runs: u64,
    rows: u64,
}

/// The run that the last row belongs to.
struct OpenRun {
    class: PackedClass,
    rows: u64,
    /// IP length of its first row's typical packet: with it most differences are 0.
    base: u64,
    last_source: u128,
}

impl Writer {
    /// Forgets all rows and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        for column in [&mut self.runs, &mut self.sources, &mut self.packets, &mut self.bytes, &mut self.targets] {
            column.clear();
        }
        self.run = None;
        (self.closed_runs, self.rows) = (0, 0);
    }

    /// Adds a row; rows must come sorted by key and unique.
    pub(crate) fn push(&mut self, row: &CountRow) {
        let previous = match &self.run {
            Some(run) if run.class == row.class => {
                debug_assert!(run.last_source < row.source);
                Some(run.last_source)
            }
            _ => None,
        };
        if previous.is_none() {
            self.close_run();
        }
        let run = self.run.get_or_insert_with(|| {
            let base = row.bytes / u64::from(row.packets);
            OpenRun { class: row.class, rows: 0, base, last_source: row.source }
        });
        run.rows += 1;
        run.last_source = row.source;
        let expected = u64::from(row.packets).wrapping_mul(run.base);
        put_source(&mut self.sources, row, previous);
        put_varint(&mut self.packets, u128::from(row.packets - 1));
        put_varint(&mut self.bytes, u128::from(zigzag(row.bytes.wrapping_sub(expected).cast_signed())));
        put_varint(&mut self.targets, u128::from(row.targets - 1));
        self.rows += 1;
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take() {
            put_varint(&mut self.runs, u128::from(run.rows));
            put_varint(&mut self.runs, run.class.bits());
            put_varint(&mut self.runs, u128::from(run.base));
            self.closed_runs += 1;
        }
    }

    /// Appends all columns to `out` and returns the number of rows.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> u64 {
        self.close_run();
        put_varint(out, u128::from(self.closed_runs));
        for column in [&self.runs, &self.sources, &self.packets, &self.bytes, &self.targets] {
            out.extend_from_slice(column);
        }
        self.rows
    }
}

fn put_source(out: &mut Vec<u8>, row: &CountRow, previous: Option<u128>) {
    if row.class.ip() == IpVersion::V4 {
        put_varint(out, row.source - previous.unwrap_or(0));
        return;
    }
    let (upper, lower) = split(previous.unwrap_or(0));
    let (new_upper, new_lower) = split(row.source);
    put_varint(out, u128::from(new_upper - upper));
    let relative = previous.is_some() && new_upper == upper;
    put_varint(out, u128::from(if relative { new_lower - lower } else { new_lower }));
}
