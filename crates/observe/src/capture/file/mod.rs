//! Capture files: pcap and pcapng, plain or compressed, as a stream in constant memory.
//!
//! Our own reader, because a sensor's offline counts must be explainable frame by frame: it names the offset of
//! every damage, keeps going where the format's framing is intact, takes several link types in one file, and
//! reads time stamps in every resolution (base 2 included) and byte order. libpcap gives no offsets and stops at a
//! second link type; the parser crates at hand stop at, or misread, one or another of these.

mod pcap;
mod pcapng;
mod source;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use martlet_packet::LinkType;
use thiserror::Error;

use super::Frame;
use pcap::Pcap;
use pcapng::Pcapng;
use source::Source;
pub use source::{Progress, open_input};

/// Longest record or block that is believed, in bytes: libpcap's limit for a frame is 256 KiB, and pcapng blocks
/// with long options or name lists are far below this.
const MAX_RECORD: usize = 16 << 20;

/// What is wrong with a capture file.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged here; what came before was read.
    #[error("{}: at offset {offset}: {what}{}", file.display(), if *compressed { " (offset after decompression)" } else { "" })]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where, in bytes from the start of the uncompressed capture.
        offset: u64,
        /// What.
        what: String,
        /// Whether the file is compressed, so that the offset is not one of the file itself.
        compressed: bool,
    },
    /// Frames of a link type that Martlet does not read.
    #[error(
        "{}: {frames} frames have link type {number}, which Martlet does not read (it reads Ethernet, Linux cooked \
         v1 and v2, raw IP, null and loop); they are counted as rejected",
        file.display()
    )]
    LinkType {
        /// The file.
        file: PathBuf,
        /// The number of the link type.
        number: i32,
        /// How many frames.
        frames: u64,
    },
}

/// Damage at a place of the uncompressed capture.
#[derive(Debug)]
struct Damage {
    offset: u64,
    what: String,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A capture file being read.
pub struct CaptureFile {
    path: PathBuf,
    source: Source,
    format: Format,
    compressed: bool,
    /// The first link type that is not read, and how many frames had one such.
    unsupported: Option<(i32, u64)>,
    /// The first damage that reading went on after.
    skipped: Option<Damage>,
    finished: bool,
}

impl CaptureFile {
    /// Opens a file, or standard input for `-`, and reads its header.
    ///
    /// # Errors
    /// If it cannot be opened, or does not begin like a capture.
    pub fn open(path: &Path, progress: &Progress) -> Result<CaptureFile, CaptureError> {
        let at = |source| CaptureError::Io { file: path.to_owned(), source };
        let (input, compressed) = open_input(path, progress).map_err(at)?;
        Self::read_header(path, input, compressed)
    }

    fn read_header(path: &Path, input: Box<dyn Read + Send>, compressed: bool) -> Result<CaptureFile, CaptureError> {
        let mut source = Source::new(input);
        let damaged = |damage: Damage| CaptureError::Damaged {
            file: path.to_owned(),
            offset: damage.offset,
            what: damage.what,
            compressed,
        };
        let magic = source.peek(4).map_err(damaged)?;
        let format = match magic.and_then(|bytes| bytes.first_chunk().copied()) {
            Some(pcapng::SECTION_HEADER) => Format::Pcapng(Pcapng::default()),
            Some(magic) => Format::Pcap(Pcap::open(&mut source, magic).map_err(damaged)?),
            None => {
                let what = if source.available() == 0 { "the file is empty" } else { "too short for a capture file" };
                return Err(damaged(source.damage(what)));
            }
        };
        let path = path.to_owned();
        Ok(CaptureFile { path, source, format, compressed, unsupported: None, skipped: None, finished: false })
    }

    /// The next frame, or `None` at the end. After an error there are no more frames.
    ///
    /// # Errors
    /// If the file is damaged such that reading cannot go on.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.finished {
            return Ok(None);
        }
        let record = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.source, &mut self.skipped),
        };
        match record {
            Ok(Some(record)) => {
                let link = LinkType::from_number(record.link);
                if link.is_none() {
                    self.unsupported.get_or_insert((record.link, 0)).1 += 1;
                }
                Ok(Some(Frame { time: record.time, link, bytes: self.source.bytes(record.bytes) }))
            }
            Ok(None) => {
                self.finished = true;
                Ok(None)
            }
            Err(damage) => {
                self.finished = true;
                Err(self.error(damage))
            }
        }
    }

    /// What went wrong without stopping the reading: damaged blocks that were skipped, and link types not read.
    pub fn complaints(&mut self) -> Vec<CaptureError> {
        let mut complaints = Vec::new();
        if let Some(damage) = self.skipped.take() {
            complaints.push(self.error(damage));
        }
        if let Some((number, frames)) = self.unsupported.take() {
            complaints.push(CaptureError::LinkType { file: self.path.clone(), number, frames });
        }
        complaints
    }

    fn error(&self, damage: Damage) -> CaptureError {
        CaptureError::Damaged {
            file: self.path.clone(),
            offset: damage.offset,
            what: damage.what,
            compressed: self.compressed,
        }
    }
}

/// A frame found in the source's buffer.
struct Record {
    time: martlet_window::Timestamp,
    link: i32,
    /// Where in the buffer its bytes are.
    bytes: std::ops::Range<usize>,
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// Reads a number at an offset; callers have made sure that the bytes are there, else it is 0.
    fn u16(self, bytes: &[u8], offset: usize) -> u16 {
        let field = bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        match self {
            Order::Little => u16::from_le_bytes(field),
            Order::Big => u16::from_be_bytes(field),
        }
    }

    /// As [`Order::u16`].
    fn u32(self, bytes: &[u8], offset: usize) -> u32 {
        let field = bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        match self {
            Order::Little => u32::from_le_bytes(field),
            Order::Big => u32::from_be_bytes(field),
        }
    }

    /// As [`Order::u16`].
    fn i64(self, bytes: &[u8], offset: usize) -> i64 {
        let field = bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        match self {
            Order::Little => i64::from_le_bytes(field),
            Order::Big => i64::from_be_bytes(field),
        }
    }
}
