//! Link layers: from a captured frame to the bytes of its network layer.

use crate::Reject;
use crate::bytes::{array, be16, byte, field16, rest};

/// A link type that Martlet reads. Numbers are those of <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// `LINKTYPE_NULL` (0) and `LINKTYPE_LOOP` (108): four bytes of address family in either byte order.
    Null,
    /// `LINKTYPE_ETHERNET` (1).
    Ethernet,
    /// `LINKTYPE_RAW` (101; 12 and 14 in old files), `LINKTYPE_IPV4` (228), `LINKTYPE_IPV6` (229).
    Raw,
    /// `LINKTYPE_LINUX_SLL` (113): Linux cooked capture v1.
    LinuxSll,
    /// `LINKTYPE_LINUX_SLL2` (276): Linux cooked capture v2.
    LinuxSll2,
}

impl LinkType {
    /// The link type with this number, or `None` if Martlet does not read it.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<LinkType> {
        match number {
            0 | 108 => Some(LinkType::Null),
            1 => Some(LinkType::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(LinkType::Raw),
            113 => Some(LinkType::LinuxSll),
            276 => Some(LinkType::LinuxSll2),
            _ => None,
        }
    }
}

/// An Ethernet address (IEEE 802.3, 3.2.3), as one number: it is compared for every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(u64);

