//! The background has the proportions that its tables state, and the marks have their exact bit relations.

mod common;

use common::{Read, background, collect};
use martlet_drill::mix::{COMPONENTS, WHOLE};
use martlet_drill::{Origin, Packet, Truth};
use std::collections::{HashMap, HashSet};

const PACKETS: u64 = 400_000;

fn component(packet: &Read) -> &'static str {
    match packet.info.origin {
        Origin::Background(index) => COMPONENTS[index].name,
        Origin::Outbreak | Origin::Inject(_) => "outbreak",
    }
}

#[test]
fn components_have_their_shares() {
    let all = collect(&background(11, PACKETS));
    let n = f64::from(u32::try_from(PACKETS).unwrap());
    for expected in COMPONENTS {
        let count = all.iter().filter(|packet| component(packet) == expected.name).count();
        let share = f64::from(expected.per_10_000) / f64::from(WHOLE);
        let deviation = (n * share * (1.0 - share)).sqrt();
        let off = (f64::from(u32::try_from(count).unwrap()) - n * share) / deviation;
        assert!(off.abs() < 4.5, "{} is {off} standard deviations off", expected.name);
    }
    let share = |pick: &dyn Fn(&Read) -> bool| all.iter().filter(|p| pick(p)).count() as f64 / n;
    let port = |proto: u8, port: u16| move |p: &Read| p.ip()[9] == proto && p.at16(22) == port;
    // The published totals, through all tables at once.
    assert!((share(&|p| p.ip()[9] == 6) - 0.9576).abs() < 0.002);
    assert!((share(&|p| p.ip()[9] == 17) - 0.0373).abs() < 0.002);
    assert!((share(&|p| component(p).starts_with("research")) - 0.602).abs() < 0.004);
    let telnet = share(&|p| port(6, 23)(p) && !component(p).starts_with("research"));
    assert!((telnet / 0.398 - 0.242).abs() < 0.006, "{telnet}");
    let smb = share(&|p| port(6, 445)(p) && !component(p).starts_with("research"));
    assert!((smb / 0.398 - 0.054).abs() < 0.003, "{smb}");
    let sip = share(&port(17, 5060)) / share(&|p| component(p).ends_with("udp"));
    assert!((sip - 0.1828).abs() < 0.015, "{sip}");
}

#[test]
fn tools_have_their_exact_shapes() {
    let mut counted = HashMap::new();
    let mut ports = HashMap::<&str, HashSet<u16>>::new();
    for p in collect(&background(12, PACKETS)) {
        let name = component(&p);
        *counted.entry(name).or_insert(0_u32) += 1;
        let (id, fragment, length) = (p.at16(4), p.at16(6), p.at16(2));
        if p.ip()[9] != 6 {
            if name == "slammer" {
                assert_eq!((p.at16(22), length, p.ip()[28]), (1434, 404, 4));
                assert!(p.ip()[29..].iter().all(|b| b.is_ascii_graphic() || *b == b' '), "filler only");
            }
            continue;
        }
        let (port, sequence, window, destination) = (p.at16(22), p.at32(24), p.at16(34), p.at32(16));
        let folded = (destination ^ u32::from(port) ^ sequence) & 0xffff;
        let options = &p.ip()[40..];
        let mss: &[u8] = &[2, 4, 5, 180];
        match name.strip_prefix("research_").unwrap_or(name) {
            "mirai" => {
                assert!(p.is_syn());
                assert_eq!((sequence, length, fragment), (destination, 40, 0));
                ports.entry("mirai").or_default().insert(port);
            }
            "zmap_ipid" => {
                assert!(p.is_syn());
                assert_eq!((id, window, length, fragment), (54_321, 65_535, 40, 0));
            }
            "zmap_4" => {
                assert!(p.is_syn());
                assert_eq!((window, length, fragment), (65_535, 52, 0));
                assert_eq!(options, [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2]);
            }
            "masscan_old" => assert_eq!((u32::from(id), length, window, p.is_syn()), (folded, 40, 1024, true)),
            "masscan_2023" => {
                assert_eq!((u32::from(id), length, window, p.is_syn()), (folded, 44, 1025, true));
                assert_eq!(options, mss);
            }
            "nmap" => {
                assert_eq!((length, window, p.is_syn()), (44, 1024, true));
                assert_eq!(options, mss);
            }
            "connect" => {
                assert!(p.is_syn());
                assert_eq!((length, fragment, window), (60, 0x4000, 64_240));
                assert_ne!(sequence, destination);
            }
            _ => assert!(!p.is_syn()),
        }
    }
    assert_eq!(ports["mirai"], HashSet::from([23, 2323]));
    // Slammer is one in 10,000: about 40 here.
    assert!((15..80).contains(&counted["slammer"]), "{counted:?}");
}

