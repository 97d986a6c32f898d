//! Marks that show in two packets of one source: what nmap and unicornscan hide in their sequence numbers.
//!
//! Both are one relation. From a packet a *key* is made that stays the same over a scan; a packet is marked when an earlier
//! one of its source with another sequence number had the same key. Equal sequence numbers say nothing: they have equal keys
//! whoever sends them, and most scanners send one over and over.
//!
//! | mark | key | chance of a packet, against one earlier packet |
//! | --- | --- | --- |
//! | nmap | high half of the sequence number ^ its low half: `seq32_encode` in nmap's `scan_engine_raw.cc` puts one 16-bit number into both halves and hides it with a mask that a scan keeps; versions that put 8 bits there keep the relation | 2^-16, of packets with the shape |
//! | unicornscan | sequence number ^ destination ^ ((destination port << 16) + source port): `TCPHASHTRACK` in unicornscan's `tcphash.h`. The destination is in the byte order of the scanning machine | 2^-31, of SYNs with the window |
//!
//! Two earlier sequence numbers of a source are kept, so a packet has twice that chance at most.
//!
//! The first packet of a scan is never marked, nor one whose predecessors were forgotten: this is best effort. Nobody but the
//! sensor sees sequence numbers, and it keeps those of [`MAX_SOURCES`] sources a mark. Whoever forges sources can push others
//! out, and so hide a scan, but mark nobody's packets but his own and those he forges. What is marked depends on the packets and
//! their order alone, never on the clock or the hash: a capture file is the same batches whoever reads it.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use martlet_packet::{Packet, Tcp, TcpFlags, Transport};
use martlet_window::{Mark, Marks};

use crate::classify::Aim;

/// Sources of which sequence numbers are kept, for each of the two marks. A source is about 60 bytes.
pub const MAX_SOURCES: usize = 4_096;
/// Sequence numbers of one source that are kept: nmap's first tries have one, its second tries another.
const KEPT: usize = 2;

/// Windows of unicornscan's SYNs: 4096 by its own default, 16384 with the OpenBSD profile that Linux distributions ship.
const UNICORNSCAN_WINDOWS: [u16; 2] = [4_096, 16_384];

/// What is compared of a packet.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sequence: u32,
    /// The keys that it may have; `None` where there is none.
    keys: [Option<u32>; 2],
}

impl Probe {
    /// Whether both come from one scan, as far as the mark can tell.
    fn pairs_with(&self, earlier: &Probe) -> bool {
        let same = |(key, other): (&Option<u32>, &Option<u32>)| key.is_some() && key == other;
        self.sequence != earlier.sequence && self.keys.iter().zip(&earlier.keys).any(same)
    }
}

/// Remembers packets that may have a second one.
#[derive(Debug, Default)]
pub struct Pairs {
    nmap: Sources,
    unicornscan: Sources,
}

impl Pairs {
    /// The marks of a packet, with those that it has together with an earlier one of its source. Each packet is shown once, in
    /// order.
    #[inline]
    pub fn complete(&mut self, packet: &Packet<'_>, aim: Aim, marks: Marks) -> Marks {
        // Nearly every packet ends here: one bit, or two fields of a SYN.
        if marks.contains(Mark::NmapShape) {
            marks.with_if(Mark::Nmap, self.is_nmap(packet))
        } else if let Transport::Tcp(tcp) = &packet.transport
            && tcp.window.is_some_and(|window| UNICORNSCAN_WINDOWS.contains(&window))
        {
            marks.with_if(Mark::Unicornscan, self.is_unicornscan(packet, tcp, aim))
        } else {
            marks
        }
    }

    #[cold]
    fn is_nmap(&mut self, packet: &Packet<'_>) -> bool {
        let Transport::Tcp(tcp) = &packet.transport else { return false };
        let key = (tcp.sequence >> 16) ^ (tcp.sequence & 0xffff);
        let probe = Probe { sequence: tcp.sequence, keys: [Some(key), None] };
        self.nmap.pairs(packet.source, probe)
    }

    #[cold]
    fn is_unicornscan(&mut self, packet: &Packet<'_>, tcp: &Tcp<'_>, aim: Aim) -> bool {
        const NOT_WITH_SYN: u8 = TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        let is_probe = tcp.flags.has(TcpFlags::SYN) && tcp.flags.lacks(NOT_WITH_SYN);
        let Some(destination) = aim.address(packet).filter(|_| is_probe) else { return false };
        let ports = (u32::from(tcp.destination_port) << 16) + u32::from(tcp.source_port);
        // A sequence number that is the destination is Mirai's: from one port to another all its packets have equal keys.
        let key = |destination: u32| (tcp.sequence != destination).then_some(tcp.sequence ^ destination ^ ports);
        let probe = Probe { sequence: tcp.sequence, keys: [key(destination), key(destination.swap_bytes())] };
        self.unicornscan.pairs(packet.source, probe)
    }
}

