//! Reading the rows of a file, in the order in which they stand there.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use martlet_window::{Class, IpVersion, PackedClass, Service, address_bits};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use crate::error::FileError;
use crate::region::Region;
use crate::row::{Labels, Network, Observer, Row};
use crate::schema::{Column, FILE_VERSION, VERSION_KEY, class_of, kind_of, marks_of};

/// Rows that are read at a time.
pub(crate) const CHUNK: usize = 4096;

/// A file that is being read. Its memory is bounded by a page of each column, and their dictionaries.
pub struct FileReader {
    path: PathBuf,
    pub(crate) file: SerializedFileReader<File>,
    /// Row groups that are still to be read, the next one last.
    groups: Vec<usize>,
    open: Option<Group>,
    chunk: Vec<Row>,
    /// The next row of the chunk.
    place: usize,
    names: Names,
}

impl FileReader {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is none of the archive's.
    pub fn open(path: &Path) -> Result<FileReader, FileError> {
        let file = File::open(path).map_err(FileError::io("open", path))?;
        let file = SerializedFileReader::new(file)?;
        let damaged = |what: String| FileError::Damaged { path: path.to_owned(), what };
        let metadata = file.metadata().file_metadata();
        let facts = metadata.key_value_metadata().into_iter().flatten();
        let version = facts.clone().find(|fact| fact.key == VERSION_KEY).and_then(|fact| fact.value.clone());
        if version.as_deref() != Some(&FILE_VERSION.to_string()) {
            return Err(damaged(format!(
                "its columns have version {version:?}, and this program knows {FILE_VERSION}"
            )));
        }
        let columns = metadata.schema_descr().columns().iter().map(|column| column.name());
        if !columns.eq(Column::ALL.iter().map(|column| column.name())) {
            return Err(damaged("its columns are not the archive's".to_owned()));
        }
        let groups = (0..file.num_row_groups()).rev().collect();
        let names = Names::default();
        Ok(FileReader { path: path.to_owned(), file, groups, open: None, chunk: Vec::new(), place: 0, names })
    }

    /// What is said about the whole file: pairs of its metadata.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.file.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        facts.filter_map(|fact| Some((fact.key.as_str(), fact.value.as_deref()?)))
    }

    /// The next row without taking it; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn peek(&mut self, labels: &mut Labels) -> Result<Option<&Row>, FileError> {
        while self.place == self.chunk.len() {
            if !self.fill(labels)? {
                return Ok(None);
            }
        }
        Ok(self.chunk.get(self.place))
    }

    /// The next row.
    ///
    /// # Errors
    /// As [`Self::peek`].
    pub fn next(&mut self, labels: &mut Labels) -> Result<Option<Row>, FileError> {
        let row = self.peek(labels)?.copied();
        self.place += usize::from(row.is_some());
        Ok(row)
    }

    /// Reads the next chunk; `false` if there is none.
    fn fill(&mut self, labels: &mut Labels) -> Result<bool, FileError> {
        self.chunk.clear();
        self.place = 0;
        if self.open.is_none() {
            let Some(group) = self.groups.pop() else { return Ok(false) };
            let group = self.file.get_row_group(group)?;
            self.open = Some(Group::open(&*group)?);
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let rows = open.read()?;
        if rows == 0 {
            self.open = None;
            return Ok(true);
        }
        for place in 0..rows {
            let row = open.row(place, &mut self.names, labels);
            self.chunk.push(row.ok_or_else(|| no_meaning(&self.path))?);
        }
        Ok(true)
    }
}

/// A column of a row group, and what was read of it.
struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
    /// Of each row, the place of its value; empty for a column whose every row has one.
    places: Vec<Option<usize>>,
}

impl<T: DataType> Typed<T> {
    fn open(group: &dyn RowGroupReader, column: Column) -> Result<Typed<T>, FileError> {
        let reader = get_typed_column_reader::<T>(group.get_column_reader(column as usize)?);
        Ok(Typed { reader, values: Vec::new(), levels: Vec::new(), places: Vec::new() })
    }

