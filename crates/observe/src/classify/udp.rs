//! Which UDP datagrams are answers.
//!
//! The source port alone is a poor judge: on a darknet capture of 2020-21, 506 packets from port 1900 were no SSDP
//! answer, and 138 NTP server answers went from 123 to 123. So a service whose answers can be told by their first
//! bytes is judged by them. For the few services where no such test exists, the source port decides if the
//! destination port is none of the table's (the weak rule, which has a mark of its own).

use martlet_packet::Udp;
use martlet_window::Kind;

/// What a datagram is.
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// Decided by ports alone.
    pub(super) weak: bool,
}

pub(super) fn verdict(udp: &Udp<'_>) -> Verdict {
    let payload = udp.payload();
    match answer_test(udp.source_port) {
        Some(test) if test(payload) => Verdict { kind: Kind::Backscatter, weak: false },
        None if is_weak_service(udp.source_port) && !is_service(udp.destination_port) => {
            Verdict { kind: Kind::Backscatter, weak: true }
        }
        _ => Verdict { kind: Kind::Scan, weak: false },
    }
}

type Test = fn(&[u8]) -> bool;

/// The test that tells an answer of the service on this port, if there is one.
const fn answer_test(port: u16) -> Option<Test> {
    Some(match port {
        53 | 5353 => dns,        // RFC 1035 4.1.1; RFC 6762 18.2
        111 => rpc,              // RFC 5531 9
        123 => ntp,              // RFC 5905 7.3; RFC 9327 2 (mode 6); ntpd's ntp_request.h (mode 7)
        137 => netbios_name,     // RFC 1002 4.2.1.1
        161 => snmp,             // RFC 3416 3
        389 => cldap,            // RFC 4511 4.5.2
        443 => quic_long_header, // RFC 9000 17.2; QUICsand, IMC 2021
        500 => ike,              // RFC 7296 3.1; RFC 2408 3.1
        520 => rip,              // RFC 2453 3.6
        1434 => sql_browser,     // MS-SQLR 2.2.5
        1900 => ssdp,            // UPnP Device Architecture 2.0, 1.2.2 and 1.3.3
        3478 => stun,            // RFC 8489 5
        5060 => sip,             // RFC 3261 7.2
        5683 => coap,            // RFC 7252 3
        11211 => memcached,      // memcached, doc/protocol.txt
        27015 => source_engine,  // Valve, Server queries
        47808 => bacnet,         // ASHRAE 135, annex J; clause 20.1
        _ => return None,
    })
}

/// Services whose answers have no common first bytes: echo, quote of the day, character generator, Apple remote
/// desktop, Sentinel licence manager, Ubiquiti discovery, Quake 3, DVR discovery (all in the list of CISA alert
/// TA14-017A or its later reports of amplifiers).
const fn is_weak_service(port: u16) -> bool {
    matches!(port, 7 | 17 | 19 | 3283 | 5093 | 10001 | 27960 | 37810)
}

const fn is_service(port: u16) -> bool {
    answer_test(port).is_some() || is_weak_service(port)
}

fn has_bit(payload: &[u8], offset: usize, bit: u8) -> bool {
    payload.get(offset).is_some_and(|byte| byte & bit != 0)
}

/// QR = 1.
fn dns(payload: &[u8]) -> bool {
    payload.len() >= 12 && has_bit(payload, 2, 0x80)
}

/// R = 1.
fn netbios_name(payload: &[u8]) -> bool {
    dns(payload)
}

/// Message type REPLY.
fn rpc(payload: &[u8]) -> bool {
    payload.get(4..8) == Some(&[0, 0, 0, 1])
}

/// Mode 4 (server), or mode 6 or 7 with their response bit.
fn ntp(payload: &[u8]) -> bool {
    match payload.first().map(|first| first & 7) {
        Some(4) => true,
        Some(6) => has_bit(payload, 1, 0x80),
        Some(7) => has_bit(payload, 0, 0x80),
        _ => false,
    }
}

/// Skips one BER element and returns its tag, its content, and what follows. Lengths beyond the captured bytes are
/// taken as far as they go.
fn ber(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let octets = usize::from(length & 0x7f);
        let (length, rest) = rest.split_at_checked(octets).filter(|_| octets <= 4)?;
        (length.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet)), rest)
    };
    let (content, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    Some((tag, content, after))
}

const BER_INTEGER: u8 = 0x02;
const BER_OCTETS: u8 = 0x04;
const BER_SEQUENCE: u8 = 0x30;

/// A Response PDU (0xa2) or Report (0xa8) behind version and community. SNMPv3 may encrypt its PDU: there the
/// authoritative engine's discovery Report is what reaches us, and it is in the clear.
fn snmp(payload: &[u8]) -> bool {
    let pdu_tag = || {
        let (BER_SEQUENCE, message, _) = ber(payload)? else { return None };
        let (BER_INTEGER, version, rest) = ber(message)? else { return None };
        if version == [3] {
            let (BER_SEQUENCE, _, rest) = ber(rest)? else { return None };
            let (BER_OCTETS, _, rest) = ber(rest)? else { return None };
            let (BER_SEQUENCE, scoped, _) = ber(rest)? else { return None };
            let (_, _, rest) = ber(scoped)?;
            let (_, _, rest) = ber(rest)?;
            return rest.first().copied();
        }
        let (BER_OCTETS, _, rest) = ber(rest)? else { return None };
        rest.first().copied()
    };
    matches!(pdu_tag(), Some(0xa2 | 0xa8))
}