#[test]
fn nmaps_sequence_numbers_pair_up_and_others_do_not() {
    let (mut nmap, mut linux) = (HashMap::<_, Vec<u32>>::new(), HashMap::<_, Vec<u32>>::new());
    for p in collect(&background(13, PACKETS)) {
        match component(&p) {
            "nmap" => nmap.entry(p.info.source).or_default().push(p.info.sequence),
            "connect" => linux.entry(p.info.source).or_default().push(p.info.sequence),
            _ => {}
        }
    }
    let relation = |pairs: &HashMap<_, Vec<u32>>| {
        let pairs = pairs.values().flat_map(|s| s.windows(2)).map(|s| s[0] ^ s[1]);
        let (all, held) =
            pairs.fold((0_u32, 0_u32), |(all, held), x| (all + 1, held + u32::from(x >> 16 == x & 0xffff)));
        (all, held)
    };
    let (all, held) = relation(&nmap);
    assert!(all > 100 && all == held, "{held} of {all}");
    let (all, held) = relation(&linux);
    assert!(all > 10_000 && held < 10, "{held} of {all}");
}

#[test]
fn few_sources_send_most() {
    let mut packets = HashMap::<_, u32>::new();
    for p in collect(&background(14, PACKETS)) {
        *packets.entry(p.info.source).or_default() += 1;
    }
    let mut counts: Vec<_> = packets.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let top: u32 = counts[..counts.len() / 100].iter().sum();
    let share = f64::from(top) / f64::from(u32::try_from(PACKETS).unwrap());
    assert!((0.2..0.8).contains(&share), "the first hundredth sends {share}");
    assert!(counts.len() > 20_000, "{}", counts.len());
}

#[test]
fn the_truth_is_what_the_bytes_say() {
    let config = background(15, 100_000);
    let all = collect(&config);
    let mut truth = Truth::new(&config);
    for p in &all {
        truth.observe(&Packet { time_ns: p.time_ns, frame: &p.frame, info: p.info });
    }
    let report = serde_json::to_value(truth.report()).unwrap();
    let distinct = |pick: &dyn Fn(&Read) -> bool| {
        let chosen: Vec<_> = all.iter().filter(|p| pick(p)).map(|p| p.at32(12)).collect();
        (chosen.len(), chosen.iter().collect::<HashSet<_>>().len())
    };
    let row = |list: &str, keys: &[(&str, serde_json::Value)]| {
        let rows = report[list].as_array().unwrap();
        rows.iter().find(|row| keys.iter().all(|(k, v)| row[k] == *v)).unwrap().clone()
    };
    assert_eq!(report["packets"], 100_000);
    assert_eq!(report["bytes"], all.iter().map(|p| u64::from(p.at16(2))).sum::<u64>());
    assert_eq!(report["sources"], distinct(&|_| true).1);
    let telnet = row("ports", &[("proto", 6.into()), ("port", 23.into())]);
    let (packets, sources) = distinct(&|p| p.ip()[9] == 6 && p.at16(22) == 23);
    assert_eq!((&telnet["packets"], &telnet["sources"]), (&packets.into(), &sources.into()));
    let (packets, sources) = distinct(&|p| p.is_syn() && p.at32(24) == p.at32(16));
    assert_eq!(report["marks"]["mirai"], serde_json::json!({"packets": packets, "sources": sources}));
    let (packets, sources) = distinct(&|p| p.is_syn() && p.at16(4) == 54_321);
    assert_eq!(report["marks"]["zmap_ipid"], serde_json::json!({"packets": packets, "sources": sources}));
    let (packets, sources) = distinct(&Read::is_syn);
    let scans = row("kinds", &[("proto", 6.into()), ("kind", "scan".into())]);
    assert_eq!((&scans["packets"], &scans["sources"]), (&packets.into(), &sources.into()));
    let echo = row("icmp", &[("type", 8.into()), ("code", 0.into())]);
    assert_eq!(echo["packets"], distinct(&|p| p.ip()[9] == 1 && p.l4()[0] == 8).0);
    let total: u64 = report["ports"].as_array().unwrap().iter().map(|row| row["packets"].as_u64().unwrap()).sum();
    assert_eq!(total, u64::try_from(distinct(&|p| p.ip()[9] != 1).0).unwrap());
}
