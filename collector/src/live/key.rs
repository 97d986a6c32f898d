//! Small keys for tables.

use std::net::IpAddr;

use martlet_window::{Class, IpVersion, Kind, PackedClass, Service, address_from_bits};

use super::sorted::SortedKey;
use crate::ingest::SensorId;

/// Bits of a packed class below the service, which are its marks.
const MARK_BITS: u32 = 32;
/// Set in keys of rows whose service is not told apart any more; far above the bits of a class.
const OVERFLOW: u64 = 1 << 62;

/// IP version, protocol and service of packets, in one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(u64);

impl ServiceKey {
    /// The key of a class; kind and marks do not matter.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "53 bits are left of a class without its marks")]
    pub const fn new(class: PackedClass) -> ServiceKey {
        ServiceKey((class.plain().bits() >> MARK_BITS) as u64)
    }

    /// The key of everything that is not told apart any more.
    #[must_use]
    pub const fn rest(ip: IpVersion) -> ServiceKey {
        ServiceKey(match ip {
            IpVersion::V4 => OVERFLOW,
            IpVersion::V6 => OVERFLOW | 1,
        })
    }

    /// The class (kind scan, no marks), or `None` for what is not told apart.
    #[must_use]
    pub fn class(self) -> Option<Class> {
        if self.0 & OVERFLOW != 0 {
            return None;
        }
        // A key comes from a class, or was checked when it was read.
        Some(PackedClass::from_trusted_bits(u128::from(self.0) << MARK_BITS).unpack())
    }

    /// The key as one number, as it is stored.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The key with this number, which came from [`Self::bits`].
    pub(crate) const fn from_trusted_bits(bits: u64) -> ServiceKey {
        ServiceKey(bits)
    }

    /// The key with this number, if there is one.
    pub(crate) fn from_bits(bits: u64) -> Option<ServiceKey> {
        let is_class = |class: PackedClass| class == class.plain();
        let known = PackedClass::from_bits(u128::from(bits) << MARK_BITS).is_some_and(is_class);
        (known || [OVERFLOW, OVERFLOW | 1].contains(&bits)).then_some(ServiceKey(bits))
    }

    /// IP version.
    #[must_use]
    pub const fn ip(self) -> IpVersion {
        match self.0 & OVERFLOW {
            // A key comes from a class, or was checked when it was read.
            0 => PackedClass::from_trusted_bits((self.0 as u128) << MARK_BITS).ip(),
            _ if self.0 & 1 == 1 => IpVersion::V6,
            _ => IpVersion::V4,
        }
    }

    /// Protocol and port, where there is a port.
    #[must_use]
    pub fn port(self) -> Option<(u8, u16)> {
        match self.class() {
            Some(Class { protocol, service: Service::Port(port), .. }) => Some((protocol, port)),
            _ => None,
        }
    }
}

/// What rows of a bucket are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// IP version, protocol and service.
    pub service: ServiceKey,
    /// Kind.
    pub kind: Kind,
    /// Whose.
    pub sensor: SensorId,
}

/// What rows over all sensors are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKind {
    /// IP version, protocol and service.
    pub service: ServiceKey,
    /// Kind.
    pub kind: Kind,
}

impl From<RowKey> for ServiceKind {
    fn from(RowKey { service, kind, .. }: RowKey) -> ServiceKind {
        ServiceKind { service, kind }
    }
}

impl SortedKey for ServiceKey {
    fn overflow(self) -> ServiceKey {
        ServiceKey::rest(self.ip())
    }

    fn is_overflow(self) -> bool {
        self.0 & OVERFLOW != 0
    }
}

impl SortedKey for ServiceKind {
    fn overflow(self) -> ServiceKind {
        ServiceKind { service: self.service.overflow(), ..self }
    }

    fn is_overflow(self) -> bool {
        self.service.is_overflow()
    }
}

impl SortedKey for RowKey {
    fn overflow(self) -> RowKey {
        RowKey { service: self.service.overflow(), ..self }
    }

    fn is_overflow(self) -> bool {
        self.service.is_overflow()
    }
}

/// IP version, protocol and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindKey {
    /// IP version.
    pub ip: IpVersion,
    /// IP protocol number.
    pub protocol: u8,
    /// Kind.
    pub kind: Kind,
}

impl KindKey {
    /// The key of a class.
    #[must_use]
    pub const fn new(class: &Class) -> KindKey {
        KindKey { ip: class.ip, protocol: class.protocol, kind: class.kind }
    }
}

/// A source address with its version: 192.0.2.7 and ::c000:207 are two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// IP version.
    pub ip: IpVersion,
    /// Upper and lower half: a number of 16 bytes alignment would waste half of every table entry.
    halves: (u64, u64),
}

impl Source {
    /// From the bits of a count row.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
    pub const fn new(ip: IpVersion, bits: u128) -> Source {
        Source { ip, halves: ((bits >> 64) as u64, bits as u64) }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(&self) -> u128 {
        (self.halves.0 as u128) << 64 | self.halves.1 as u128
    }

    /// As an address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address_from_bits(self.ip, self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::Marks;

    #[test]
    fn keys_come_back() {
        let service = Service::IcmpError { icmp_type: 3, code: 255, quoted_protocol: 255, quoted_port: u16::MAX };
        for service in [service, Service::None, Service::Port(65_535), Service::Icmp { icmp_type: 255, code: 255 }] {
            let marks = Marks::from_bits(0x3fff).unwrap();
            let class = Class { ip: IpVersion::V6, protocol: 255, service, kind: Kind::Other, marks };
            let plain = Class { kind: Kind::Scan, marks: Marks::NONE, ..class };
            assert_eq!(ServiceKey::new(class.into()).class(), Some(plain));
        }
        for ip in [IpVersion::V4, IpVersion::V6] {
            assert_eq!((ServiceKey::rest(ip).class(), ServiceKey::rest(ip).ip()), (None, ip));
        }
        let bits = u128::MAX - 5;
        assert_eq!(Source::new(IpVersion::V6, bits).bits(), bits);
    }
}
