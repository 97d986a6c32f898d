//! The two messages of an enrolment, version 1. docs/wire.md, "Enrolment", specifies them.
//!
//! Each is a length of four bytes, little-endian, and so many bytes of JSON. What a receiver does not know in an object it
//! passes over, so that a later version can say more.

use std::str::FromStr;

use data_encoding::HEXLOWER;
use martlet_window::SensorName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::token::Secret;

/// The version that is spoken.
const VERSION: u32 = 1;
/// Bytes of the length in front of a message.
pub const LENGTH_BYTES: usize = 4;
/// Longest message, in bytes.
pub const LONGEST_MESSAGE: usize = 16 << 10;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Its length is over the limit.
    #[error("a message of {0} bytes is longer than the {LONGEST_MESSAGE} that are taken")]
    TooLong(usize),
    /// It is none of ours.
    #[error("it is no message of enrolment: {0}")]
    Form(String),
    /// It is of another version.
    #[error("it is of version {0} of enrolment, and this program knows version {VERSION}")]
    Version(u32),
}

/// What a sensor asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What allows it; `None` to renew the certificate that the connection was made with.
    pub secret: Option<Secret>,
    /// A PKCS#10 request as DER (RFC 2986). Only its key counts.
    pub request: Vec<u8>,
}

/// What a sensor is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its certificate, as PEM.
    pub certificate: String,
    /// The CA certificates that it is to trust from now on, as PEM.
    pub authorities: String,
    /// The name that it may speak for.
    pub name: SensorName,
    /// What is said of it, such as `group=tokyo`.
    pub labels: Vec<String>,
}

/// Why a sensor is given nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nobody made this token, or nobody who may know more asks.
    #[error("the token is not valid")]
    NotValid,
    /// The token was used.
    #[error("the token was used before; make a new one with `martlet-collector enroll create`")]
    Used,
    /// Its time is over.
    #[error("the token has expired; make a new one with `martlet-collector enroll create`")]
    Expired,
    /// It was revoked.
    #[error("the token was revoked; make a new one with `martlet-collector enroll create`")]
    Revoked,
    /// A renewal without a certificate that can be renewed.
    #[error("this certificate cannot be renewed; enrol again with a new token")]
    NotRenewable,
    /// A renewal in the first half of a certificate's life.
    #[error("it is too early to renew this certificate")]
    TooEarly,
    /// The request cannot be used.
    #[error("the collector cannot use the request: a key on P-256 or Ed25519, signed by itself, is wanted")]
    BadRequest,
    /// The version is not known.
    #[error("the collector knows another version of enrolment; take the same version of sensor and collector")]
    Version,
    /// The collector cannot do it now.
    #[error("the collector failed; its log says why. Make a new token if this one was used meanwhile")]
    Unavailable,
    /// A reason that this program does not know.
    #[serde(other)]
    #[error("for a reason that this version does not know")]
    Other,
}

/// A collector's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The collector's clock, in seconds since the Unix epoch.
    pub time: i64,
    /// What it comes to.
    pub outcome: Result<Enrolled, Refusal>,
}

/// The version stands in front of all else: what else a message holds depends on it.
#[derive(Deserialize)]
struct RawVersion {
    version: u32,
}

#[derive(Deserialize, Serialize)]
struct RawRequest {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    request: String,
}

#[derive(Deserialize, Serialize)]
struct RawAnswer {
    version: u32,
    time: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enrolled: Option<RawEnrolled>,
}

#[derive(Deserialize, Serialize)]
struct RawEnrolled {
    certificate: String,
    authorities: String,
    name: String,
    #[serde(default)]
    labels: Vec<String>,
}

/// A length that was read in front of a message.
///
/// # Errors
/// If it is over the limit.
pub fn message_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, MessageError> {
    let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    if length > LONGEST_MESSAGE { Err(MessageError::TooLong(length)) } else { Ok(length) }
}

/// A request with its length.
///
/// # Errors
/// If it is too long.
pub fn encode_request(request: &Request) -> Result<Vec<u8>, MessageError> {
    let Request { secret, request } = request;
    let token = secret.as_ref().map(Secret::digits);
    encode(&RawRequest { version: VERSION, token, request: HEXLOWER.encode(request) })
}

/// The request in a message without its length.
///
/// # Errors
/// If it is none, or of another version.
pub fn decode_request(message: &[u8]) -> Result<Request, MessageError> {
    let raw: RawRequest = decode(message)?;
    let form = |what: &str| MessageError::Form(what.to_owned());
    // What is no secret is taken for a wrong one: the answer to both is the same.
    let secret = raw.token.map(|digits| Secret::of_digits(&digits).ok_or_else(|| form("the token is none")));
    let request =
        HEXLOWER.decode(raw.request.as_bytes()).map_err(|_| form("the request is not in hexadecimal digits"))?;
    Ok(Request { secret: secret.transpose()?, request })
}

