//! Bytes of a capture with a known offset, from a file or standard input, decompressed on the way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Damage;

/// Read in pieces of this many bytes.
const PIECE: usize = 256 << 10;

/// How many bytes of the inputs have been read, before decompression: for progress bars.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Bytes read so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Opens a file, or standard input for `-`, and decompresses gzip, Zstandard and xz, told by their first bytes and
/// not by the name. Says whether it is compressed.
///
/// # Errors
/// If the file cannot be opened or its first bytes cannot be read.
pub fn open_input(path: &Path, progress: &Progress) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let raw: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Box::new(file)
    };
    let counted = Counted { inner: raw, progress: progress.clone() };
    let mut input = BufReader::with_capacity(PIECE, counted);
    Ok(match input.fill_buf()? {
        [0x1f, 0x8b, ..] => (Box::new(flate2::bufread::MultiGzDecoder::new(input)), true),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Box::new(zstd::stream::read::Decoder::with_buffer(input)?), true),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            (Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)), true)
        }
        _ => (Box::new(input), false),
    })
}

/// A window onto the stream that always holds the record being looked at.
pub(super) struct Source {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The unread bytes of the buffer.
    unread: Range<usize>,
    /// Offset in the stream of `unread.start`.
    offset: u64,
}

impl Source {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Source {
        Source { input, buffer: vec![0; PIECE], unread: 0..0, offset: 0 }
    }

    /// Offset of the next unread byte.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) const fn available(&self) -> usize {
        self.unread.end - self.unread.start
    }

    pub(super) fn damage(&self, what: impl Into<String>) -> Damage {
        Damage { offset: self.offset, what: what.into() }
    }

    /// The next `length` bytes without taking them, or `None` if the stream ends before.
    pub(super) fn peek(&mut self, length: usize) -> Result<Option<&[u8]>, Damage> {
        while self.available() < length {
            if !self.fill(length)? {
                return Ok(None);
            }
        }
        Ok(Some(&self.buffer[self.unread.start..self.unread.start + length]))
    }

    /// Takes `length` bytes that were peeked, and says where in the buffer they are.
    pub(super) fn take(&mut self, length: usize) -> Range<usize> {
        let start = self.unread.start;
        let end = (start + length).min(self.unread.end);
        self.unread.start = end;
        self.offset += (end - start) as u64;
        start..end
    }

    /// Bytes that were taken last.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Reads more, making room for `length` bytes in all. `false` at the end of the stream.
    fn fill(&mut self, length: usize) -> Result<bool, Damage> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.available();
        }
        if self.buffer.len() < length {
            self.buffer.resize(length.next_multiple_of(PIECE), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.unread.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.unread.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = self.offset + self.available() as u64;
                    return Err(Damage { offset, what: format!("cannot be read: {error}") });
                }
            }
        }
    }
}
