//! Traffic that the observing host asked for: answers to its own DNS, NTP, downloads, the uplink itself.
//!
//! Two bounded tables. **Asked** holds conversations that the host began: everything that comes back on them is
//! solicited. **Answered** holds whatever else it sent (its RSTs, SYN-ACKs, replies): a later packet of that
//! conversation is *not* solicited, or the kernel's own RST would hide a retried scan; but an ICMP error that quotes
//! such a packet is an echo of the host's own doing. They are apart so that a scan, which makes a host answer, can
//! never push out what the host asked.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use martlet_packet::{Icmp, Packet, TcpFlags, Transport, protocol};
use martlet_window::Timestamp;

/// When a packet of the host begins a conversation, and how many are remembered.
#[derive(Clone, Debug)]
pub struct SolicitedSettings {
    /// Source ports from which the host's own UDP questions come.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Conversations that each of the two tables holds; rounded up to a power of two.
    pub capacity: usize,
}

impl Default for SolicitedSettings {
    fn default() -> SolicitedSettings {
        // Linux's default net.ipv4.ip_local_port_range.
        SolicitedSettings { ephemeral_ports: 32_768..=60_999, capacity: 4_096 }
    }
}

/// One side's view of a conversation: the host's end and the peer's. Addresses are numbers, IPv4 as IPv4-mapped IPv6,
/// because this is hashed and compared for every packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Conversation {
    local: u128,
    /// [`ANYBODY`] for a question to a broadcast or multicast address: whoever answers was asked.
    peer: u128,
    /// Protocol, local port and peer port.
    ends: u64,
}

/// No peer has the unspecified address.
const ANYBODY: u128 = 0;

impl Conversation {
    fn new(protocol: u8, local: IpAddr, local_port: u16, peer: IpAddr, peer_port: u16) -> Conversation {
        let ends = u64::from(protocol) << 32 | u64::from(local_port) << 16 | u64::from(peer_port);
        Conversation { local: number(local), peer: number(peer), ends }
    }

    const fn without_ports(self) -> Conversation {
        Conversation { ends: self.ends & !0xffff_ffff, ..self }
    }

