//! UDP (RFC 768).

use crate::bytes::{at_most, be16, rest};
use crate::transport::read_ports;

const LENGTH: usize = 4;
const HEADER: usize = 8;

/// A UDP header, read at least as far as its ports.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    #[inline]
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Udp<'a>> {
        let (source_port, destination_port) = read_ports(bytes)?;
        // A length below the header's is damage or a jumbogram (RFC 2675): then the IP layer says where it ends.
        let datagram = match be16(bytes, LENGTH).map(usize::from) {
            Some(length) if length >= HEADER => at_most(bytes, length),
            _ => bytes,
        };
        Some(Udp { source_port, destination_port, payload: rest(datagram, HEADER) })
    }

    /// The payload, as far as it was captured.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
