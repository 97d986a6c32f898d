//! Writing rows into a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use martlet_window::{Class, IpVersion, Kind, Service, TrafficClass};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use crate::error::FileError;
use crate::row::{Labels, Row};
use crate::schema::{Column, ROW_GROUP_ROWS, marks_text, properties, schema};

/// So many bytes are written before they are synced. Acknowledgements wait for the same disk: what is written all at once,
/// they wait for all at once.
const STRIDE: usize = 1 << 20;
/// Present, in a column that may be without a value.
const PRESENT: i16 = 1;

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Sum of their packets.
    pub packets: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Start of the earliest window, in seconds since the Unix epoch.
    pub first: i64,
    /// Start of the latest window.
    pub last: i64,
}

impl Written {
    /// Adds a row to what a file holds.
    pub fn count(&mut self, row: &Row) {
        if self.rows == 0 {
            (self.first, self.last) = (row.start, row.start);
        }
        self.rows += 1;
        self.packets = self.packets.saturating_add(row.packets);
        (self.first, self.last) = (self.first.min(row.start), self.last.max(row.start));
    }
}

/// A file that is being written. Rows come sorted by [`Row::key`].
pub struct FileWriter {
    path: PathBuf,
    writer: SerializedFileWriter<PacedFile>,
    pending: Vec<Row>,
    written: Written,
}

impl FileWriter {
    /// Begins a file of about so many rows; one that is there is replaced. `rests`: others wait for the same disk.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path, rows: u64, facts: &[(String, String)], rests: bool) -> Result<FileWriter, FileError> {
        let file = File::create(path).map_err(FileError::io("create", path))?;
        let file = PacedFile { file, unsynced: 0, rests };
        let writer = SerializedFileWriter::new(file, schema()?, Arc::new(properties(rows, facts)?))?;
        Ok(FileWriter { path: path.to_owned(), writer, pending: Vec::new(), written: Written::default() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn push(&mut self, row: Row, labels: &Labels) -> Result<(), FileError> {
        self.pending.push(row);
        if self.pending.len() == ROW_GROUP_ROWS {
            self.write_pending(labels)?;
        }
        Ok(())
    }

    /// Adds rows that are in memory already, without copying them.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn extend(&mut self, rows: &[Row], labels: &Labels) -> Result<(), FileError> {
        self.write_pending(labels)?;
        rows.chunks(ROW_GROUP_ROWS).try_for_each(|rows| self.write_group(rows, labels))
    }

    /// Writes what is left, and makes the file durable; not yet its name.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self, labels: &Labels) -> Result<Written, FileError> {
        self.write_pending(labels)?;
        let file = self.writer.into_inner()?;
        file.file.sync_all().map_err(FileError::io("sync", &self.path))?;
        self.written.bytes = file.file.metadata().map_err(FileError::io("read the length of", &self.path))?.len();
        Ok(self.written)
    }

    fn write_pending(&mut self, labels: &Labels) -> Result<(), FileError> {
        let rows = std::mem::take(&mut self.pending);
        let written = self.write_group(&rows, labels);
        self.pending = rows;
        self.pending.clear();
        written
    }

