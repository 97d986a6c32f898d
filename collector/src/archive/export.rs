//! `martlet-collector export`: the archive's rows in other formats.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::Timestamp;
use martlet_window::{IpVersion, Service, TrafficClass};
use serde::Serialize;
use thiserror::Error;

use super::catalog::{ArchiveFile, Catalog};
use super::directory::Directory;
use super::error::ArchiveError;
use super::openmetrics;
use super::{FileError, FileWriter, Labels, Merge, Row};
use crate::config::Port;

/// How often a day is read again whose files were replaced between the catalog's answer and their opening.
const ATTEMPTS: u32 = 5;
const DAY_SECONDS: i64 = 86_400;

/// In which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// What Prometheus' recording rules would have recorded, for `promtool tsdb create-blocks-from openmetrics`.
    Openmetrics,
    /// One file like the archive's own.
    Parquet,
}

/// What is exported.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// From this time on, in seconds since the Unix epoch; by the start of windows.
    pub(crate) from: i64,
    /// Before this time.
    pub(crate) to: i64,
    /// Of this class; all without one.
    pub(crate) class: Option<TrafficClass>,
    /// For OpenMetrics: ports that have series of their own.
    pub(crate) ports: Vec<Port>,
    /// For OpenMetrics: so many more have, those with most packets.
    pub(crate) top: usize,
}

/// Why an export fails.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    /// The archive fails.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is written fails.
    #[error("cannot write the export: {0}")]
    Output(#[from] io::Error),
    /// A row cannot be written as CSV.
    #[error("cannot write the export: {0}")]
    Csv(#[from] csv::Error),
    /// A row cannot be written as JSON.
    #[error("cannot write the export: {0}")]
    Json(#[from] serde_json::Error),
    /// Parquet has its table of contents at the end, and cannot be piped.
    #[error("--format parquet needs --output FILE")]
    NeedsFile,
}

impl From<FileError> for ExportError {
    fn from(error: FileError) -> ExportError {
        ExportError::Archive(error.into())
    }
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Days that were read.
    pub(crate) days: u64,
    /// Rows, or samples.
    pub(crate) rows: u64,
}

/// Reads the days of a selection.
pub(crate) struct Export<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) directory: &'a Directory,
    pub(crate) selection: Selection,
    /// Told how many days are done, of how many.
    pub(crate) progress: &'a mut dyn FnMut(u64, u64),
}

impl Export<'_> {
    /// Writes what is selected; to standard output without a path. A path is complete or not there at all.
    pub(crate) fn write(&mut self, format: Format, output: Option<&Path>) -> Result<Exported, ExportError> {
        let Some(path) = output else {
            let mut out = BufWriter::new(io::stdout().lock());
            let exported = self.stream(format, &mut out)?;
            out.flush()?;
            return Ok(exported);
        };
        let mut unfinished = path.to_owned().into_os_string();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let exported = if format == Format::Parquet {
            self.parquet(&unfinished)
        } else {
            File::create(&unfinished).map_err(ExportError::from).and_then(|file| {
                let mut out = BufWriter::new(file);
                let exported = self.stream(format, &mut out)?;
                out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                Ok(exported)
            })
        };
        match exported {
            Ok(exported) => {
                std::fs::rename(&unfinished, path)?;
                Ok(exported)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&unfinished);
                Err(error)
            }
        }
    }

    fn stream(&mut self, format: Format, out: &mut dyn Write) -> Result<Exported, ExportError> {
        match format {
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
                writer.write_record(COLUMNS)?;
                let exported = self.rows(&mut |row, labels| Ok(writer.serialize(Line::new(row, labels, harmless))?))?;
                writer.flush()?;
                Ok(exported)
            }
            Format::Ndjson => self.rows(&mut |row, labels| {
                serde_json::to_writer(&mut *out, &Line::new(row, labels, str::to_owned))?;
                Ok(out.write_all(b"\n")?)
            }),
            Format::Openmetrics => openmetrics::write(self, out),
            Format::Parquet => Err(ExportError::NeedsFile),
        }
    }

    /// Visits every selected row, day by day, in the order of the archive.
    pub(super) fn rows(
        &mut self,
        visit: &mut dyn FnMut(&Row, &Labels) -> Result<(), ExportError>,
    ) -> Result<Exported, ExportError> {
        let range = self.selection.from.div_euclid(DAY_SECONDS)
            ..self.selection.to.saturating_add(DAY_SECONDS - 1).div_euclid(DAY_SECONDS);
        let mut days: Vec<i64> = self.catalog.files(range)?.iter().map(|file| file.day).collect();
        days.dedup();
        let mut exported = Exported::default();
        for &day in &days {
            let mut merge = self.open(day)?;
            while let Some(row) = merge.next_row()? {
                let Selection { from, to, class, .. } = self.selection;
                let is_class = || class.is_none_or(|class| merge.labels().observer(row.observer).class == class);
                if (from..to).contains(&row.start) && is_class() {
                    visit(&row, merge.labels())?;
                    exported.rows += 1;
                }
            }
            exported.days += 1;
            (self.progress)(exported.days, days.len() as u64);
        }
        Ok(exported)
    }

    /// Opens all files of a day. They may be replaced between the catalog's answer and the opening: then it is asked again. Once they
    /// are open nothing can happen to them.
    fn open(&self, day: i64) -> Result<Merge, ArchiveError> {
        for attempt in 1.. {
            let files: Vec<ArchiveFile> = self.catalog.files(day..day + 1)?;
            let folder = self.directory.day(day)?;
            let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.name)).collect();
            match Merge::open(&paths) {
                Err(error)
                    if attempt < ATTEMPTS
                        && error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
                opened => return Ok(opened?),
            }
        }
        Ok(Merge::open(&[])?)
    }

    /// A file of the archive's own form; its rows are sorted within each day.
    fn parquet(&mut self, path: &Path) -> Result<Exported, ExportError> {
        let mut all = Labels::default();
        let mut writer = FileWriter::create(path, u64::MAX, &[], false)?;
        let exported = self.rows(&mut |row, labels| {
            let observer = all.number_observer(labels.observer(row.observer));
            let network = all.number_network(labels.network(row.network));
            Ok(writer.push(Row { observer, network, ..*row }, &all)?)
        })?;
        writer.finish(&all)?;
        Ok(exported)
    }
}

