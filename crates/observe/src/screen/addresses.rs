//! Sets of addresses, given as networks and asked once a packet.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of addresses as sorted, disjoint ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// A network, or a single address.
///
/// # Errors
/// What is wanted instead.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|address: IpAddr| IpNet::from(address)).ok();
    text.parse()
        .ok()
        .or_else(single)
        .map(|network: IpNet| network.trunc())
        .ok_or_else(|| format!("{text:?} is no network such as 192.0.2.0/24 or 2001:db8::/64, and no single address"))
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> AddressSet {
        let mut set = AddressSet::default();
        for network in networks {
            match network {
                IpNet::V4(v4) => set.v4.push((v4.network().to_bits(), v4.broadcast().to_bits())),
                IpNet::V6(v6) => set.v6.push((v6.network().to_bits(), v6.broadcast().to_bits())),
            }
        }
        set.v4 = merge(set.v4, |last| last.checked_add(1));
        set.v6 = merge(set.v6, |last| last.checked_add(1));
        set
    }
}

impl AddressSet {
    /// Whether `address` is in the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => covers(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => covers(&self.v6, v6.to_bits()),
        }
    }

    /// Whether the set holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Number of IPv4 addresses.
    #[must_use]
    pub fn ipv4_addresses(&self) -> u64 {
        self.v4.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Number of IPv6 /64 prefixes that hold at least one address of the set: the unit of IPv6 exposure.
    #[must_use]
    pub fn ipv6_prefixes(&self) -> u64 {
        prefixes_64(self.v6.iter().copied())
    }

    /// Whether the set holds IPv4 addresses that are not globally reachable: then it sits behind NAT, or in a lab.
    #[must_use]
    pub fn has_private_ipv4(&self) -> bool {
        const PRIVATE: [(u32, u32); 4] = [
            (0x0a00_0000, 0x0aff_ffff), // 10.0.0.0/8, RFC 1918
            (0x6440_0000, 0x647f_ffff), // 100.64.0.0/10, RFC 6598
            (0xac10_0000, 0xac1f_ffff), // 172.16.0.0/12, RFC 1918
            (0xc0a8_0000, 0xc0a8_ffff), // 192.168.0.0/16, RFC 1918
        ];
        self.v4.iter().any(|&(first, last)| PRIVATE.iter().any(|&(from, to)| first <= to && last >= from))
    }

    /// The fewest networks that make up the set exactly.
    #[must_use]
    pub fn networks(&self) -> Vec<IpNet> {
        let v4 = self
            .v4
            .iter()
            .flat_map(|&(first, last)| ipnet::Ipv4Subnets::new(first.into(), last.into(), 0).map(IpNet::V4));
        let v6 = self
            .v6
            .iter()
            .flat_map(|&(first, last)| ipnet::Ipv6Subnets::new(first.into(), last.into(), 0).map(IpNet::V6));
        v4.chain(v6).collect()
    }

    /// At most `limit` networks that together cover the set, and maybe more: for a filter that must stay small.
    #[must_use]
    pub fn covering_networks(&self, limit: usize) -> Vec<IpNet> {
        let exact = self.networks();
        if exact.len() <= limit {
            return exact;
        }
        // Widen all networks to the same prefix length, one bit at a time: simple, and the rest is matched exactly
        // in userspace anyway.
        for (v4_length, v6_length) in (0..=31u8).rev().zip((0..=127u8).rev().step_by(4)) {
            let widened = exact.iter().filter_map(|network| match network {
                IpNet::V4(v4) => {
                    Ipv4Net::new(v4.network(), v4.prefix_len().min(v4_length)).ok().map(|n| IpNet::V4(n.trunc()))
                }
                IpNet::V6(v6) => {
                    Ipv6Net::new(v6.network(), v6.prefix_len().min(v6_length)).ok().map(|n| IpNet::V6(n.trunc()))
                }
            });
            let networks = widened.collect::<AddressSet>().networks();
            if networks.len() <= limit {
                return networks;
            }
        }
        vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
    }
}

