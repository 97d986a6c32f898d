//! What a webhook is sent, and the signature by which its receiver knows who sent it.

use std::fs;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::courier::TellError;
use super::kinds::name;
use super::outbox::Due;
use super::text;
use martlet_window::TrafficClass;

/// The header that has the signature: `t=UNIX_SECONDS,v1=HEX`.
pub const SIGNATURE_HEADER: &str = "martlet-signature";
/// The header that has the key by which a receiver knows a delivery again.
const DELIVERY_HEADER: &str = "martlet-delivery";
/// How old a signature may be, in seconds, before a receiver should refuse it: what is sent again is signed again.
pub const REPLAY_WINDOW_SECONDS: u64 = 300;
/// Shortest secret, in bytes: what is shorter can be guessed from one delivery.
const SHORTEST_SECRET: usize = 16;
/// Longest secret, in bytes.
const LONGEST_SECRET: u64 = 4096;

/// Reads a secret.
pub(super) fn secret(path: &Path) -> Result<Vec<u8>, TellError> {
    let failed = |reason: String| TellError::Secret { path: path.to_owned(), reason };
    let length = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if length > LONGEST_SECRET {
        return Err(failed(format!("it is longer than {LONGEST_SECRET} bytes")));
    }
    let mut secret = fs::read(path).map_err(|error| failed(error.to_string()))?;
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop();
    }
    if secret.len() < SHORTEST_SECRET {
        return Err(failed(format!(
            "it is shorter than {SHORTEST_SECRET} bytes: make one with `openssl rand -hex 32`"
        )));
    }
    Ok(secret)
}

/// The signature of a body at a time, in seconds since the Unix epoch: HMAC-SHA256 (RFC 2104) of the time in decimal digits, a
/// full stop, and the body.
#[must_use]
pub fn signature(secret: &[u8], time: i64, body: &[u8]) -> String {
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret) {
        Ok(mac) => mac,
        // HMAC takes keys of every length.
        Err(_) => return String::new(),
    };
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    format!("t={time},v1={}", HEXLOWER.encode(&mac.finalize().into_bytes()))
}

/// The key by which a receiver knows a delivery again.
pub(super) fn key(due: &Due) -> String {
    format!("{}-{}", due.event.id, due.change)
}

/// What is sent of a change.
pub(super) fn body(due: &Due, external_url: Option<&str>) -> Vec<u8> {
    let Due { event, entry, .. } = due;
    let value = json!({
        "delivery": key(due),
        "sequence": due.change,
        "action": name(entry.action),
        "at": text::time(entry.at_ms.div_euclid(1000)),
        "by": entry.by,
        "note": entry.note,
        "is_drill": event.id.class == TrafficClass::Drill,
        "text": text::description(event),
        "link": text::link(external_url, event),
        "event": text::as_json(event),
    });
    // Maps with texts as keys can always be written.
    serde_json::to_vec(&value).unwrap_or_default()
}

/// The headers of a body that is sent now.
pub(super) fn headers(due: &Due, secret: &[u8], now: i64, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let named = [(SIGNATURE_HEADER, signature(secret, now, body)), (DELIVERY_HEADER, key(due))];
    let headers = named
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?)));
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_openssl() {
        // printf '1795255200.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "6dd514937df0d8b3249a6d006cf86c38908fcc4f83570c331a5cb49aad288916";
        assert_eq!(signature(b"0123456789abcdef", 1_795_255_200, b"{\"a\":1}"), format!("t=1795255200,v1={expected}"));
    }

    #[test]
    fn a_secret_ends_before_its_line_break_and_is_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "0123456789abcdef\r\n").unwrap();
        assert_eq!(secret(&path).unwrap(), b"0123456789abcdef");
        for bad in ["short\n", ""] {
            fs::write(&path, bad).unwrap();
            assert!(secret(&path).unwrap_err().to_string().contains("openssl rand"), "{bad:?}");
        }
        assert!(secret(&folder.path().join("absent")).is_err());
    }
}
