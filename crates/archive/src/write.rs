//! Writing rows into a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use martlet_window::{IpVersion, Kind, Service, TrafficClass};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
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
    /// Begins a file; one that is there is replaced.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path, facts: &[(String, String)], rests: bool) -> Result<FileWriter, FileError> {
        let file = File::create(path).map_err(FileError::io("create", path))?;
        let file = PacedFile { file, unsynced: 0, rests };
        let writer = SerializedFileWriter::new(file, schema()?, Arc::new(properties(facts)?))?;
        Ok(FileWriter { path: path.to_owned(), writer, pending: Vec::new(), written: Written::default() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn push(&mut self, row: Row, labels: &Labels) -> Result<(), FileError> {
        self.pending.push(row);
        if self.pending.len() == ROW_GROUP_ROWS {
            self.write_group(labels)?;
        }
        Ok(())
    }

    /// Writes what is left, and makes the file durable; not yet its name.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self, labels: &Labels) -> Result<Written, FileError> {
        self.write_group(labels)?;
        let file = self.writer.into_inner()?;
        file.file.sync_all().map_err(FileError::io("sync", &self.path))?;
        self.written.bytes = file.file.metadata().map_err(FileError::io("read the length of", &self.path))?.len();
        Ok(self.written)
    }

    fn write_group(&mut self, labels: &Labels) -> Result<(), FileError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.pending);
        rows.iter().for_each(|row| self.written.count(row));
        let mut group = self.writer.next_row_group()?;
        for &column in Column::ALL {
            write_column(&mut group, column, &rows, labels)?;
        }
        group.close()?;
        self.pending = rows;
        self.pending.clear();
        Ok(())
    }
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, PacedFile>,
    column: Column,
    rows: &[Row],
    labels: &Labels,
) -> Result<(), FileError> {
    let observer = |row: &Row| labels.observer(row.observer);
    let network = |row: &Row| labels.network(row.network);
    let port = |row: &Row| detail(row).port;
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
        Column::IpVersion => required::<Int32Type>(group, rows.iter().map(|row| version(row.class.ip()))),
        Column::Protocol => required::<Int32Type>(group, rows.iter().map(|row| row.class.unpack().protocol.into())),
        Column::Port => optional::<Int32Type>(group, rows.iter().map(port)),
        Column::IcmpType => optional::<Int32Type>(group, rows.iter().map(|row| detail(row).icmp_type)),
        Column::IcmpCode => optional::<Int32Type>(group, rows.iter().map(|row| detail(row).icmp_code)),
        Column::QuotedProtocol => optional::<Int32Type>(group, rows.iter().map(|row| detail(row).quoted_protocol)),
        Column::QuotedPort => optional::<Int32Type>(group, rows.iter().map(|row| detail(row).quoted_port)),
        Column::Kind => {
            let names = texts(Kind::ALL.iter().map(|kind| kind.name()));
            required::<ByteArrayType>(group, rows.iter().map(|row| names[row.class.kind() as usize].clone()))
        }
        Column::Marks => write_marks(group, rows),
        Column::Source => write_sources(group, rows, labels),
        Column::SourceBytes => write_source_bytes(group, rows),
        Column::SourcePrefix => {
            let prefix = |row: &Row| network(row).prefix_length(row.class.ip()).into();
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
        Column::Asn => optional::<Int64Type>(group, rows.iter().map(|row| network(row).asn.map(i64::from))),
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

/// What a service says in columns.
#[derive(Default)]
struct Detail {
    port: Option<i32>,
    icmp_type: Option<i32>,
    icmp_code: Option<i32>,
    quoted_protocol: Option<i32>,
    quoted_port: Option<i32>,
}

fn detail(row: &Row) -> Detail {
    let message = |icmp_type: u8, code: u8| Detail {
        icmp_type: Some(icmp_type.into()),
        icmp_code: Some(code.into()),
        ..Detail::default()
    };
    match row.class.unpack().service {
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

/// Rows of one class follow each other, and with them their marks.
fn write_marks(group: &mut SerializedRowGroupWriter<'_, PacedFile>, rows: &[Row]) -> Result<(), FileError> {
    let mut current = (martlet_window::Marks::NONE, ByteArray::from(""));
    let mut text = |row: &Row| {
        let marks = row.class.marks();
        if marks != current.0 {
            current = (marks, ByteArray::from(marks_text(marks).into_bytes()));
        }
        current.1.clone()
    };
    required::<ByteArrayType>(group, rows.iter().map(&mut text))
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
                // Writing to a String cannot fail.
                let _ = write!(text, "{}", row.address());
                let network = labels.network(row.network);
                if network.is_coarse {
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

/// Sources as sixteen bytes, IPv4 within IPv6 (::ffff:0:0/96). All share one buffer.
fn write_source_bytes(group: &mut SerializedRowGroupWriter<'_, PacedFile>, rows: &[Row]) -> Result<(), FileError> {
    let mut bytes = Vec::with_capacity(rows.len() * 16);
    rows.iter().for_each(|row| bytes.extend_from_slice(&source_bytes(row.class.ip(), row.source)));
    let bytes = ByteArray::from(bytes);
    let value = |place: usize| FixedLenByteArray::from(bytes.slice(place * 16, 16));
    required::<FixedLenByteArrayType>(group, (0..rows.len()).map(value))
}

/// What stands in front of an IPv4 address within an IPv6 one.
pub(crate) const MAPPED: u128 = 0xffff << 32;

pub(crate) fn source_bytes(ip: IpVersion, source: u128) -> [u8; 16] {
    match ip {
        IpVersion::V4 => (MAPPED | source).to_be_bytes(),
        IpVersion::V6 => source.to_be_bytes(),
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
