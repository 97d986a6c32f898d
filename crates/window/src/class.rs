//! What a packet was, without who sent it.

use crate::{IpVersion, Kind, Marks};

/// The service a packet concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The protocol has no ports, or the packet is a later fragment or was cut before its ports.
    None,
    /// The destination port of a probe, or the source port of a TCP or UDP answer (the victim's service).
    Port(u16),
    /// An ICMP or ICMPv6 message.
    Icmp {
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
    },
    /// An ICMP or ICMPv6 error that quotes the packet it answers.
    IcmpError {
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
        /// Protocol of the quoted packet.
        quoted_protocol: u8,
        /// Destination port of the quoted packet; 0 where it has none or was cut off.
        quoted_port: u16,
    },
}

/// Everything a count row says of its packets apart from their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// IP version of the outer header.
    pub ip: IpVersion,
    /// IP protocol; for IPv6 the first next-header value that is no extension header.
    pub protocol: u8,
    /// The service concerned.
    pub service: Service,
    /// What the packet most likely is.
    pub kind: Kind,
    /// The single-packet marks it carries.
    pub marks: Marks,
}

/// A [`Class`] in one integer: fast to hash, to compare and to sort.
///
/// Its order is IP version, protocol, kind, service, marks: the order of rows in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedClass(u128);

// Field positions, from the least significant bit.
const MARKS: u32 = 0; // 32 bits
const QUOTED_PORT: u32 = 32; // 16 bits
const QUOTED_PROTOCOL: u32 = 48; // 8 bits
const DETAIL: u32 = 56; // 16 bits: port, or type and code
const TAG: u32 = 72; // 2 bits: which variant of Service
const KIND: u32 = 74; // 2 bits
const PROTOCOL: u32 = 76; // 8 bits
const VERSION: u32 = 84; // 1 bit: set for IPv6
const END: u32 = 85;

impl From<Class> for PackedClass {
    fn from(class: Class) -> PackedClass {
        let (tag, detail, quoted_protocol, quoted_port) = match class.service {
            Service::None => (0u8, 0u16, 0u8, 0u16),
            Service::Port(port) => (1, port, 0, 0),
            Service::Icmp { icmp_type, code } => (2, u16::from_be_bytes([icmp_type, code]), 0, 0),
            Service::IcmpError { icmp_type, code, quoted_protocol, quoted_port } => {
                (3, u16::from_be_bytes([icmp_type, code]), quoted_protocol, quoted_port)
            }
        };
        PackedClass(
            u128::from(class.marks.bits()) << MARKS
                | u128::from(quoted_port) << QUOTED_PORT
                | u128::from(quoted_protocol) << QUOTED_PROTOCOL
                | u128::from(detail) << DETAIL
                | u128::from(tag) << TAG
                | u128::from(class.kind as u8) << KIND
                | u128::from(class.protocol) << PROTOCOL
                | u128::from(class.ip == IpVersion::V6) << VERSION,
        )
    }
}

impl PackedClass {
    /// The least class: protocol 0 over IPv4, a scan of nothing. For filling memory.
    pub const ZERO: PackedClass = PackedClass(0);

    /// The class with these bits, as they come from the wire; `None` if any bit has no meaning or a field that its
    /// variant does not use is not zero.
    #[must_use]
    pub fn from_bits(bits: u128) -> Option<PackedClass> {
        let packed = PackedClass(bits);
        let known = bits >> END == 0
            && Kind::from_number(packed.field(KIND, 2)).is_some()
            && Marks::from_bits(packed.marks_bits()).is_some();
        // Only the canonical form is let in: otherwise two spellings of one class would count apart.
        (known && PackedClass::from(packed.unpack()) == packed).then_some(packed)
    }

    /// The class with these bits, which came from [`Self::bits`] and need not be checked again.
    #[must_use]
    pub const fn from_trusted_bits(bits: u128) -> PackedClass {
        PackedClass(bits)
    }

