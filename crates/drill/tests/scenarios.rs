//! Scenarios: what is played is what the truth says, and what each is to be told by is in its packets.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use common::{Read, collect};
use martlet_drill::addresses::is_special_use;
use martlet_drill::{Drill, DrillConfig, Kind, Origin, Outage, Scenario, Truth, scenarios};

fn quiet(seed: u64) -> DrillConfig {
    DrillConfig { seed, packets_per_address_day: 0.0, outbreak: None, sensors: 4, ..DrillConfig::default() }
}

#[expect(clippy::unwrap_used, reason = "a scenario that is missing should fail the test")]
fn drill(name: &str, base: DrillConfig) -> DrillConfig {
    Scenario::named(name).unwrap().drill(base)
}

fn of(all: &[Read], inject: usize) -> Vec<&Read> {
    all.iter().filter(|packet| packet.info.origin == Origin::Inject(inject)).collect()
}

fn sources(packets: &[&Read]) -> HashSet<Ipv4Addr> {
    packets.iter().map(|packet| packet.info.source).collect()
}

#[expect(clippy::unwrap_used, reason = "a configuration that fails should fail the test")]
fn truth(config: &DrillConfig) -> serde_json::Value {
    let mut drill = Drill::new(config).unwrap();
    let mut truth = Truth::new(config);
    while let Some(packet) = drill.next_packet() {
        truth.observe(&packet);
    }
    serde_json::to_value(truth.report()).unwrap()
}

#[test]
fn every_scenario_is_the_same_twice_and_another_with_another_seed() {
    for scenario in scenarios::ALL {
        let base = DrillConfig { dark: "198.18.0.0/28".parse().unwrap(), duration: scenario.duration, ..quiet(5) };
        let config = scenario.drill(DrillConfig { packets_per_address_day: 50.0, ..base });
        let frames = |config: &DrillConfig| -> Vec<_> {
            collect(config).into_iter().map(|packet| (packet.time_ns, packet.frame)).collect()
        };
        let first = frames(&config);
        assert!(!first.is_empty() && first.is_sorted_by_key(|(time_ns, _)| *time_ns), "{}", scenario.name);
        assert_eq!(first, frames(&config), "{}", scenario.name);
        assert_ne!(first, frames(&DrillConfig { seed: 6, ..config }), "{}", scenario.name);
    }
}

#[test]
fn a_sweep_reaches_every_address_once_from_one_network() {
    let all = collect(&drill("research-sweep", quiet(1)));
    let targets: HashSet<_> = all.iter().map(|packet| packet.info.destination).collect();
    assert_eq!((all.len(), targets.len()), (256, 256));
    let networks: HashSet<_> = all.iter().map(|packet| u32::from(packet.info.source) >> 8).collect();
    assert_eq!(networks.len(), 1);
    assert!((2..=8).contains(&sources(&of(&all, 0)).len()));
    let length_s = (all[255].time_ns - all[0].time_ns) / 1_000_000_000;
    assert!((2_600..2_700).contains(&length_s), "{length_s}");
}

#[test]
fn a_flood_is_backscatter_and_a_ramp_comes_from_everywhere() {
    let all = collect(&drill("backscatter-flood", quiet(2)));
    let (few, many, ramp) = (of(&all, 0), of(&all, 1), of(&all, 2));
    assert_eq!(sources(&few).len(), 3);
    assert!(few.iter().chain(&many).all(|packet| packet.info.kind == Kind::Backscatter && packet.l4()[..2] != [0, 0]));
    assert!(few.iter().all(|packet| packet.l4()[..2] == 443_u16.to_be_bytes()));
    // 614,400 answers are expected of 2,000,000 victims, so 2e6 (1 - e^-0.307) = 529,000 of them are seen.
    let seen = sources(&many).len();
    assert!((many.len() as f64 / 614_400.0 - 1.0).abs() < 0.01 && (520_000..538_000).contains(&seen), "{seen}");
    assert!(sources(&ramp).len() as f64 > ramp.len() as f64 * 0.999 && ramp.iter().all(|packet| packet.is_syn()));
    // Multicast and class E are 12.5 % of all addresses; with all other special-use space it is about 13.8 %.
    let nowhere = ramp.iter().filter(|packet| is_special_use(packet.info.source)).count() as f64 / ramp.len() as f64;
    assert!((0.128..0.148).contains(&nowhere), "{nowhere}");
    let third = ramp.len() / 3;
    assert!(ramp[third].time_ns - ramp[0].time_ns > ramp[2 * third].time_ns - ramp[third].time_ns, "it grows");
}

#[test]
fn bots_that_are_renumbered_are_more_addresses_than_bots_but_only_over_days() {
    let all =
        collect(&drill("dhcp-renumbering", DrillConfig { duration: Duration::from_secs(7 * 86_400), ..quiet(3) }));
    let day = |packet: &Read| (packet.time_ns - all[0].time_ns) / 86_400_000_000_000;
    let mut by_day: BTreeMap<u64, HashSet<Ipv4Addr>> = BTreeMap::new();
    for packet in &all {
        by_day.entry(day(packet)).or_default().insert(packet.info.source);
    }
    // 16,479 packets a day of 20,000 bots, half of which have two addresses within it.
    let first = by_day[&0].len();
    assert!((11_000..15_000).contains(&first), "{first}");
    let whole_week = sources(&of(&all, 0)).len();
    assert!(whole_week > 60_000, "{whole_week} addresses of 20,000 bots");
    for packets in by_day.values().take(6).map(HashSet::len) {
        assert!((packets as f64 / first as f64 - 1.0).abs() < 0.05, "the daily number does not grow: {packets}");
    }
}

