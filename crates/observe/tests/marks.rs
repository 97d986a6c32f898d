//! The packets that tools and ordinary stacks send, byte by byte, and the marks that each must carry; and the tables
//! of docs/fingerprints.md against what `classify` does.
//!
//! Templates are written from the tools' own sources and from captures of them, not from the rules: that makes them
//! evidence that the rules are right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use martlet_observe::classify::{Aim, classify};
use martlet_packet::{LinkType, parse};
use martlet_window::{Class, Kind, Mark, Marks, Service};

/// A source that is none of the special-use ones, and an observed address.
const SOURCE: [u8; 4] = [8, 8, 4, 4];
const OBSERVED: [u8; 4] = [203, 0, 114, 9];
/// The private address of a sensor behind 1:1 NAT.
const PRIVATE: [u8; 4] = [10, 0, 0, 5];

const SYN: u8 = 0x02;
const PSH_ACK: u8 = 0x18;
const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];

/// The fields of an IPv4 header that tools choose.
#[derive(Clone, Copy)]
struct Ip {
    id: u16,
    /// The fragment word: 0x4000 is Don't Fragment.
    flags: u16,
    ttl: u8,
    destination: [u8; 4],
}

const PLAIN: Ip = Ip { id: 0x3039, flags: 0, ttl: 51, destination: OBSERVED };
const DONT_FRAGMENT: Ip = Ip { flags: 0x4000, ..PLAIN };

fn ipv4(ip: Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let words = [length, ip.id, ip.flags].map(u16::to_be_bytes).concat();
    [&[0x45, 0][..], &words, &[ip.ttl, protocol, 0xbe, 0xef], &SOURCE, &ip.destination, payload].concat()
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut address = [0x20, 1, 4, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let source = address;
    address[15] = 2;
    [&[0x60, 0, 0, 0, length[0], length[1], next_header, 60][..], &source, &address, payload].concat()
}

fn tcp(port: u16, sequence: u32, flags: u8, window: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    let mut segment = [51_413u16, port].map(u16::to_be_bytes).concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, offset, flags]);
    segment.extend(window.to_be_bytes());
    segment.extend([0xca, 0xfe, 0, 0]);
    [&segment, options, payload].concat()
}

fn udp(source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    [&[source_port, destination_port, length, 0].map(u16::to_be_bytes).concat(), payload].concat()
}

fn read(packet: &[u8], aim: Aim) -> Class {
    classify(&parse(LinkType::Raw, packet).unwrap(), aim)
}

/// Names of the marks, for messages that can be read.
fn marks(packet: &[u8], aim: Aim) -> Vec<&'static str> {
    read(packet, aim).marks.iter().map(Mark::name).collect()
}

/// Marks by tool need the address aimed at: with it under both names, without it the rest only.
#[track_caller]
fn assert_marks(name: &str, packet: &[u8], expected: &[Mark]) {
    let names = |expected: &mut dyn Iterator<Item = &Mark>| expected.map(|mark| mark.name()).collect::<Vec<_>>();
    let all = names(&mut expected.iter());
    assert_eq!(marks(packet, Aim::AsSeen), all, "{name}, as seen");
    assert_eq!(marks(packet, Aim::Public(OBSERVED.into())), all, "{name}, at the public address");
    // At another address and at an unknown one nothing that tests it can hold.
    let mut without = expected.iter().filter(|&&mark| !Marks::DESTINATION_TESTS.contains(mark));
    let without = names(&mut without);
    assert_eq!(marks(packet, Aim::Public(Ipv4Addr::new(203, 0, 114, 10))), without, "{name}, at another address");
    assert_eq!(marks(packet, Aim::Unknown), without, "{name}, at an unknown address");
}

/// masscan's IP ID: its C code truncates the exclusive or of three unsigned numbers to the field's 16 bits.
fn masscan_id(destination: [u8; 4], port: u16, sequence: u32) -> u16 {
    let mixed = u32::from_be_bytes(destination) ^ u32::from(port) ^ sequence;
    u16::try_from(mixed & 0xffff).unwrap()
}

