//! The packets of each tool, field by field, after the tools' own sources and their captures.
//!
//! | tool | what marks it |
//! | --- | --- |
//! | Mirai | sequence number = destination address; random IP ID each packet; source port and window once per bot; 40 bytes, TTL 64 |
//! | ZMap to 4.0 | IP ID 54321, window 65535, 40 bytes, TTL 255 |
//! | ZMap since 4.1 (2024-03), profile `windows` | random IP ID, window 65535, DF clear, options MSS 1460, NOP, WS 8, NOP, NOP, SACK-permitted; TTL of the system |
//! | Masscan to 2023-11 | IP ID = low half of (destination ^ port ^ sequence), 40 bytes, window 1024, TTL 255 |
//! | Masscan since 2023-11 | the same IP ID, 44 bytes, MSS 1460, window 1025 |
//! | Nmap | MSS 1460 only, window 1024; sequence numbers of one scan whose halves differ alike; TTL 37 to 59 |
//! | Linux | an ordinary `connect()`: MSS, SACK-permitted, timestamps, NOP, WS 7; window 64240; DF |
//! | Slammer | UDP 1434, IP length 404, first payload byte 4, then harmless filler |
//!
//! TTLs are those that the tools set, less 5 to 24 hops, the same for all packets of a host.

use crate::frame::{ACK, Frame, Ip, RST, SYN, Tcp, ip_header};
use crate::random::{Stream, scale};

/// A program that scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Mirai,
    ZmapIpId,
    Zmap4,
    MasscanOld,
    Masscan2023,
    Nmap,
    Linux,
}

/// A sending host: its address, and 64 bits that decide what stays the same in its packets.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) address: u32,
    pub(crate) traits: u64,
}

impl Host {
    fn hops(self) -> u8 {
        5 + (self.traits % 20) as u8
    }

    /// 16 bits of its own; `which` 0 to 2.
    fn half(self, which: u32) -> u16 {
        (self.traits >> (16 + 16 * which) & 0xffff) as u16
    }

    /// A port that the host keeps, from 1024 up.
    fn fixed_port(self) -> u16 {
        1024 + self.half(0) % 64512
    }

    fn ip(self, destination: u32, ttl: u8) -> Ip {
        Ip { source: self.address, destination, id: 0, dont_fragment: false, ttl: ttl - self.hops() }
    }
}

const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];
const ZMAP_4: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];

/// Writes the probe of a tool and says which sequence number it carries.
pub(crate) fn syn(
    frame: &mut Frame,
    tool: Tool,
    host: Host,
    destination: u32,
    port: u16,
    random: &mut Stream,
) -> (Ip, u32) {
    let bits = random.bits64();
    let (sequence, id) = ((bits >> 32) as u32, (bits & 0xffff) as u16);
    // ZMap and Linux take a port from the usual ephemeral range for each probe.
    let ephemeral = 32_768 + ((bits >> 16) % 28_232) as u16;
    let mut options = [0; 20];
    let mut ip = Ip { id, ..host.ip(destination, 64) };
    let mut tcp = Tcp {
        source_port: ephemeral,
        destination_port: port,
        sequence,
        acknowledgment: 0,
        flags: SYN,
        window: 65_535,
        options: &[],
    };
    // masscan's IP ID, truncated to its low half.
    let folded = ((destination ^ u32::from(port) ^ sequence) & 0xffff) as u16;
    match tool {
        Tool::Mirai => {
            tcp.sequence = destination;
            tcp.source_port = host.fixed_port();
            tcp.window = host.half(1);
        }
        Tool::ZmapIpId => ip = Ip { id: 54_321, ..host.ip(destination, 255) },
        Tool::Zmap4 => tcp.options = &ZMAP_4,
        Tool::MasscanOld => {
            ip = Ip { id: folded, ..host.ip(destination, 255) };
            (tcp.source_port, tcp.window) = (host.fixed_port(), 1024);
        }
        Tool::Masscan2023 => {
            ip = Ip { id: folded, ..host.ip(destination, 255) };
            (tcp.source_port, tcp.window, tcp.options) = (host.fixed_port(), 1025, &MSS);
        }
        Tool::Nmap => {
            ip.ttl = 37 + (bits % 23) as u8 - host.hops();
            // Nmap encodes 16 bits twice and hides them under one mask per scan.
            let twice = sequence & 0xffff;
            tcp.sequence = (twice << 16 | twice) ^ u32::from(host.half(0)) << 16 ^ u32::from(host.half(1));
            (tcp.source_port, tcp.window, tcp.options) = (host.fixed_port(), 1024, &MSS);
        }
        Tool::Linux => {
            ip.dont_fragment = true;
            options[..8].copy_from_slice(&[2, 4, 0x05, 0xb4, 4, 2, 8, 10]);
            options[8..12].copy_from_slice(&random.bits32().to_be_bytes());
            options[16..].copy_from_slice(&[1, 3, 3, 7]);
            (tcp.window, tcp.options) = (64_240, &options);
        }
    }
    frame.tcp(&ip, &tcp);
    (ip, tcp.sequence)
}

