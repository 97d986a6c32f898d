//! Packets with known fields: each header's constructor against bytes written by hand.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::IpAddr;

use common::{
    DESTINATION_4, DESTINATION_6, SOURCE_4, SOURCE_6, authentication, ethernet, extension, fragment, icmp, ipv4,
    ipv4_with, ipv6, pppoe, sll, sll2, snap, tag, tcp, udp,
};
use martlet_packet::{
    Fragment, Ipv4Fields, LinkType, MacAddress, Packet, Quoted, Reject, Sender, Tcp, TcpOption, Transport, parse,
};

const SYN: u8 = 0x02;
const MAC: Sender = Sender::Mac(MacAddress::new([2, 0, 0, 0, 0, 2]));

fn read(link: LinkType, frame: &[u8]) -> Packet<'_> {
    parse(link, frame).unwrap()
}

#[track_caller]
fn assert_syn(packet: &Packet<'_>) {
    let Transport::Tcp(tcp) = packet.transport else { panic!("{packet:?}") };
    assert_eq!((tcp.source_port, tcp.destination_port, tcp.sequence), (40_000, 23, 0x0102_0304));
    assert_eq!((tcp.flags.0, tcp.header_length, tcp.window), (SYN, 20, Some(1024)));
}

/// Reads a frame that must hold the SYN over IPv4, and says who sent it.
#[track_caller]
fn syn_4(link: LinkType, frame: &[u8]) -> Sender {
    let packet = read(link, frame);
    assert_eq!((packet.source, packet.destination), (SOURCE_4.into(), DESTINATION_4.into()));
    assert_eq!((packet.protocol, packet.length, packet.fragment), (6, 40, Fragment::No));
    assert_syn(&packet);
    packet.sender
}

/// The same over IPv6.
#[track_caller]
fn syn_6(link: LinkType, frame: &[u8]) -> Sender {
    let packet = read(link, frame);
    assert_eq!((packet.source, packet.destination), (SOURCE_6.into(), DESTINATION_6.into()));
    assert_eq!((packet.protocol, packet.ipv4), (6, None));
    assert_syn(&packet);
    packet.sender
}

fn reject(link: LinkType, frame: &[u8]) -> Reject {
    parse(link, frame).unwrap_err()
}

#[test]
fn ethernet_and_its_tags() {
    let (v4, v6) = (ipv4(6, &tcp(SYN, &[], b"")), ipv6(6, &tcp(SYN, &[], b"")));
    let ether = LinkType::Ethernet;
    assert_eq!(syn_4(ether, &ethernet(0x0800, &v4)), MAC);
    assert_eq!(syn_6(ether, &ethernet(0x86dd, &v6)), MAC);
    // 802.1Q; 802.1ad around 802.1Q; the two values from before 802.1ad; more tags than anyone stacks.
    assert_eq!(syn_4(ether, &ethernet(0x8100, &tag(0x6fff, 0x0800, &v4))), MAC);
    assert_eq!(syn_6(ether, &ethernet(0x88a8, &tag(1, 0x8100, &tag(2, 0x86dd, &v6)))), MAC);
    assert_eq!(syn_4(ether, &ethernet(0x9100, &tag(1, 0x9200, &tag(2, 0x0800, &v4)))), MAC);
    let mut stack = tag(0, 0x0800, &v4);
    for vlan in 1..100 {
        stack = tag(vlan, 0x8100, &stack);
    }
    assert_eq!(syn_4(ether, &ethernet(0x8100, &stack)), MAC);
}

#[test]
fn snap_and_llc() {
    let v4 = ipv4(6, &tcp(SYN, &[], b""));
    let length = u16::try_from(v4.len() + 8).unwrap();
    assert_eq!(syn_4(LinkType::Ethernet, &ethernet(length, &snap(0x0800, &v4))), MAC);
    // A tagged 802.3 frame has its length behind the tag.
    assert_eq!(syn_4(LinkType::Ethernet, &ethernet(0x8100, &tag(5, length, &snap(0x0800, &v4)))), MAC);
    // Spanning tree; SNAP of another organisation; a length where SNAP has a type.
    assert_eq!(reject(LinkType::Ethernet, &ethernet(38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])), Reject::NotIp);
    let cisco = [&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0][..], &v4].concat();
    assert_eq!(reject(LinkType::Ethernet, &ethernet(length, &cisco)), Reject::NotIp);
    assert_eq!(reject(LinkType::Ethernet, &ethernet(length, &snap(0x05ff, &snap(0x0800, &v4)))), Reject::NotIp);
    // Cut off before SNAP says what follows.
    for cut in 0..8 {
        let frame = ethernet(length, &snap(0x0800, &v4)[..cut]);
        assert_eq!(reject(LinkType::Ethernet, &frame), Reject::TruncatedLink, "{cut}");
    }
}

