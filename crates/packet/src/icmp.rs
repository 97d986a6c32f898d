//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use std::net::IpAddr;

use crate::bytes::{byte, rest};
use crate::ip::protocol;
use crate::ipv4;
use crate::ipv6;
use crate::transport::read_ports;

const TYPE: usize = 0;
const CODE: usize = 1;
const QUOTE: usize = 8;

/// An ICMP or ICMPv6 message, read at least as far as type and code.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    version6: bool,
    bytes: &'a [u8],
}

/// What an ICMP error says of the packet it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source of the quoted packet: the address that is said to have sent it.
    pub source: IpAddr,
    /// Destination of the quoted packet.
    pub destination: IpAddr,
    /// Protocol of the quoted packet.
    pub protocol: u8,
    /// Source and destination port, where the quoted protocol has ports and they are there.
    pub ports: Option<(u16, u16)>,
}

impl<'a> Icmp<'a> {
    pub(crate) fn read(protocol: u8, bytes: &'a [u8]) -> Option<Icmp<'a>> {
        Some(Icmp {
            icmp_type: byte(bytes, TYPE)?,
            code: byte(bytes, CODE)?,
            version6: protocol == protocol::ICMPV6,
            bytes,
        })
    }

    /// Whether this is ICMPv6.
    #[must_use]
    pub const fn is_version6(&self) -> bool {
        self.version6
    }

    /// Whether the message is an error, which quotes the packet it answers: destination unreachable, source quench,
    /// redirect, time exceeded, parameter problem; for ICMPv6 types 1 to 4.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        if self.version6 { matches!(self.icmp_type, 1..=4) } else { matches!(self.icmp_type, 3 | 4 | 5 | 11 | 12) }
    }

    /// Identifier of an echo message; 0 if it was cut off.
    #[must_use]
    pub fn identifier(&self) -> u16 {
        crate::bytes::be16(self.bytes, 4).unwrap_or(0)
    }

    /// The packet that an error quotes; `None` for other messages and for unreadable quotes.
    #[must_use]
    pub fn quoted(&self) -> Option<Quoted> {
        if !self.is_error() {
            return None;
        }
        let quote = rest(self.bytes, QUOTE);
        let (source, destination, protocol, payload, later) = if self.version6 {
            let header = ipv6::Header::read(quote).ok()?;
            let chain = ipv6::follow(header.next_header, rest(quote, ipv6::Header::LENGTH));
            let later = chain.fragment == crate::Fragment::Later;
            (header.source.into(), header.destination.into(), chain.protocol, chain.payload, later)
        } else {
            let header = ipv4::Header::read(quote).ok()?;
            let payload = rest(quote, header.length);
            let later = header.is_later_fragment();
            (IpAddr::V4(header.source), IpAddr::V4(header.destination), header.protocol, payload, later)
        };
        let has_ports =
            matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE);
        let ports = if has_ports && !later { read_ports(payload) } else { None };
        Some(Quoted { source, destination, protocol, ports })
    }
}
