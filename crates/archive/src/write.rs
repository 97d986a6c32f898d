//! Writing rows into a file.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use martlet_window::{Class, IpVersion, Marks, Service};
use parquet::data_type::Int64Type;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnDescPtr;

use crate::chunk::{self, ABSENT, Bounds, ChunkWriter, Form, Value};
use crate::error::FileError;
use crate::row::{Labels, Row};
use crate::schema::{Column, FEW_ROWS, ROW_GROUP_ROWS, marks_text, properties, schema};

/// So many bytes are written before they are synced. Acknowledgements wait for the same disk: what is written all at once,
/// they wait for all at once.
const STRIDE: usize = 1 << 20;

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
    chunks: ChunkWriter,
    /// Too few rows for a dictionary of windows.
    is_small: bool,
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
        let writer = SerializedFileWriter::new(file, schema()?, Arc::new(properties(facts)?))?;
        let (chunks, is_small) = (ChunkWriter::new()?, rows < FEW_ROWS);
        Ok(FileWriter {
            path: path.to_owned(),
            writer,
            chunks,
            is_small,
            pending: Vec::new(),
            written: Written::default(),
        })
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
        let columns = self.writer.schema_descr().columns().to_vec();
        let mut group = GroupWriter { group: self.writer.next_row_group()?, columns, chunks: &mut self.chunks };
        let runs = runs(rows);
        for &column in Column::ALL {
            if column == Column::WindowStart && self.is_small {
                group.write_differences(rows.iter().map(|row| milliseconds(row.start)).collect())?;
            } else {
                write_column(&mut group, column, rows, &runs, labels)?;
            }
        }
        group.group.close()?;
        Ok(())
    }
}

/// A row group that is being written.
struct GroupWriter<'a> {
    group: SerializedRowGroupWriter<'a, PacedFile>,
    columns: Vec<ColumnDescPtr>,
    chunks: &'a mut ChunkWriter,
}

impl GroupWriter<'_> {
    fn write<V: Value>(&mut self, column: Column, values: &[V], runs: &[chunk::Run]) -> Result<(), FileError> {
        let chunk = self.chunks.write(&self.columns[column as usize], values, runs, form(column))?;
        self.group.append_column(&chunk.bytes, chunk.close)?;
        Ok(())
    }

    /// The values of the next column as differences, which parquet writes as the properties of the file say.
    fn write_differences(&mut self, values: Vec<i64>) -> Result<(), FileError> {
        if let Some(mut column) = self.group.next_column()? {
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
            column.close()?;
        }
        Ok(())
    }
}

/// The values of a column as they are seen, and which rows have them.
struct Numbered<V> {
    values: Vec<V>,
    numbers: HashMap<V, u32, foldhash::fast::RandomState>,
    runs: Vec<chunk::Run>,
}

impl<V: Value + Copy + Hash> Numbered<V> {
    fn new() -> Numbered<V> {
        Numbered { values: Vec::new(), numbers: HashMap::default(), runs: Vec::new() }
    }

    fn number(&mut self, value: Option<V>) -> u32 {
        let Some(value) = value else { return ABSENT };
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            chunk::number(self.values.len() - 1)
        })
    }

    /// What each row has of its class.
    fn of_classes(runs: &[Run], value: impl Fn(&Class) -> Option<V>) -> Numbered<V> {
        let mut numbered = Numbered::new();
        for (class, rows) in runs {
            let number = numbered.number(value(class));
            push(&mut numbered.runs, number, chunk::number(*rows));
        }
        numbered
    }

    /// What each row has of one of these, whose place in them it knows.
    fn of_labels<'l, L>(
        rows: &[Row],
        labels: &'l [L],
        place: impl Fn(&Row) -> u32,
        value: impl Fn(&'l L) -> Option<V>,
    ) -> Numbered<V> {
        let (mut numbered, mut known) = (Numbered::new(), vec![None; labels.len()]);
        for row in rows {
            let place = place(row) as usize;
            let number = *known[place].get_or_insert_with(|| numbered.number(value(&labels[place])));
            push(&mut numbered.runs, number, 1);
        }
        numbered
    }

    /// What each row has of its own.
    fn of_rows(rows: &[Row], value: impl Fn(&Row) -> V) -> Numbered<V> {
        let (mut numbered, mut before) = (Numbered::new(), None);
        for row in rows {
            let value = value(row);
            let number = match before {
                Some((other, number)) if other == value => number,
                _ => numbered.number(Some(value)),
            };
            before = Some((value, number));
            push(&mut numbered.runs, number, 1);
        }
        numbered
    }

    fn write(&self, group: &mut GroupWriter<'_>, column: Column) -> Result<(), FileError> {
        group.write(column, &self.values, &self.runs)
    }
}

fn push(runs: &mut Vec<chunk::Run>, number: u32, rows: u32) {
    match runs.last_mut() {
        Some((last, of_last)) if *last == number => *of_last += rows,
        _ => runs.push((number, rows)),
    }
}

