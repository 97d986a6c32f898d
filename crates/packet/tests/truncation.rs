//! Frames cut off at every byte, and frames with flipped bytes: no panic, the same answer twice, and what is known
//! only ever grows with the captured length.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use common::{Facts, Known, LINK_TYPES, facts, hand_built};
use martlet_packet::{Fragment, IpVersion, LinkType, Quoted, Reject, parse, protocol};
use proptest::prelude::*;

/// Checks a frame at every captured length, read as `link`.
fn check_lengths(link: LinkType, frame: &[u8]) -> Result<(), String> {
    let mut shorter: Option<Result<Facts, Reject>> = None;
    for length in 0..=frame.len() {
        let now = facts(link, &frame[..length]);
        let broken = |rule: &str| Err(format!("{rule}: {link:?}, {length} bytes: {shorter:?}, then {now:?}"));
        if now != facts(link, &frame[..length]) {
            return broken("not deterministic");
        }
        if let Ok(now) = &now
            && let Err(rule) = consistent(now)
        {
            return broken(rule);
        }
        if let Some(before) = &shorter
            && let Err(rule) = grows(before, &now)
        {
            return broken(rule);
        }
        shorter = Some(now);
    }
    Ok(())
}

/// What more bytes of the same frame may change.
fn grows(before: &Result<Facts, Reject>, now: &Result<Facts, Reject>) -> Result<(), &'static str> {
    match (before, now) {
        // Only the end of the frame can be remedied by more of it.
        (Err(Reject::TruncatedLink), _) | (Err(Reject::TruncatedIp), Ok(_)) => Ok(()),
        (Err(Reject::TruncatedIp), Err(now)) if !matches!(now, Reject::TruncatedLink | Reject::NotIp) => Ok(()),
        (Err(before), Err(now)) if before == now => Ok(()),
        (Ok(before), Ok(now)) => packet_grows(before, now),
        _ => Err("an outcome was taken back"),
    }
}

fn packet_grows(before: &Facts, now: &Facts) -> Result<(), &'static str> {
    let fixed = |facts: &Facts| (facts.sender, facts.source, facts.destination, facts.length, facts.ipv4);
    if fixed(before) != fixed(now) {
        return Err("the IP header changed");
    }
    let extension = matches!(
        before.protocol,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    );
    // Only behind a chain of extension headers that was cut off is there another protocol.
    let chain_cut = before.ipv4.is_none() && extension;
    if before.protocol != now.protocol && !chain_cut {
        return Err("the protocol changed");
    }
    if before.fragment != now.fragment && !(chain_cut && before.fragment == Fragment::No) {
        // A second fragment header is nonsense, but it is in the bytes.
        let again = chain_cut && before.fragment == Fragment::First;
        if !again {
            return Err("the place in the datagram changed");
        }
    }
    match (&before.known, &now.known) {
        (Known::Nothing, _) => Ok(()),
        (Known::Ports(source, destination), known) => {
            let ports = (*source, *destination);
            let same = match known {
                Known::Ports(source, destination) => ports == (*source, *destination),
                Known::Tcp { ports: now, .. } => ports == *now,
                _ => false,
            };
            if same { Ok(()) } else { Err("ports were lost") }
        }
        (
            Known::Tcp { ports, sequence, flags, header_length, window, options, raw_options, payload },
            Known::Tcp {
                ports: now_ports,
                sequence: now_sequence,
                flags: now_flags,
                header_length: now_length,
                window: now_window,
                options: now_options,
                raw_options: now_raw,
                payload: now_payload,
            },
        ) => {
            let fixed = (ports, sequence, flags, header_length) == (now_ports, now_sequence, now_flags, now_length);
            let grown = (window.is_none() || window == now_window)
                && now_options.starts_with(options)
                && now_raw.starts_with(raw_options)
                && now_payload.starts_with(payload);
            if fixed && grown { Ok(()) } else { Err("the TCP header changed") }
        }
        (Known::Udp { ports, payload }, Known::Udp { ports: now_ports, payload: now_payload }) => {
            if ports == now_ports && now_payload.starts_with(payload) { Ok(()) } else { Err("the datagram changed") }
        }
        (
            Known::Icmp { version6, icmp_type, code, error, quoted },
            Known::Icmp { version6: now_6, icmp_type: now_type, code: now_code, error: now_error, quoted: now_quoted },
        ) => {
            let fixed = (version6, icmp_type, code, error) == (now_6, now_type, now_code, now_error);
            if fixed && quote_grows(quoted.as_ref(), now_quoted.as_ref()) {
                Ok(())
            } else {
                Err("the ICMP message changed")
            }
        }
        _ => Err("the transport changed"),
    }
}