/// An answer with its length.
///
/// # Errors
/// If it is too long.
pub fn encode_answer(answer: &Answer) -> Result<Vec<u8>, MessageError> {
    let (refused, enrolled) = match &answer.outcome {
        Err(refusal) => (Some(*refusal), None),
        Ok(Enrolled { certificate, authorities, name, labels }) => {
            let (certificate, authorities) = (certificate.clone(), authorities.clone());
            (None, Some(RawEnrolled { certificate, authorities, name: name.to_string(), labels: labels.clone() }))
        }
    };
    encode(&RawAnswer { version: VERSION, time: answer.time, refused, enrolled })
}

/// The answer in a message without its length.
///
/// # Errors
/// If it is none, or of another version.
pub fn decode_answer(message: &[u8]) -> Result<Answer, MessageError> {
    let raw: RawAnswer = decode(message)?;
    let outcome = match (raw.enrolled, raw.refused) {
        (Some(RawEnrolled { certificate, authorities, name, labels }), None) => {
            let name = SensorName::from_str(&name).map_err(|error| MessageError::Form(error.to_string()))?;
            Ok(Enrolled { certificate, authorities, name, labels })
        }
        (None, Some(refusal)) => Err(refusal),
        _ => return Err(MessageError::Form("it says neither or both of enrolled and refused".to_owned())),
    };
    Ok(Answer { time: raw.time, outcome })
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    let form = |error: serde_json::Error| MessageError::Form(error.to_string());
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message).map_err(form)?;
    let length = bytes.len() - LENGTH_BYTES;
    match u32::try_from(length) {
        Ok(number) if length <= LONGEST_MESSAGE => {
            bytes[..LENGTH_BYTES].copy_from_slice(&number.to_le_bytes());
            Ok(bytes)
        }
        _ => Err(MessageError::TooLong(length)),
    }
}

fn decode<T: for<'a> Deserialize<'a>>(message: &[u8]) -> Result<T, MessageError> {
    if message.len() > LONGEST_MESSAGE {
        return Err(MessageError::TooLong(message.len()));
    }
    // Where it is wrong is enough: the words of the parser may quote a secret.
    let form = |error: serde_json::Error| {
        MessageError::Form(format!("line {}, column {} is wrong", error.line(), error.column()))
    };
    let RawVersion { version } = serde_json::from_slice(message).map_err(form)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    serde_json::from_slice(message).map_err(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn enrolled() -> Enrolled {
        Enrolled {
            certificate: "C".to_owned(),
            authorities: "A".to_owned(),
            name: "s1".parse().unwrap(),
            labels: vec!["group=tokyo".to_owned()],
        }
    }

    fn body(message: &[u8]) -> &[u8] {
        let (head, rest) = message.split_first_chunk().unwrap();
        assert_eq!(message_length(*head), Ok(rest.len()));
        rest
    }

    #[test]
    fn messages_come_back() {
        for secret in [Some(Secret::new()), None] {
            let request = Request { secret, request: vec![0x30, 0xff] };
            assert_eq!(decode_request(body(&encode_request(&request).unwrap())), Ok(request));
        }
        for outcome in [Ok(enrolled()), Err(Refusal::Used)] {
            let answer = Answer { time: 1_700_000_000, outcome };
            assert_eq!(decode_answer(body(&encode_answer(&answer).unwrap())), Ok(answer));
        }
    }

    #[test]
    fn what_is_none_is_refused_and_a_later_version_may_say_more() {
        let long = Request { secret: None, request: vec![0; LONGEST_MESSAGE / 2] };
        assert!(matches!(encode_request(&long), Err(MessageError::TooLong(_))));
        assert!(message_length([1, 64, 0, 0]).is_err() && message_length([0, 64, 0, 0]).is_ok());
        assert_eq!(decode_request(br#"{"version":2,"x":1}"#), Err(MessageError::Version(2)));
        let more = br#"{"version":1,"time":5,"refused":"moon","more":[]}"#;
        assert_eq!(decode_answer(more), Ok(Answer { time: 5, outcome: Err(Refusal::Other) }));
        for wrong in ["", "{}", "[]", r#"{"version":1,"request":"0"}"#, r#"{"version":1,"request":"","token":"ab"}"#] {
            assert!(matches!(decode_request(wrong.as_bytes()), Err(MessageError::Form(_))), "{wrong}");
        }
        assert!(decode_answer(br#"{"version":1,"time":5}"#).is_err());
        // Nothing that was sent is quoted.
        let told = decode_request(br#"{"version":1,"token":17}"#).unwrap_err().to_string();
        assert!(!told.contains("17"), "{told}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (decode_request(&bytes), decode_answer(&bytes));
        }
    }
}