const fn version(ip: IpVersion) -> u8 {
    match ip {
        IpVersion::V4 => 4,
        IpVersion::V6 => 6,
    }
}

/// The fields of a [`Line`], in their order.
const COLUMNS: [&str; 21] = [
    "window_start",
    "window_seconds",
    "sensor",
    "class",
    "ip_version",
    "protocol",
    "port",
    "icmp_type",
    "icmp_code",
    "quoted_protocol",
    "quoted_port",
    "kind",
    "marks",
    "source",
    "packets",
    "bytes",
    "targets",
    "region",
    "asn",
    "organisation",
    "known_scanner",
];

/// A row as a line of text, with the archive's names.
#[derive(Serialize)]
struct Line {
    window_start: String,
    window_seconds: u8,
    sensor: String,
    class: &'static str,
    ip_version: u8,
    protocol: u8,
    port: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    quoted_protocol: Option<u8>,
    quoted_port: Option<u16>,
    kind: &'static str,
    marks: String,
    source: String,
    packets: u64,
    bytes: u64,
    targets: u32,
    region: String,
    asn: Option<u32>,
    organisation: Option<String>,
    known_scanner: Option<String>,
}

impl Line {
    /// `clean` makes texts fit for the format whose authors are not we.
    fn new(row: &Row, labels: &Labels, clean: fn(&str) -> String) -> Line {
        let (observer, network, class) =
            (labels.observer(row.observer), labels.network(row.network), row.class.unpack());
        let (icmp, quoted) = match class.service {
            Service::Icmp { icmp_type, code } => (Some((icmp_type, code)), None),
            Service::IcmpError { icmp_type, code, quoted_protocol, quoted_port } => {
                (Some((icmp_type, code)), Some((quoted_protocol, quoted_port)))
            }
            Service::None | Service::Port(_) => (None, None),
        };
        let prefix = if network.is_coarse { format!("/{}", network.prefix_length(class.ip)) } else { String::new() };
        Line {
            // Windows are within what nanoseconds since 1970 can say, and times within twenty times that.
            window_start: Timestamp::from_second(row.start).unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            window_seconds: observer.window_seconds,
            sensor: clean(&observer.sensor),
            class: observer.class.name(),
            ip_version: version(class.ip),
            protocol: class.protocol,
            port: if let Service::Port(port) = class.service { Some(port) } else { None },
            icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
            icmp_code: icmp.map(|(_, code)| code),
            quoted_protocol: quoted.map(|(protocol, _)| protocol),
            quoted_port: quoted.map(|(_, port)| port),
            kind: class.kind.name(),
            marks: class.marks.iter().map(|mark| mark.name()).collect::<Vec<_>>().join(","),
            source: format!("{}{prefix}", row.address()),
            packets: row.packets,
            bytes: row.bytes,
            targets: row.targets,
            region: network.region.to_string(),
            asn: network.asn,
            organisation: network.organisation.as_deref().map(clean),
            known_scanner: network.known_scanner.as_deref().map(clean),
        }
    }
}

/// A text that no spreadsheet takes for a formula (OWASP, CSV injection).
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}