#[test]
fn pppoe_sessions() {
    let (v4, v6) = (ipv4(6, &tcp(SYN, &[], b"")), ipv6(6, &tcp(SYN, &[], b"")));
    assert_eq!(syn_4(LinkType::Ethernet, &ethernet(0x8864, &pppoe(0x0021, &v4))), MAC);
    assert_eq!(syn_6(LinkType::Ethernet, &ethernet(0x8100, &tag(7, 0x8864, &pppoe(0x0057, &v6)))), MAC);
    // LCP; discovery.
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x8864, &pppoe(0xc021, &v4))), Reject::NotIp);
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x8863, &pppoe(0x0021, &v4))), Reject::NotIp);
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x8864, &pppoe(0x0021, &v4)[..7])), Reject::TruncatedLink);
}

#[test]
fn linux_cooked_captures_know_the_direction() {
    let (v4, v6) = (ipv4(6, &tcp(SYN, &[], b"")), ipv6(6, &tcp(SYN, &[], b"")));
    for packet_type in 0..5 {
        let sender = if packet_type == 4 { Sender::ThisHost } else { Sender::OtherHost };
        assert_eq!(syn_4(LinkType::LinuxSll, &sll(packet_type, 0x0800, &v4)), sender);
        let packet_type = u8::try_from(packet_type).unwrap();
        assert_eq!(syn_6(LinkType::LinuxSll2, &sll2(packet_type, 0x86dd, &v6)), sender);
    }
    assert_eq!(syn_4(LinkType::LinuxSll, &sll(0, 0x8100, &tag(7, 0x0800, &v4))), Sender::OtherHost);
    assert_eq!(syn_4(LinkType::LinuxSll2, &sll2(0, 0x8100, &tag(7, 0x0800, &v4))), Sender::OtherHost);
    assert_eq!(reject(LinkType::LinuxSll, &sll(0, 0x0806, &v4)), Reject::NotIp);
    assert_eq!(reject(LinkType::LinuxSll, &sll(0, 0x0800, &v4)[..15]), Reject::TruncatedLink);
    assert_eq!(reject(LinkType::LinuxSll2, &sll2(0, 0x0800, &v4)[..19]), Reject::TruncatedLink);
}

#[test]
fn null_and_loop_in_both_byte_orders() {
    let (v4, v6) = (ipv4(6, &tcp(SYN, &[], b"")), ipv6(6, &tcp(SYN, &[], b"")));
    for family in [[2, 0, 0, 0], [0, 0, 0, 2]] {
        assert_eq!(syn_4(LinkType::Null, &[&family[..], &v4].concat()), Sender::Unknown);
    }
    // AF_INET6 of Linux, the BSDs and macOS.
    for family in [10, 24, 28, 30] {
        for family in [[family, 0, 0, 0], [0, 0, 0, family]] {
            assert_eq!(syn_6(LinkType::Null, &[&family[..], &v6].concat()), Sender::Unknown);
        }
    }
    assert_eq!(reject(LinkType::Null, &[&[7, 0, 0, 0][..], &v4].concat()), Reject::NotIp);
    assert_eq!(reject(LinkType::Null, &[2, 0, 0]), Reject::TruncatedLink);
}

#[test]
fn link_types_by_number() {
    let known = [
        (0, LinkType::Null),
        (108, LinkType::Null),
        (1, LinkType::Ethernet),
        (12, LinkType::Raw),
        (14, LinkType::Raw),
        (101, LinkType::Raw),
        (228, LinkType::Raw),
        (229, LinkType::Raw),
        (113, LinkType::LinuxSll),
        (276, LinkType::LinuxSll2),
    ];
    for number in -1..=300 {
        let expected = known.iter().find(|(known, _)| *known == number).map(|&(_, link)| link);
        assert_eq!(LinkType::from_number(number), expected, "{number}");
    }
}

