//! Bytes of a captured frame to one [`Packet`], or to exactly one [`Reject`] reason.
//!
//! No I/O, no clock, no allocation, no panic, whatever the bytes. Only the **outer** network header decides: what
//! is quoted in an ICMP error or carried in a tunnel is never a packet of its own.
//!
//! The rule for damaged packets is: *a frame whose IP header can be read is a packet*. If its transport header is
//! cut off or missing, the packet has fewer known fields ([`Transport`]), but it was received and it counts.
//!
//! ```text
//! frame --link--> IP bytes --ipv4|ipv6--> addresses, protocol, fragment --tcp|udp|icmp--> Transport
//! ```
//!
//! Every header has one file with its field offsets as named constants and one checked constructor.

mod bytes;
mod icmp;
mod ip;
mod ipv4;
mod ipv6;
mod link;
mod tcp;
mod transport;
mod udp;

pub use icmp::{Icmp, Quoted};
pub use ip::{Fragment, IpVersion, Ipv4Fields, Packet, protocol};
pub use link::{LinkType, MacAddress, Sender};
pub use tcp::{Tcp, TcpFlags, TcpOption, TcpOptions};
pub use transport::Transport;
pub use udp::Udp;

/// Why a frame holds no packet that could be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// The frame ends before its link-layer header does.
    TruncatedLink,
    /// The link layer carries something else than IP.
    NotIp,
    /// The frame ends before the fixed part of the IP header does.
    TruncatedIp,
    /// The version field is neither 4 nor 6.
    BadIpVersion,
    /// The IPv4 header length is below 20 bytes.
    BadIpHeader,
}

/// Reads one captured frame.
///
/// # Errors
/// Exactly one reason if the frame holds no readable IP header.
#[inline]
pub fn parse(link: LinkType, frame: &[u8]) -> Result<Packet<'_>, Reject> {
    let (sender, ip) = link::network_layer(link, frame)?;
    ip::parse(sender, ip)
}
