//! What kind of packet it is, which service it concerns, and which tools' marks it carries. Pure.
//!
//! The definitions are in docs/fingerprints.md.

mod marks;
mod udp;

use martlet_packet::{Fragment, Icmp, Packet, TcpFlags, Transport, protocol};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, Service};

pub use marks::Aim;

/// Says what a packet is.
#[must_use]
pub fn classify(packet: &Packet<'_>, aim: Aim) -> Class {
    let (kind, service, marks) = match &packet.transport {
        Transport::Tcp(tcp) => {
            let (kind, stealth) = tcp_kind(tcp.flags);
            let marks = marks::tcp(packet, tcp, aim).with_if(Mark::Stealth, stealth);
            let port = if kind == Kind::Backscatter { tcp.source_port } else { tcp.destination_port };
            (kind, Service::Port(port), marks)
        }
        Transport::Udp(udp) => {
            let verdict = udp::verdict(udp);
            let port = if verdict.kind == Kind::Backscatter { udp.source_port } else { udp.destination_port };
            let marks = marks::udp(packet, udp).with_if(Mark::WeakBackscatter, verdict.weak);
            (verdict.kind, Service::Port(port), marks)
        }
        Transport::Icmp(icmp) if icmp.is_version6() == (packet.ip() == IpVersion::V6) => icmp_class(packet, icmp),
        Transport::Ports { destination, .. } => (Kind::Other, Service::Port(*destination), Marks::NONE),
        // ICMP of the other IP version means nothing.
        Transport::Icmp(_) | Transport::None => (Kind::Other, Service::None, Marks::NONE),
    };
    let tunnel = matches!(packet.protocol, protocol::IPV4 | protocol::IPV6 | protocol::GRE);
    let marks = marks.with_if(Mark::Tunnel, tunnel).with_if(Mark::SpoofedLooking, marks::spoofed_looking(packet));
    Class { ip: packet.ip(), protocol: packet.protocol, service, kind, marks }
}

/// The kind of a TCP segment, and whether it is a stealth scan. Cuts: RST wins over SYN; SYN with FIN is other. Stealthy are 3 of
/// the 64 combinations of RFC 793's flags: nmap's -sF, -sN and -sX.
const fn tcp_kind(flags: TcpFlags) -> (Kind, bool) {
    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST;
    const FIN: u8 = TcpFlags::FIN;
    const XMAS: u8 = FIN | TcpFlags::PSH | TcpFlags::URG;
    /// The six control bits of RFC 793; scanners set the two ECN bits at will.
    const CLASSIC: u8 = 0x3f;
    if flags.has(RST) {
        return (Kind::Backscatter, false);
    }
    if flags.has(SYN) && flags.lacks(FIN) {
        return (if flags.has(ACK) { Kind::Backscatter } else { Kind::Scan }, false);
    }
    match flags.0 & CLASSIC {
        FIN | 0 | XMAS => (Kind::Scan, true),
        _ => (Kind::Other, false),
    }
}

fn icmp_class(packet: &Packet<'_>, icmp: &Icmp<'_>) -> (Kind, Service, Marks) {
    let (icmp_type, code) = (icmp.icmp_type, icmp.code);
    let kind = match (packet.ip(), icmp_type) {
        (IpVersion::V4, 8 | 13 | 15 | 17) | (IpVersion::V6, 128) => Kind::Scan,
        (IpVersion::V4, 0 | 3 | 4 | 11 | 12 | 14 | 16 | 18) | (IpVersion::V6, 1 | 2 | 3 | 4 | 129) => Kind::Backscatter,
        _ => Kind::Other,
    };
    // Redirects quote a packet too, but they are no sign of backscatter.
    let quoted = if kind == Kind::Backscatter { icmp.quoted() } else { None };
    let service = quoted.map_or(Service::Icmp { icmp_type, code }, |quoted| Service::IcmpError {
        icmp_type,
        code,
        quoted_protocol: quoted.protocol,
        quoted_port: quoted.ports.map_or(0, |(_, destination)| destination),
    });
    (kind, service, Marks::NONE)
}

/// The destination port as the packet has it; `None` for protocols without ports, later fragments, and packets cut
/// off before it.
#[must_use]
pub fn destination_port(packet: &Packet<'_>) -> Option<u16> {
    debug_assert!(packet.fragment != Fragment::Later || packet.transport.ports().is_none());
    packet.transport.ports().map(|(_, destination)| destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_tcp_flags_has_its_kind() {
        for bits in 0u8..=255 {
            let flags = TcpFlags(bits);
            let set = |bit: u8| bits & bit != 0;
            let (fin, syn, rst, psh, ack, urg) = (set(1), set(2), set(4), set(8), set(16), set(32));
            // The table of docs/fingerprints.md, row by row, in its order.
            let expected = if syn && !ack && !rst && !fin {
                (Kind::Scan, false)
            } else if rst || (syn && ack && !fin) {
                (Kind::Backscatter, false)
            } else if (fin && !syn && !psh && !ack && !urg)
                || (!fin && !syn && !psh && !ack && !urg)
                || (fin && psh && urg && !syn && !ack)
            {
                (Kind::Scan, true)
            } else {
                (Kind::Other, false)
            };
            assert_eq!(tcp_kind(flags), expected, "{bits:#04x}");
        }
    }
}