/// Writes a segment that answers nothing: flags as given, from a victim's service port. Gives the sequence number.
pub(crate) fn answer(
    frame: &mut Frame,
    flags: u8,
    victim: Host,
    destination: u32,
    ports: (u16, u16),
    random: &mut Stream,
) -> (Ip, u32) {
    let bits = random.bits64();
    let ip = Ip { id: (bits & 0xffff) as u16, ..victim.ip(destination, 64) };
    // A reset to a stray SYN acknowledges it and has no sequence number of its own.
    let sequence = if flags & RST != 0 { 0 } else { (bits >> 32) as u32 };
    let tcp = Tcp {
        source_port: ports.0,
        destination_port: ports.1,
        sequence,
        acknowledgment: random.bits32(),
        flags,
        window: if flags & RST != 0 { 0 } else { 29_200 },
        options: if flags & SYN != 0 { &MSS } else { &[] },
    };
    frame.tcp(&ip, &tcp);
    (ip, sequence)
}

pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const RST_ACK: u8 = RST | ACK;

const DNS_QUERY: [u8; 29] = *b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
const DNS_ANSWER: [u8; 29] = *b"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
const NETBIOS_STATUS: &[u8] =
    b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x21\x00\x01";
const CLDAP_SEARCH: &[u8] = b"\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00";
const COAP_GET: &[u8] = b"\x40\x01\x12\x34\xbb.well-known\x04core";
const OPENVPN_RESET: &[u8] = b"\x38drill-12\x00\x00\x00\x00\x00";
const NTP_CLIENT: [u8; 48] = ntp(0x23);
const NTP_SERVER: [u8; 48] = ntp(0x24);
const SNMP_GET: &[u8] = b"\x30\x26\x02\x01\x00\x04\x06public\xa0\x19\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00";
const SSDP_SEARCH: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
const SSDP_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:drill::upnp:rootdevice\r\n\r\n";
const SIP_OPTIONS: &[u8] = b"OPTIONS sip:100@drill.invalid SIP/2.0\r\nVia: SIP/2.0/UDP drill.invalid:5060;branch=z9hG4bK-drill;rport\r\nMax-Forwards: 70\r\nTo: \"drill\" <sip:100@drill.invalid>\r\nFrom: \"drill\" <sip:100@drill.invalid>;tag=drill\r\nUser-Agent: martlet-drill\r\nCall-ID: drill\r\nContact: <sip:100@drill.invalid:5060>\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n";

/// An NTP header (RFC 5905) with this first byte and nothing else.
const fn ntp(first: u8) -> [u8; 48] {
    let mut header = [0; 48];
    header[0] = first;
    header
}

/// Filler that is plainly no attack, as long as the longest payload.
const FILLER: [u8; 376] = filler();

const fn filler() -> [u8; 376] {
    const TEXT: &[u8; 16] = b"martlet drill - ";
    let mut bytes = [0; 376];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = TEXT[i % TEXT.len()];
        i += 1;
    }
    bytes
}

const SLAMMER: [u8; 376] = {
    let mut bytes = filler();
    bytes[0] = 4;
    bytes
};

/// The payload of a probe to a UDP service: a harmless request where we know the protocol, else filler of the mean
/// length counted for that port.
fn udp_request(port: u16) -> &'static [u8] {
    let length = match port {
        53 | 5353 => return &DNS_QUERY,
        137 => return NETBIOS_STATUS,
        389 => return CLDAP_SEARCH,
        5683 => return COAP_GET,
        1194 => return OPENVPN_RESET,
        123 => return &NTP_CLIENT,
        161 => return SNMP_GET,
        1900 => return SSDP_SEARCH,
        5060 | 5070 => return SIP_OPTIONS,
        1434 => 15,
        111 => 39,
        19 | 17 | 3283 | 5632 | 5351 | 10001 => 5,
        53413 => 67,
        3702 => 285,
        69 | 623 | 47808 => 20,
        500 => 93,
        _ => 54,
    };
    &FILLER[..length]
}