    fn write_group(&mut self, rows: &[Row], labels: &Labels) -> Result<(), FileError> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.iter().for_each(|row| self.written.count(row));
        let mut group = self.writer.next_row_group()?;
        let runs = runs(rows);
        for &column in Column::ALL {
            write_column(&mut group, column, rows, &runs, labels)?;
        }
        group.close()?;
        Ok(())
    }
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    column: Column,
    rows: &[Row],
    runs: &[Run],
    labels: &Labels,
) -> Result<(), FileError> {
    let observer = |row: &Row| labels.observer(row.observer);
    match column {
        Column::WindowStart => required::<Int64Type>(group, rows.iter().map(|row| row.start.saturating_mul(1000))),
        Column::WindowSeconds => {
            required::<Int32Type>(group, rows.iter().map(|row| observer(row).window_seconds.into()))
        }
        Column::Hour => required::<Int32Type>(group, rows.iter().map(|row| hour(row.start))),
        Column::Sensor => {
            let names = texts(labels.observers().iter().map(|observer| &*observer.sensor));
            required::<ByteArrayType>(group, rows.iter().map(|row| names[row.observer as usize].clone()))
        }
        Column::Class => {
            let names = texts(TrafficClass::ALL.iter().map(|class| class.name()));
            required::<ByteArrayType>(group, rows.iter().map(|row| names[observer(row).class as usize].clone()))
        }
        Column::IpVersion => required::<Int32Type>(group, each(runs, |class| version(class.ip))),
        Column::Protocol => required::<Int32Type>(group, each(runs, |class| class.protocol.into())),
        Column::Port => optional::<Int32Type>(group, each(runs, |class| detail(class).port)),
        Column::IcmpType => optional::<Int32Type>(group, each(runs, |class| detail(class).icmp_type)),
        Column::IcmpCode => optional::<Int32Type>(group, each(runs, |class| detail(class).icmp_code)),
        Column::QuotedProtocol => optional::<Int32Type>(group, each(runs, |class| detail(class).quoted_protocol)),
        Column::QuotedPort => optional::<Int32Type>(group, each(runs, |class| detail(class).quoted_port)),
        Column::Kind => {
            let names = texts(Kind::ALL.iter().map(|kind| kind.name()));
            required::<ByteArrayType>(group, each(runs, |class| names[class.kind as usize].clone()))
        }
        Column::Marks => {
            required::<ByteArrayType>(group, each(runs, |class| ByteArray::from(marks_text(class.marks).into_bytes())))
        }
        Column::Source => write_sources(group, rows, labels),
        Column::SourcePrefix => {
            let prefixes = |ip| labels.networks().iter().map(|network| i32::from(network.prefix_length(ip))).collect();
            let (v4, v6): (Vec<i32>, Vec<i32>) = (prefixes(IpVersion::V4), prefixes(IpVersion::V6));
            let prefix = |row: &Row| if row.class.ip() == IpVersion::V4 { &v4 } else { &v6 }[row.network as usize];
            required::<Int32Type>(group, rows.iter().map(prefix))
        }
        Column::Packets => required::<Int64Type>(group, rows.iter().map(|row| signed(row.packets))),
        Column::Bytes => required::<Int64Type>(group, rows.iter().map(|row| signed(row.bytes))),
        Column::Targets => {
            required::<Int32Type>(group, rows.iter().map(|row| i32::try_from(row.targets).unwrap_or(i32::MAX)))
        }
        Column::Region => {
            let regions = texts(labels.networks().iter().map(|network| network.region.as_str()));
            required::<ByteArrayType>(group, rows.iter().map(|row| regions[row.network as usize].clone()))
        }
        Column::Asn => {
            let numbers: Vec<Option<i64>> =
                labels.networks().iter().map(|network| network.asn.map(i64::from)).collect();
            optional::<Int64Type>(group, rows.iter().map(|row| numbers[row.network as usize]))
        }
        Column::Organisation => {
            let names = optional_texts(labels.networks().iter().map(|network| network.organisation.as_deref()));
            optional::<ByteArrayType>(group, rows.iter().map(|row| names[row.network as usize].clone()))
        }
        Column::KnownScanner => {
            let names = optional_texts(labels.networks().iter().map(|network| network.known_scanner.as_deref()));
            optional::<ByteArrayType>(group, rows.iter().map(|row| names[row.network as usize].clone()))
        }
    }
}

/// A class, and how many rows of it follow each other: rows are sorted by it, and most columns say something of it.
type Run = (Class, usize);

fn runs(rows: &[Row]) -> Vec<Run> {
    rows.chunk_by(|a, b| a.class == b.class).map(|rows| (rows[0].class.unpack(), rows.len())).collect()
}

/// What each row has of its class.
fn each<T: Clone>(runs: &[Run], value: impl Fn(&Class) -> T) -> impl Iterator<Item = T> {
    runs.iter().flat_map(move |(class, rows)| std::iter::repeat_n(value(class), *rows))
}

