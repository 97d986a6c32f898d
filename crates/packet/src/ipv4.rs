//! IPv4 (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use crate::bytes::{at_most, byte, field16, field32, rest};
use crate::{Fragment, Ipv4Fields, Packet, Reject, Sender, Transport};

const VERSION_IHL: usize = 0;
const TOTAL_LENGTH: usize = 2;
const IDENTIFICATION: usize = 4;
const FLAGS_FRAGMENT: usize = 6;
const PROTOCOL: usize = 9;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;
const MIN_HEADER: usize = 20;

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The fixed part of a header, quoted ones included.
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) total_length: u16,
    pub(crate) identification: u16,
    pub(crate) protocol: u8,
    pub(crate) flags_fragment: u16,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

impl Header {
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Result<Header, Reject> {
        let first = byte(bytes, VERSION_IHL).ok_or(Reject::TruncatedIp)?;
        let length = usize::from(first & 0x0f) * 4;
        if length < MIN_HEADER {
            return Err(Reject::BadIpHeader);
        }
        let header = bytes.first_chunk::<MIN_HEADER>().ok_or(Reject::TruncatedIp)?;
        Ok(Header {
            length,
            total_length: field16(header, TOTAL_LENGTH),
            identification: field16(header, IDENTIFICATION),
            protocol: header[PROTOCOL],
            flags_fragment: field16(header, FLAGS_FRAGMENT),
            source: Ipv4Addr::from_bits(field32(header, SOURCE)),
            destination: Ipv4Addr::from_bits(field32(header, DESTINATION)),
        })
    }

    pub(crate) const fn is_later_fragment(&self) -> bool {
        self.flags_fragment & FRAGMENT_OFFSET != 0
    }
}

#[inline]
pub(crate) fn parse(sender: Sender, bytes: &[u8]) -> Result<Packet<'_>, Reject> {
    let header = Header::read(bytes)?;
    let fragment = if header.is_later_fragment() {
        Fragment::Later
    } else if header.flags_fragment & MORE_FRAGMENTS != 0 {
        Fragment::First
    } else {
        Fragment::No
    };
    // A total length of 0 is what segmentation offload leaves behind: then the frame says where the packet ends.
    // Bytes behind the stated end are link-layer padding.
    let datagram = match usize::from(header.total_length) {
        0 => bytes,
        total => at_most(bytes, total),
    };
    let payload = rest(datagram, header.length);
    Ok(Packet {
        sender,
        source: IpAddr::V4(header.source),
        destination: IpAddr::V4(header.destination),
        protocol: header.protocol,
        length: u32::from(header.total_length),
        fragment,
        ipv4: Some(Ipv4Fields {
            identification: header.identification,
            dont_fragment: header.flags_fragment & DONT_FRAGMENT != 0,
            reserved_flag: header.flags_fragment & RESERVED != 0,
        }),
        transport: Transport::read(header.protocol, fragment, payload),
    })
}