/// searchResEntry, searchResDone or searchResRef behind the message ID.
fn cldap(payload: &[u8]) -> bool {
    let operation = || {
        let (BER_SEQUENCE, message, _) = ber(payload)? else { return None };
        let (BER_INTEGER, _, rest) = ber(message)? else { return None };
        rest.first().copied()
    };
    matches!(operation(), Some(0x64 | 0x65 | 0x73))
}

/// Header form 1, behind it a version and a connection ID length of at most 20 bytes (RFC 9000) unless it is a
/// version negotiation.
fn quic_long_header(payload: &[u8]) -> bool {
    has_bit(payload, 0, 0x80) && payload.get(5).is_some_and(|&length| length <= 20)
}

/// The responder's SPI (IKEv1: cookie) is set: the initiator's first message leaves it zero.
fn ike(payload: &[u8]) -> bool {
    payload.len() >= 28 && payload.get(8..16).is_some_and(|spi| spi.iter().any(|&octet| octet != 0))
}

/// Command 2: response.
fn rip(payload: &[u8]) -> bool {
    payload.len() >= 4 && payload.first() == Some(&2) && matches!(payload.get(1), Some(1 | 2))
}

/// SVR_RESP.
fn sql_browser(payload: &[u8]) -> bool {
    payload.len() >= 3 && payload.first() == Some(&5)
}

fn ssdp(payload: &[u8]) -> bool {
    payload.starts_with(b"HTTP/") || payload.starts_with(b"NOTIFY")
}

/// Class success or error, and the magic cookie.
fn stun(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & 0xc1 == 0x01) && payload.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42])
}

fn sip(payload: &[u8]) -> bool {
    payload.starts_with(b"SIP/2.0 ")
}

/// Version 1 and a response code (class 2 to 5).
fn coap(payload: &[u8]) -> bool {
    matches!(payload, [first, code, _, _, ..] if first >> 6 == 1 && matches!(code >> 5, 2..=5))
}

/// A text answer behind the eight-byte frame header.
fn memcached(payload: &[u8]) -> bool {
    let text = payload.get(8..).unwrap_or_default();
    [&b"VALUE "[..], b"STAT ", b"END\r", b"ERROR", b"VERSION "].iter().any(|answer| text.starts_with(answer))
}

/// S2A_INFO_SRC, A2S_PLAYER, A2S_RULES, challenge answers; split packets.
fn source_engine(payload: &[u8]) -> bool {
    payload.starts_with(&[0xfe, 0xff, 0xff, 0xff])
        || matches!(payload, [0xff, 0xff, 0xff, 0xff, b'I' | b'm' | b'D' | b'E' | b'A' | b'j', ..])
}

/// BACnet/IP: an acknowledgement, error, reject or abort, or an unconfirmed I-Am or I-Have.
fn bacnet(payload: &[u8]) -> bool {
    const BVLC: u8 = 0x81;
    let [BVLC, 0x0a | 0x0b, _, _, 1, control, rest @ ..] = payload else { return false };
    let apdu = || {
        let mut rest = rest;
        // Destination, then source specifier: network (2), length (1), address; behind a destination a hop count.
        for bit in [0x20u8, 0x08] {
            if control & bit != 0 {
                rest = rest.get(3 + usize::from(*rest.get(2)?)..)?;
            }
        }
        if control & 0x20 != 0 { rest.get(1..) } else { Some(rest) }
    };
    match apdu() {
        Some([first, service, ..]) => match first >> 4 {
            2..=7 => true,
            1 => matches!(service, 0 | 1),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_questions_are_told_apart() {
        let dns_answer = [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let dns_query = [0, 1, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        let snmp_get = [0x30, 0x0e, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa0, 0x01];
        let mut snmp_answer = snmp_get;
        snmp_answer[13] = 0xa2;
        let cases: [(u16, &[u8], bool); 18] = [
            (53, &dns_answer, true),
            (53, &dns_query, false),
            (123, &[0x24], true),
            (123, &[0x23], false),
            (123, &[0x16, 0x82], true),
            (123, &[0x16, 0x02], false),
            (123, &[0x97], true),
            (123, &[0x17], false),
            (161, &snmp_answer, true),
            (161, &snmp_get, false),
            (1900, b"HTTP/1.1 200 OK", true),
            (1900, b"M-SEARCH * HTTP/1.1", false),
            (389, &[0x30, 5, 2, 1, 7, 0x64, 0], true),
            (389, &[0x30, 5, 2, 1, 7, 0x63, 0], false),
            (5060, b"SIP/2.0 200 OK", true),
            (5060, b"OPTIONS sip:x SIP/2.0", false),
            (47808, &[0x81, 0x0a, 0, 9, 1, 0, 0x30, 1, 12], true),
            (47808, &[0x81, 0x0a, 0, 9, 1, 4, 0x02, 1, 12], false),
        ];
        for (port, payload, answer) in cases {
            assert_eq!(answer_test(port).unwrap()(payload), answer, "{port} {payload:?}");
        }
    }

    #[test]
    fn tests_are_safe_on_every_prefix_of_noise() {
        let noise: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(151) ^ 0x30).collect();
        for port in 0..=u16::MAX {
            if let Some(test) = answer_test(port) {
                for start in 0..noise.len() {
                    for end in start..noise.len() {
                        let _ = test(&noise[start..end]);
                    }
                }
            }
        }
    }
}
