//! IPv6 (RFC 8200) and its extension headers.

use std::net::{IpAddr, Ipv6Addr};

use crate::bytes::{array, at_most, be16, byte, rest};
use crate::ip::protocol;
use crate::{Fragment, Packet, Reject, Sender, Transport};

const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;
const HEADER: usize = 40;

/// Fields that all extension headers share, apart from the fragment and authentication headers' lengths.
mod extension {
    pub(super) const NEXT_HEADER: usize = 0;
    pub(super) const LENGTH: usize = 1;
    /// The fragment header has a fixed length (RFC 8200, 4.5).
    pub(super) const FRAGMENT_LENGTH: usize = 8;
    pub(super) const FRAGMENT_OFFSET: usize = 2;
    pub(super) const OFFSET_BITS: u16 = 0xfff8;
    pub(super) const MORE_FRAGMENTS: u16 = 0x0001;
}

/// The fields of the fixed header.
pub(crate) struct Header {
    pub(crate) payload_length: u16,
    pub(crate) next_header: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
}

impl Header {
    pub(crate) const LENGTH: usize = HEADER;

    pub(crate) fn read(bytes: &[u8]) -> Result<Header, Reject> {
        let address = |offset| array::<16>(bytes, offset).map(Ipv6Addr::from).ok_or(Reject::TruncatedIp);
        Ok(Header {
            payload_length: be16(bytes, PAYLOAD_LENGTH).ok_or(Reject::TruncatedIp)?,
            next_header: byte(bytes, NEXT_HEADER).ok_or(Reject::TruncatedIp)?,
            source: address(SOURCE)?,
            destination: address(DESTINATION)?,
        })
    }
}

/// Where a chain of extension headers ends.
pub(crate) struct Chain<'a> {
    pub(crate) protocol: u8,
    pub(crate) fragment: Fragment,
    pub(crate) payload: &'a [u8],
}

/// Follows extension headers to the first header that is none, or as far as the bytes go.
pub(crate) fn follow(mut next: u8, mut payload: &[u8]) -> Chain<'_> {
    let mut fragment = Fragment::No;
    // Every header is at least eight bytes, so the loop is bounded by the frame.
    while is_extension(next) && fragment != Fragment::Later {
        let length = if next == protocol::FRAGMENT {
            let Some(offset) =
                be16(payload, extension::FRAGMENT_OFFSET).filter(|_| payload.len() >= extension::FRAGMENT_LENGTH)
            else {
                break;
            };
            fragment = if offset & extension::OFFSET_BITS != 0 {
                Fragment::Later
            } else if offset & extension::MORE_FRAGMENTS != 0 {
                Fragment::First
            } else {
                Fragment::No
            };
            extension::FRAGMENT_LENGTH
        } else {
            let Some(length) = byte(payload, extension::LENGTH).map(usize::from) else { break };
            // The authentication header counts in 4-byte units minus 2 (RFC 4302), the others in 8-byte units minus 1.
            if next == protocol::AUTHENTICATION { (length + 2) * 4 } else { (length + 1) * 8 }
        };
        // Only a header that is there as a whole is believed; a cut-off one is the last.
        let Some((header, following)) = payload.split_at_checked(length) else { break };
        let Some(following_type) = byte(header, extension::NEXT_HEADER) else { break };
        next = following_type;
        payload = following;
    }
    Chain { protocol: next, fragment, payload }
}

/// Extension headers in front of a transport. The mobility header (135) is not among them: nothing may follow it
/// (RFC 6275, 6.1.1), so it says more as a protocol than the "no next header" behind it.
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

pub(crate) fn parse(sender: Sender, bytes: &[u8]) -> Result<Packet<'_>, Reject> {
    let header = Header::read(bytes)?;
    let payload = rest(bytes, HEADER);
    // A payload length of 0 is a jumbogram (RFC 2675) or an offloaded segment: the frame says where it ends.
    let payload = match usize::from(header.payload_length) {
        0 => payload,
        length => at_most(payload, length),
    };
    let chain = follow(header.next_header, payload);
    Ok(Packet {
        sender,
        source: IpAddr::V6(header.source),
        destination: IpAddr::V6(header.destination),
        protocol: chain.protocol,
        length: u32::from(header.payload_length) + 40,
        fragment: chain.fragment,
        ipv4: None,
        transport: Transport::read(chain.protocol, chain.fragment, chain.payload),
    })
}
