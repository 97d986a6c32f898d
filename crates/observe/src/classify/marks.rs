//! Single-packet marks. Each rule says since when it holds and how often a random packet would meet it.

use std::net::{IpAddr, Ipv4Addr};

use martlet_packet::{Packet, Tcp, TcpFlags, TcpOption, Udp};
use martlet_window::{Mark, Marks};

/// Which address the sender aimed at: some tools write it into other fields of their packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The destination address of the packet as it arrived.
    AsSeen,
    /// The sensor sits behind 1:1 NAT: this address, whatever the packet says.
    Public(Ipv4Addr),
    /// Behind a NAT whose outer address is not known: such marks are unavailable.
    Unknown,
}

impl Aim {
    /// Marks that cannot be decided.
    #[must_use]
    pub const fn unavailable(self) -> Marks {
        match self {
            Aim::AsSeen | Aim::Public(_) => Marks::NONE,
            Aim::Unknown => Marks::DESTINATION_TESTS,
        }
    }

    /// The IPv4 address aimed at, as a number.
    pub(crate) const fn address(self, packet: &Packet<'_>) -> Option<u32> {
        match (self, packet.destination) {
            (Aim::AsSeen, IpAddr::V4(seen)) => Some(seen.to_bits()),
            (Aim::Public(public), IpAddr::V4(_)) => Some(public.to_bits()),
            _ => None,
        }
    }
}

/// ZMap's constant IP ID until 4.1.0 of March 2024, which made it random (zmap/zmap, `probe_modules/packet.c`).
const ZMAP_IP_ID: u16 = 54321;
const ZMAP_WINDOW: u16 = 65535;
/// The options of ZMap's default `windows` probe profile since 4.1.0: MSS 1460, NOP, window scale 8, NOP, NOP,
/// SACK permitted.
const ZMAP_4_OPTIONS: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
/// MSS 1460 and nothing else: masscan since 2023-11-07, nmap's raw SYN.
const ONLY_MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];

/// Marks of a TCP segment.
pub(super) fn tcp(packet: &Packet<'_>, tcp: &Tcp<'_>, aim: Aim) -> Marks {
    const SYN: u8 = TcpFlags::SYN;
    const NOT_WITH_SYN: u8 = TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
    const DATA: u8 = TcpFlags::PSH | TcpFlags::ACK;
    // Data out of nowhere, and on a SYN that is no Fast Open (RFC 7413, 2014): matters of form, met by no chance.
    if tcp.flags.has(DATA) && tcp.flags.lacks(TcpFlags::SYN | TcpFlags::RST) {
        return Marks::NONE.with_if(Mark::TcpData, !tcp.payload().is_empty());
    }
    if !(tcp.flags.has(SYN) && tcp.flags.lacks(NOT_WITH_SYN)) {
        return Marks::NONE;
    }
    let mut marks = Marks::NONE.with_if(
        Mark::SynData,
        !tcp.payload().is_empty() && !tcp.options().any(|option| option.kind == TcpOption::FAST_OPEN),
    );
    let options = tcp.options().as_bytes();
    if tcp.window == Some(1024) && options == ONLY_MSS_1460 {
        // nmap's default window is one of 1024, 2048, 3072 and 4096 in old versions, 1024 today (nmap, tcpip.cc). No chance is
        // stated: the shape is a template that any tool may have; `pairs` tells nmap's own sequence numbers from others'.
        marks = marks.with(Mark::NmapShape);
    }
    let (Some(ipv4), window) = (packet.ipv4, tcp.window) else { return marks };
    if ipv4.identification == ZMAP_IP_ID {
        // 2^-16 for the IP ID alone, 2^-32 with the window.
        marks = marks.with(Mark::ZmapIpid).with_if(Mark::Zmap, window == Some(ZMAP_WINDOW));
    }
    // Since 4.1.0 of March 2024. Chance below 2^-100 were the fields random; whoever chooses a Windows machine's options and clears
    // DF has it, so it is a candidate.
    if window == Some(ZMAP_WINDOW) && !ipv4.dont_fragment && options == ZMAP_4_OPTIONS {
        marks = marks.with(Mark::Zmap4);
    }
    if let Some(destination) = aim.address(packet) {
        // Mirai, August 2016 (Antonakakis et al. 2017, 3.1). Chance 2^-32. Ports vary among its descendants.
        marks = marks.with_if(Mark::Mirai, tcp.sequence == destination);
        if ipv4.identification == masscan_ip_id(destination, tcp) {
            // Chance 2^-16: too weak alone, hence the shapes.
            marks = marks.with(Mark::MasscanIpid).with_if(Mark::Masscan, has_masscan_shape(packet, tcp, options));
        }
    }
    marks
}

