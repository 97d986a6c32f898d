//! A token as whoever uses it has it.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const PREFIX: &str = "martlet_";
const PUBLIC_ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// By what a token is found; no secret.
pub type PublicId = [u8; PUBLIC_ID_BYTES];
/// SHA-256 of a secret.
pub type Hash = [u8; 32];

/// A token in full.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    public_id: PublicId,
    secret: [u8; SECRET_BYTES],
}

impl Secret {
    /// A new one, from the system's random numbers.
    #[must_use]
    pub fn new() -> Secret {
        Secret { public_id: rand::random(), secret: rand::random() }
    }

    /// What no token is.
    pub(super) const fn nobody() -> Secret {
        Secret { public_id: [0; PUBLIC_ID_BYTES], secret: [0; SECRET_BYTES] }
    }

    /// Reads a token; `None` unless it has exactly its form.
    #[must_use]
    pub fn read(text: &str) -> Option<Secret> {
        let (public_id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let public_id = HEXLOWER.decode(public_id.as_bytes()).ok()?.try_into().ok()?;
        let secret = HEXLOWER.decode(secret.as_bytes()).ok()?.try_into().ok()?;
        Some(Secret { public_id, secret })
    }

    /// By what it is found.
    #[must_use]
    pub const fn public_id(&self) -> PublicId {
        self.public_id
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.secret).into()
    }

    /// As it is handed over, once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", HEXLOWER.encode(&self.public_id), HEXLOWER.encode(&self.secret))
    }
}

impl Default for Secret {
    fn default() -> Secret {
        Secret::new()
    }
}

/// Without what must not be written anywhere.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", HEXLOWER.encode(&self.public_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_nothing_else_is_one() {
        let token = Secret::new();
        let text = token.reveal();
        assert_eq!(text.len(), 8 + 16 + 1 + 64);
        assert_eq!(Secret::read(&text), Some(token.clone()));
        assert_ne!(Secret::new(), token);
        assert!(!format!("{token:?}").contains(&text[25..]));
        for wrong in ["", "martlet_", "martlet__", &text[1..], &text[..88], &format!("{text}0"), &text.to_uppercase()] {
            assert_eq!(Secret::read(wrong), None, "{wrong}");
        }
    }
}