#[test]
fn the_version_field_decides() {
    let (v4, v6) = (ipv4(6, &tcp(SYN, &[], b"")), ipv6(6, &tcp(SYN, &[], b"")));
    assert_eq!(syn_4(LinkType::Raw, &v4), Sender::Unknown);
    assert_eq!(syn_6(LinkType::Raw, &v6), Sender::Unknown);
    syn_6(LinkType::Ethernet, &ethernet(0x0800, &v6));
    syn_4(LinkType::Ethernet, &ethernet(0x86dd, &v4));
    syn_6(LinkType::Null, &[&[2, 0, 0, 0][..], &v6].concat());
    for version in [0u8, 1, 2, 3, 5, 7, 15] {
        let mut packet = v4.clone();
        packet[0] = version << 4 | 5;
        assert_eq!(reject(LinkType::Raw, &packet), Reject::BadIpVersion, "{version}");
    }
}

#[test]
fn every_reason_to_reject() {
    let v4 = ipv4(6, &tcp(SYN, &[], b""));
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x0800, &v4)[..13]), Reject::TruncatedLink);
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x8100, &[0, 7, 8])), Reject::TruncatedLink);
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x0806, &v4)), Reject::NotIp);
    // MPLS labels are not followed.
    assert_eq!(reject(LinkType::Ethernet, &ethernet(0x8847, &[&[0, 1, 1, 64][..], &v4].concat())), Reject::NotIp);
    assert_eq!(reject(LinkType::Raw, &[]), Reject::TruncatedIp);
    assert_eq!(reject(LinkType::Raw, &v4[..19]), Reject::TruncatedIp);
    assert_eq!(reject(LinkType::Raw, &ipv6(6, &[])[..39]), Reject::TruncatedIp);
    for words in 0..5 {
        let mut packet = v4.clone();
        packet[0] = 0x40 | words;
        assert_eq!(reject(LinkType::Raw, &packet), Reject::BadIpHeader, "{words}");
    }
}

#[test]
fn ipv4_fields_and_options() {
    let bytes = ipv4_with(6, 0x4000, &[7, 7, 4, 0, 0, 0, 0, 0], &tcp(SYN, &[], b""));
    let packet = read(LinkType::Raw, &bytes);
    assert_eq!(packet.length, 48);
    let fields = Ipv4Fields { identification: 54_321, dont_fragment: true, reserved_flag: false };
    assert_eq!(packet.ipv4, Some(fields));
    assert_syn(&packet);
    let bytes = ipv4_with(6, 0x8000, &[], &tcp(SYN, &[], b""));
    let fields = Ipv4Fields { identification: 54_321, dont_fragment: false, reserved_flag: true };
    assert_eq!(read(LinkType::Raw, &bytes).ipv4, Some(fields));
    // Options that are cut off: the packet is there, its transport is not.
    let bytes = ipv4_with(6, 0, &[1; 40], &tcp(SYN, &[], b""));
    let packet = read(LinkType::Raw, &bytes[..50]);
    assert!(matches!(packet.transport, Transport::None), "{packet:?}");
}