/// masscan's IP ID: destination ^ destination port ^ sequence number, cut to 16 bits
/// (robertdavidgraham/masscan, `templ-pkt.c`).
#[expect(clippy::cast_possible_truncation, reason = "the rule is about the low 16 bits")]
const fn masscan_ip_id(destination: u32, tcp: &Tcp<'_>) -> u16 {
    (destination ^ tcp.destination_port as u32 ^ tcp.sequence) as u16
}

/// One of the three forms of masscan's SYN.
fn has_masscan_shape(packet: &Packet<'_>, tcp: &Tcp<'_>, options: &[u8]) -> bool {
    match (packet.length, tcp.header_length, tcp.window) {
        // Until 2023-11; the 24-byte header was seen in a capture of 2019.
        (40, 20, Some(1024)) | (44, 24, Some(1024)) => true,
        // Since 2023-11-07.
        (44, 24, Some(1025)) => options == ONLY_MSS_1460,
        _ => false,
    }
}

/// Marks of a UDP datagram.
pub(super) fn udp(packet: &Packet<'_>, udp: &Udp<'_>) -> Marks {
    // SQL Slammer, January 2003: one datagram of 376 bytes to the SQL Server resolution service, first byte 4. Chance 2^-24 of
    // datagrams to that port.
    let slammer = packet.ipv4.is_some()
        && udp.destination_port == 1434
        && packet.length == 404
        && udp.payload().first() == Some(&4);
    Marks::NONE.with_if(Mark::Slammer, slammer)
}

/// A hint, never a fact, that the source is forged: about one in seven random IPv4 sources has it. RFC 6890 of 2013 and its
/// successors.
pub(super) fn spoofed_looking(packet: &Packet<'_>) -> bool {
    let source = match packet.source {
        IpAddr::V4(source) => {
            let [first, .., last] = source.octets();
            matches!(last, 0 | 255) || (MAY_BE_SPECIAL[first as usize] && special_use(source))
        }
        IpAddr::V6(_) => false,
    };
    let port_0 = packet.transport.ports().is_some_and(|(source, destination)| source == 0 || destination == 0);
    let reserved_flag = packet.ipv4.is_some_and(|ipv4| ipv4.reserved_flag);
    source || port_0 || reserved_flag || packet.source == packet.destination
}

/// First octets of [`special_use`] addresses. A table, since sources are random and a jump for each octet would be
/// guessed wrong.
static MAY_BE_SPECIAL: [bool; 256] = {
    let mut may_be = [false; 256];
    let mut first = 0;
    while first < 256 {
        may_be[first] = matches!(first, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..);
        first += 1;
    }
    may_be
};

/// Blocks that RFC 6890 and its successors mark as not globally reachable, and multicast: no source of Internet
/// traffic.
const fn special_use(address: Ipv4Addr) -> bool {
    matches!(
        address.octets(),
        [0 | 10 | 127 | 224.., ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_first_octets_leaves_no_special_address_out() {
        // The fourth octet decides nothing.
        for block in 0..1u32 << 24 {
            let address = Ipv4Addr::from_bits(block << 8);
            assert!(MAY_BE_SPECIAL[address.octets()[0] as usize] || !special_use(address), "{address}");
        }
        let special = MAY_BE_SPECIAL.iter().filter(|&&special| special).count();
        assert_eq!(special, 9 + 32);
    }
}