const SEQUENCE: u32 = 0x9d3c_71e5;

fn masscan(destination: [u8; 4], port: u16, window: u16, options: &[u8]) -> Vec<u8> {
    let ip = Ip { id: masscan_id(destination, port, SEQUENCE), ttl: 240, destination, ..PLAIN };
    ipv4(ip, 6, &tcp(port, SEQUENCE, SYN, window, options, b""))
}

fn mirai(destination: [u8; 4], port: u16) -> Vec<u8> {
    let ip = Ip { ttl: 49, destination, ..PLAIN };
    ipv4(ip, 6, &tcp(port, u32::from_be_bytes(destination), SYN, 0x3ac9, &[], b""))
}

/// ZMap before 4.1.0 (`probe_modules/packet.c`): constant IP ID, no options, TTL 255, window 65535.
fn zmap_before_4_1(window: u16) -> Vec<u8> {
    let ip = Ip { id: 54_321, ttl: 246, ..PLAIN };
    ipv4(ip, 6, &tcp(443, SEQUENCE, SYN, window, &[], b""))
}

/// Its default `windows` probe profile since 4.1.0.
const ZMAP_WINDOWS: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];

#[test]
fn zmap() {
    assert_marks("zmap to 4.0", &zmap_before_4_1(65_535), &[Mark::ZmapIpid, Mark::Zmap]);
    // The same IP ID with another window is somebody else's: example code is full of 54321.
    assert_marks("54321 alone", &zmap_before_4_1(5840), &[Mark::ZmapIpid]);
    let windows = tcp(443, SEQUENCE, SYN, 65_535, &ZMAP_WINDOWS, b"");
    assert_marks("zmap 4.1, windows profile", &ipv4(PLAIN, 6, &windows), &[Mark::Zmap4]);
    // One change each, and it is not that template any more.
    assert_marks("DF set", &ipv4(DONT_FRAGMENT, 6, &windows), &[]);
    assert_marks("window", &ipv4(PLAIN, 6, &tcp(443, SEQUENCE, SYN, 64_240, &ZMAP_WINDOWS, b"")), &[]);
    let mut options = ZMAP_WINDOWS;
    options[7] = 7;
    assert_marks("scale", &ipv4(PLAIN, 6, &tcp(443, SEQUENCE, SYN, 65_535, &options, b"")), &[]);
    // The linux profile escapes, as docs/fingerprints.md says.
    let linux = [&MSS_1460[..], &[4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7]].concat();
    assert_marks("zmap 4.1, linux profile", &ipv4(PLAIN, 6, &tcp(443, SEQUENCE, SYN, 65_535, &linux, b"")), &[]);
}

#[test]
fn masscan_in_its_three_shapes() {
    let both = [Mark::MasscanIpid, Mark::Masscan];
    assert_marks("to 2023-11", &masscan(OBSERVED, 3389, 1024, &[]), &both);
    assert_marks("as of 2019", &masscan(OBSERVED, 1433, 1024, &[2, 4, 0x04, 0xb0]), &both);
    assert_marks("since 2023-11-07", &masscan(OBSERVED, 3389, 1025, &MSS_1460), &both);
    // nmap's shape and masscan's of 2019 are one: with MSS 1460 the packet has both.
    let both_shapes = [Mark::MasscanIpid, Mark::Masscan, Mark::NmapShape];
    assert_marks("as of 2019, MSS 1460", &masscan(OBSERVED, 1433, 1024, &MSS_1460), &both_shapes);
    // The IP ID alone is met by one of 65,536 random packets.
    let id_only = [Mark::MasscanIpid];
    assert_marks("another window", &masscan(OBSERVED, 3389, 29_200, &[]), &id_only);
    assert_marks("1025 without MSS", &masscan(OBSERVED, 3389, 1025, &[]), &id_only);
    assert_marks("1025, another MSS", &masscan(OBSERVED, 3389, 1025, &[2, 4, 0x05, 0xb0]), &id_only);
    let mut next = masscan(OBSERVED, 3389, 1024, &[]);
    next[5] ^= 1;
    assert_marks("another IP ID", &next, &[]);
}

