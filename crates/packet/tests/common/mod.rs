//! Packets built by hand, one builder a header, and everything that can be asked of a parsed frame in one value.
//!
//! The headers are written down here from their specifications, not from the crate's constants: that is what makes
//! them evidence.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::IpAddr;

use martlet_packet::{Fragment, Ipv4Fields, LinkType, Packet, Quoted, Reject, Sender, Transport, parse};

pub(crate) const LINK_TYPES: [LinkType; 5] =
    [LinkType::Null, LinkType::Ethernet, LinkType::Raw, LinkType::LinuxSll, LinkType::LinuxSll2];

pub(crate) const SOURCE_4: [u8; 4] = [198, 51, 100, 7];
pub(crate) const DESTINATION_4: [u8; 4] = [192, 0, 2, 1];
pub(crate) const SOURCE_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
pub(crate) const DESTINATION_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Ethernet II: destination 02:..:01, source 02:..:02.
pub(crate) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), payload].concat()
}

/// An 802.1Q tag in front of what `ether_type` names; the tag's own type belongs to the header in front of it.
pub(crate) fn tag(vlan: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&vlan.to_be_bytes()[..], &ether_type.to_be_bytes(), payload].concat()
}

/// LLC and SNAP with an Ethernet type (RFC 1042).
pub(crate) fn snap(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xaa, 0xaa, 0x03, 0, 0, 0][..], &ether_type.to_be_bytes(), payload].concat()
}

/// A PPPoE session header (RFC 2516) with a PPP protocol.
pub(crate) fn pppoe(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&[0x11, 0, 0x12, 0x34, length[0], length[1]][..], &protocol.to_be_bytes(), payload].concat()
}

/// Linux cooked capture v1; packet type 4 is outgoing.
pub(crate) fn sll(packet_type: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let [t0, t1] = packet_type.to_be_bytes();
    let [p0, p1] = protocol.to_be_bytes();
    [&[t0, t1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0, p0, p1][..], payload].concat()
}

/// Linux cooked capture v2.
pub(crate) fn sll2(packet_type: u8, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let [p0, p1] = protocol.to_be_bytes();
    [&[p0, p1, 0, 0, 0, 0, 0, 3, 0, 1, packet_type, 6, 2, 0, 0, 0, 0, 2, 0, 0][..], payload].concat()
}

/// IPv4 with options (a multiple of four bytes), flags and fragment offset as one word.
pub(crate) fn ipv4_with(protocol: u8, flags_fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes();
    let [f0, f1] = flags_fragment.to_be_bytes();
    let first = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let head = [first, 0, l0, l1, 0xd4, 0x31, f0, f1, 64, protocol, 0, 0];
    [&head[..], &SOURCE_4, &DESTINATION_4, options, payload].concat()
}

pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, 0, &[], payload)
}

pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0x60, 0, 0, 0, l0, l1, next_header, 64][..], &SOURCE_6, &DESTINATION_6, payload].concat()
}

/// Hop-by-hop, destination options or routing header, padded to `units` + 1 times eight bytes.
pub(crate) fn extension(next_header: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; (usize::from(units) + 1) * 8];
    header[0] = next_header;
    header[1] = units;
    [&header, payload].concat()
}

/// A fragment header: offset in eight-byte units, and whether more fragments follow.
pub(crate) fn fragment(next_header: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [o0, o1] = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next_header, 0, o0, o1, 0, 0, 0, 1][..], payload].concat()
}

/// An authentication header with an integrity check value of `words` 32-bit words (RFC 4302).
pub(crate) fn authentication(next_header: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0xee; 12 + usize::from(words) * 4];
    // Length in 32-bit words, minus 2.
    header[..2].copy_from_slice(&[next_header, words + 1]);
    [&header, payload].concat()
}

/// TCP from port 40000 to 23, sequence 0x01020304, window 1024.
pub(crate) fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
    let head = [0x9c, 0x40, 0, 23, 1, 2, 3, 4, 0, 0, 0, 0, offset, flags, 4, 0, 0, 0, 0, 0];
    [&head[..], options, payload].concat()
}

/// UDP from port 40000 to 53.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    [&[0x9c, 0x40, 0, 53, l0, l1, 0, 0][..], payload].concat()
}

pub(crate) fn icmp(icmp_type: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    [&[icmp_type, code, 0, 0, 0xab, 0xcd, 0, 1][..], payload].concat()
}

