//! `martlet-sensor count` against what tshark counted in the same captures.
//!
//! Every capture with a `.truth.json` beside it is compared figure by figure. Where our rules differ from tshark's on
//! purpose, [`known::DIFFERENCES`] says which figures differ, by how much, and by which rule; anything else fails.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod known;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use martlet_tests::program::{Outcome, program, run};
use martlet_tests::shared;
use serde_json::Value;

/// At least so many captures have a truth file; fewer means that the comparison lost some.
const CAPTURES: usize = 500;

/// The one darknet capture whose truth has a view of its own for the monitored address.
const DARKNET: &str = "darknet/cloud-address_2020-04_2021-10.pcap";
const DARKNET_ADDRESS: &str = "167.99.227.94/32";

#[test]
fn counts_are_those_of_tshark() {
    let Some(captures) = shared::captures() else { return };
    let truths: Vec<PathBuf> =
        shared::files_below(&captures).into_iter().filter(|file| name(file).ends_with(".truth.json")).collect();
    assert!(truths.len() >= CAPTURES, "only {} truth files", truths.len());
    let mut wrong = Vec::new();
    for truth in &truths {
        let capture = name(truth.strip_prefix(&captures).unwrap()).strip_suffix(".truth.json").unwrap().to_owned();
        let found = compare(&captures, &capture);
        let known = known::DIFFERENCES.iter().find(|known| known.capture == capture);
        let expected: Vec<&str> = known.map(|known| known.figures.to_vec()).unwrap_or_default();
        if found != expected {
            let rule = known.map(|known| known.rule);
            wrong.push(format!("{capture}:\n  found    {found:#?}\n  expected {expected:#?} by {rule:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} captures differ:\n{}", wrong.len(), truths.len(), wrong.join("\n"));
    for known in known::DIFFERENCES {
        assert!(captures.join(known.capture).exists(), "{} is in the list but not in the data", known.capture);
    }
}

#[test]
fn every_odd_capture_is_read_to_an_end() {
    let Some(captures) = shared::captures() else { return };
    let files = shared::files_below(&captures.join("odd"));
    let captures: Vec<_> = files.iter().filter(|file| !name(file).ends_with(".truth.json")).collect();
    assert!(captures.len() >= CAPTURES, "only {} odd captures", captures.len());
    for file in captures {
        let outcome = count(&[], file);
        // A complaint and exit code 1 go together; a crash has another code or none.
        let complained = !outcome.stderr.is_empty();
        assert_eq!(outcome.code, Some(i32::from(complained)), "{}: {}", file.display(), outcome.stderr);
        let json = outcome.json();
        assert_eq!(figure(&json, "frames"), figure(&json, "packets") + rejected(&json), "{}", file.display());
    }
}

/// How many of the packets of each real capture of backscatter and scans get which kind: there is no truth for UDP
/// kinds, so a change of a rule is at least seen here.
#[test]
fn kinds_and_marks_of_known_senders() {
    let Some(captures) = shared::captures() else { return };
    for known::Sender { capture, kinds, marks } in known::SENDERS {
        let json = count(&[], &captures.join(capture)).json();
        let rows = json["kinds"].as_array().unwrap();
        let found: Vec<(u64, &str, u64)> = rows
            .iter()
            .map(|row| (figure(row, "proto"), row["kind"].as_str().unwrap(), figure(row, "packets")))
            .collect();
        assert_eq!(&found, kinds, "{capture}");
        let found: Vec<(&str, u64)> = json["marks"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(mark, count)| (mark.as_str(), figure(count, "packets")))
            .filter(|&(mark, packets)| packets > 0 && mark != "spoofed_looking")
            .collect();
        assert_eq!(&found, marks, "{capture}");
    }
}

/// Marks that are met by chance, of everything in the captures that is not known to be the tool's: no more than docs/fingerprints.md
/// says. Of TCP SYNs, with the chance of one.
const BY_CHANCE: [(&str, f64); 7] = [
    ("mirai", 1.0 / 4_294_967_296.0),
    ("zmap_ipid", 1.0 / 65_536.0),
    ("zmap", 1.0 / 4_294_967_296.0),
    ("zmap_4", 1e-30),
    ("masscan_ipid", 1.0 / 65_536.0),
    ("nmap", 1.0 / 32_768.0),
    ("unicornscan", 1.0 / 1_073_741_824.0),
];

#[test]
fn false_positives_are_as_rare_as_stated() {
    let Some(captures) = shared::captures() else { return };
    let files = shared::files_below(&captures);
    let files = files.iter().filter(|file| !name(file).ends_with(".truth.json"));
    let (mut syns, mut found) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let capture = file.strip_prefix(&captures).unwrap().to_str().unwrap().replace('\\', "/");
        // A darknet sees Mirai and masscan themselves.
        if capture.starts_with("darknet/") {
            continue;
        }
        let outcome = count(&[], file);
        // A file that is no capture has nothing to count.
        let Ok(json) = serde_json::from_str::<Value>(outcome.text()) else { continue };
        let scans = json["kinds"].as_array().unwrap().iter();
        let scans = scans.filter(|row| row["proto"] == 6 && row["kind"] == "scan").map(|row| figure(row, "packets"));
        let of_capture = scans.sum::<u64>() - figure(&json["marks"]["stealth"], "packets");
        for (mark, _) in BY_CHANCE {
            if known::TOOLS.iter().any(|(tool, marks)| *tool == capture && marks.contains(&mark)) {
                continue;
            }
            *syns.entry(mark).or_insert(0) += of_capture;
            let packets = figure(&json["marks"][mark], "packets");
            if packets > 0 {
                println!("{mark}: {packets} of {of_capture} SYNs of {capture}");
            }
            *found.entry(mark).or_insert(0) += packets;
        }
    }
    for (mark, chance) in BY_CHANCE {
        let (packets, syns) = (found[mark], syns[mark]);
        let expected = syns as f64 * chance;
        println!("{mark}: {packets} of {syns} SYNs, {expected:.6} expected");
        // Five standard deviations of a Poisson distribution, and one packet where nearly none is expected at all.
        assert!(
            packets as f64 <= (expected + 5.0 * expected.sqrt()).max(0.0) + f64::from(u8::from(expected > 0.01)),
            "{mark}"
        );
        assert!(syns > 50_000, "{mark}: only {syns} SYNs");
    }
}

/// The link types that docs/fingerprints.md says are read.
const LINK_TYPES: [u32; 10] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276];

/// The link type of a capture file that is not compressed; of a pcapng file that of its first interface.
fn link_type(file: &Path) -> Option<u32> {
    let bytes = fs::read(file).unwrap();
    let field = |offset: usize, little: bool| {
        let field = <[u8; 4]>::try_from(&bytes[offset..offset + 4]).unwrap();
        if little { u32::from_le_bytes(field) } else { u32::from_be_bytes(field) }
    };
    match bytes[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] | [0x34, 0xcd, 0xb2, 0xa1] => {
            Some(field(20, true) & 0xffff)
        }
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] | [0xa1, 0xb2, 0xcd, 0x34] => {
            Some(field(20, false) & 0xffff)
        }
        [0x0a, 0x0d, 0x0d, 0x0a] => {
            let little = bytes[8] == 0x4d;
            let mut offset = 0;
            while offset + 12 <= bytes.len() && field(offset, little) != 1 {
                offset += field(offset + 4, little) as usize;
            }
            // The link type is the first two bytes of the interface's description.
            bytes.get(offset + 8..offset + 10).map(|link| {
                let link = [link[0], link[1]];
                u32::from(if little { u16::from_le_bytes(link) } else { u16::from_be_bytes(link) })
            })
        }
        _ => None,
    }
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn count(arguments: &[&str], file: &Path) -> Outcome {
    let mut command = Command::new(program("martlet-sensor"));
    run(command.args(["count", "--format", "json"]).args(arguments).arg(file), b"")
}