/// Writes a probe to a UDP service.
pub(crate) fn udp_probe(
    frame: &mut Frame,
    host: Host,
    destination: u32,
    port: u16,
    random: &mut Stream,
) -> (Ip, u16, u8) {
    let bits = random.bits32();
    let ip = Ip { id: (bits & 0xffff) as u16, ..host.ip(destination, 64) };
    // Above 55000 there is no service whose answers a counter could take this for.
    let source_port = 55_000 + (scale(bits, 10_000) & 0x3fff) as u16;
    let payload = udp_request(port);
    frame.udp(&ip, source_port, port, payload);
    (ip, source_port, payload.first().copied().unwrap_or(0))
}

/// Writes a datagram that looks like Slammer's to a counter and is harmless to everybody.
pub(crate) fn slammer(frame: &mut Frame, host: Host, destination: u32, random: &mut Stream) -> (Ip, u16, u8) {
    let ip = Ip { id: (random.bits32() & 0xffff) as u16, ..host.ip(destination, 128) };
    // Above 55000, as for other probes: a service's port would make the datagram look like an answer.
    let source_port = 55_000 + host.half(0) % 10_000;
    frame.udp(&ip, source_port, 1434, &SLAMMER);
    (ip, source_port, SLAMMER[0])
}

/// Writes an answer of a UDP service to a port that never asked.
pub(crate) fn udp_answer(
    frame: &mut Frame,
    victim: Host,
    destination: u32,
    port: u16,
    random: &mut Stream,
) -> (Ip, u16, u8) {
    let ip = Ip { id: (random.bits32() & 0xffff) as u16, ..victim.ip(destination, 64) };
    // Our choice: name servers lead.
    let (source_port, payload): (u16, &[u8]) = match victim.half(2) % 10 {
        0..=5 => (53, &DNS_ANSWER),
        6..=7 => (123, &NTP_SERVER),
        _ => (1900, SSDP_ANSWER),
    };
    frame.udp(&ip, source_port, port, payload);
    (ip, source_port, payload[0])
}

/// Writes an echo request.
pub(crate) fn echo(frame: &mut Frame, host: Host, destination: u32, random: &mut Stream) -> (Ip, (u8, u8)) {
    let bits = random.bits64();
    let ip = Ip { id: (bits & 0xffff) as u16, ..host.ip(destination, 64) };
    frame.icmp(&ip, (8, 0), ((bits >> 32) as u32).to_be_bytes(), &FILLER[..32]);
    (ip, (8, 0))
}

/// Writes an ICMP error that quotes a packet with a forged dark source, or an echo reply.
pub(crate) fn icmp_answer(
    frame: &mut Frame,
    victim: Host,
    destination: u32,
    port: u16,
    random: &mut Stream,
) -> (Ip, (u8, u8)) {
    let bits = random.bits64();
    let ip = Ip { id: (bits & 0xffff) as u16, ..victim.ip(destination, 255) };
    // Per 4,500, as counted in the capture: see the table of the mix.
    let kind = match (bits >> 16) % 4500 {
        0..1315 => (3, 3),
        1315..2526 => (11, 0),
        2526..3732 => (3, 0),
        3732..4136 => (3, 1),
        4136..4336 => (3, 13),
        _ => (0, 0),
    };
    if kind.0 == 0 {
        frame.icmp(&ip, kind, ((bits >> 32) as u32).to_be_bytes(), &FILLER[..32]);
        return (ip, kind);
    }
    // What was quoted: a SYN to the victim, or a datagram where the port is said to be closed.
    let udp = kind == (3, 3);
    let quoted = Ip { id: 0, source: destination, destination: victim.address, dont_fragment: false, ttl: 1 };
    let mut body = [0; 28];
    body[..20].copy_from_slice(&ip_header(&quoted, if udp { 17 } else { 6 }, if udp { 8 } else { 20 }));
    body[20..22].copy_from_slice(&(1024 + (bits >> 40 & 0x3fff) as u16).to_be_bytes());
    body[22..24].copy_from_slice(&port.to_be_bytes());
    // A UDP header without checksum and payload, or the sequence number of the SYN.
    body[24..28].copy_from_slice(&if udp { [0, 8, 0, 0] } else { ((bits >> 32) as u32).to_be_bytes() });
    frame.icmp(&ip, kind, [0; 4], &body);
    (ip, kind)
}
