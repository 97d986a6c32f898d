//! What both IP versions have in common: the packet.

use std::net::IpAddr;

use crate::bytes::byte;
use crate::{Reject, Sender, Transport, ipv4, ipv6};

/// Version of the outer IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4 (RFC 791).
    V4 = 4,
    /// IPv6 (RFC 8200).
    V6 = 6,
}

/// IP protocol numbers that Martlet gives a meaning (IANA protocol-numbers).
#[expect(missing_docs, reason = "each constant is named after its protocol")]
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

/// Place of a packet in a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The datagram is whole.
    No,
    /// The first fragment: it holds the transport header.
    First,
    /// Any other fragment: it has no transport header of its own.
    Later,
}

/// Fields that only IPv4 has and the tools' marks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Fields {
    /// Identification.
    pub identification: u16,
    /// Don't Fragment.
    pub dont_fragment: bool,
    /// The reserved flag bit, which must be zero.
    pub reserved_flag: bool,
}

/// One packet: the outer IP header and as much of its transport header as was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the link layer says about who sent it.
    pub sender: Sender,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol; for IPv6 the first next-header value that is no extension header, or the extension header's own
    /// number where the chain is cut off.
    pub protocol: u8,
    /// Total length as stated in the header, in bytes: for IPv6 40 plus the payload length.
    pub length: u32,
    /// Place in a fragmented datagram.
    pub fragment: Fragment,
    /// IPv4's own fields; `None` for IPv6.
    pub ipv4: Option<Ipv4Fields>,
    /// The transport header.
    pub transport: Transport<'a>,
}

impl Packet<'_> {
    /// The IP version.
    #[must_use]
    pub const fn ip(&self) -> IpVersion {
        match self.source {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        }
    }
}

/// Reads a packet whose first byte is that of an IP header. The version field decides, not the link layer.
#[inline]
pub(crate) fn parse(sender: Sender, bytes: &[u8]) -> Result<Packet<'_>, Reject> {
    match byte(bytes, 0).ok_or(Reject::TruncatedIp)? >> 4 {
        4 => ipv4::parse(sender, bytes),
        6 => ipv6::parse(sender, bytes),
        _ => Err(Reject::BadIpVersion),
    }
}