    const fn with_anybody(self) -> Conversation {
        Conversation { peer: ANYBODY, ..self }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the protocol is the only thing above bit 32")]
    const fn protocol(&self) -> u8 {
        (self.ends >> 32) as u8
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Remembers what the host sent.
#[derive(Debug)]
pub struct Solicited {
    settings: SolicitedSettings,
    asked: Table,
    answered: Table,
    senders: Senders,
}

/// Which observed addresses have ever sent anything, by hash: most never do, and then nothing need be looked up.
#[derive(Debug)]
struct Senders {
    bits: [u64; 64],
}

impl Senders {
    /// Word and bit of an address. The hash need not resist anybody: a collision costs a look-up.
    #[expect(clippy::cast_possible_truncation, reason = "twelve bits are wanted")]
    fn place(address: IpAddr) -> (usize, u64) {
        let bits = number(address);
        let mixed = (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 58) as usize, 1 << (mixed >> 52 & 63))
    }

    fn add(&mut self, address: IpAddr) {
        let (word, bit) = Senders::place(address);
        self.bits[word] |= bit;
    }

    fn may_hold(&self, address: IpAddr) -> bool {
        let (word, bit) = Senders::place(address);
        self.bits[word] & bit != 0
    }
}

impl Solicited {
    /// Empty tables of the size that `settings` say.
    #[must_use]
    pub fn new(settings: SolicitedSettings) -> Solicited {
        let (asked, answered) = (Table::new(settings.capacity), Table::new(settings.capacity));
        Solicited { settings, asked, answered, senders: Senders { bits: [0; 64] } }
    }

    /// Notes a packet that the host sent.
    pub fn sent(&mut self, packet: &Packet<'_>, time: Timestamp) {
        let Some(conversation) = outbound(packet) else { return };
        self.senders.add(packet.source);
        if self.begins(packet) || self.asked.holds(&conversation, time) {
            self.asked.insert(conversation, time);
            if matches!(packet.transport, Transport::Icmp(_)) {
                // What an error quotes of a ping is looked up without its identifier.
                self.answered.insert(conversation.without_ports(), time);
            }
        } else {
            self.answered.insert(conversation, time);
        }
    }

    /// Whether a packet from elsewhere answers something the host sent.
    pub fn answers(&self, packet: &Packet<'_>, time: Timestamp) -> bool {
        if let Transport::Icmp(icmp) = &packet.transport
            && icmp.is_error()
        {
            return self.echoes(icmp, time);
        }
        if !self.senders.may_hold(packet.destination) {
            return false;
        }
        let Some(conversation) = inbound(packet) else { return false };
        self.asked.holds(&conversation, time)
            || (packet.protocol == protocol::UDP && self.asked.holds(&conversation.with_anybody(), time))
    }

    /// Whether an ICMP error quotes a packet that the host sent, asked or answered.
    fn echoes(&self, icmp: &Icmp<'_>, time: Timestamp) -> bool {
        let Some(quoted) = icmp.quoted() else { return false };
        let (local_port, peer_port) = quoted.ports.unwrap_or((0, 0));
        let conversation = Conversation::new(quoted.protocol, quoted.source, local_port, quoted.destination, peer_port);
        let sent = |c: &Conversation| self.asked.holds(c, time) || self.answered.holds(c, time);
        sent(&conversation) || sent(&conversation.with_anybody())
    }

    /// Whether a packet of the host begins a conversation: its SYN, its UDP question, its echo request; never an
    /// RST, an ICMP error or a reply.
    fn begins(&self, packet: &Packet<'_>) -> bool {
        match &packet.transport {
            Transport::Tcp(tcp) => {
                tcp.flags.has(TcpFlags::SYN) && tcp.flags.lacks(TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN)
            }
            Transport::Udp(udp) => {
                self.settings.ephemeral_ports.contains(&udp.source_port)
                    // Clients that ask from a fixed port: NTP (mode 1 or 3) and DHCP, and every DNS question.
                    || (udp.destination_port == 123 && matches!(udp.payload().first().map(|b| b & 7), Some(1 | 3)))
                    || (udp.source_port == 68 && udp.destination_port == 67)
                    || (udp.destination_port == 53 && udp.payload().get(2).is_some_and(|b| b & 0x80 == 0))
            }
            Transport::Icmp(icmp) if icmp.is_version6() => icmp.icmp_type == 128,
            Transport::Icmp(icmp) => matches!(icmp.icmp_type, 8 | 13 | 15 | 17),
            Transport::Ports { .. } | Transport::None => false,
        }
    }
}

/// Ends of the conversation of a packet: source and destination. ICMP echoes carry their identifier in place of
/// ports.
fn ends(packet: &Packet<'_>) -> Option<(u16, u16)> {
    match &packet.transport {
        Transport::Icmp(icmp) if icmp.is_error() => None,
        Transport::Icmp(icmp) => Some((icmp.identifier(), icmp.identifier())),
        Transport::None => Some((0, 0)),
        transport => transport.ports(),
    }
}

fn outbound(packet: &Packet<'_>) -> Option<Conversation> {
    let (local_port, peer_port) = ends(packet)?;
    let to_many = match packet.destination {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    let conversation = Conversation::new(packet.protocol, packet.source, local_port, packet.destination, peer_port);
    Some(if to_many { conversation.with_anybody() } else { conversation })
}

fn inbound(packet: &Packet<'_>) -> Option<Conversation> {
    let (peer_port, local_port) = ends(packet)?;
    Some(Conversation::new(packet.protocol, packet.destination, local_port, packet.source, peer_port))
}

/// How long a conversation is remembered after the host's last packet on it, in nanoseconds of capture time.
const fn lifetime(protocol: u8) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    match protocol {
        // Keep-alives come every two hours by default (RFC 9293, 3.8.4), but a host that long silent has nothing to
        // lose by counting one packet.
        protocol::TCP => 3600 * SECOND,
        _ => 120 * SECOND,
    }
}

/// Conversations looked at for one key.
const WAYS: usize = 4;

/// Conversations that share a hash, each with the time of its last packet.
type Set = [Option<(Conversation, i64)>; WAYS];

/// A set-associative table with a keyed hash: bounded, without allocation, oldest of four out first.
struct Table {
    slots: Box<[Set]>,
    hasher: foldhash::fast::RandomState,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} sets)", self.slots.len())
    }
}