/// What a service says in columns.
#[derive(Default)]
struct Detail {
    port: Option<i32>,
    icmp_type: Option<i32>,
    icmp_code: Option<i32>,
    quoted_protocol: Option<i32>,
    quoted_port: Option<i32>,
}

fn detail(class: &Class) -> Detail {
    let message = |icmp_type: u8, code: u8| Detail {
        icmp_type: Some(icmp_type.into()),
        icmp_code: Some(code.into()),
        ..Detail::default()
    };
    match class.service {
        Service::None => Detail::default(),
        Service::Port(port) => Detail { port: Some(port.into()), ..Detail::default() },
        Service::Icmp { icmp_type, code } => message(icmp_type, code),
        Service::IcmpError { icmp_type, code, quoted_protocol, quoted_port } => Detail {
            quoted_protocol: Some(quoted_protocol.into()),
            quoted_port: Some(quoted_port.into()),
            ..message(icmp_type, code)
        },
    }
}

/// The hour of the UTC day, 0 to 23.
fn hour(start: i64) -> i32 {
    i32::try_from(start.rem_euclid(86_400) / 3600).unwrap_or(0)
}

const fn version(ip: IpVersion) -> i32 {
    match ip {
        IpVersion::V4 => 4,
        IpVersion::V6 => 6,
    }
}

/// Counts of the wire are far below 2^63; sums of them saturate.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> Vec<ByteArray> {
    values.map(ByteArray::from).collect()
}

fn optional_texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Vec<Option<ByteArray>> {
    values.map(|value| value.map(ByteArray::from)).collect()
}

/// Sources as text. All share one buffer.
fn write_sources(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    rows: &[Row],
    labels: &Labels,
) -> Result<(), FileError> {
    let mut text = String::with_capacity(rows.len() * 15);
    let mut ranges = Vec::with_capacity(rows.len());
    let mut before: Option<(&Row, std::ops::Range<usize>)> = None;
    for row in rows {
        let is_same =
            |other: &Row| (other.class.ip(), other.source, other.network) == (row.class.ip(), row.source, row.network);
        let range = match &before {
            Some((other, range)) if is_same(other) => range.clone(),
            _ => {
                let begin = text.len();
                push_address(&mut text, row.address());
                let network = labels.network(row.network);
                if network.is_coarse {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "/{}", network.prefix_length(row.class.ip()));
                }
                begin..text.len()
            }
        };
        before = Some((row, range.clone()));
        ranges.push(range);
    }
    let text = ByteArray::from(text.into_bytes());
    required::<ByteArrayType>(group, ranges.into_iter().map(|range| text.slice(range.start, range.len())))
}

/// An address as text. Nearly all are IPv4, and the standard formatter takes several times as long.
fn push_address(text: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Writing to a String cannot fail.
        let _ = write!(text, "{address}");
        return;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        let digit = |number: u8| char::from(b'0' + number % 10);
        if octet >= 100 {
            text.push(digit(octet / 100));
        }
        if octet >= 10 {
            text.push(digit(octet / 10));
        }
        text.push(digit(octet));
    }
}

fn required<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    values: impl Iterator<Item = T::T>,
) -> Result<(), FileError> {
    let values: Vec<T::T> = values.collect();
    write::<T>(group, &values, None)
}

fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), FileError> {
    let mut levels = Vec::new();
    let keep = |value: Option<T::T>| {
        levels.push(if value.is_some() { PRESENT } else { 0 });
        value
    };
    let values: Vec<T::T> = values.filter_map(keep).collect();
    write::<T>(group, &values, Some(&levels))
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), FileError> {
    // There is one column for each of the schema, and they come in its order.
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()?;
    }
    Ok(())
}

/// A file that is synced as it is written, with a rest behind each sync that is as long.
struct PacedFile {
    file: File,
    unsynced: usize,
    rests: bool,
}

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(&bytes[..bytes.len().min(STRIDE)])?;
        self.unsynced += length;
        if self.unsynced >= STRIDE {
            self.unsynced = 0;
            let begun = Instant::now();
            self.file.sync_data()?;
            if self.rests {
                std::thread::sleep(begun.elapsed());
            }
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
