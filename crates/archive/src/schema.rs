//! The columns of an archive file. docs/archive.md says what they mean; this is where they are named and encoded.

use std::sync::Arc;

use martlet_window::{Kind, Mark, Marks, TrafficClass};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;

use crate::error::FileError;

/// Rows of a row group. Each has a dictionary of its sources as text, which is most of a file: with a quarter of the rows a row
/// takes half as much again (benches/results).
pub const ROW_GROUP_ROWS: usize = 1 << 20;
/// In files of fewer rows most windows are seen once, and a dictionary of them is longer than their differences.
pub(crate) const FEW_ROWS: u64 = 1 << 16;
/// Rows of a page: what a merge of many files holds of each column of each file.
pub(crate) const PAGE_ROWS: usize = 1 << 14;
/// How often a bloom filter says of a source that it does not have that it might.
pub(crate) const BLOOM_ERROR: f64 = 0.01;
/// Higher levels gain a few percent for a multiple of the time (benches/results).
const ZSTD_LEVEL: i32 = 3;
/// Where each file's metadata says the version of its columns.
pub(crate) const VERSION_KEY: &str = "martlet.version";
/// The version of the columns.
pub(crate) const FILE_VERSION: u32 = 1;

macro_rules! columns {
    ($($name:ident $text:literal $declaration:literal),* $(,)?) => {
        /// The columns, in their order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Column { $($name),* }

        impl Column {
            /// Every column, in order.
            pub(crate) const ALL: &[Column] = &[$(Column::$name),*];

            /// Its name.
            #[must_use]
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Column::$name => $text),* }
            }
        }

        const SCHEMA: &str = concat!("message martlet { ", $($declaration, "; "),*, "}");
    };
}

columns! {
    WindowStart "window_start" "REQUIRED INT64 window_start (TIMESTAMP(MILLIS,true))",
    WindowSeconds "window_seconds" "REQUIRED INT32 window_seconds",
    Hour "hour" "REQUIRED INT32 hour",
    Sensor "sensor" "REQUIRED BYTE_ARRAY sensor (STRING)",
    Class "class" "REQUIRED BYTE_ARRAY class (STRING)",
    IpVersion "ip_version" "REQUIRED INT32 ip_version",
    Protocol "protocol" "REQUIRED INT32 protocol",
    Port "port" "OPTIONAL INT32 port",
    IcmpType "icmp_type" "OPTIONAL INT32 icmp_type",
    IcmpCode "icmp_code" "OPTIONAL INT32 icmp_code",
    QuotedProtocol "quoted_protocol" "OPTIONAL INT32 quoted_protocol",
    QuotedPort "quoted_port" "OPTIONAL INT32 quoted_port",
    Kind "kind" "REQUIRED BYTE_ARRAY kind (STRING)",
    Marks "marks" "REQUIRED BYTE_ARRAY marks (STRING)",
    Source "source" "REQUIRED BYTE_ARRAY source (STRING)",
    SourcePrefix "source_prefix" "REQUIRED INT32 source_prefix",
    Packets "packets" "REQUIRED INT64 packets",
    Bytes "bytes" "REQUIRED INT64 bytes",
    Targets "targets" "REQUIRED INT32 targets",
    Region "region" "REQUIRED BYTE_ARRAY region (STRING)",
    Asn "asn" "OPTIONAL INT64 asn",
    Organisation "organisation" "OPTIONAL BYTE_ARRAY organisation (STRING)",
    KnownScanner "known_scanner" "OPTIONAL BYTE_ARRAY known_scanner (STRING)",
}

/// The schema of every file.
///
/// # Errors
/// Never; parsing could fail as far as its types know.
pub(crate) fn schema() -> Result<TypePtr, FileError> {
    Ok(Arc::new(parse_message_type(SCHEMA)?))
}

/// How pages are compressed.
///
/// # Errors
/// Never, as far as the level is one.
pub(crate) fn compression() -> Result<Compression, FileError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
}

/// What compresses them.
///
/// # Errors
/// If there is no memory for it.
pub(crate) fn compressor() -> Result<zstd::bulk::Compressor<'static>, FileError> {
    zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(FileError::compression)
}

/// How a file is written. `facts` stand in its metadata. Of columns it says how differences of windows are, in files of few rows; the
/// others come as chunks that are written already.
pub(crate) fn properties(facts: &[(String, String)]) -> Result<WriterProperties, FileError> {
    let version = (VERSION_KEY.to_owned(), FILE_VERSION.to_string());
    let facts = std::iter::once(&version).chain(facts);
    let metadata = facts.map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("martlet-collector ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression()?)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(metadata));
    Ok(properties.build())
}

/// The names of marks, joined by commas; empty without any.
pub(crate) fn marks_text(marks: Marks) -> String {
    let mut text = String::new();
    for mark in marks.iter() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(mark.name());
    }
    text
}

/// The marks that a text of [`marks_text`] names.
pub(crate) fn marks_of(text: &str) -> Option<Marks> {
    let mut names = text.split(',').filter(|name| !name.is_empty());
    names.try_fold(Marks::NONE, |marks, name| {
        let mark = Mark::ALL.into_iter().find(|mark| mark.name() == name)?;
        Some(marks.with(mark))
    })
}

/// The kind with this name.
pub(crate) fn kind_of(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text)
}

/// The traffic class with this name.
pub(crate) fn class_of(text: &str) -> Option<TrafficClass> {
    TrafficClass::ALL.into_iter().find(|class| class.name() == text)
}