#[test]
fn mirai_on_any_port() {
    for port in [23, 2323, 5555, 37_215] {
        assert_marks("mirai", &mirai(OBSERVED, port), &[Mark::Mirai]);
    }
    let mut reversed = mirai(OBSERVED, 23);
    reversed[24..28].reverse();
    assert_marks("the other byte order", &reversed, &[]);
}

#[test]
fn behind_nat_the_public_address_decides() {
    let behind_nat = |mut packet: Vec<u8>| {
        packet[16..20].copy_from_slice(&PRIVATE);
        packet
    };
    let cases = [
        (behind_nat(mirai(OBSERVED, 23)), vec!["mirai"]),
        (behind_nat(masscan(OBSERVED, 80, 1025, &MSS_1460)), vec!["masscan_ipid", "masscan"]),
    ];
    for (packet, expected) in cases {
        assert_eq!(marks(&packet, Aim::Public(OBSERVED.into())), expected);
        for aim in [Aim::AsSeen, Aim::Unknown, Aim::Public(PRIVATE.into())] {
            assert!(marks(&packet, aim).is_empty(), "{aim:?}");
        }
    }
    assert_eq!(Aim::Unknown.unavailable(), Marks::DESTINATION_TESTS);
    for aim in [Aim::AsSeen, Aim::Public(PRIVATE.into())] {
        assert_eq!(aim.unavailable(), Marks::NONE);
    }
}

#[test]
fn nmap_by_shape() {
    // nmap 7.80 (`tcpip.cc`): window 1024, MSS 1460, TTL 37 to 59, DF clear.
    let packet = ipv4(Ip { ttl: 42, ..PLAIN }, 6, &tcp(8080, SEQUENCE, SYN, 1024, &MSS_1460, b""));
    assert_marks("nmap -sS", &packet, &[Mark::NmapShape]);
    for (window, options) in [(2048, &MSS_1460[..]), (1024, &[]), (1024, &[2, 4, 0x05, 0xb4, 1, 1, 1, 0])] {
        assert_marks("not nmap", &ipv4(PLAIN, 6, &tcp(8080, SEQUENCE, SYN, window, options, b"")), &[]);
    }
    // Its stealth scans: -sF, -sN, -sX.
    for flags in [0x01, 0x00, 0x29] {
        let packet = ipv4(PLAIN, 6, &tcp(8080, SEQUENCE, flags, 1024, &[], b""));
        assert_marks("stealth", &packet, &[Mark::Stealth]);
        assert_eq!(read(&packet, Aim::AsSeen).kind, Kind::Scan);
    }
    // -sM (FIN+ACK) and -sA (ACK) could be anything.
    for flags in [0x11, 0x10] {
        let packet = ipv4(PLAIN, 6, &tcp(8080, SEQUENCE, flags, 1024, &[], b""));
        assert_marks("stray", &packet, &[]);
        assert_eq!(read(&packet, Aim::AsSeen).kind, Kind::Other);
    }
}

#[test]
fn unicornscan_has_no_mark_of_one_packet() {
    // Its relation holds between packets of one source; here is one packet of each of its forms.
    let old = ipv4(Ip { ttl: 128, ..PLAIN }, 6, &tcp(22, SEQUENCE, SYN, 4096, &MSS_1460, b""));
    assert_marks("window 4096", &old, &[]);
    // As captured: the profile of OpenBSD that it sends by default.
    let openbsd = [2, 4, 0x05, 0x9c, 1, 1, 4, 2, 1, 3, 3, 0, 1, 1, 8, 10, 0xd3, 0x41, 0x0a, 0xe0, 0, 0, 0, 0];
    let new = ipv4(Ip { ttl: 64, ..DONT_FRAGMENT }, 6, &tcp(22, SEQUENCE, SYN, 16_384, &openbsd, b""));
    assert_marks("profile of OpenBSD", &new, &[]);
}

