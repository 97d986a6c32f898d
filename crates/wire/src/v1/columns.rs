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

use super::bytes::{put_varint, take_u64, take_varint, unzigzag, zigzag};
use crate::WireError;

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
        for _ in 0..rows {
            self.packets.push(take_count(raw)?);
        }
        self.read_bytes(raw)?;
        for i in 0..rows {
            let targets = take_count(raw)?;
            if targets > self.packets[i] {
                return Err(WireError::Inconsistent);
            }
            self.targets.push(targets);
        }
        if raw.is_empty() { Ok(()) } else { Err(WireError::BadColumn) }
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
            let v4 = run.class.ip() == IpVersion::V4;
            let mut previous: Option<u128> = None;
            for _ in run.range() {
                let source = if v4 { take_v4(raw, previous)? } else { take_v6(raw, previous)? };
                if previous.is_some_and(|previous| previous >= source) {
                    return Err(WireError::NotSorted);
                }
                self.sources.push(source);
                previous = Some(source);
            }
        }
        Ok(())
    }

    fn read_bytes(&mut self, raw: &mut &[u8]) -> Result<(), WireError> {
        for (run, &base) in self.runs.iter().zip(&self.bases) {
            for i in run.range() {
                let expected = u64::from(self.packets[i]).wrapping_mul(base);
                let bytes = expected.wrapping_add_signed(unzigzag(take_u64(raw)?));
                // An IP packet has at most 65,575 stated bytes (IPv6 header and a full payload length).
                if bytes > u64::from(self.packets[i]) * 65_575 {
                    return Err(WireError::Inconsistent);
                }
                self.bytes.push(bytes);
            }
        }
        Ok(())
    }
}

/// A count that is at least 1 and is sent less 1.
fn take_count(raw: &mut &[u8]) -> Result<u32, WireError> {
    let less_one = take_u64(raw)?;
    u32::try_from(less_one).ok().and_then(|count| count.checked_add(1)).ok_or(WireError::BadColumn)
}

fn take_v4(raw: &mut &[u8], previous: Option<u128>) -> Result<u128, WireError> {
    let step = u128::from(take_u64(raw)?);
    let source = previous.unwrap_or(0) + step;
    if source > u128::from(u32::MAX) { Err(WireError::BadColumn) } else { Ok(source) }
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

/// Appends the columns of `rows`, which must be sorted by key and unique.
pub(crate) fn write(rows: &[CountRow], out: &mut Vec<u8>) {
    let runs = || rows.chunk_by(|a, b| a.class == b.class);
    put_varint(out, runs().count() as u128);
    for run in runs() {
        put_varint(out, run.len() as u128);
        put_varint(out, run[0].class.bits());
        put_varint(out, u128::from(base(run)));
    }
    for run in runs() {
        let v4 = run[0].class.ip() == IpVersion::V4;
        let mut previous: Option<u128> = None;
        for row in run {
            if v4 {
                put_varint(out, row.source - previous.unwrap_or(0));
            } else {
                let (upper, lower) = split(previous.unwrap_or(0));
                let (new_upper, new_lower) = split(row.source);
                put_varint(out, u128::from(new_upper - upper));
                let relative = previous.is_some() && new_upper == upper;
                put_varint(out, u128::from(if relative { new_lower - lower } else { new_lower }));
            }
            previous = Some(row.source);
        }
    }
    for row in rows {
        put_varint(out, u128::from(row.packets - 1));
    }
    for run in runs() {
        let base = base(run);
        for row in run {
            let expected = u64::from(row.packets).wrapping_mul(base);
            put_varint(out, u128::from(zigzag(row.bytes.wrapping_sub(expected).cast_signed())));
        }
    }
    for row in rows {
        put_varint(out, u128::from(row.targets - 1));
    }
}

/// IP length of a typical packet of the run: with it most differences are 0.
fn base(run: &[CountRow]) -> u64 {
    run[0].bytes / u64::from(run[0].packets)
}
