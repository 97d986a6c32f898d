//! Keys as small numbers: every population on every port of TCP and UDP over IPv4 and IPv6 has one.

use martlet_window::IpVersion;

use crate::finding::Key;
use crate::population::Population;

const TCP: u8 = 6;
const UDP: u8 = 17;
const PORTS: u32 = 1 << 16;
const POPULATIONS: u32 = 10;
const _: () = assert!(Population::ALL.len() == POPULATIONS as usize);
/// Ports of both protocols over both versions.
pub(crate) const ALL_PORTS: usize = 4 << 16;
/// How many numbers there are.
pub(crate) const ALL_KEYS: usize = ALL_PORTS * Population::ALL.len();

/// The key's number, if its protocol is TCP or UDP.
pub(crate) const fn number(key: Key) -> Option<u32> {
    let protocol = match key.protocol {
        TCP => 0,
        UDP => 1,
        _ => return None,
    };
    let version = matches!(key.ip, IpVersion::V6) as u32;
    let port = (version * 2 + protocol) * PORTS + key.port as u32;
    Some(port * POPULATIONS + key.population as u32)
}

/// The key of this number.
#[expect(clippy::cast_possible_truncation, reason = "remainders of the sizes of the types")]
pub(crate) fn key(number: u32) -> Key {
    let port = number / POPULATIONS;
    Key {
        ip: version(number),
        protocol: if (port / PORTS).is_multiple_of(2) { TCP } else { UDP },
        port: (port % PORTS) as u16,
        population: Population::from_number((number % POPULATIONS) as u8).unwrap_or(Population::None),
    }
}

/// The IP version of a key's number.
pub(crate) const fn version(number: u32) -> IpVersion {
    if number / POPULATIONS / PORTS >= 2 { IpVersion::V6 } else { IpVersion::V4 }
}

/// The port, among all, of a key's number.
pub(crate) const fn port_place(number: u32) -> usize {
    (number / POPULATIONS) as usize
}

/// The number of what looks spoofed on the port of a key's number.
pub(crate) const fn spoofed(number: u32) -> u32 {
    number - number % POPULATIONS + Population::Spoofed as u32
}

/// As it is written down. Only keys that have a number are.
impl From<Key> for u32 {
    fn from(key: Key) -> u32 {
        number(key).unwrap_or_default()
    }
}

impl From<u32> for Key {
    fn from(number: u32) -> Key {
        key(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_keys_are_one_to_one() {
        for ip in [IpVersion::V4, IpVersion::V6] {
            for protocol in [TCP, UDP] {
                for port in [0, 23, u16::MAX] {
                    for population in Population::ALL {
                        let whole = Key { ip, protocol, port, population };
                        let number = number(whole).unwrap();
                        assert_eq!(key(number), whole);
                        assert!((number as usize) < ALL_KEYS);
                        assert!(port_place(number) < ALL_PORTS);
                        let spoofed = Key { population: Population::Spoofed, ..whole };
                        assert_eq!(key(super::spoofed(number)), spoofed);
                    }
                }
            }
        }
    }
}