#[test]
fn slammer() {
    let mut payload = vec![1; 376];
    payload[0] = 4;
    let worm = ipv4(PLAIN, 17, &udp(1074, 1434, &payload));
    assert_eq!(worm.len(), 404);
    assert_marks("slammer", &worm, &[Mark::Slammer]);
    assert_marks("shorter", &ipv4(PLAIN, 17, &udp(1074, 1434, &payload[..375])), &[]);
    assert_marks("another port", &ipv4(PLAIN, 17, &udp(1074, 1433, &payload)), &[]);
    payload[0] = 2;
    assert_marks("another first byte", &ipv4(PLAIN, 17, &udp(1074, 1434, &payload)), &[]);
}

#[test]
fn oddities() {
    let syn = |options: &[u8], payload: &[u8]| ipv4(PLAIN, 6, &tcp(80, SEQUENCE, SYN, 8192, options, payload));
    assert_marks("SYN with data", &syn(&[], b"GET / HTTP/1.0\r\n\r\n"), &[Mark::SynData]);
    let fast_open = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    assert_marks("Fast Open", &syn(&fast_open, b"GET / HTTP/1.0\r\n\r\n"), &[]);
    let data = ipv4(DONT_FRAGMENT, 6, &tcp(80, SEQUENCE, PSH_ACK, 502, &[], b"data"));
    assert_marks("data out of nowhere", &data, &[Mark::TcpData]);
    assert_marks("without data", &ipv4(DONT_FRAGMENT, 6, &tcp(80, SEQUENCE, PSH_ACK, 502, &[], b"")), &[]);
    for protocol in [4, 41, 47] {
        assert_marks("tunnel", &ipv4(PLAIN, protocol, &[0; 40]), &[Mark::Tunnel]);
    }
    // A weak answer: character generator to a port that is no service's.
    assert_marks("chargen", &ipv4(PLAIN, 17, &udp(19, 40_000, b"!\"#$")), &[Mark::WeakBackscatter]);
    assert_marks("chargen to chargen", &ipv4(PLAIN, 17, &udp(19, 19, b"!\"#$")), &[]);
}

