//! Capture files in the classic pcap format (draft-ietf-opsawg-pcap), little endian, Ethernet.

use std::io::{self, Write};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const SNAPSHOT_LENGTH: u32 = 262_144;
const LINK_TYPE_ETHERNET: u32 = 1;
/// Bytes before each frame.
const RECORD_HEADER_LEN: usize = 16;

/// How fine the times of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Whole microseconds; what is finer is cut off.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// Writes packets to a pcap file. Give it a buffered writer.
pub struct PcapWriter<W> {
    out: W,
    resolution: Resolution,
    written: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut out: W, resolution: Resolution) -> io::Result<Self> {
        let magic = match resolution {
            Resolution::Microseconds => MAGIC_MICROSECONDS,
            Resolution::Nanoseconds => MAGIC_NANOSECONDS,
        };
        let mut header = [0; 24];
        header[..4].copy_from_slice(&magic.to_le_bytes());
        // Version 2.4.
        header[4] = 2;
        header[6] = 4;
        header[16..20].copy_from_slice(&SNAPSHOT_LENGTH.to_le_bytes());
        header[20..].copy_from_slice(&LINK_TYPE_ETHERNET.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, resolution, written: 24 })
    }

    /// Writes one frame with its Unix time in nanoseconds.
    ///
    /// # Errors
    /// What the writer says, or that the time is after 2106 or the frame longer than the snapshot length.
    pub fn write(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let beyond = |_| io::Error::new(io::ErrorKind::InvalidInput, "a time or length that pcap cannot hold");
        let seconds = u32::try_from(time_ns / 1_000_000_000).map_err(beyond)?;
        let nanoseconds = (time_ns % 1_000_000_000) as u32;
        let fraction = match self.resolution {
            Resolution::Microseconds => nanoseconds / 1000,
            Resolution::Nanoseconds => nanoseconds,
        };
        let length = u32::try_from(frame.len()).map_err(beyond)?;
        let mut header = [0; RECORD_HEADER_LEN];
        header[..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&fraction.to_le_bytes());
        header[8..12].copy_from_slice(&length.to_le_bytes());
        header[12..].copy_from_slice(&length.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(frame)?;
        self.written += RECORD_HEADER_LEN as u64 + u64::from(length);
        Ok(())
    }

    /// Bytes written so far, headers included.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Flushes and gives the writer back.
    ///
    /// # Errors
    /// What the writer says: a full disk often shows only now.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
