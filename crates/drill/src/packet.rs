//! A generated packet and what is true of it.

use crate::frame::Ip;
use std::net::Ipv4Addr;

/// One packet of a drill.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Unix time in nanoseconds.
    pub time_ns: u64,
    /// The Ethernet frame, without padding and frame check sequence.
    pub frame: &'a [u8],
    /// What is true of it.
    pub info: PacketInfo,
}

/// What a packet is, in the closed set that Martlet counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An unsolicited request.
    Scan,
    /// An answer to somebody who forged the dark address.
    Backscatter,
    /// Neither.
    Other,
}

impl Kind {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Backscatter => "backscatter",
            Self::Other => "other",
        }
    }
}

/// Which part of the drill sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The background; the index into [`crate::mix::COMPONENTS`].
    Background(usize),
    /// The outbreak.
    Outbreak,
    /// An inject; the index into [`crate::DrillConfig::injects`].
    Inject(usize),
}

impl Origin {
    pub(crate) fn inject(index: u32) -> Self {
        // A drill has few injects.
        Self::Inject(usize::try_from(index).unwrap_or(usize::MAX))
    }
}

/// The fields of a packet that counters look at, as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// IPv4 source: a random number that stands for nobody.
    pub source: Ipv4Addr,
    /// IPv4 destination, inside the dark prefix.
    pub destination: Ipv4Addr,
    /// IP protocol number: 1, 6 or 17.
    pub protocol: u8,
    /// IP total length in bytes.
    pub total_length: u16,
    /// IP identification.
    pub ip_id: u16,
    /// Destination port; `None` for ICMP.
    pub destination_port: Option<u16>,
    /// ICMP type and code; `None` for TCP and UDP.
    pub icmp: Option<(u8, u8)>,
    /// The low eight TCP flag bits; 0 unless TCP.
    pub tcp_flags: u8,
    /// TCP sequence number; 0 unless TCP.
    pub sequence: u32,
    /// First byte of the UDP payload, if it has one.
    pub payload_first: Option<u8>,
    /// Scan, backscatter or other.
    pub kind: Kind,
    /// Which part of the drill sent it.
    pub origin: Origin,
}

/// Marks that a single packet shows, by the bit relations alone: chance counts, whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// TCP SYN whose sequence number is the destination address.
    pub mirai: bool,
    /// TCP SYN with IP ID 54321.
    pub zmap_ipid: bool,
    /// TCP SYN whose IP ID is the low half of destination ^ port ^ sequence.
    pub masscan_ipid: bool,
    /// UDP 1434, IP length 404, first payload byte 4.
    pub slammer: bool,
}

impl PacketInfo {
    fn new(ip: &Ip, protocol: u8) -> Self {
        Self {
            source: ip.source.into(),
            destination: ip.destination.into(),
            protocol,
            total_length: 0,
            ip_id: ip.id,
            destination_port: None,
            icmp: None,
            tcp_flags: 0,
            sequence: 0,
            payload_first: None,
            kind: Kind::Other,
            origin: Origin::Outbreak,
        }
    }

    /// A TCP segment; its kind follows from the flags that drills use.
    pub(crate) fn tcp(ip: &Ip, flags: u8, sequence: u32, ports: (u16, u16)) -> Self {
        use crate::frame::{ACK, RST, SYN};
        let kind = match flags {
            SYN => Kind::Scan,
            _ if flags & RST != 0 || flags == SYN | ACK => Kind::Backscatter,
            _ => Kind::Other,
        };
        Self { destination_port: Some(ports.1), tcp_flags: flags, sequence, kind, ..Self::new(ip, 6) }
    }

    /// A UDP datagram with at least one byte of payload.
    pub(crate) fn udp(ip: &Ip, ports: (u16, u16), first: u8, answer: bool) -> Self {
        let kind = if answer { Kind::Backscatter } else { Kind::Scan };
        Self { destination_port: Some(ports.1), payload_first: Some(first), kind, ..Self::new(ip, 17) }
    }

    pub(crate) fn icmp(ip: &Ip, icmp: (u8, u8)) -> Self {
        let kind = if icmp.0 == 8 { Kind::Scan } else { Kind::Backscatter };
        Self { icmp: Some(icmp), kind, ..Self::new(ip, 1) }
    }

    /// The marks that this packet shows.
    pub fn marks(&self) -> Marks {
        let destination = u32::from(self.destination);
        let port = self.destination_port.unwrap_or(0);
        let syn = self.protocol == 6 && self.tcp_flags == crate::frame::SYN;
        let folded = (destination ^ u32::from(port) ^ self.sequence) & 0xffff;
        Marks {
            mirai: syn && self.sequence == destination,
            zmap_ipid: syn && self.ip_id == 54_321,
            masscan_ipid: syn && u32::from(self.ip_id) == folded,
            slammer: self.protocol == 17 && port == 1434 && self.total_length == 404 && self.payload_first == Some(4),
        }
    }
}