#[test]
fn forged_looking_sources() {
    let from = |source: [u8; 4], destination: [u8; 4]| {
        let mut packet = ipv4(Ip { destination, ..DONT_FRAGMENT }, 1, &[8, 0, 0, 0, 0, 1, 0, 1]);
        packet[12..16].copy_from_slice(&source);
        marks(&packet, Aim::AsSeen)
    };
    let odd = vec!["spoofed_looking"];
    // One address of each block of RFC 6890 and its successors that is no source of Internet traffic, its neighbours
    // outside, and multicast.
    let special = [
        [0, 1, 2, 3],
        [10, 255, 1, 1],
        [100, 64, 0, 1],
        [100, 127, 255, 1],
        [127, 0, 0, 1],
        [169, 254, 9, 9],
        [172, 16, 0, 1],
        [172, 31, 255, 1],
        [192, 0, 0, 1],
        [192, 0, 2, 1],
        [192, 168, 1, 1],
        [198, 18, 0, 1],
        [198, 19, 255, 1],
        [198, 51, 100, 1],
        [203, 0, 113, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [8, 8, 4, 0],
        [8, 8, 4, 255],
    ];
    for source in special {
        assert_eq!(from(source, OBSERVED), odd, "{source:?}");
    }
    let ordinary = [
        [1, 1, 1, 1],
        [100, 63, 0, 1],
        [100, 128, 0, 1],
        [172, 15, 0, 1],
        [172, 32, 0, 1],
        [192, 0, 1, 1],
        [192, 167, 1, 1],
        [198, 17, 0, 1],
        [198, 20, 0, 1],
        [203, 0, 112, 1],
        [223, 255, 255, 1],
    ];
    for source in ordinary {
        assert!(from(source, OBSERVED).is_empty(), "{source:?}");
    }
    assert_eq!(from(OBSERVED, OBSERVED), odd);
    for (source_port, port) in [(0, 80), (80, 0)] {
        assert_eq!(marks(&ipv4(PLAIN, 17, &udp(source_port, port, b"")), Aim::AsSeen), odd);
    }
    assert_eq!(marks(&ipv4(Ip { flags: 0x8000, ..PLAIN }, 1, &[8, 0]), Aim::AsSeen), odd);
}

#[test]
fn ordinary_stacks_carry_no_tool_mark() {
    let syn = |window: u16, options: &[u8]| ipv4(DONT_FRAGMENT, 6, &tcp(443, SEQUENCE, SYN, window, options, b""));
    let linux = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 1, 3, 3, 7];
    let macos = [2, 4, 0x05, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 4, 2, 0, 0];
    let dns_query =
        [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 0, 0, 1, 0, 1];
    let mdns_query = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, b'l', b'o', b'c', b'a', b'l', 0, 0, 12, 0, 1];
    // A client's Initial: long header, version 1, an 8-byte connection ID; padded to 1200 bytes (RFC 9000, 14.1).
    let mut quic = vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e];
    quic.resize(1200, 0xa5);
    let echo = [&[8, 0, 0, 0, 0x1f, 0x2e, 0, 1][..], &[0x10; 56]].concat();
    let cases: [(&str, Vec<u8>, Kind); 9] = [
        ("Linux connect", syn(64_240, &linux), Kind::Scan),
        ("Windows 10 connect", syn(64_240, &ZMAP_WINDOWS), Kind::Scan),
        ("Windows 7 connect", syn(8192, &ZMAP_WINDOWS), Kind::Scan),
        ("macOS connect", syn(65_535, &macos), Kind::Scan),
        ("ping", ipv4(DONT_FRAGMENT, 1, &echo), Kind::Scan),
        ("DNS query", ipv4(PLAIN, 17, &udp(41_234, 53, &dns_query)), Kind::Scan),
        ("mDNS query", ipv4(PLAIN, 17, &udp(5353, 5353, &mdns_query)), Kind::Scan),
        ("QUIC Initial", ipv4(DONT_FRAGMENT, 17, &udp(50_123, 443, &quic)), Kind::Scan),
        ("ACK of a connection", ipv4(DONT_FRAGMENT, 6, &tcp(443, SEQUENCE, 0x10, 502, &linux[..0], b"")), Kind::Other),
    ];
    for (name, packet, kind) in cases {
        assert_marks(name, &packet, &[]);
        assert_eq!(read(&packet, Aim::AsSeen).kind, kind, "{name}");
    }
    // A browser's first data on a connection that we know nothing of: an oddity, but no tool's.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 500]].concat();
    let data = ipv4(DONT_FRAGMENT, 6, &tcp(443, SEQUENCE, PSH_ACK, 502, &[], &hello));
    assert_marks("TLS ClientHello", &data, &[Mark::TcpData]);
}

#[test]
fn ipv6_carries_no_mark_that_tests_ipv4_fields() {
    // Its lower 32 bits are the sequence number.
    assert_marks("mirai's rule", &ipv6(6, &tcp(23, 2, SYN, 5840, &[], b"")), &[]);
    assert_marks("zmap's template", &ipv6(6, &tcp(443, SEQUENCE, SYN, 65_535, &ZMAP_WINDOWS, b"")), &[]);
    assert_marks("nmap's shape", &ipv6(6, &tcp(80, SEQUENCE, SYN, 1024, &MSS_1460, b"")), &[Mark::NmapShape]);
}