impl Table {
    fn new(capacity: usize) -> Table {
        let sets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Table { slots: vec![[None; WAYS]; sets].into_boxed_slice(), hasher: foldhash::fast::RandomState::default() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose a set")]
    fn set(&self, conversation: &Conversation) -> usize {
        self.hasher.hash_one(conversation) as usize & (self.slots.len() - 1)
    }

    fn holds(&self, conversation: &Conversation, time: Timestamp) -> bool {
        let live = |seen: i64| time.0.saturating_sub(seen) <= lifetime(conversation.protocol());
        self.slots[self.set(conversation)].iter().flatten().any(|(held, seen)| held == conversation && live(*seen))
    }

    fn insert(&mut self, conversation: Conversation, time: Timestamp) {
        let set = self.set(&conversation);
        let ways = &mut self.slots[set];
        let place = ways.iter().position(|slot| slot.is_none_or(|(held, _)| held == conversation));
        let oldest = || (0..WAYS).min_by_key(|&way| ways[way].map_or(i64::MIN, |(_, seen)| seen)).unwrap_or(0);
        let way = place.unwrap_or_else(oldest);
        ways[way] = Some((conversation, time.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_packet::{LinkType, parse};

    const HOST: [u8; 4] = [192, 0, 2, 1];
    const PEER: [u8; 4] = [198, 51, 100, 7];
    const START: Timestamp = Timestamp(1_600_000_000_000_000_000);

    fn ip(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend([from, to].concat());
        bytes.extend(payload);
        bytes
    }

    fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
        let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
        ip(6, from.0, to.0, &segment)
    }

    fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
        let mut datagram = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        ip(17, from.0, to.0, &datagram)
    }

    fn unreachable(quoted: &[u8]) -> Vec<u8> {
        ip(1, PEER, HOST, &[&[3, 10, 0, 0, 0, 0, 0, 0], &quoted[..28]].concat())
    }

    fn sent(solicited: &mut Solicited, bytes: &[u8]) {
        solicited.sent(&parse(LinkType::Raw, bytes).unwrap(), START);
    }

    fn answers(solicited: &Solicited, bytes: &[u8]) -> bool {
        solicited.answers(&parse(LinkType::Raw, bytes).unwrap(), START)
    }

    #[test]
    fn what_the_host_asked_is_solicited() {
        let mut table = Solicited::new(SolicitedSettings::default());
        let (host, peer) = ((HOST, 40_000), (PEER, 443));
        assert!(!answers(&table, &tcp(peer, host, 0x12)));
        sent(&mut table, &tcp(host, peer, 0x02));
        assert!(answers(&table, &tcp(peer, host, 0x12)));
        assert!(!answers(&table, &tcp((PEER, 444), host, 0x12)));
        sent(&mut table, &udp((HOST, 40_001), (PEER, 53), &[0; 12]));
        assert!(answers(&table, &udp((PEER, 53), (HOST, 40_001), &[0; 12])));
        sent(&mut table, &udp((HOST, 123), (PEER, 123), &[0x23]));
        assert!(answers(&table, &udp((PEER, 123), (HOST, 123), &[0x24])));
    }

    #[test]
    fn the_hosts_own_rst_does_not_hide_a_retried_scan() {
        let mut table = Solicited::new(SolicitedSettings::default());
        let (host, scanner) = ((HOST, 22), (PEER, 51_000));
        let rst = tcp(host, scanner, 0x14);
        sent(&mut table, &rst);
        assert!(!answers(&table, &tcp(scanner, host, 0x02)));
        // But an ICMP error about that RST is an echo of the host's own packet.
        assert!(answers(&table, &unreachable(&rst)));
    }

    #[test]
    fn an_error_about_a_packet_the_host_never_sent_is_backscatter() {
        let table = Solicited::new(SolicitedSettings::default());
        assert!(!answers(&table, &unreachable(&tcp((HOST, 1000), (PEER, 80), 0x02))));
    }

    #[test]
    fn a_udp_reply_from_a_service_port_begins_nothing() {
        let mut table = Solicited::new(SolicitedSettings::default());
        sent(&mut table, &udp((HOST, 53), (PEER, 40_000), &[0, 1, 0x80, 0]));
        assert!(!answers(&table, &udp((PEER, 40_000), (HOST, 53), &[0; 12])));
    }

    #[test]
    fn only_the_answer_to_the_hosts_own_ping_is_solicited() {
        let mut table = Solicited::new(SolicitedSettings::default());
        let echo = |kind: u8, id: u8| [kind, 0, 0, 0, 0, id, 0, 1];
        sent(&mut table, &ip(1, HOST, PEER, &echo(8, 7)));
        assert!(answers(&table, &ip(1, PEER, HOST, &echo(0, 7))));
        assert!(!answers(&table, &ip(1, PEER, HOST, &echo(0, 8))));
        // An error about that ping is its echo too; one about a ping to elsewhere is not.
        assert!(answers(&table, &unreachable(&ip(1, HOST, PEER, &echo(8, 7)))));
        assert!(!answers(&table, &unreachable(&ip(1, HOST, [203, 0, 113, 5], &echo(8, 7)))));
    }

    #[test]
    fn conversations_end() {
        let mut table = Solicited::new(SolicitedSettings::default());
        sent(&mut table, &udp((HOST, 40_001), (PEER, 53), &[0; 12]));
        let answer = udp((PEER, 53), (HOST, 40_001), &[0; 12]);
        let late = Timestamp(START.0 + 121_000_000_000);
        assert!(!table.answers(&parse(LinkType::Raw, &answer).unwrap(), late));
    }

    #[test]
    fn a_flood_of_answers_does_not_push_out_what_was_asked() {
        let mut table = Solicited::new(SolicitedSettings { capacity: 64, ..SolicitedSettings::default() });
        sent(&mut table, &tcp((HOST, 40_000), (PEER, 443), 0x02));
        for port in 1..=10_000 {
            sent(&mut table, &tcp((HOST, 22), (PEER, port), 0x14));
        }
        assert!(answers(&table, &tcp((PEER, 443), (HOST, 40_000), 0x10)));
    }
}
