//! What an operator hands to a sensor: a secret that works once, and by what the collector is known.
//!
//! `mrt1.`, 64 digits of the secret, `.`, 64 digits of the SHA-256 of the collector's CA certificate. The sensor takes only a
//! collector of that CA, so whoever is in the way learns nothing; and whoever finds the line later finds it used or expired.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use thiserror::Error;

const PREFIX: &str = "mrt1";

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// The fingerprint of a certificate.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate).into())
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// 256 random bits that allow one enrolment.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one, from the system's random numbers.
    #[must_use]
    pub fn new() -> Secret {
        Secret(rand::random())
    }

    /// What is kept of it. Against 256 random bits nobody guesses, with however fast a hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    pub(crate) fn digits(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    pub(crate) fn of_digits(text: &str) -> Option<Secret> {
        Some(Secret(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl Default for Secret {
    fn default() -> Secret {
        Secret::new()
    }
}

/// Without what must not be written anywhere.
impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// The line that an operator hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What allows the enrolment.
    pub secret: Secret,
    /// The CA that the collector must have.
    pub authority: Fingerprint,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is of another program, or of a later version.
    #[error("this is no enrolment token: it begins with `mrt1.`, as `martlet-collector enroll create` prints it")]
    Foreign,
    /// Some of it is missing, or something was added.
    #[error("the enrolment token is not whole: copy the line that `martlet-collector enroll create` printed once more")]
    Damaged,
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads a line, with or without white space around it.
    fn from_str(text: &str) -> Result<Token, TokenError> {
        let mut parts = text.trim().split('.');
        if parts.next() != Some(PREFIX) {
            return Err(TokenError::Foreign);
        }
        let secret = parts.next().and_then(Secret::of_digits).ok_or(TokenError::Damaged)?;
        let authority = parts.next().and_then(|text| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok());
        match (authority, parts.next()) {
            (Some(authority), None) => Ok(Token { secret, authority: Fingerprint(authority) }),
            _ => Err(TokenError::Damaged),
        }
    }
}

impl Token {
    /// As it is handed over, once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}", self.secret.digits(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_nothing_else_is_one() {
        let token = Token { secret: Secret::new(), authority: fingerprint(b"ca") };
        let text = token.reveal();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert_ne!(Secret::new(), token.secret);
        assert!(!format!("{token:?}").contains(&text[5..69]));
        for wrong in ["", "mrt2.", &text[1..], "martlet_12", &text.to_uppercase()] {
            assert_eq!(wrong.parse::<Token>(), Err(TokenError::Foreign), "{wrong}");
        }
        for wrong in ["mrt1", "mrt1..", &text[..text.len() - 1], &text[..70], &format!("{text}.")] {
            assert_eq!(wrong.parse::<Token>(), Err(TokenError::Damaged), "{wrong}");
        }
    }
}