/// Marks are for probes: what answers a spoofed SYN has fields that its victim chose.
#[test]
fn answers_carry_no_tool_mark() {
    for flags in [0x12, 0x14, 0x04, 0x10, 0x11] {
        let id = masscan_id(OBSERVED, 80, u32::from_be_bytes(OBSERVED));
        for id in [id, 54_321] {
            let segment = tcp(80, u32::from_be_bytes(OBSERVED), flags, 1024, &MSS_1460, b"");
            assert_marks("an answer", &ipv4(Ip { id, ..PLAIN }, 6, &segment), &[]);
        }
    }
}

#[test]
fn every_icmp_type_has_its_kind() {
    let of = |types: &[u8], icmp_type: u8| types.contains(&icmp_type);
    for icmp_type in 0..=255 {
        let message = [&[icmp_type, 0, 0, 0, 0, 0, 0, 0][..], &ipv4(PLAIN, 17, &udp(40_000, 53, b""))].concat();
        let class = read(&ipv4(PLAIN, 1, &message), Aim::AsSeen);
        let expected = if of(&[8, 13, 15, 17], icmp_type) {
            Kind::Scan
        } else if of(&[0, 3, 4, 11, 12, 14, 16, 18], icmp_type) {
            Kind::Backscatter
        } else {
            Kind::Other
        };
        let service = if of(&[3, 4, 11, 12], icmp_type) {
            Service::IcmpError { icmp_type, code: 0, quoted_protocol: 17, quoted_port: 53 }
        } else {
            Service::Icmp { icmp_type, code: 0 }
        };
        assert_eq!((class.kind, class.service), (expected, service), "ICMP {icmp_type}");

        let class = read(&ipv6(58, &[icmp_type, 0, 0, 0, 0, 0, 0, 0]), Aim::AsSeen);
        let expected = match icmp_type {
            128 => Kind::Scan,
            1 | 2 | 3 | 4 | 129 => Kind::Backscatter,
            _ => Kind::Other,
        };
        assert_eq!(class.kind, expected, "ICMPv6 {icmp_type}");
    }
    // Each in the other IP version means nothing.
    for packet in [ipv4(PLAIN, 58, &[128, 0]), ipv6(1, &[8, 0])] {
        let class = read(&packet, Aim::AsSeen);
        assert_eq!((class.kind, class.service), (Kind::Other, Service::None));
    }
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fingerprints.md")).unwrap()
}

/// The first cells of the table behind a heading of the document.
fn first_cells(heading: &str) -> Vec<String> {
    let document = document();
    let (_, section) = document.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.split('|').nth(1).unwrap().replace('`', "").trim().to_owned()).collect()
}

fn ports(heading: &str) -> BTreeSet<u16> {
    let cells = first_cells(heading);
    let listed: Vec<u16> = cells.iter().flat_map(|cell| cell.split(", ")).map(|port| port.parse().unwrap()).collect();
    let ports: BTreeSet<u16> = listed.iter().copied().collect();
    assert_eq!(ports.len(), listed.len(), "a port is listed twice");
    ports
}

fn verdict(source_port: u16, destination_port: u16, payload: &[u8]) -> (Kind, bool) {
    let class = read(&ipv4(PLAIN, 17, &udp(source_port, destination_port, payload)), Aim::AsSeen);
    (class.kind, class.marks.contains(Mark::WeakBackscatter))
}

#[test]
fn the_document_names_the_weak_services_and_all_services() {
    let tested = ports("### Answers by their first bytes");
    let weak = ports("### Answers by port alone");
    assert!(tested.is_disjoint(&weak));
    for port in 1..=u16::MAX {
        // 40000 is no service's port: a datagram without payload from a weak service is taken for an answer.
        let expected = if weak.contains(&port) { (Kind::Backscatter, true) } else { (Kind::Scan, false) };
        assert_eq!(verdict(port, 40_000, b""), expected, "from {port}");
        // To any service's port it is not: that is how the list of all services shows.
        let service = tested.contains(&port) || weak.contains(&port);
        let expected = if service { (Kind::Scan, false) } else { (Kind::Backscatter, true) };
        assert_eq!(verdict(19, port, b""), expected, "to {port}");
    }
}