    /// The class as one number, as it goes on the wire.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The class as if it were a scan without marks: IP version, protocol and service are left.
    #[must_use]
    pub const fn plain(self) -> PackedClass {
        PackedClass(self.0 & !(3 << KIND | (u32::MAX as u128) << MARKS))
    }

    /// IP version, protocol and kind as one number. Classes are ordered by it first.
    #[must_use]
    pub const fn kind_bits(self) -> u128 {
        self.0 >> KIND
    }

    /// IP version of the outer header.
    #[must_use]
    pub const fn ip(self) -> IpVersion {
        if self.0 >> VERSION & 1 == 1 { IpVersion::V6 } else { IpVersion::V4 }
    }

    /// What the packets most likely are.
    #[must_use]
    pub fn kind(self) -> Kind {
        Kind::from_number(self.field(KIND, 2)).unwrap_or(Kind::Other)
    }

    /// The marks.
    #[must_use]
    pub fn marks(self) -> Marks {
        Marks::from_bits(self.marks_bits()).unwrap_or(Marks::NONE)
    }

    /// The fields.
    #[must_use]
    pub fn unpack(self) -> Class {
        let [icmp_type, code] = self.field16(DETAIL).to_be_bytes();
        let service = match self.field(TAG, 2) {
            0 => Service::None,
            1 => Service::Port(self.field16(DETAIL)),
            2 => Service::Icmp { icmp_type, code },
            _ => Service::IcmpError {
                icmp_type,
                code,
                quoted_protocol: self.field(QUOTED_PROTOCOL, 8),
                quoted_port: self.field16(QUOTED_PORT),
            },
        };
        Class { ip: self.ip(), protocol: self.field(PROTOCOL, 8), service, kind: self.kind(), marks: self.marks() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps at most eight bits")]
    const fn field(self, position: u32, width: u32) -> u8 {
        (self.0 >> position) as u8 & ((1u16 << width) - 1) as u8
    }

    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits are what is wanted")]
    const fn field16(self, position: u32) -> u16 {
        (self.0 >> position) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "the marks are the lowest 32 bits")]
    const fn marks_bits(self) -> u32 {
        (self.0 >> MARKS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mark;
    use proptest::prelude::*;

    fn any_class() -> impl Strategy<Value = Class> {
        let service = prop_oneof![
            Just(Service::None),
            any::<u16>().prop_map(Service::Port),
            any::<(u8, u8)>().prop_map(|(icmp_type, code)| Service::Icmp { icmp_type, code }),
            any::<(u8, u8, u8, u16)>().prop_map(|(icmp_type, code, quoted_protocol, quoted_port)| {
                Service::IcmpError { icmp_type, code, quoted_protocol, quoted_port }
            }),
        ];
        (any::<bool>(), any::<u8>(), service, 0u8..3, 0u32..1 << Mark::ALL.len()).prop_map(
            |(v6, protocol, service, kind, marks)| Class {
                ip: if v6 { IpVersion::V6 } else { IpVersion::V4 },
                protocol,
                service,
                kind: Kind::from_number(kind).unwrap(),
                marks: Marks::from_bits(marks).unwrap(),
            },
        )
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(class in any_class()) {
            let packed = PackedClass::from(class);
            prop_assert_eq!(packed.unpack(), class);
            prop_assert_eq!(PackedClass::from_bits(packed.bits()), Some(packed));
        }

        #[test]
        fn only_canonical_bits_are_let_in(bits in any::<u128>()) {
            let bits = bits >> 40;
            if let Some(packed) = PackedClass::from_bits(bits) {
                prop_assert_eq!(PackedClass::from(packed.unpack()).bits(), bits);
            }
        }
    }

    #[test]
    fn a_class_sorts_by_version_then_protocol() {
        let class = |ip, protocol| {
            PackedClass::from(Class {
                ip,
                protocol,
                service: Service::Port(65535),
                kind: Kind::Other,
                marks: Marks::NONE,
            })
        };
        assert!(class(IpVersion::V4, 17) < class(IpVersion::V6, 6));
        assert!(class(IpVersion::V4, 6) < class(IpVersion::V4, 17));
    }
}