fn figure(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

fn rejected(json: &Value) -> u64 {
    json["rejected"].as_object().unwrap().values().map(|frames| frames.as_u64().unwrap()).sum()
}

/// The differences between our count of a capture and its truth, as `figure ours != theirs`.
struct Differences(Vec<String>);

impl Differences {
    fn check<T: PartialEq + Debug>(&mut self, figure: &str, ours: T, theirs: T) {
        if ours != theirs {
            self.0.push(format!("{figure} {ours:?} != {theirs:?}"));
        }
    }

    /// As [`Self::check`] for each key of either map; a missing key is 0.
    fn check_maps<T: PartialEq + Debug + Default + Copy>(
        &mut self,
        figure: &str,
        ours: &BTreeMap<String, T>,
        theirs: &BTreeMap<String, T>,
    ) {
        let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let get = |map: &BTreeMap<String, T>| map.get(key).copied().unwrap_or_default();
            self.check(&format!("{figure} {key}"), get(ours), get(theirs));
        }
    }
}

fn compare(captures: &Path, capture: &str) -> Vec<String> {
    let truth = fs::read(captures.join(format!("{capture}.truth.json"))).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let mut file = captures.join(capture);
    if !file.exists() {
        // The truth was counted before the file was compressed.
        file = captures.join(format!("{capture}.zst"));
    }
    let (arguments, theirs) = if capture == DARKNET {
        (&["--observe", DARKNET_ADDRESS][..], &truth["inbound"])
    } else {
        (&[][..], &truth["all"])
    };
    let outcome = count(arguments, &file);
    let ours = outcome.json();

    let mut differences = Differences(Vec::new());
    let unread = ours["rejected"].get("unsupported_link_type").map_or(0, |frames| frames.as_u64().unwrap());
    let expected = match link_type(&file) {
        Some(number) if !LINK_TYPES.contains(&number) => figure(&ours, "frames"),
        _ => 0,
    };
    differences.check("unsupported link type", unread, expected);
    differences.check("exit code", outcome.code, Some(i32::from(unread > 0)));
    let says_so = outcome.stderr.contains(&format!(": {unread} frames have link type "));
    differences.check("complaint", (says_so, outcome.stderr.lines().count()), (unread > 0, usize::from(unread > 0)));
    differences.check("frames", figure(&ours, "frames"), figure(&truth, "frames"));
    differences.check("outcomes", figure(&ours, "packets") + rejected(&ours), figure(&ours, "frames"));
    differences.check("packets", figure(&ours, "packets"), figure(theirs, "ip_packets"));
    differences.check("bytes", figure(&ours, "bytes"), figure(theirs, "ip_bytes"));
    let sources = figure(&theirs["ipv4"], "unique_src") + figure(&theirs["ipv6"], "unique_src");
    differences.check("sources", figure(&ours, "sources"), sources);
    differences.check_maps("port", &our_ports(&ours), &their_ports(theirs));
    differences.check_maps("icmp", &our_icmp(&ours), &their_icmp(theirs));
    differences.check_maps("kind", &our_kinds(&ours), &their_kinds(theirs));
    differences.check_maps("mark", &our_marks(&ours), &their_marks(theirs));
    differences.0
}