/// What is kept of one source.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    /// The newest first.
    kept: [Option<Probe>; KEPT],
}

/// A bounded table of sources, the one that came first out first. All memory is reserved when it is made.
struct Sources {
    /// A ring, once it is full.
    ring: Vec<Source>,
    /// The place that is given away next.
    oldest: usize,
    /// Places in the ring by address; with a key per process, since sources are chosen by the people we watch.
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            ring: Vec::with_capacity(MAX_SOURCES),
            oldest: 0,
            // Twice the room: a table that is at most half full of entries clears in place what was removed.
            places: HashTable::with_capacity(2 * MAX_SOURCES),
            hasher: RandomState::default(),
        }
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sources({} of {MAX_SOURCES})", self.ring.len())
    }
}

impl Sources {
    /// Whether a probe pairs with one that is kept of its source; then keeps it.
    fn pairs(&mut self, address: IpAddr, probe: Probe) -> bool {
        let Sources { ring, places, hasher, .. } = self;
        let found = places.find(hasher.hash_one(address), |&place| ring[place as usize].address == address);
        let Some(&place) = found else {
            self.insert(Source { address, kept: [Some(probe), None] });
            return false;
        };
        let kept = &mut ring[place as usize].kept;
        let pairs = kept.iter().flatten().any(|earlier| probe.pairs_with(earlier));
        if !kept.iter().flatten().any(|earlier| earlier.sequence == probe.sequence) {
            kept.rotate_right(1);
            kept[0] = Some(probe);
        }
        pairs
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place is below MAX_SOURCES")]
    fn insert(&mut self, source: Source) {
        let Sources { ring, oldest, places, hasher } = self;
        let place = if ring.len() < MAX_SOURCES {
            ring.push(source);
            ring.len() - 1
        } else {
            let place = *oldest;
            *oldest = (place + 1) % MAX_SOURCES;
            let forgotten = hasher.hash_one(ring[place].address);
            if let Ok(entry) = places.find_entry(forgotten, |&held| held as usize == place) {
                entry.remove();
            }
            ring[place] = source;
            place
        };
        let hash = hasher.hash_one(source.address);
        places.insert_unique(hash, place as u32, |&place| hasher.hash_one(ring[place as usize].address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::classify;
    use martlet_packet::{LinkType, parse};
    use proptest::prelude::*;

    const TARGET: [u8; 4] = [203, 0, 114, 9];
    const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];

    /// A SYN: source, destination, ports, sequence number, window, options.
    #[derive(Clone, Debug)]
    struct Syn {
        source: [u8; 4],
        destination: [u8; 4],
        ports: (u16, u16),
        sequence: u32,
        window: u16,
        options: Vec<u8>,
    }

    impl Syn {
        /// nmap 7.93's template: window 1024 and MSS 1460.
        fn nmap(sequence: u32) -> Syn {
            let options = MSS_1460.to_vec();
            Syn { source: [8, 8, 4, 4], destination: TARGET, ports: (51_413, 80), sequence, window: 1024, options }
        }

        /// What unicornscan's `TCPHASHTRACK` makes of a key, on a machine of either byte order.
        fn unicornscan(key: u32, destination: [u8; 4], ports: (u16, u16), is_big_endian: bool) -> Syn {
            let number = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
            let sequence = key ^ (number(destination) ^ ((u32::from(ports.1) << 16) + u32::from(ports.0)));
            Syn { destination, ports, sequence, window: 4_096, ..Syn::nmap(0) }
        }

        fn from(self, source: u32) -> Syn {
            Syn { source: source.to_be_bytes(), ..self }
        }

        fn bytes(&self) -> Vec<u8> {
            let header = u8::try_from(20 + self.options.len()).unwrap();
            let words = [self.ports.0, self.ports.1].map(u16::to_be_bytes).concat();
            let mut packet = vec![0x45, 0, 0, 20 + header, 0x30, 0x39, 0, 0, 51, 6, 0, 0];
            packet.extend([self.source, self.destination].concat());
            packet.extend(words);
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([0, 0, 0, 0, header << 2, TcpFlags::SYN]);
            packet.extend(self.window.to_be_bytes());
            packet.extend([0xca, 0xfe, 0, 0]);
            packet.extend(&self.options);
            packet
        }
    }

    /// The marks of several packets, of those packets whose bytes are given.
    fn marks(pairs: &mut Pairs, aim: Aim, packet: &[u8]) -> Marks {
        let packet = parse(LinkType::Raw, packet).unwrap();
        pairs.complete(&packet, aim, classify(&packet, aim).marks)
    }

    /// Which packets of a sequence carry a mark.
    fn marked(mark: Mark, aim: Aim, packets: &[Syn]) -> Vec<bool> {
        let mut pairs = Pairs::default();
        packets.iter().map(|syn| marks(&mut pairs, aim, &syn.bytes()).contains(mark)).collect()
    }

    /// nmap's `seq32_encode`: the number of a try in both halves, behind the mask of the scan.
    fn seq32_encode(mask: u32, try_number: u32, ping: u32) -> u32 {
        let number = (ping << 8) + try_number;
        ((number << 16) + number) ^ mask
    }

    #[test]
    fn nmap_from_its_second_sequence_number_on() {
        let tries = [(0, 0), (0, 0), (1, 0), (0, 0), (1, 0), (2, 0), (0, 3)];
        let scan = |mask: u32| tries.map(|(number, ping)| Syn::nmap(seq32_encode(mask, number, ping)));
        let expected = [false, false, true, true, true, true, true];
        for aim in [Aim::AsSeen, Aim::Unknown] {
            assert_eq!(marked(Mark::Nmap, aim, &scan(0x1234_5678)), expected);
            assert_eq!(marked(Mark::Nmap, aim, &scan(0)), expected);
        }
        // Another source's packets are nobody else's second.
        let apart: Vec<Syn> = (0..7).zip(scan(9)).map(|(source, syn)| syn.from(0x0808_0400 + source)).collect();
        assert_eq!(marked(Mark::Nmap, Aim::AsSeen, &apart), [false; 7]);
        // Without the shape nobody looks.
        let other: Vec<Syn> = scan(9).into_iter().map(|syn| Syn { window: 2048, ..syn }).collect();
        assert_eq!(marked(Mark::Nmap, Aim::AsSeen, &other), [false; 7]);
    }

    #[test]
    fn two_scans_of_one_source_at_once_are_each_their_own() {
        let (one, other) = (0x1234_5678, 0x9abc_1111);
        let number = |mask, number| Syn::nmap(seq32_encode(mask, number, 0));
        let packets = [number(one, 0), number(other, 0), number(one, 1), number(other, 1)];
        assert_eq!(marked(Mark::Nmap, Aim::AsSeen, &packets), [false, false, true, true]);
    }

    #[test]
    fn nmap_over_ipv6() {
        let mut pairs = Pairs::default();
        let mut packet = |sequence: u32| {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 24, 6, 60];
            bytes.extend([[0x20, 1, 4, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat());
            bytes.extend(&Syn::nmap(sequence).bytes()[20..]);
            marks(&mut pairs, Aim::AsSeen, &bytes).contains(Mark::Nmap)
        };
        assert!(!packet(seq32_encode(7, 0, 0)));
        assert!(packet(seq32_encode(7, 1, 0)));
    }

    #[test]
    fn unicornscan_in_both_byte_orders_and_with_both_windows() {
        let targets = [([203, 0, 114, 9], 80), ([203, 0, 114, 10], 22), ([198, 51, 99, 1], 443)];
        for is_big_endian in [false, true] {
            for window in UNICORNSCAN_WINDOWS {
                let scan = targets.map(|(destination, port)| Syn {
                    window,
                    ..Syn::unicornscan(0xdead_beef, destination, (31_337, port), is_big_endian)
                });
                assert_eq!(marked(Mark::Unicornscan, Aim::AsSeen, &scan), [false, true, true]);
                assert_eq!(marked(Mark::Unicornscan, Aim::Unknown, &scan), [false; 3], "the destination is not known");
                let other = scan.map(|syn| Syn { window: 8_192, ..syn });
                assert_eq!(marked(Mark::Unicornscan, Aim::AsSeen, &other), [false; 3]);
            }
        }
        // Behind NAT the sender aimed at the public address.
        let syn =
            |port| Syn { destination: [10, 0, 0, 5], ..Syn::unicornscan(0xdead_beef, TARGET, (31_337, port), false) };
        assert_eq!(marked(Mark::Unicornscan, Aim::Public(TARGET.into()), &[syn(80), syn(81)]), [false, true]);
    }

    #[test]
    fn equal_sequence_numbers_and_mirai_are_no_pair() {
        // One sequence number over and over, which satisfies every relation.
        let again = vec![Syn::nmap(0x1111_2222); 4];
        assert_eq!(marked(Mark::Nmap, Aim::AsSeen, &again), [false; 4]);
        let repeated = vec![Syn::unicornscan(5, TARGET, (31_337, 80), false); 4];
        assert_eq!(marked(Mark::Unicornscan, Aim::AsSeen, &repeated), [false; 4]);
        // Mirai with a window of 4096, always from one port to another: the key would be the ports.
        let mirai = |last: u8| {
            let destination = [203, 0, 114, last];
            Syn { window: 4_096, sequence: u32::from_be_bytes(destination), destination, ..Syn::nmap(0) }
        };
        let packets = [mirai(1), mirai(2), mirai(3)];
        assert_eq!(marked(Mark::Unicornscan, Aim::AsSeen, &packets), [false; 3]);
        assert_eq!(marked(Mark::Mirai, Aim::AsSeen, &packets), [true; 3]);
    }

    #[test]
    fn answers_are_no_pair() {
        let mut pairs = Pairs::default();
        for port in [80, 81] {
            let mut packet = Syn::unicornscan(5, TARGET, (31_337, port), false).bytes();
            packet[33] = TcpFlags::SYN | TcpFlags::ACK;
            assert_eq!(marks(&mut pairs, Aim::AsSeen, &packet), Marks::NONE);
        }
    }

    /// Of random sequence numbers no more are marked than the chance says: twice 2^-16 of nmap's shape.
    #[test]
    fn random_sequence_numbers_meet_the_stated_chance() {
        const PACKETS: u32 = 2_000_000;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut pairs, mut nmap, mut unicornscan) = (Pairs::default(), 0, 0);
        let source = IpAddr::from([8, 8, 4, 4]);
        for _ in 0..PACKETS {
            // SplitMix64 (Steele, Lea, Flood, 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let sequence = u32::try_from(mixed >> 32).unwrap();
            let folded = (sequence >> 16) ^ (sequence & 0xffff);
            nmap += u32::from(pairs.nmap.pairs(source, Probe { sequence, keys: [Some(folded), None] }));
            let keys = [Some(sequence ^ 1), Some(sequence ^ 2)];
            unicornscan += u32::from(pairs.unicornscan.pairs(source, Probe { sequence, keys }));
        }
        // Expected 61.0 with a standard deviation of 7.8; the bounds are five of them.
        assert!((22..=100).contains(&nmap), "{nmap}");
        assert_eq!(unicornscan, 0, "expected below 0.002");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_source_is_forgotten_first() {
        let sources = u32::try_from(MAX_SOURCES).unwrap();
        let mut pairs = Pairs::default();
        let first = |pairs: &mut Pairs, source: u32, number: u32| {
            marks(pairs, Aim::AsSeen, &Syn::nmap(seq32_encode(7, number, 0)).from(source).bytes()).contains(Mark::Nmap)
        };
        // Of the table its bytes: what it calls its capacity leaves out the places of removed entries, until they are cleared.
        let room = (pairs.nmap.ring.capacity(), pairs.nmap.places.allocation_size());
        // Many times round the ring, so that removed entries would have filled the table of places.
        for source in 0..20 * sources {
            assert!(!first(&mut pairs, 0x0900_0000 + source, 0));
        }
        assert_eq!((pairs.nmap.ring.len(), pairs.nmap.places.len()), (MAX_SOURCES, MAX_SOURCES));
        assert_eq!((pairs.nmap.ring.capacity(), pairs.nmap.places.allocation_size()), room, "nothing grew");
        // The newest are all there; the one before them is not.
        for source in 19 * sources..20 * sources {
            assert!(first(&mut pairs, 0x0900_0000 + source, 1), "{source}");
        }
        assert!(!first(&mut pairs, 0x0900_0000 + 19 * sources - 1, 1));
    }

    proptest! {
        /// The same packets in the same order have the same marks, whatever the hash's key is, also when sources are forgotten.
        #[test]
        fn marks_depend_on_the_packets_alone(seed in any::<u64>()) {
            let run = || {
                let (mut pairs, mut state) = (Pairs::default(), seed);
                let step = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let source = IpAddr::from(u32::try_from(state >> 51).unwrap().to_be_bytes());
                    let sequence = u32::try_from(state >> 32 & 0x3).unwrap();
                    pairs.nmap.pairs(source, Probe { sequence, keys: [Some(sequence / 2), None] })
                };
                std::iter::repeat_with(step).take(20_000).collect::<Vec<bool>>()
            };
            let marked = run();
            prop_assert!(marked.contains(&true) && marked.contains(&false));
            prop_assert_eq!(&run(), &marked);
        }
    }
}
