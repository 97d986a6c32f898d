//! Where the packets of a drill pretend to come from.
//!
//! **Every source address is a random number and stands for nobody.** A synthetic address that happens to be assigned
//! to somebody says nothing about them.

use crate::random::{mix, scale};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Space that no packet on the internet legitimately comes from: the special-purpose registry of RFC 6890 (with the
/// later entries of IANA's registry), multicast (RFC 5771) and class E (RFC 1112).
const SPECIAL_USE: [(u32, u8); 16] = [
    (0x0000_0000, 8),  // this network
    (0x0a00_0000, 8),  // private use
    (0x6440_0000, 10), // shared address space
    (0x7f00_0000, 8),  // loopback
    (0xa9fe_0000, 16), // link local
    (0xac10_0000, 12), // private use
    (0xc000_0000, 24), // IETF protocol assignments
    (0xc000_0200, 24), // TEST-NET-1
    (0xc01f_c400, 24), // AS112-v4
    (0xc034_c100, 24), // AMT
    (0xc058_6300, 24), // 6to4 relay anycast, withdrawn
    (0xc0a8_0000, 16), // private use
    (0xc0af_3000, 24), // direct delegation AS112
    (0xc612_0000, 15), // benchmarking
    (0xc633_6400, 24), // TEST-NET-2
    (0xcb00_7100, 24), // TEST-NET-3
];
/// Multicast and everything above it is out.
const FIRST_MULTICAST: u32 = 0xe000_0000;
/// Host numbers 1 to 254 of a /24: a source that ends in .0 or .255 looks spoofed, and a drill makes no such hints.
const HOSTS_PER_BLOCK: u32 = 254;

/// Says whether an address is in space that a source of a drill never comes from.
pub fn is_special_use(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    bits >= FIRST_MULTICAST || SPECIAL_USE.iter().any(|&(net, length)| (bits ^ net) >> (32 - length) == 0)
}

/// The addresses that sources may have, numbered without gaps: all /24 blocks outside special-use space and outside
/// the dark prefixes (one that is longer than /24 takes its whole /24 out).
#[derive(Clone)]
pub(crate) struct SourceSpace {
    /// (number of the first allowed block of this run, that block's /24 number), ascending.
    runs: Vec<(u32, u32)>,
    size: u32,
}

impl SourceSpace {
    /// All of the Internet but these prefixes.
    pub(crate) fn new(dark: &[Ipv4Net]) -> Self {
        Self::within(dark, 0, FIRST_MULTICAST >> 8)
    }

    /// The part of it that lies in a network of at most /24; perhaps there is none.
    pub(crate) fn of_network(dark: &[Ipv4Net], network: Ipv4Net) -> Self {
        let first = u32::from(network.network()) >> 8;
        let count = 1 << (24 - network.prefix_len().min(24));
        Self::within(dark, first, (first + count).min(FIRST_MULTICAST >> 8))
    }

    /// Of /24 blocks from one number up to another.
    fn within(dark: &[Ipv4Net], begin: u32, end: u32) -> Self {
        let mut holes: Vec<(u32, u32)> =
            SPECIAL_USE.iter().map(|&(net, length)| (net >> 8, 1 << (24 - length.min(24)))).collect();
        holes.extend(dark.iter().map(|dark| (u32::from(dark.network()) >> 8, 1 << (24 - dark.prefix_len().min(24)))));
        holes.push((end, 0));
        holes.sort_unstable();
        let mut runs = Vec::new();
        let (mut next, mut numbered) = (begin, 0);
        for (first, count) in holes.into_iter().filter(|&(first, _)| first <= end) {
            if first > next {
                runs.push((numbered, next));
                numbered += first - next;
            }
            next = next.max(first + count);
        }
        Self { runs, size: numbered * HOSTS_PER_BLOCK }
    }

    /// How many addresses there are.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The address with this number; numbers beyond the end wrap round.
    pub(crate) fn address(&self, number: u32) -> u32 {
        let number = number % self.size;
        let block = number / HOSTS_PER_BLOCK;
        let run = self.runs.partition_point(|&(first, _)| first <= block).saturating_sub(1);
        let (first, start) = self.runs[run];
        ((start + block - first) << 8) + 1 + number % HOSTS_PER_BLOCK
    }

    /// A random but repeatable address for a value under a key. Two values may share an address, as rarely as chance has it.
    pub(crate) fn hashed(&self, key: u64, value: u64) -> u32 {
        self.address(scale((mix(key, value) >> 32) as u32, self.size))
    }

    /// The address of host `index` under a keyed permutation: different hosts below `size()` have different addresses,
    /// and nothing is stored.
    pub(crate) fn permuted(&self, key: u64, index: u32) -> u32 {
        let mut number = feistel(key, index, 32);
        // Walking the cycle until it is back inside keeps the map a permutation of 0..size.
        while number >= self.size {
            number = feistel(key, number, 32);
        }
        self.address(number)
    }
}

/// A keyed permutation of so many bits (even, 2 to 32): a Feistel network of four rounds.
pub(crate) fn feistel(key: u64, value: u32, bits: u32) -> u32 {
    let half = bits / 2;
    let mask = (1 << half) - 1;
    let (mut left, mut right) = (value >> half, value & mask);
    for round in 0..4_u64 {
        let f = (mix(key.wrapping_add(round), u64::from(right)) & 0xffff) as u32 & mask;
        (left, right) = (right, left ^ f);
    }
    left << half | right
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn space() -> SourceSpace {
        SourceSpace::new(&["8.8.4.0/22".parse().unwrap()])
    }

    #[test]
    fn every_number_is_a_lawful_address() {
        let (space, dark) = (space(), "8.8.4.0/22".parse::<Ipv4Net>().unwrap());
        assert!(space.size() > 3_600_000_000, "{}", space.size());
        let mut before = 0;
        for number in (0..space.size()).step_by(99_991).chain([space.size() - 1]) {
            let address = space.address(number);
            assert!(address > before, "numbering is ascending");
            before = address;
            let address = Ipv4Addr::from(address);
            assert!(!is_special_use(address) && !dark.contains(&address), "{address}");
        }
        assert_eq!(Ipv4Addr::from(space.address(0)), Ipv4Addr::new(1, 0, 0, 1));
        assert_eq!(Ipv4Addr::from(space.address(space.size() - 1)), Ipv4Addr::new(223, 255, 255, 254));
    }

    #[test]
    fn a_dark_prefix_inside_or_over_special_space_is_taken_out_once() {
        let ordinary = SourceSpace::new(&["198.18.0.0/24".parse().unwrap()]).size();
        assert_eq!(SourceSpace::new(&["10.1.2.3/32".parse().unwrap()]).size(), ordinary);
        assert_eq!(SourceSpace::new(&["198.0.0.0/8".parse().unwrap()]).size(), ordinary - (65536 - 512 - 1) * 254);
    }

    #[test]
    fn the_space_of_a_network_is_its_lawful_part() {
        let dark = ["20.1.2.0/24".parse().unwrap()];
        let network = SourceSpace::of_network(&dark, "20.1.0.0/16".parse().unwrap());
        assert_eq!(network.size(), 255 * 254);
        assert_eq!(Ipv4Addr::from(network.address(2 * 254)), Ipv4Addr::new(20, 1, 3, 1));
        assert_eq!(SourceSpace::of_network(&dark, "198.18.0.0/16".parse().unwrap()).size(), 0);
        let eighth = SourceSpace::of_network(&dark, "198.0.0.0/8".parse().unwrap());
        assert_eq!(eighth.size(), (65_536 - 512 - 1) * 254, "benchmarking space and TEST-NET-2 are out");
    }

    #[test]
    fn permuted_hosts_never_collide() {
        let space = space();
        let seen: HashSet<u32> = (0..200_000).map(|i| space.permuted(7, i)).collect();
        assert_eq!(seen.len(), 200_000);
        assert_ne!(space.permuted(7, 0), space.permuted(8, 0));
    }

    #[test]
    fn special_use_ends_where_the_registry_says() {
        for (address, special) in [
            ([172, 15, 255, 255], false),
            ([172, 16, 0, 0], true),
            ([172, 32, 0, 0], false),
            ([100, 63, 0, 1], false),
            ([100, 127, 0, 1], true),
            ([198, 19, 255, 255], true),
            ([198, 20, 0, 0], false),
            ([223, 255, 255, 255], false),
            ([224, 0, 0, 1], true),
            ([255, 255, 255, 255], true),
        ] {
            assert_eq!(is_special_use(Ipv4Addr::from(address)), special, "{address:?}");
        }
    }
}