/// For each service of the document's table an answer and a question, as its protocol has them.
fn samples() -> Vec<(u16, &'static [u8], &'static [u8])> {
    let ike = |responder: u8| -> &'static [u8] {
        let mut message = vec![0x11; 28];
        message[8..16].fill(responder);
        message.leak()
    };
    let dns: (&[u8], &[u8]) =
        (&[0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &[0, 1, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    vec![
        (53, dns.0, dns.1),
        (5353, &[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        (111, &[1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0], &[1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 2]),
        (123, &[0x24, 2, 3, 0xe9], &[0x23, 0, 6, 0x20]),
        (137, &[0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[0, 1, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0]),
        (
            161,
            &[0x30, 15, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa2, 2, 5, 0],
            &[0x30, 15, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa5, 2, 5, 0],
        ),
        (389, &[0x30, 0x84, 0, 0, 0, 5, 2, 1, 7, 0x64, 0], &[0x30, 0x84, 0, 0, 0, 5, 2, 1, 7, 0x63, 0]),
        (443, &[0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4], &[0x43, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (500, ike(0x22), ike(0)),
        (520, &[2, 2, 0, 0, 0, 2, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0]),
        (1434, &[5, 3, 0, b'S', b';'], &[2]),
        (1900, b"HTTP/1.1 200 OK\r\n", b"M-SEARCH * HTTP/1.1\r\n"),
        (3478, &[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]),
        (5060, b"SIP/2.0 404 Not Found\r\n", b"OPTIONS sip:100@203.0.114.9 SIP/2.0\r\n"),
        (5683, &[0x60, 0x45, 0x12, 0x34, 0xff], &[0x40, 0x01, 0x12, 0x34, 0xbb]),
        (11211, b"\0\x01\0\0\0\x01\0\0STAT pid 1\r\n", b"\0\x01\0\0\0\x01\0\0stats\r\n"),
        (27015, b"\xff\xff\xff\xffI\x11name", b"\xff\xff\xff\xffTSource Engine Query\0"),
        (47808, &[0x81, 0x0a, 0, 9, 1, 0, 0x30, 1, 12], &[0x81, 0x0a, 0, 9, 1, 4, 0x02, 1, 12]),
    ]
}

#[test]
fn every_service_of_the_document_tells_answers_from_questions() {
    let samples = samples();
    let listed: BTreeSet<u16> = samples.iter().map(|&(port, ..)| port).collect();
    assert_eq!(listed, ports("### Answers by their first bytes"), "a service without a sample, or the reverse");
    for (port, answer, question) in samples {
        let packet = ipv4(PLAIN, 17, &udp(port, 40_000, answer));
        let class = read(&packet, Aim::AsSeen);
        assert_eq!((class.kind, class.service), (Kind::Backscatter, Service::Port(port)), "answer from {port}");
        // A question from the service's own port is none: 506 packets from port 1900 of a darknet capture were such.
        let class = read(&ipv4(PLAIN, 17, &udp(port, 40_000, question)), Aim::AsSeen);
        assert_eq!((class.kind, class.service), (Kind::Scan, Service::Port(40_000)), "question from {port}");
        // And to the service both are probes: what is in them counts only if they come from it.
        for payload in [answer, question] {
            let class = read(&ipv4(PLAIN, 17, &udp(40_000, port, payload)), Aim::AsSeen);
            assert_eq!((class.kind, class.service), (Kind::Scan, Service::Port(port)), "to {port}");
        }
    }
}

#[test]
fn the_document_names_exactly_the_marks_there_are() {
    let names: Vec<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
    assert_eq!(first_cells("## Marks"), names);
}