impl MacAddress {
    /// The address with these octets, in the order of transmission.
    #[inline]
    #[must_use]
    pub const fn new([a, b, c, d, e, f]: [u8; 6]) -> MacAddress {
        MacAddress(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

/// What the link layer says about who sent the frame: needed to tell the host's own packets from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The link layer does not say.
    Unknown,
    /// Ethernet source address.
    Mac(MacAddress),
    /// Linux cooked capture: the capturing host itself.
    ThisHost,
    /// Linux cooked capture: another host.
    OtherHost,
}

/// Ethernet II (IEEE 802.3 clause 3).
mod ethernet {
    pub(super) const SOURCE: usize = 6;
    pub(super) const TYPE: usize = 12;
    pub(super) const HEADER: usize = 14;
    /// Values below are lengths of an 802.3 frame, not types.
    pub(super) const FIRST_TYPE: u16 = 0x0600;
}

/// EtherTypes (IEEE registration authority).
mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    /// 802.1Q, 802.1ad, and the two values that were used for stacked tags before 802.1ad.
    pub(super) const TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
}

/// IEEE 802.1Q tag: control information, then the type of what follows.
mod tag {
    pub(super) const TYPE: usize = 2;
    pub(super) const LENGTH: usize = 4;
}

/// 802.2 LLC with a SNAP header (RFC 1042) in front of an EtherType.
mod snap {
    pub(super) const RFC1042: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
    pub(super) const TYPE: usize = 6;
    pub(super) const HEADER: usize = 8;
}

/// PPPoE (RFC 2516) and the PPP protocol field behind it (RFC 1661).
mod pppoe {
    pub(super) const PROTOCOL: usize = 6;
    pub(super) const HEADER: usize = 8;
    pub(super) const PPP_IPV4: u16 = 0x0021;
    pub(super) const PPP_IPV6: u16 = 0x0057;
}

/// Linux cooked capture v1 (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>).
mod sll {
    pub(super) const PACKET_TYPE: usize = 0;
    pub(super) const PROTOCOL: usize = 14;
    pub(super) const HEADER: usize = 16;
    pub(super) const OUTGOING: u8 = 4;
}

/// Linux cooked capture v2 (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>).
mod sll2 {
    pub(super) const PROTOCOL: usize = 0;
    pub(super) const PACKET_TYPE: usize = 10;
    pub(super) const HEADER: usize = 20;
}

/// BSD loopback: the address family of the host that captured.
mod null {
    pub(super) const HEADER: usize = 4;
    pub(super) const IPV4: u32 = 2;
    /// Linux; NetBSD, OpenBSD; FreeBSD; macOS.
    pub(super) const IPV6: [u32; 4] = [10, 24, 28, 30];
}

/// The sender, and the bytes of the network layer.
#[inline]
pub(crate) fn network_layer(link: LinkType, frame: &[u8]) -> Result<(Sender, &[u8]), Reject> {
    match link {
        LinkType::Raw => Ok((Sender::Unknown, frame)),
        LinkType::Ethernet => {
            let (header, payload) = frame.split_first_chunk::<{ ethernet::HEADER }>().ok_or(Reject::TruncatedLink)?;
            let sender =
                array(header, ethernet::SOURCE).map_or(Sender::Unknown, |octets| Sender::Mac(MacAddress::new(octets)));
            match field16(header, ethernet::TYPE) {
                ether_type::IPV4 | ether_type::IPV6 => Ok((sender, payload)),
                other => Ok((sender, ether_payload(other, payload)?)),
            }
        }
        LinkType::LinuxSll => {
            let protocol = be16(frame, sll::PROTOCOL).ok_or(Reject::TruncatedLink)?;
            let packet_type = be16(frame, sll::PACKET_TYPE).ok_or(Reject::TruncatedLink)?;
            let sender = cooked_sender(packet_type == u16::from(sll::OUTGOING));
            Ok((sender, ether_payload(protocol, rest(frame, sll::HEADER))?))
        }
        LinkType::LinuxSll2 => {
            let protocol = be16(frame, sll2::PROTOCOL).ok_or(Reject::TruncatedLink)?;
            let packet_type = byte(frame, sll2::PACKET_TYPE).ok_or(Reject::TruncatedLink)?;
            if frame.len() < sll2::HEADER {
                return Err(Reject::TruncatedLink);
            }
            let sender = cooked_sender(packet_type == sll::OUTGOING);
            Ok((sender, ether_payload(protocol, rest(frame, sll2::HEADER))?))
        }
        LinkType::Null => {
            let family: [u8; 4] = array(frame, 0).ok_or(Reject::TruncatedLink)?;
            // NULL is in the byte order of the capturing machine, LOOP in network order; families are small numbers.
            let family = u32::from_be_bytes(family).min(u32::from_le_bytes(family));
            if family == null::IPV4 || null::IPV6.contains(&family) {
                Ok((Sender::Unknown, rest(frame, null::HEADER)))
            } else {
                Err(Reject::NotIp)
            }
        }
    }
}

const fn cooked_sender(outgoing: bool) -> Sender {
    if outgoing { Sender::ThisHost } else { Sender::OtherHost }
}

/// Follows tags, SNAP and PPPoE down to IP.
fn ether_payload(mut ether_type: u16, mut payload: &[u8]) -> Result<&[u8], Reject> {
    // Each round consumes at least four bytes, so a frame of nothing but tags ends too.
    loop {
        match ether_type {
            ether_type::IPV4 | ether_type::IPV6 => return Ok(payload),
            ether_type::PPPOE_SESSION => {
                let protocol = be16(payload, pppoe::PROTOCOL).ok_or(Reject::TruncatedLink)?;
                return match protocol {
                    pppoe::PPP_IPV4 | pppoe::PPP_IPV6 => Ok(rest(payload, pppoe::HEADER)),
                    _ => Err(Reject::NotIp),
                };
            }
            tag if ether_type::TAGS.contains(&tag) => {
                ether_type = be16(payload, tag::TYPE).ok_or(Reject::TruncatedLink)?;
                payload = rest(payload, tag::LENGTH);
            }
            length if length < ethernet::FIRST_TYPE && payload.starts_with(&snap::RFC1042) => {
                ether_type = be16(payload, snap::TYPE).ok_or(Reject::TruncatedLink)?;
                // A length has no meaning inside SNAP; without this a chain of them could be read as types.
                if ether_type < ethernet::FIRST_TYPE {
                    return Err(Reject::NotIp);
                }
                payload = rest(payload, snap::HEADER);
            }
            // Cut off inside LLC and SNAP: what it carries is not known, so it is not known to be no IP either.
            length if length < ethernet::FIRST_TYPE && snap::RFC1042.starts_with(payload) => {
                return Err(Reject::TruncatedLink);
            }
            _ => return Err(Reject::NotIp),
        }
    }
}
