//! TCP (RFC 9293).

use crate::bytes::{at_most, be16, be32, field16, field32, rest};

/// Source and destination port.
const PORTS: usize = 0;
const SEQUENCE: usize = 4;
const OFFSET_FLAGS: usize = 12;
const WINDOW: usize = 14;
const MIN_HEADER: usize = 20;

/// The control bits (RFC 9293, 3.1): the low eight of the flag word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

#[expect(missing_docs, reason = "each constant is named after its control bit")]
impl TcpFlags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;

    /// Whether all bits of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Whether no bit of `bits` is set.
    #[must_use]
    pub const fn lacks(self, bits: u8) -> bool {
        self.0 & bits == 0
    }
}

/// A TCP header, read at least as far as its flags.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Header length as stated, in bytes; below 20 if the header is damaged.
    pub header_length: u8,
    /// Window; `None` if it was cut off.
    pub window: Option<u16>,
    bytes: &'a [u8],
}

impl<'a> Tcp<'a> {
    #[inline]
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Tcp<'a>> {
        match bytes.first_chunk::<MIN_HEADER>() {
            Some(header) => {
                let window = Some(field16(header, WINDOW));
                Some(Tcp::with(
                    bytes,
                    field32(header, PORTS),
                    field32(header, SEQUENCE),
                    field16(header, OFFSET_FLAGS),
                    window,
                ))
            }
            None => {
                let ports = be32(bytes, PORTS)?;
                Some(Tcp::with(bytes, ports, be32(bytes, SEQUENCE)?, be16(bytes, OFFSET_FLAGS)?, be16(bytes, WINDOW)))
            }
        }
    }

    #[inline]
    fn with(bytes: &'a [u8], ports: u32, sequence: u32, offset_flags: u16, window: Option<u16>) -> Tcp<'a> {
        let [s0, s1, d0, d1] = ports.to_be_bytes();
        let [offset, flags] = offset_flags.to_be_bytes();
        Tcp {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            sequence,
            flags: TcpFlags(flags),
            header_length: (offset >> 4) * 4,
            window,
            bytes,
        }
    }

    /// The options, as far as they were captured.
    #[must_use]
    pub fn options(&self) -> TcpOptions<'a> {
        let header = at_most(self.bytes, usize::from(self.header_length));
        TcpOptions(rest(header, MIN_HEADER))
    }

    /// The payload, as far as it was captured.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        rest(self.bytes, usize::from(self.header_length).max(MIN_HEADER))
    }
}

/// One TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Kind (IANA tcp-parameters).
    pub kind: u8,
    /// Its data, without kind and length; empty for end-of-list and no-operation.
    pub data: &'a [u8],
}

#[expect(missing_docs, reason = "each constant is named after its option")]
impl TcpOption<'_> {
    pub const END: u8 = 0;
    pub const NO_OPERATION: u8 = 1;
    pub const MSS: u8 = 2;
    pub const WINDOW_SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const FAST_OPEN: u8 = 34;
}

/// The options of a TCP header in order; ends at end-of-list, at a malformed option, or where the header ends.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions<'a>(&'a [u8]);

impl<'a> TcpOptions<'a> {
    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let (&kind, after) = self.0.split_first()?;
        match kind {
            TcpOption::END => {
                self.0 = &[];
                None
            }
            TcpOption::NO_OPERATION => {
                self.0 = after;
                Some(TcpOption { kind, data: &[] })
            }
            _ => {
                // The length counts kind and length themselves.
                let length = after.first().map(|&length| usize::from(length)).filter(|&l| l >= 2);
                let option = length.and_then(|length| self.0.split_at_checked(length));
                let Some((option, following)) = option else {
                    self.0 = &[];
                    return None;
                };
                self.0 = following;
                Some(TcpOption { kind, data: rest(option, 2) })
            }
        }
    }
}