#[test]
fn stated_lengths() {
    let payload = |bytes: &[u8]| match parse(LinkType::Raw, bytes).unwrap().transport {
        Transport::Udp(udp) => udp.payload().to_vec(),
        other => panic!("{other:?}"),
    };
    let whole = ipv4(17, &udp(b"data"));
    // Ethernet pads short frames; what is behind the stated end is no payload.
    assert_eq!(payload(&[&whole[..], b"padding"].concat()), b"data");
    // An offloaded segment states 0: the frame says where it ends. The UDP length still holds.
    let mut offloaded = whole.clone();
    offloaded[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(payload(&[&offloaded[..], b"more"].concat()), b"data");
    offloaded[24..26].copy_from_slice(&[0, 0]);
    assert_eq!(payload(&[&offloaded[..], b"more"].concat()), b"datamore");
    assert_eq!(parse(LinkType::Raw, &offloaded).unwrap().length, 0);
    // A UDP length below the header's is damage.
    for length in 0..8 {
        let mut damaged = whole.clone();
        damaged[24..26].copy_from_slice(&[0, length]);
        assert_eq!(payload(&damaged), b"data", "{length}");
    }
    // A total length that ends before the header does leaves no transport.
    let mut short = whole;
    short[2..4].copy_from_slice(&[0, 10]);
    let packet = read(LinkType::Raw, &short);
    assert_eq!(packet.length, 10);
    assert!(matches!(packet.transport, Transport::None), "{packet:?}");
    // A jumbogram states 0 too.
    let mut jumbo = ipv6(17, &udp(b"data"));
    jumbo[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(payload(&jumbo), b"data");
    assert_eq!(parse(LinkType::Raw, &jumbo).unwrap().length, 40);
}

#[test]
fn ipv4_fragments() {
    let segment = tcp(SYN, &[], b"");
    let bytes = ipv4_with(6, 0x2000, &[], &segment);
    let first = read(LinkType::Raw, &bytes);
    assert_eq!(first.fragment, Fragment::First);
    assert_syn(&first);
    for flags_fragment in [0x2001, 0x0001, 0x1fff, 0x6001] {
        let bytes = ipv4_with(6, flags_fragment, &[], &segment);
        let later = read(LinkType::Raw, &bytes);
        assert_eq!((later.fragment, later.protocol), (Fragment::Later, 6), "{flags_fragment:#x}");
        // What looks like ports there are bytes from the middle of a datagram.
        assert!(matches!(later.transport, Transport::None) && later.transport.ports().is_none());
    }
}

#[test]
fn every_ipv6_extension_header() {
    let segment = tcp(SYN, &[], b"");
    let chains = [
        (0, extension(6, 0, &segment)),
        (43, extension(6, 2, &segment)),
        (60, extension(6, 31, &segment)),
        (51, authentication(6, 3, &segment)),
        (51, authentication(6, 0, &segment)),
        (44, fragment(6, 0, false, &segment)),
        (0, {
            let last = fragment(60, 0, false, &extension(6, 1, &segment));
            extension(43, 0, &extension(60, 0, &extension(51, 0, &authentication(44, 4, &last))))
        }),
    ];
    for (first, chain) in chains {
        let bytes = ipv6(first, &chain);
        let packet = read(LinkType::Raw, &bytes);
        assert_eq!((packet.protocol, packet.fragment), (6, Fragment::No), "{first}");
        assert_eq!(packet.length as usize, 40 + chain.len());
        assert_syn(&packet);
        // Cut off anywhere inside the chain, the header that is not whole is the last one known.
        let cut = 40 + chain.len() - segment.len() - 1;
        let packet = read(LinkType::Raw, &bytes[..cut]);
        assert!(matches!(packet.protocol, 0 | 43 | 44 | 51 | 60), "{packet:?}");
        assert!(matches!(packet.transport, Transport::None), "{packet:?}");
    }
    // Mobility, ESP and "no next header" end a chain; so does an unknown number.
    for last in [135, 50, 59, 253] {
        let bytes = ipv6(0, &extension(last, 0, &extension(6, 0, &segment)));
        let packet = read(LinkType::Raw, &bytes);
        assert_eq!(packet.protocol, last);
        assert!(matches!(packet.transport, Transport::None), "{packet:?}");
    }
}

#[test]
fn ipv6_fragments() {
    let segment = tcp(SYN, &[], b"");
    let bytes = ipv6(44, &fragment(6, 0, true, &segment));
    let first = read(LinkType::Raw, &bytes);
    assert_eq!(first.fragment, Fragment::First);
    assert_syn(&first);
    for (offset, more) in [(1, true), (8191, false)] {
        // What follows a later fragment's header is data, even if the header says options.
        let bytes = ipv6(44, &fragment(60, offset, more, &extension(6, 0, &segment)));
        // A fragment header that is cut off says nothing yet, not even that it is one's later fragment.
        for cut in 40..48 {
            let packet = read(LinkType::Raw, &bytes[..cut]);
            assert_eq!((packet.fragment, packet.protocol), (Fragment::No, 44), "{cut}");
        }
        let later = read(LinkType::Raw, &bytes);
        assert_eq!((later.fragment, later.protocol), (Fragment::Later, 60));
        assert!(matches!(later.transport, Transport::None), "{later:?}");
    }
}

#[test]
fn protocols_with_ports() {
    for protocol in [33, 132, 136] {
        let bytes = ipv4(protocol, &[0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0]);
        assert_eq!(read(LinkType::Raw, &bytes).transport.ports(), Some((40_000, 2905)), "{protocol}");
        assert_eq!(read(LinkType::Raw, &bytes[..23]).transport.ports(), None, "{protocol}");
    }
    for protocol in [2, 4, 41, 47, 50, 59, 255] {
        let bytes = ipv4(protocol, &[0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0]);
        assert!(matches!(read(LinkType::Raw, &bytes).transport, Transport::None), "{protocol}");
    }
    // TCP cut off behind its ports is no TCP header, but the ports are known.
    let bytes = ipv4(6, &tcp(SYN, &[], b""));
    assert!(matches!(
        read(LinkType::Raw, &bytes[..33]).transport,
        Transport::Ports { source: 40_000, destination: 23 }
    ));
    let packet = read(LinkType::Raw, &bytes[..34]);
    assert!(matches!(packet.transport, Transport::Tcp(Tcp { window: None, .. })), "{packet:?}");
}

fn options_of(options: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let bytes = ipv4(6, &tcp(SYN, options, b"data"));
    let Transport::Tcp(tcp) = read(LinkType::Raw, &bytes).transport else { panic!("no TCP") };
    assert_eq!(tcp.options().as_bytes(), options);
    assert_eq!(tcp.payload(), b"data");
    tcp.options().map(|TcpOption { kind, data }| (kind, data.to_vec())).collect()
}

#[test]
fn tcp_options() {
    let linux = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let expected = vec![
        (TcpOption::MSS, vec![0x05, 0xb4]),
        (TcpOption::SACK_PERMITTED, vec![]),
        (8, vec![0, 0, 0, 1, 0, 0, 0, 0]),
        (TcpOption::NO_OPERATION, vec![]),
        (TcpOption::WINDOW_SCALE, vec![7]),
    ];
    assert_eq!(options_of(&linux), expected);
    // The end of the list ends it, whatever follows.
    assert_eq!(options_of(&[1, 0, 2, 4]), [(1, vec![])]);
    // Malformed: length 0, length 1, no length at all, longer than the header.
    assert_eq!(options_of(&[1, 1, 3, 0]), [(1, vec![]), (1, vec![])]);
    assert_eq!(options_of(&[1, 1, 3, 1]), [(1, vec![]), (1, vec![])]);
    assert_eq!(options_of(&[1, 1, 1, 3]), [(1, vec![]), (1, vec![]), (1, vec![])]);
    assert_eq!(options_of(&[3, 5, 0, 0]), []);
    // A longest option, and one without data.
    let longest: Vec<u8> = [&[254, 40][..], &[9; 38]].concat();
    assert_eq!(options_of(&longest), [(254, vec![9; 38])]);
    assert_eq!(options_of(&[34, 2, 4, 2]), [(TcpOption::FAST_OPEN, vec![]), (TcpOption::SACK_PERMITTED, vec![])]);
}

#[test]
fn damaged_tcp_header_lengths() {
    for words in 0..5u8 {
        let mut segment = tcp(SYN, &[], b"data");
        segment[12] = words << 4;
        let bytes = ipv4(6, &segment);
        let Transport::Tcp(tcp) = read(LinkType::Raw, &bytes).transport else { panic!("no TCP") };
        assert_eq!((tcp.header_length, tcp.options().count()), (words * 4, 0));
        assert_eq!(tcp.payload(), b"data", "the fixed header is no payload");
    }
    // Longer than what is there: options up to the end, no payload.
    let mut segment = tcp(SYN, &[1, 1, 1, 1], b"");
    segment[12] = 0xf0;
    let bytes = ipv4(6, &segment);
    let Transport::Tcp(tcp) = read(LinkType::Raw, &bytes).transport else { panic!("no TCP") };
    assert_eq!((tcp.options().count(), tcp.payload()), (4, &b""[..]));
}

fn quoted(bytes: &[u8]) -> Option<Quoted> {
    match parse(LinkType::Raw, bytes).unwrap().transport {
        Transport::Icmp(icmp) => icmp.quoted(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn icmp_quotes() {
    let (source, destination) = (IpAddr::from(SOURCE_4), IpAddr::from(DESTINATION_4));
    let quote = |protocol, ports| Some(Quoted { source, destination, protocol, ports });
    let datagram = ipv4(17, &udp(b"data"));
    for error in [3, 4, 5, 11, 12] {
        assert_eq!(quoted(&ipv4(1, &icmp(error, 0, &datagram))), quote(17, Some((40_000, 53))), "{error}");
    }
    for other in [0, 8, 13, 14, 42] {
        assert_eq!(quoted(&ipv4(1, &icmp(other, 0, &datagram))), None, "{other}");
    }
    // RFC 792 promises eight bytes behind the header; four hold the ports; fewer hold none.
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &datagram[..28]))), quote(17, Some((40_000, 53))));
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &datagram[..24]))), quote(17, Some((40_000, 53))));
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &datagram[..23]))), quote(17, None));
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &datagram[..19]))), None);
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &[]))), None);
    // Options in the quoted header move the ports; a later fragment has none; nor has ICMP.
    let with_options = ipv4_with(6, 0, &[1; 8], &tcp(SYN, &[], b""));
    assert_eq!(quoted(&ipv4(1, &icmp(11, 0, &with_options))), quote(6, Some((40_000, 23))));
    let later = ipv4_with(17, 0x0009, &[], &udp(b"data"));
    assert_eq!(quoted(&ipv4(1, &icmp(11, 0, &later))), quote(17, None));
    assert_eq!(quoted(&ipv4(1, &icmp(11, 0, &ipv4(1, &icmp(8, 0, b""))))), quote(1, None));
    // A damaged header is not read further.
    let mut damaged = datagram;
    damaged[0] = 0x44;
    assert_eq!(quoted(&ipv4(1, &icmp(3, 3, &damaged))), None);
}