/// One frame of every link type and header that this crate knows, by name, with the link type to read it as.
pub(crate) fn hand_built() -> Vec<(&'static str, LinkType, Vec<u8>)> {
    let syn = tcp(0x02, &[2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2], b"hello");
    let query = udp(b"twelve bytes");
    let v4 = ipv4(6, &syn);
    let v6 = ipv6(6, &syn);
    let quote_4 = ipv4(17, &query);
    let quote_6 = ipv6(60, &extension(6, 0, &syn));
    let sctp = [0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0];
    let chain =
        extension(43, 1, &extension(60, 0, &extension(51, 0, &authentication(44, 3, &fragment(17, 0, true, &query)))));
    vec![
        ("ethernet ipv4", LinkType::Ethernet, ethernet(0x0800, &v4)),
        ("ethernet ipv6", LinkType::Ethernet, ethernet(0x86dd, &v6)),
        ("ethernet arp", LinkType::Ethernet, ethernet(0x0806, &[0; 28])),
        ("vlan", LinkType::Ethernet, ethernet(0x8100, &tag(7, 0x0800, &v4))),
        ("qinq", LinkType::Ethernet, ethernet(0x88a8, &tag(7, 0x8100, &tag(8, 0x86dd, &v6)))),
        ("pppoe", LinkType::Ethernet, ethernet(0x8864, &pppoe(0x0021, &v4))),
        ("snap", LinkType::Ethernet, ethernet(300, &snap(0x0800, &v4))),
        ("llc", LinkType::Ethernet, ethernet(300, &[0x42, 0x42, 3, 0, 0, 0, 8, 0])),
        ("sll", LinkType::LinuxSll, sll(4, 0x0800, &v4)),
        ("sll vlan", LinkType::LinuxSll, sll(0, 0x8100, &tag(7, 0x86dd, &v6))),
        ("sll2", LinkType::LinuxSll2, sll2(0, 0x86dd, &v6)),
        ("null", LinkType::Null, [&[2, 0, 0, 0][..], &v4].concat()),
        ("loop", LinkType::Null, [&[0, 0, 0, 24][..], &v6].concat()),
        ("options", LinkType::Raw, ipv4_with(6, 0x4000, &[7, 7, 4, 0, 0, 0, 0, 0], &syn)),
        ("first fragment", LinkType::Raw, ipv4_with(6, 0x2000, &[], &syn)),
        ("later fragment", LinkType::Raw, ipv4_with(6, 0x2003, &[], &syn)),
        ("sctp", LinkType::Raw, ipv4(132, &sctp)),
        ("gre", LinkType::Raw, ipv4(47, &[0, 0, 8, 0])),
        ("udp", LinkType::Raw, ipv4(17, &query)),
        ("icmp echo", LinkType::Raw, ipv4(1, &icmp(8, 0, b"abcdefgh"))),
        ("icmp error", LinkType::Raw, ipv4(1, &icmp(3, 10, &quote_4))),
        ("icmpv6 error", LinkType::Raw, ipv6(58, &icmp(1, 4, &quote_6))),
        ("every extension", LinkType::Raw, ipv6(0, &chain)),
        ("later ipv6 fragment", LinkType::Raw, ipv6(44, &fragment(17, 5, false, &query))),
        ("tunnel", LinkType::Raw, ipv6(41, &v6)),
        ("padding", LinkType::Ethernet, ethernet(0x0800, &[&ipv4(17, &udp(b""))[..], &[0; 18]].concat())),
    ]
}

/// What is known of a transport header, in the order in which a longer capture reveals it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Nothing,
    Ports(u16, u16),
    Tcp {
        ports: (u16, u16),
        sequence: u32,
        flags: u8,
        header_length: u8,
        window: Option<u16>,
        options: Vec<(u8, Vec<u8>)>,
        raw_options: Vec<u8>,
        payload: Vec<u8>,
    },
    Udp {
        ports: (u16, u16),
        payload: Vec<u8>,
    },
    Icmp {
        version6: bool,
        icmp_type: u8,
        code: u8,
        error: bool,
        quoted: Option<Quoted>,
    },
}

/// Everything that can be asked of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) sender: Sender,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) length: u32,
    pub(crate) fragment: Fragment,
    pub(crate) ipv4: Option<Ipv4Fields>,
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) known: Known,
}

/// Reads a frame and asks everything.
pub(crate) fn facts(link: LinkType, frame: &[u8]) -> Result<Facts, Reject> {
    parse(link, frame).map(|packet| facts_of(&packet))
}

fn facts_of(packet: &Packet<'_>) -> Facts {
    let known = match &packet.transport {
        Transport::None => Known::Nothing,
        Transport::Ports { source, destination } => Known::Ports(*source, *destination),
        Transport::Tcp(tcp) => Known::Tcp {
            ports: (tcp.source_port, tcp.destination_port),
            sequence: tcp.sequence,
            flags: tcp.flags.0,
            header_length: tcp.header_length,
            window: tcp.window,
            options: tcp.options().map(|option| (option.kind, option.data.to_vec())).collect(),
            raw_options: tcp.options().as_bytes().to_vec(),
            payload: tcp.payload().to_vec(),
        },
        Transport::Udp(udp) => {
            Known::Udp { ports: (udp.source_port, udp.destination_port), payload: udp.payload().to_vec() }
        }
        Transport::Icmp(icmp) => Known::Icmp {
            version6: icmp.is_version6(),
            icmp_type: icmp.icmp_type,
            code: icmp.code,
            error: icmp.is_error(),
            quoted: icmp.quoted(),
        },
    };
    Facts {
        sender: packet.sender,
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        length: packet.length,
        fragment: packet.fragment,
        ipv4: packet.ipv4,
        ports: packet.transport.ports(),
        known,
    }
}
