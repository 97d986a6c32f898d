//! What strangers may send to a collector that enrols sensors, and what a sensor reads of its answer.

use std::sync::OnceLock;

use martlet_enrol::{
    Authority, LENGTH_BYTES, Life, Serial, Token, decode_answer, decode_request, encode_answer, encode_request, facts,
};
use martlet_window::SensorName;

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// The first byte says what the others are: a request, an answer, a token, a certificate, or a request to be signed.
///
/// # Panics
/// If what was read does not come back the same, or a certificate is signed for another name.
pub fn enrolment(input: &[u8]) {
    let Some((what, bytes)) = input.split_first() else { return };
    match what % 5 {
        0 => {
            if let Ok(request) = decode_request(bytes)
                && let Ok(again) = encode_request(&request)
            {
                assert_eq!(decode_request(&again[LENGTH_BYTES..]), Ok(request));
            }
        }
        1 => {
            if let Ok(answer) = decode_answer(bytes)
                && let Ok(again) = encode_answer(&answer)
            {
                assert_eq!(decode_answer(&again[LENGTH_BYTES..]), Ok(answer));
            }
        }
        2 => {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(token) = text.parse::<Token>() {
                assert_eq!(token.reveal().parse(), Ok(token));
            }
        }
        3 => drop(facts(bytes)),
        _ => sign(bytes),
    }
}

fn sign(request: &[u8]) {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| Authority::make(NOW, Life::of_days(3650)).expect("randomness"));
    let name: SensorName = "sensor-1".parse().expect("a name");
    if let Ok(issued) = authority.issue(request, &name, &Serial::of_bytes(&[7]), NOW, Life::of_days(90)) {
        // Nothing of what the request says but its key.
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.pem.as_bytes()).expect("a PEM block");
        let facts = facts(&pem.contents).expect("a certificate");
        assert_eq!((facts.name, facts.host_names), (Some(name), Vec::new()));
        assert!(!facts.is_root && facts.not_after == issued.not_after);
    }
}