fn quote_grows(before: Option<&Quoted>, now: Option<&Quoted>) -> bool {
    match (before, now) {
        (None, _) => true,
        (Some(before), Some(now)) => {
            (before.source, before.destination) == (now.source, now.destination)
                && (before.ports.is_none() || before.ports == now.ports)
        }
        (Some(_), None) => false,
    }
}

/// What holds for every packet, whatever the bytes.
fn consistent(facts: &Facts) -> Result<(), &'static str> {
    if facts.source.is_ipv4() != facts.destination.is_ipv4() || facts.source.is_ipv4() != facts.ipv4.is_some() {
        return Err("two IP versions in one packet");
    }
    if facts.length > 65_575 || (facts.ipv4.is_none() && facts.length < 40) {
        return Err("a length that no header can state");
    }
    if facts.fragment == Fragment::Later && facts.known != Known::Nothing {
        return Err("a later fragment with a transport header");
    }
    let (protocols, ports): (&[u8], _) = match &facts.known {
        Known::Nothing => return if facts.ports.is_none() { Ok(()) } else { Err("ports out of nothing") },
        Known::Ports(source, destination) => (&[6, 33, 132, 136], Some((*source, *destination))),
        Known::Tcp { ports, raw_options, header_length, .. } => {
            if raw_options.len() > 40 || header_length % 4 != 0 || *header_length > 60 {
                return Err("a TCP header of an impossible size");
            }
            (&[6], Some(*ports))
        }
        Known::Udp { ports, .. } => (&[17], Some(*ports)),
        Known::Icmp { error, quoted, .. } => {
            if quoted.is_some() && !error {
                return Err("a quote in a message that quotes nothing");
            }
            (&[1, 58], None)
        }
    };
    if !protocols.contains(&facts.protocol) {
        return Err("a transport that is not the protocol's");
    }
    if facts.ports == ports { Ok(()) } else { Err("two opinions about the ports") }
}

#[test]
fn hand_built_frames_at_every_length_as_every_link_type() {
    for (name, own, frame) in hand_built() {
        for link in LINK_TYPES {
            if let Err(broken) = check_lengths(link, &frame) {
                panic!("{name}: {broken}");
            }
        }
        let whole = parse(own, &frame);
        assert_eq!(whole.is_ok(), !matches!(name, "ethernet arp" | "llc"), "{name}: {whole:?}");
    }
}

/// As `martlet_tests::shared`, which depends on this crate's users: a few lines are better than a circle.
fn shared_captures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let captures = env::var_os("MARTLET_SHARED").map_or(beside, PathBuf::from).join("data/captures");
    if captures.is_dir() {
        return Some(captures);
    }
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|set| set == value);
    let required = set("MARTLET_REQUIRE_SHARED", "1") || set("CI", "true");
    assert!(!required, "the shared captures are required, but {} is no directory", captures.display());
    // A test that did nothing must say so, even where the harness keeps what passing tests print.
    let _ = writeln!(io::stderr(), "skipped: no shared captures at {}", captures.display());
    None
}

fn pcap_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            pcap_files(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "pcap") {
            files.push(entry);
        }
    }
}