#[test]
fn icmpv6_quotes() {
    let (source, destination) = (IpAddr::from(SOURCE_6), IpAddr::from(DESTINATION_6));
    let quote = |protocol, ports| Some(Quoted { source, destination, protocol, ports });
    let datagram = ipv6(17, &udp(b"data"));
    for error in [1, 2, 3, 4] {
        assert_eq!(quoted(&ipv6(58, &icmp(error, 0, &datagram))), quote(17, Some((40_000, 53))), "{error}");
    }
    // Type 3 means something else in each version; 128 and up are no errors in version 6.
    for other in [0, 5, 11, 12, 128, 129, 135] {
        assert_eq!(quoted(&ipv6(58, &icmp(other, 0, &datagram))), None, "{other}");
    }
    let chain = ipv6(0, &extension(44, 0, &fragment(6, 0, true, &tcp(SYN, &[], b""))));
    assert_eq!(quoted(&ipv6(58, &icmp(1, 4, &chain))), quote(6, Some((40_000, 23))));
    let later = ipv6(44, &fragment(6, 3, true, &tcp(SYN, &[], b"")));
    assert_eq!(quoted(&ipv6(58, &icmp(3, 1, &later))), quote(6, None));
    assert_eq!(quoted(&ipv6(58, &icmp(1, 4, &datagram[..39]))), None);
}

#[test]
fn echo_messages_have_an_identifier() {
    for bytes in [ipv4(1, &icmp(8, 0, b"")), ipv6(58, &icmp(128, 0, b""))] {
        let Transport::Icmp(icmp) = read(LinkType::Raw, &bytes).transport else { panic!("no ICMP") };
        assert_eq!(icmp.identifier(), 0xabcd);
    }
    let bytes = ipv4(1, &icmp(8, 0, b"")[..5]);
    let Transport::Icmp(cut) = read(LinkType::Raw, &bytes).transport else { panic!("no ICMP") };
    assert_eq!(cut.identifier(), 0);
    let bytes = ipv4(1, &[8]);
    assert!(matches!(read(LinkType::Raw, &bytes).transport, Transport::None));
}