/// Number of /64 prefixes that sorted, disjoint ranges touch; saturates.
#[must_use]
pub fn prefixes_64(ranges: impl Iterator<Item = (u128, u128)>) -> u64 {
    let mut count = 0u64;
    let mut last_seen: Option<u64> = None;
    for (first, last) in ranges {
        let (first, last) = ((first >> 64) as u64, (last >> 64) as u64);
        // The prefix that the range before ended in has been counted.
        let first = if last_seen == Some(first) { first.saturating_add(1) } else { first };
        if first <= last {
            count = count.saturating_add((last - first).saturating_add(1));
        }
        last_seen = Some(last);
    }
    count
}

fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            // Touching ranges become one.
            Some(before) if next(before.1).is_none_or(|following| first <= following) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Sets of so few ranges are searched one by one: no branch then depends on a random address.
const FEW: usize = 8;

#[inline]
fn covers<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    if ranges.len() <= FEW {
        return ranges.iter().any(|&(first, last)| (first <= address) & (address <= last));
    }
    let behind = ranges.partition_point(|&(first, _)| first <= address);
    behind > 0 && ranges[behind - 1].1 >= address
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(networks: &[&str]) -> AddressSet {
        networks.iter().map(|network| network.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn overlapping_and_touching_networks_become_one() {
        let set = set(&["192.0.2.128/25", "192.0.2.0/25", "192.0.2.7/32", "2001:db8::/64", "2001:db8::1/128"]);
        assert_eq!(set.networks(), ["192.0.2.0/24".parse().unwrap(), "2001:db8::/64".parse::<IpNet>().unwrap()]);
        assert_eq!((set.ipv4_addresses(), set.ipv6_prefixes()), (256, 1));
    }

    #[test]
    fn exposure_counts_prefixes_not_addresses() {
        assert_eq!(set(&["2001:db8::1/128", "2001:db8::5/128", "2001:db8:0:1::/64"]).ipv6_prefixes(), 2);
        assert_eq!(set(&["2001:db8::/48"]).ipv6_prefixes(), 65_536);
        assert_eq!(set(&["0.0.0.0/0"]).ipv4_addresses(), 1 << 32);
    }

    #[test]
    fn private_space_is_noticed_even_inside_a_larger_network() {
        assert!(set(&["192.168.1.7/32"]).has_private_ipv4());
        assert!(set(&["8.0.0.0/6"]).has_private_ipv4());
        assert!(!set(&["192.0.2.0/24", "fd00::/8"]).has_private_ipv4());
    }

    proptest! {
        #[test]
        fn covering_networks_cover(addresses in proptest::collection::vec(any::<u32>(), 1..600), limit in 2usize..64) {
            let set: AddressSet =
                addresses.iter().map(|&bits| IpNet::from(IpAddr::from(std::net::Ipv4Addr::from(bits)))).collect();
            let covering = set.covering_networks(limit);
            prop_assert!(covering.len() <= limit);
            let covering: AddressSet = covering.into_iter().collect();
            for bits in addresses {
                let address = IpAddr::from(std::net::Ipv4Addr::from(bits));
                prop_assert!(set.contains(address) && covering.contains(address));
            }
        }

        #[test]
        fn membership_is_that_of_the_networks(seeds in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20), probe in any::<u32>()) {
            let networks: Vec<Ipv4Net> =
                seeds.iter().map(|&(bits, length)| Ipv4Net::new(bits.into(), length).unwrap()).collect();
            let set: AddressSet = networks.iter().map(|&network| IpNet::V4(network)).collect();
            let probe = std::net::Ipv4Addr::from(probe);
            prop_assert_eq!(set.contains(probe.into()), networks.iter().any(|network| network.contains(&probe)));
        }
    }
}