/// The first frames of a pcap file in either byte order; none of any other file.
fn frames(file: &[u8], most: usize) -> (u32, Vec<&[u8]>) {
    let big = match file.get(..4) {
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => true,
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => false,
        _ => return (0, Vec::new()),
    };
    let field = |offset: usize| {
        let field: [u8; 4] = file.get(offset..offset + 4)?.try_into().unwrap();
        Some(if big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
    };
    let mut found = Vec::new();
    let mut offset = 24;
    while let Some(length) = field(offset + 8).map(|length| length as usize) {
        let Some(frame) = file.get(offset + 16..offset + 16 + length) else { break };
        found.push(frame);
        if found.len() == most {
            break;
        }
        offset += 16 + length;
    }
    (field(20).unwrap_or_default(), found)
}

#[test]
fn real_frames_at_every_length_as_every_link_type() {
    // Headers end long before; and the quadratic cost of longer frames buys nothing.
    const LONGEST: usize = 200;
    const FRAMES_PER_FILE: usize = 30;
    let Some(captures) = shared_captures() else { return };
    let mut files = Vec::new();
    pcap_files(&captures, &mut files);
    assert!(files.len() > 400, "only {} pcap files", files.len());
    let (mut read, mut counted) = (0, 0);
    for path in files {
        let file = fs::read(&path).unwrap();
        let (number, frames) = frames(&file, FRAMES_PER_FILE);
        let own = i32::try_from(number).ok().and_then(LinkType::from_number);
        for frame in frames {
            let frame = &frame[..frame.len().min(LONGEST)];
            read += 1;
            counted += usize::from(own.is_some_and(|own| parse(own, frame).is_ok()));
            for link in LINK_TYPES {
                if let Err(broken) = check_lengths(link, frame) {
                    panic!("{}: {broken}", path.display());
                }
            }
        }
    }
    // Or the test would be about nothing.
    assert!(read > 2500 && counted > 1500, "{read} frames, {counted} packets");
}

fn any_link() -> impl Strategy<Value = LinkType> {
    prop::sample::select(LINK_TYPES.to_vec())
}

proptest! {
    #[test]
    fn random_bytes_are_read_without_harm(link in any_link(), frame in prop::collection::vec(any::<u8>(), 0..120)) {
        prop_assert_eq!(check_lengths(link, &frame), Ok(()));
    }

    #[test]
    fn random_ip_packets_are_read_without_harm(six in any::<bool>(), mut packet in prop::collection::vec(any::<u8>(), 1..160)) {
        packet[0] = if six { 0x60 } else { 0x45 } | packet[0] & 0x03;
        prop_assert_eq!(check_lengths(LinkType::Raw, &packet), Ok(()));
    }

    #[test]
    fn mutated_frames_are_read_without_harm(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let frames = hand_built();
        let (_, link, mut frame) = frames[which.index(frames.len())].clone();
        for (place, value) in changes {
            let place = place.index(frame.len());
            frame[place] = value;
        }
        prop_assert_eq!(check_lengths(link, &frame), Ok(()));
    }

    /// Bytes behind the stated end are padding: they change nothing that is stated to end before them.
    #[test]
    fn padding_is_not_payload(padding in prop::collection::vec(any::<u8>(), 0..40)) {
        for (name, link, frame) in hand_built() {
            if name != "ethernet arp" && name != "llc" {
                let padded = [&frame[..], &padding].concat();
                prop_assert_eq!(facts(link, &padded), facts(link, &frame), "{}", name);
            }
        }
    }
}

#[test]
fn the_version_of_a_packet_is_that_of_its_addresses() {
    let versions: Vec<IpVersion> =
        hand_built().iter().filter_map(|(_, link, frame)| parse(*link, frame).ok().map(|packet| packet.ip())).collect();
    assert!(versions.contains(&IpVersion::V4) && versions.contains(&IpVersion::V6));
}
