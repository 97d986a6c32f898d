//! The hash by which sources go into sketches.

use std::fmt;

use martlet_window::IpVersion;

use crate::live::Source;

/// Hashes sources with a secret: whoever does not know it cannot aim at a sketch's registers. The secret is drawn once
/// and kept in the store, so that sketches of all times merge.
///
/// The hash is SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) of 17 bytes: the IP version's
/// number and the address's bits, least significant byte first. It is written out here for this one length, because it is
/// computed for every row; a test compares it with the `siphasher` crate.
#[derive(Clone, Copy)]
pub struct SourceHash {
    /// The state before the first byte.
    state: [u64; 4],
}

impl SourceHash {
    /// With this secret.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> SourceHash {
        let key = u128::from_le_bytes(key);
        let (k0, k1) = halves(key);
        SourceHash {
            state: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    /// The hash of a source.
    #[must_use]
    pub const fn of(&self, source: Source) -> u64 {
        self.of_bits(source.ip, source.bits())
    }

    /// As [`SourceHash::of`], from the bits of a count row.
    #[inline]
    #[must_use]
    pub const fn of_bits(&self, ip: IpVersion, bits: u128) -> u64 {
        let (low, high) = halves(bits);
        let state = absorb(self.state, ip as u64 | low << 8);
        let state = absorb(state, low >> 56 | high << 8);
        let state = absorb(state, high >> 56 | 17 << 56);
        let [a, b, c, d] = state;
        let [a, b, c, d] = round(round(round([a, b, c ^ 0xff, d])));
        a ^ b ^ c ^ d
    }
}

#[expect(clippy::cast_possible_truncation, reason = "two halves of 64 bits")]
const fn halves(bits: u128) -> (u64, u64) {
    (bits as u64, (bits >> 64) as u64)
}

const fn absorb([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
    let [a, b, c, d] = round([a, b, c, d ^ word]);
    [a ^ word, b, c, d]
}

const fn round([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (a, c) = (a.wrapping_add(b), c.wrapping_add(d));
    let (b, d) = (b.rotate_left(13) ^ a, d.rotate_left(16) ^ c);
    let (a, c) = (a.rotate_left(32).wrapping_add(d), c.wrapping_add(b));
    let (b, d) = (b.rotate_left(17) ^ c, d.rotate_left(21) ^ a);
    [a, b, c.rotate_left(32), d]
}

impl fmt::Debug for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceHash(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::hash::Hasher;

    proptest! {
        #[test]
        fn it_is_siphash_of_seventeen_bytes(key in any::<[u8; 16]>(), bits in any::<u128>(), v6 in any::<bool>()) {
            let ip = if v6 { IpVersion::V6 } else { IpVersion::V4 };
            let mut bytes = [0; 17];
            bytes[0] = ip as u8;
            bytes[1..].copy_from_slice(&bits.to_le_bytes());
            let mut hasher = SipHasher13::new_with_key(&key);
            hasher.write(&bytes);
            prop_assert_eq!(SourceHash::new(key).of(Source::new(ip, bits)), hasher.finish());
        }
    }
}