/// Packets, bytes, distinct sources.
type Counts = (u64, u64, u64);

fn our_ports(ours: &Value) -> BTreeMap<String, Counts> {
    let row = |row: &Value| {
        let protocol = figure(row, "proto");
        let port = match row["port"].as_u64() {
            Some(port) => port.to_string(),
            // The truth tells protocols without ports from packets whose port cannot be read.
            None => if has_ports(protocol) { "-" } else { "*" }.to_owned(),
        };
        let key = format!("ipv{}/{protocol}/{port}", figure(row, "ip"));
        (key, (figure(row, "packets"), figure(row, "bytes"), figure(row, "sources")))
    };
    ours["ports"].as_array().unwrap().iter().map(row).collect()
}

fn has_ports(protocol: u64) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

fn their_ports(theirs: &Value) -> BTreeMap<String, Counts> {
    let row = |(key, row): (&String, &Value)| {
        (key.clone(), (figure(row, "packets"), figure(row, "bytes"), figure(row, "unique_src")))
    };
    theirs["by_proto_dstport"].as_object().unwrap().iter().map(row).collect()
}

fn our_icmp(ours: &Value) -> BTreeMap<String, u64> {
    let row = |row: &Value| {
        let key = format!("ipv{} {}/{}", figure(row, "ip"), figure(row, "type"), figure(row, "code"));
        (key, figure(row, "packets"))
    };
    ours["icmp"].as_array().unwrap().iter().map(row).collect()
}