    fn get(&self, row: usize) -> Option<&T::T> {
        match self.places.get(row) {
            Some(place) => self.values.get((*place)?),
            None => self.values.get(row),
        }
    }
}

/// A column of whichever type.
trait Chunked {
    /// Reads at most so many of the next rows; 0 at the end.
    fn read(&mut self, most: usize) -> Result<usize, FileError>;
    /// Leaves rows out.
    fn skip(&mut self, rows: usize) -> Result<(), FileError>;
}

impl<T: DataType> Chunked for Typed<T> {
    fn read(&mut self, most: usize) -> Result<usize, FileError> {
        self.values.clear();
        self.levels.clear();
        self.places.clear();
        let (rows, _, _) = self.reader.read_records(most, Some(&mut self.levels), None, &mut self.values)?;
        let mut next = 0;
        self.places.extend(self.levels.iter().map(|&level| {
            let place = next;
            next += usize::from(level > 0);
            (level > 0).then_some(place)
        }));
        Ok(rows)
    }

    fn skip(&mut self, rows: usize) -> Result<(), FileError> {
        self.reader.skip_records(rows)?;
        Ok(())
    }
}

/// The columns of a row group that rows are made of. The text of the source and the hour say nothing more.
pub(crate) struct Group {
    start: Typed<Int64Type>,
    seconds: Typed<Int32Type>,
    sensor: Typed<ByteArrayType>,
    class: Typed<ByteArrayType>,
    ip: Typed<Int32Type>,
    protocol: Typed<Int32Type>,
    port: Typed<Int32Type>,
    icmp_type: Typed<Int32Type>,
    icmp_code: Typed<Int32Type>,
    quoted_protocol: Typed<Int32Type>,
    quoted_port: Typed<Int32Type>,
    kind: Typed<ByteArrayType>,
    marks: Typed<ByteArrayType>,
    source: Typed<ByteArrayType>,
    prefix: Typed<Int32Type>,
    packets: Typed<Int64Type>,
    bytes: Typed<Int64Type>,
    targets: Typed<Int32Type>,
    region: Typed<ByteArrayType>,
    asn: Typed<Int64Type>,
    organisation: Typed<ByteArrayType>,
    scanner: Typed<ByteArrayType>,
}

impl Group {
    pub(crate) fn open(group: &dyn RowGroupReader) -> Result<Group, FileError> {
        Ok(Group {
            start: Typed::open(group, Column::WindowStart)?,
            seconds: Typed::open(group, Column::WindowSeconds)?,
            sensor: Typed::open(group, Column::Sensor)?,
            class: Typed::open(group, Column::Class)?,
            ip: Typed::open(group, Column::IpVersion)?,
            protocol: Typed::open(group, Column::Protocol)?,
            port: Typed::open(group, Column::Port)?,
            icmp_type: Typed::open(group, Column::IcmpType)?,
            icmp_code: Typed::open(group, Column::IcmpCode)?,
            quoted_protocol: Typed::open(group, Column::QuotedProtocol)?,
            quoted_port: Typed::open(group, Column::QuotedPort)?,
            kind: Typed::open(group, Column::Kind)?,
            marks: Typed::open(group, Column::Marks)?,
            source: Typed::open(group, Column::Source)?,
            prefix: Typed::open(group, Column::SourcePrefix)?,
            packets: Typed::open(group, Column::Packets)?,
            bytes: Typed::open(group, Column::Bytes)?,
            targets: Typed::open(group, Column::Targets)?,
            region: Typed::open(group, Column::Region)?,
            asn: Typed::open(group, Column::Asn)?,
            organisation: Typed::open(group, Column::Organisation)?,
            scanner: Typed::open(group, Column::KnownScanner)?,
        })
    }