#[test]
fn hosts_near_the_telescope_are_seen_more_often() {
    // A dark prefix whose /16 and /8 are ordinary space; nobody's packets go anywhere.
    let base = DrillConfig { dark: "20.30.40.0/24".parse().unwrap(), ..quiet(4) };
    let local = drill("localised-worm", base.clone());
    let all = collect(&local);
    let share = |mask: u32| {
        let near = |packet: &&Read| (u32::from(packet.info.source) ^ 0x141e_2800) & mask == 0;
        all.iter().filter(near).count() as f64 / all.len() as f64
    };
    // By shares of scans: 1/8 + 1/2 of 255/256 from the /8 without the /16, 3/8 from the /16 (6 hosts of 5.5 expected).
    let (in_16, in_8) = (share(0xffff_0000), share(0xff00_0000));
    assert!((0.3..0.5).contains(&in_16) && (0.82..0.92).contains(&in_8), "{in_16} {in_8}");
    let uniform = collect(&drill("code-red", base));
    let far =
        uniform.iter().filter(|packet| packet.info.source.octets()[0] == 20).count() as f64 / uniform.len() as f64;
    assert!(far < 0.01, "{far}");
    let truth = truth(&local);
    let near = &truth["drill"]["injects"][0]["worm"]["vulnerable_near"];
    assert_eq!((near[0].as_u64(), near[1].as_u64()), (Some(1620), Some(6)), "{near}");
}

#[test]
fn an_outage_takes_one_sensors_packets_and_nothing_else() {
    let base = DrillConfig { packets_per_address_day: 500.0, ..quiet(5) };
    let config = drill("sensor-outage", base.clone());
    let Outage { sensor, begin, end } = config.outages[0];
    assert_eq!((sensor, begin, end), (3, Duration::from_secs(6 * 3600), Duration::from_secs(12 * 3600)));
    let whole = collect(&DrillConfig { outages: Vec::new(), ..config.clone() });
    let rest = collect(&config);
    let out = |packet: &&Read| {
        let since = Duration::from_nanos(packet.time_ns - config.start_s * 1_000_000_000);
        packet.info.destination.octets()[3] >= 192 && since >= begin && since < end
    };
    let expected: Vec<_> = whole.iter().filter(|packet| !out(packet)).map(|packet| &packet.frame).collect();
    assert_eq!(rest.iter().map(|packet| &packet.frame).collect::<Vec<_>>(), expected);
    assert!(whole.len() - rest.len() > 6_000, "{}", whole.len() - rest.len());
}

#[test]
fn views_of_one_drill_see_the_same_hosts_at_other_moments() {
    let [one, other] = ["20.30.40.0/24", "21.0.0.0/24"].map(|prefix| prefix.parse().unwrap());
    let base = |dark, other, view| DrillConfig { dark, also_dark: vec![other], view, ..quiet(6) };
    let first = collect(&drill("code-red", base(one, other, 1)));
    let second = collect(&drill("code-red", base(other, one, 2)));
    let hosts = |all: &[Read]| all.iter().map(|packet| packet.info.source).collect::<HashSet<_>>();
    let shared = hosts(&first).intersection(&hosts(&second)).count() as f64 / hosts(&first).len() as f64;
    // Each prefix sees about 6,500 of the 359,000 hosts in the day, and so 1.8 % of those that the other sees. Of hosts drawn
    // apart it would be two in a million.
    assert!((0.012..0.025).contains(&shared), "{shared}");
    let times = |all: &[Read]| all.iter().map(|packet| packet.time_ns).collect::<HashSet<_>>();
    assert_eq!(times(&first).intersection(&times(&second)).count(), 0);
}

#[test]
fn the_truth_names_what_must_and_must_not_be_called() {
    let week = Duration::from_secs(7 * 86_400);
    let base = DrillConfig { dark: "198.18.0.0/26".parse().unwrap(), duration: week, ..quiet(7) };
    let truth = truth(&drill("mixed-week", base));
    let drill = &truth["drill"];
    let named: BTreeMap<_, _> =
        drill["injects"].as_array().unwrap().iter().map(|it| (it["name"].as_str().unwrap(), it)).collect();
    for (name, must, must_not) in [
        ("code-red", "outbreak", ""),
        ("slammer", "outbreak", ""),
        ("dhcp-renumbering", "", "outbreak"),
        ("research-sweep-1", "", "outbreak"),
        ("spoofed-ramp", "", "outbreak"),
        ("loud-scanner", "", "outbreak"),
        ("backscatter-many", "", "first_seen_port surge outbreak"),
    ] {
        let calls = |list: &str| {
            let calls = named[name]["expected"][list].as_array().unwrap();
            calls.iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((calls("must").as_str(), calls("must_not").as_str()), (must, must_not), "{name}");
    }
    assert_eq!(named["slammer"]["port"], 1434);
    assert_eq!(named["code-red"]["onset_s"], 1_767_225_600.0 + 96.0 * 3600.0);
    assert_eq!(drill["outages"][0]["sensor"], 3);
    assert_eq!((&drill["scenario"], &drill["sensors"]), (&"mixed-week".into(), &4.into()));
}