fn their_icmp(theirs: &Value) -> BTreeMap<String, u64> {
    let mut types = BTreeMap::new();
    for (ip, table) in [("ipv4", "icmp_type_code"), ("ipv6", "icmpv6_type_code")] {
        for (key, packets) in theirs[table].as_object().unwrap() {
            types.insert(format!("{ip} {key}"), packets.as_u64().unwrap());
        }
    }
    types
}

/// Kinds of TCP, ICMP and ICMPv6. UDP's kinds rest on payloads, of which the truth says nothing.
fn our_kinds(ours: &Value) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for row in ours["kinds"].as_array().unwrap() {
        let protocol = match (figure(row, "ip"), figure(row, "proto")) {
            (_, 6) => "tcp",
            (4, 1) => "icmp",
            (6, 58) => "icmpv6",
            _ => continue,
        };
        *kinds.entry(format!("{protocol} {}", row["kind"].as_str().unwrap())).or_default() += figure(row, "packets");
    }
    kinds
}

/// The table of docs/fingerprints.md, applied to the truth's histograms.
fn their_kinds(theirs: &Value) -> BTreeMap<String, u64> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let packets_of = |key: &str| theirs["by_proto"].get(key).map_or(0, |row| figure(row, "packets"));

    let mut unread = packets_of("ipv4/6") + packets_of("ipv6/6");
    for (flags, packets) in theirs["tcp_flags_hist"].as_object().unwrap() {
        let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap();
        let packets = packets.as_u64().unwrap();
        unread -= packets;
        *kinds.entry(format!("tcp {}", tcp_kind(flags))).or_default() += packets;
    }
    // Later fragments and segments cut off before their flags.
    *kinds.entry("tcp other".into()).or_default() += unread;

    for (ip, protocol, table) in [("ipv4/1", "icmp", "icmp_type_code"), ("ipv6/58", "icmpv6", "icmpv6_type_code")] {
        let mut unread = packets_of(ip);
        for (key, packets) in theirs[table].as_object().unwrap() {
            let icmp_type: u8 = key.split('/').next().unwrap().parse().unwrap();
            let kind = if protocol == "icmp" { icmp_kind(icmp_type) } else { icmpv6_kind(icmp_type) };
            let packets = packets.as_u64().unwrap();
            unread -= packets;
            *kinds.entry(format!("{protocol} {kind}")).or_default() += packets;
        }
        *kinds.entry(format!("{protocol} other")).or_default() += unread;
    }
    kinds
}

fn tcp_kind(flags: u16) -> &'static str {
    let [fin, syn, rst, psh, ack, urg] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20].map(|bit| flags & bit != 0);
    match (syn, ack, rst, fin) {
        (_, _, true, _) => "backscatter",
        (true, false, false, false) => "scan",
        (true, true, false, false) => "backscatter",
        // Stealth scans: FIN alone, nothing at all, and the Christmas tree.
        (false, false, false, fin) if psh == urg && (fin || !psh) => "scan",
        _ => "other",
    }
}

fn icmp_kind(icmp_type: u8) -> &'static str {
    match icmp_type {
        8 | 13 | 15 | 17 => "scan",
        0 | 3 | 4 | 11 | 12 | 14 | 16 | 18 => "backscatter",
        _ => "other",
    }
}

fn icmpv6_kind(icmp_type: u8) -> &'static str {
    match icmp_type {
        128 => "scan",
        1..=4 | 129 => "backscatter",
        _ => "other",
    }
}

/// Our names of the marks that the truth counts too, each with its name there.
const MARKS: [(&str, &str); 4] = [
    ("mirai", "mirai_seq_eq_dst"),
    ("zmap_ipid", "zmap_ipid_54321"),
    ("masscan_ipid", "masscan_ipid"),
    ("slammer", "slammer_like"),
];

fn our_marks(ours: &Value) -> BTreeMap<String, (u64, u64)> {
    let row = |(mark, _): (&str, &str)| {
        let row = &ours["marks"][mark];
        (mark.to_owned(), (figure(row, "packets"), figure(row, "sources")))
    };
    MARKS.map(row).into()
}

fn their_marks(theirs: &Value) -> BTreeMap<String, (u64, u64)> {
    let row = |(ours, mark): (&str, &str)| {
        let row = theirs["scanner_marks"].get(mark);
        (ours.to_owned(), row.map_or((0, 0), |row| (figure(row, "packets"), figure(row, "unique_src"))))
    };
    MARKS.map(row).into()
}
