//! Which transport header a packet carries, and how much of it is there.

use crate::bytes::be16;
use crate::ip::protocol;
use crate::{Fragment, Icmp, Tcp, Udp};

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;

/// As much of the transport header as was captured.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// TCP, read at least as far as its flags.
    Tcp(Tcp<'a>),
    /// UDP, read at least as far as its ports.
    Udp(Udp<'a>),
    /// ICMP or ICMPv6, read at least as far as type and code.
    Icmp(Icmp<'a>),
    /// SCTP, DCCP or UDP-Lite, or TCP cut off behind its ports.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// Another protocol, a later fragment, or a header cut off before anything useful.
    None,
}

impl<'a> Transport<'a> {
    #[inline]
    pub(crate) fn read(protocol: u8, fragment: Fragment, bytes: &'a [u8]) -> Transport<'a> {
        if fragment == Fragment::Later {
            return Transport::None;
        }
        let read = match protocol {
            protocol::TCP => Tcp::read(bytes).map(Transport::Tcp).or_else(|| ports(bytes)),
            protocol::UDP => Udp::read(bytes).map(Transport::Udp),
            protocol::ICMP | protocol::ICMPV6 => Icmp::read(protocol, bytes).map(Transport::Icmp),
            protocol::SCTP | protocol::DCCP | protocol::UDP_LITE => ports(bytes),
            _ => None,
        };
        read.unwrap_or(Transport::None)
    }

    /// Source and destination port, where the protocol has ports and they were captured.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match *self {
            Transport::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Transport::Udp(udp) => Some((udp.source_port, udp.destination_port)),
            Transport::Ports { source, destination } => Some((source, destination)),
            Transport::Icmp(_) | Transport::None => None,
        }
    }
}

fn ports<'a>(bytes: &[u8]) -> Option<Transport<'a>> {
    let (source, destination) = read_ports(bytes)?;
    Some(Transport::Ports { source, destination })
}

pub(crate) fn read_ports(bytes: &[u8]) -> Option<(u16, u16)> {
    Some((be16(bytes, SOURCE_PORT)?, be16(bytes, DESTINATION_PORT)?))
}