    /// All columns but the source.
    fn others(&mut self) -> [&mut dyn Chunked; 21] {
        [
            &mut self.start,
            &mut self.seconds,
            &mut self.sensor,
            &mut self.class,
            &mut self.ip,
            &mut self.protocol,
            &mut self.port,
            &mut self.icmp_type,
            &mut self.icmp_code,
            &mut self.quoted_protocol,
            &mut self.quoted_port,
            &mut self.kind,
            &mut self.marks,
            &mut self.prefix,
            &mut self.packets,
            &mut self.bytes,
            &mut self.targets,
            &mut self.region,
            &mut self.asn,
            &mut self.organisation,
            &mut self.scanner,
        ]
    }

    /// Reads the next rows of all columns; 0 at the end.
    fn read(&mut self) -> Result<usize, FileError> {
        let rows = self.source.read(CHUNK)?;
        self.others().into_iter().try_for_each(|column| column.read(CHUNK).map(drop))?;
        Ok(rows)
    }

    /// Leaves rows out and reads some that all have one source. The column of sources is neither read nor moved.
    pub(crate) fn read_of(&mut self, source: &ByteArray, skip: usize, rows: usize) -> Result<(), FileError> {
        self.source.values.clear();
        self.source.values.resize(rows, source.clone());
        self.others().into_iter().try_for_each(|column| {
            column.skip(skip)?;
            column.read(rows).map(drop)
        })
    }

    /// Leaves rows out and reads some of all columns.
    pub(crate) fn read_after(&mut self, skip: usize, rows: usize) -> Result<(), FileError> {
        self.source.skip(skip)?;
        self.source.read(rows)?;
        self.others().into_iter().try_for_each(|column| {
            column.skip(skip)?;
            column.read(rows).map(drop)
        })
    }

    /// A row of what was read; `None` if a column has no such row, or its value no meaning.
    pub(crate) fn row(&self, place: usize, names: &mut Names, labels: &mut Labels) -> Option<Row> {
        let ip = match self.ip.get(place)? {
            4 => IpVersion::V4,
            6 => IpVersion::V6,
            _ => return None,
        };
        let source = names.source(self.source.get(place)?)?;
        if source.is_ipv4() != (ip == IpVersion::V4) {
            return None;
        }
        let class = Class {
            ip,
            protocol: u8::try_from(*self.protocol.get(place)?).ok()?,
            service: self.service(place)?,
            kind: kind_of(self.kind.get(place)?.as_utf8().ok()?)?,
            marks: names.marks(self.marks.get(place)?)?,
        };
        Some(Row {
            class: PackedClass::from(class),
            source: address_bits(source),
            start: self.start.get(place)?.div_euclid(1000),
            bytes: u64::try_from(*self.bytes.get(place)?).ok()?,
            packets: u64::try_from(*self.packets.get(place)?).ok()?,
            targets: u32::try_from(*self.targets.get(place)?).ok()?,
            observer: self.observer(place, names, labels)?,
            network: self.network(place, ip, names, labels)?,
        })
    }

    fn service(&self, place: usize) -> Option<Service> {
        let small = |column: &Typed<Int32Type>| u8::try_from(*column.get(place)?).ok();
        if let Some(&port) = self.port.get(place) {
            return Some(Service::Port(u16::try_from(port).ok()?));
        }
        if self.icmp_type.get(place).is_none() {
            return Some(Service::None);
        }
        let (icmp_type, code) = (small(&self.icmp_type)?, small(&self.icmp_code)?);
        if self.quoted_protocol.get(place).is_none() {
            return Some(Service::Icmp { icmp_type, code });
        }
        let quoted_port = u16::try_from(*self.quoted_port.get(place)?).ok()?;
        Some(Service::IcmpError { icmp_type, code, quoted_protocol: small(&self.quoted_protocol)?, quoted_port })
    }

    fn observer(&self, place: usize, names: &mut Names, labels: &mut Labels) -> Option<u32> {
        let observer = Observer {
            sensor: names.text(self.sensor.get(place)?)?,
            class: class_of(self.class.get(place)?.as_utf8().ok()?)?,
            window_seconds: u8::try_from(*self.seconds.get(place)?).ok()?,
        };
        Some(labels.number_observer(&observer))
    }

