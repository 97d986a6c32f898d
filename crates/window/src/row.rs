//! Count rows and how they merge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{IpVersion, PackedClass};

/// How many packets of one class one source sent within one window part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRow {
    /// The class of the packets; it also says how to read `source`.
    pub class: PackedClass,
    /// The source address: for IPv4 its 32 bits as a number, for IPv6 all 128.
    pub source: u128,
    /// Packets, at least 1.
    pub packets: u32,
    /// Distinct observed addresses that these packets hit, at least 1. A lower bound once parts are merged.
    pub targets: u32,
    /// Sum of the IP total lengths as stated in the headers, in bytes.
    pub bytes: u64,
}

impl CountRow {
    /// The key: rows of a batch are sorted by it and it is unique within a batch.
    #[must_use]
    pub const fn key(&self) -> (PackedClass, u128) {
        (self.class, self.source)
    }

    /// The source as an address.
    #[must_use]
    pub fn source_address(&self) -> IpAddr {
        address_from_bits(self.class.ip(), self.source)
    }

    /// Adds another row of the same key. Packets and bytes saturate rather than wrap.
    pub fn merge(&mut self, other: &CountRow) {
        debug_assert_eq!(self.key(), other.key());
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        // Two parts may have hit the same targets; only the larger number is certain.
        self.targets = self.targets.max(other.targets);
    }
}

/// An address as the number that rows carry: 32 bits for IPv4, 128 for IPv6.
#[must_use]
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of this version with these bits; for IPv4 only the low 32 are looked at.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
pub fn address_from_bits(ip: IpVersion, bits: u128) -> IpAddr {
    match ip {
        IpVersion::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// Merges two sorted lists of rows into one. Associative and commutative.
#[must_use]
pub fn merge_rows(left: &[CountRow], right: &[CountRow]) -> Vec<CountRow> {
    let mut merged: Vec<CountRow> = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let from_left = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => l.key() <= r.key(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return merged,
        };
        let Some(row) = (if from_left { left.next() } else { right.next() }) else {
            return merged;
        };
        match merged.last_mut() {
            Some(last) if last.key() == row.key() => last.merge(row),
            _ => merged.push(*row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Kind, Marks, Service};
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<CountRow>> {
        // Few distinct keys, so that merging really happens.
        let row = (0u16..4, 0u128..4, 1u32..10, 1u32..5, 20u64..2000);
        proptest::collection::vec(row, 0..20).prop_map(|raw| {
            let mut all: Vec<CountRow> = Vec::new();
            for (port, source, packets, targets, bytes) in raw {
                let class = Class {
                    ip: IpVersion::V4,
                    protocol: 6,
                    service: Service::Port(port),
                    kind: Kind::Scan,
                    marks: Marks::NONE,
                };
                let row = CountRow { class: class.into(), source, packets, targets, bytes };
                all = merge_rows(&all, &[row]);
            }
            all
        })
    }

    proptest! {
        #[test]
        fn merging_commutes(a in rows(), b in rows()) {
            prop_assert_eq!(merge_rows(&a, &b), merge_rows(&b, &a));
        }

        #[test]
        fn merging_is_associative(a in rows(), b in rows(), c in rows()) {
            prop_assert_eq!(
                merge_rows(&merge_rows(&a, &b), &c),
                merge_rows(&a, &merge_rows(&b, &c))
            );
        }

        #[test]
        fn merging_keeps_every_packet(a in rows(), b in rows()) {
            let packets = |rows: &[CountRow]| rows.iter().map(|row| u64::from(row.packets)).sum::<u64>();
            let merged = merge_rows(&a, &b);
            prop_assert_eq!(packets(&merged), packets(&a) + packets(&b));
            prop_assert!(merged.is_sorted_by(|x, y| x.key() < y.key()));
        }
    }
}
