//! The hash by which sources go into sketches.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::live::Source;

/// Hashes sources with a secret: whoever does not know it cannot aim at a sketch's registers. The secret is drawn once
/// and kept in the store, so that sketches of all times merge.
#[derive(Clone, Copy)]
pub struct SourceHash {
    key: [u8; 16],
}

impl SourceHash {
    /// With this secret.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> SourceHash {
        SourceHash { key }
    }

    /// The hash of a source.
    #[must_use]
    pub fn of(&self, source: Source) -> u64 {
        let mut bytes = [0; 17];
        bytes[0] = source.ip as u8;
        bytes[1..].copy_from_slice(&source.bits().to_le_bytes());
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&bytes);
        hasher.finish()
    }
}

impl fmt::Debug for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceHash(secret)")
    }
}