fn write_column(
    group: &mut GroupWriter<'_>,
    column: Column,
    rows: &[Row],
    runs: &[Run],
    labels: &Labels,
) -> Result<(), FileError> {
    let (observers, networks) = (labels.observers(), labels.networks());
    let (observer, network) = (|row: &Row| row.observer, |row: &Row| row.network);
    match column {
        Column::WindowStart => Numbered::of_rows(rows, |row| milliseconds(row.start)).write(group, column),
        Column::WindowSeconds => {
            Numbered::of_labels(rows, observers, observer, |of| Some(i32::from(of.window_seconds))).write(group, column)
        }
        Column::Hour => Numbered::of_rows(rows, |row| hour(row.start)).write(group, column),
        Column::Sensor => Numbered::of_labels(rows, observers, observer, |of| Some(&*of.sensor)).write(group, column),
        Column::Class => {
            Numbered::of_labels(rows, observers, observer, |of| Some(of.class.name())).write(group, column)
        }
        Column::IpVersion => Numbered::of_classes(runs, |class| Some(version(class.ip))).write(group, column),
        Column::Protocol => Numbered::of_classes(runs, |class| Some(i32::from(class.protocol))).write(group, column),
        Column::Port => Numbered::of_classes(runs, |class| detail(class).port).write(group, column),
        Column::IcmpType => Numbered::of_classes(runs, |class| detail(class).icmp_type).write(group, column),
        Column::IcmpCode => Numbered::of_classes(runs, |class| detail(class).icmp_code).write(group, column),
        Column::QuotedProtocol => {
            Numbered::of_classes(runs, |class| detail(class).quoted_protocol).write(group, column)
        }
        Column::QuotedPort => Numbered::of_classes(runs, |class| detail(class).quoted_port).write(group, column),
        Column::Kind => Numbered::of_classes(runs, |class| Some(class.kind.name())).write(group, column),
        Column::Marks => write_marks(group, runs),
        Column::Source => write_sources(group, rows, labels),
        Column::SourcePrefix => {
            let prefix = |row: &Row| i32::from(labels.network(row.network).prefix_length(row.class.ip()));
            Numbered::of_rows(rows, prefix).write(group, column)
        }
        Column::Packets => Numbered::of_rows(rows, |row| signed(row.packets)).write(group, column),
        Column::Bytes => Numbered::of_rows(rows, |row| signed(row.bytes)).write(group, column),
        Column::Targets => {
            Numbered::of_rows(rows, |row| i32::try_from(row.targets).unwrap_or(i32::MAX)).write(group, column)
        }
        Column::Region => {
            Numbered::of_labels(rows, networks, network, |of| Some(of.region.as_str())).write(group, column)
        }
        Column::Asn => Numbered::of_labels(rows, networks, network, |of| of.asn.map(i64::from)).write(group, column),
        Column::Organisation => {
            Numbered::of_labels(rows, networks, network, |of| of.organisation.as_deref()).write(group, column)
        }
        Column::KnownScanner => {
            Numbered::of_labels(rows, networks, network, |of| of.known_scanner.as_deref()).write(group, column)
        }
    }
}

/// How a column is written. Least and greatest values are worth it where the order of rows or days makes them narrow.
const fn form(column: Column) -> Form {
    let bounds = match column {
        Column::WindowStart | Column::Protocol | Column::Port => Bounds::Pages,
        Column::Hour | Column::Class | Column::IpVersion | Column::Kind => Bounds::Chunk,
        _ => Bounds::None,
    };
    // What belongs to a source comes again with each of its rows.
    let whole_bytes = matches!(column, Column::Asn | Column::Organisation);
    Form { bounds, whole_bytes, bloom: matches!(column, Column::Source) }
}

/// A class, and how many rows of it follow each other: rows are sorted by it, and most columns say something of it.
type Run = (Class, usize);

fn runs(rows: &[Row]) -> Vec<Run> {
    rows.chunk_by(|a, b| a.class == b.class).map(|rows| (rows[0].class.unpack(), rows.len())).collect()
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

/// A time as the column has it.
const fn milliseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}

/// Counts of the wire are far below 2^63; sums of them saturate.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn write_marks(group: &mut GroupWriter<'_>, runs: &[Run]) -> Result<(), FileError> {
    let mut texts: HashMap<Marks, String, foldhash::fast::RandomState> = HashMap::default();
    for (class, _) in runs {
        texts.entry(class.marks).or_insert_with(|| marks_text(class.marks));
    }
    let text = |class: &Class| texts.get(&class.marks).map(String::as_str);
    Numbered::of_classes(runs, text).write(group, Column::Marks)
}

/// Sources as text. All share one buffer.
fn write_sources(group: &mut GroupWriter<'_>, rows: &[Row], labels: &Labels) -> Result<(), FileError> {
    let (mut text, mut ends, mut runs) = (String::new(), Vec::new(), Vec::new());
    let mut numbers: HashMap<(u128, IpVersion, u8), u32, foldhash::fast::RandomState> = HashMap::default();
    let mut before = None;
    for row in rows {
        let ip = row.class.ip();
        let key = (row.source, ip, labels.network(row.network).prefix_length(ip));
        let number = match before {
            Some((other, number)) if other == key => number,
            _ => *numbers.entry(key).or_insert_with(|| {
                push_address(&mut text, row.address());
                if labels.network(row.network).is_coarse {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "/{}", key.2);
                }
                ends.push(text.len());
                chunk::number(ends.len() - 1)
            }),
        };
        before = Some((key, number));
        push(&mut runs, number, 1);
    }
    let begins = std::iter::once(0).chain(ends.iter().copied());
    let texts: Vec<&str> = begins.zip(&ends).map(|(begin, &end)| &text[begin..end]).collect();
    group.write(Column::Source, &texts, &runs)
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