    fn network(&self, place: usize, ip: IpVersion, names: &mut Names, labels: &mut Labels) -> Option<u32> {
        let mut optional = |text: Option<&ByteArray>| match text {
            Some(text) => names.text(text).map(Some),
            None => Some(None),
        };
        let asn = self.asn.get(place).map(|&asn| u32::try_from(asn));
        let mut network = Network {
            region: Region::parse(self.region.get(place)?.as_utf8().ok()?)?,
            asn: asn.transpose().ok()?,
            organisation: optional(self.organisation.get(place))?,
            known_scanner: optional(self.scanner.get(place))?,
            is_coarse: false,
        };
        network.is_coarse = i32::from(network.prefix_length(ip)) != *self.prefix.get(place)?;
        (i32::from(network.prefix_length(ip)) == *self.prefix.get(place)?).then(|| labels.number_network(&network))
    }
}

/// The columns that say which port a row is about.
pub(crate) struct Ports {
    ip: Typed<Int32Type>,
    protocol: Typed<Int32Type>,
    port: Typed<Int32Type>,
}

impl Ports {
    pub(crate) fn open(group: &dyn RowGroupReader) -> Result<Ports, FileError> {
        Ok(Ports {
            ip: Typed::open(group, Column::IpVersion)?,
            protocol: Typed::open(group, Column::Protocol)?,
            port: Typed::open(group, Column::Port)?,
        })
    }

    /// Reads the next rows; 0 at the end.
    pub(crate) fn read(&mut self) -> Result<usize, FileError> {
        self.ip.read(CHUNK)?;
        self.protocol.read(CHUNK)?;
        self.port.read(CHUNK)
    }

    /// Whether a row of what was read has these values.
    pub(crate) fn is(&self, row: usize, [ip, protocol, port]: [i32; 3]) -> bool {
        let has = |column: &Typed<Int32Type>, value| column.get(row) == Some(&value);
        has(&self.port, port) && has(&self.protocol, protocol) && has(&self.ip, ip)
    }
}

pub(crate) fn no_meaning(path: &Path) -> FileError {
    FileError::Damaged { path: path.to_owned(), what: "a row has no meaning".to_owned() }
}

/// Texts that were seen, each once in memory.
#[derive(Default)]
pub(crate) struct Names {
    /// The newest source: rows of one follow each other.
    source: Option<(ByteArray, IpAddr)>,
    texts: HashMap<Vec<u8>, Arc<str>, foldhash::fast::RandomState>,
    marks: HashMap<Vec<u8>, martlet_window::Marks, foldhash::fast::RandomState>,
}

impl Names {
    fn text(&mut self, bytes: &ByteArray) -> Option<Arc<str>> {
        if let Some(text) = self.texts.get(bytes.data()) {
            return Some(text.clone());
        }
        let text: Arc<str> = bytes.as_utf8().ok()?.into();
        self.texts.insert(bytes.data().to_owned(), text.clone());
        Some(text)
    }

    /// The address that a text is, or begins with.
    fn source(&mut self, bytes: &ByteArray) -> Option<IpAddr> {
        if let Some((text, address)) = &self.source
            && text == bytes
        {
            return Some(*address);
        }
        let text = bytes.as_utf8().ok()?;
        let address = text.split_once('/').map_or(text, |(address, _)| address).parse().ok()?;
        self.source = Some((bytes.clone(), address));
        Some(address)
    }

    fn marks(&mut self, bytes: &ByteArray) -> Option<martlet_window::Marks> {
        if let Some(&marks) = self.marks.get(bytes.data()) {
            return Some(marks);
        }
        let marks = marks_of(bytes.as_utf8().ok()?)?;
        self.marks.insert(bytes.data().to_owned(), marks);
        Some(marks)
    }
}
