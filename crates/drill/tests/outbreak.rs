//! An outbreak's packets follow the logistic curve, and only its own packets change with it.

mod common;

use common::{Read, background, collect, outbreak};
use martlet_drill::{ConfigError, Drill, DrillConfig, Origin, OutbreakConfig, OutbreakMark, OutbreakModel, Transport};
use std::collections::HashSet;
use std::time::Duration;

fn times_s(config: &DrillConfig, all: &[Read]) -> Vec<f64> {
    let begin = config.outbreak.map_or(0.0, |outbreak| outbreak.start.as_secs_f64());
    all.iter().map(|p| (p.time_ns - config.start_s * 1_000_000_000) as f64 / 1e9 - begin).collect()
}

#[test]
fn arrivals_follow_the_curve() {
    let (mut chi, mut cells) = (0.0, 0.0);
    for seed in 0..20 {
        let config = outbreak(seed, OutbreakConfig::default());
        let model = OutbreakModel::new(&OutbreakConfig::default(), 256);
        let times = times_s(&config, &collect(&config));
        // Quarters of an hour, where the model expects enough for a normal approximation.
        for quarter in 0..48_u32 {
            let (from, to) = (f64::from(quarter) * 900.0, f64::from(quarter + 1) * 900.0);
            let expected = model.sightings(to) - model.sightings(from);
            let seen = times.iter().filter(|t| (from..to).contains(*t)).count() as f64;
            if expected >= 8.0 {
                chi += (seen - expected).powi(2) / expected;
                cells += 1.0;
            }
        }
    }
    // Independent Poisson cells with known means: chi-square has mean and half variance `cells`.
    assert!(cells > 400.0);
    assert!((chi - cells).abs() < 4.0 * f64::sqrt(2.0 * cells), "{chi} over {cells} cells");
}

#[test]
fn sources_are_the_hosts_infected_by_then() {
    let model = OutbreakModel::new(&OutbreakConfig::default(), 65_536);
    let config = DrillConfig { dark: "198.18.0.0/16".parse().unwrap(), ..outbreak(3, OutbreakConfig::default()) };
    let all = collect(&config);
    let times = times_s(&config, &all);
    let mut seen = HashSet::new();
    for (packet, t) in all.iter().zip(times) {
        seen.insert(packet.info.source);
        let infected = model.infected(t);
        assert!((seen.len() as f64) <= infected + 1.0, "{} hosts at {t} s, {infected} infected", seen.len());
    }
    // A /16 sees each of 10,000 hosts many times before the end.
    assert!((9_900..=10_000).contains(&seen.len()), "{}", seen.len());
}

#[test]
fn the_background_does_not_change_with_the_outbreak() {
    let quiet = DrillConfig { packets_per_address_day: 100.0, outbreak: None, ..DrillConfig::default() };
    let with = DrillConfig { outbreak: Some(OutbreakConfig::default()), ..quiet.clone() };
    let all = collect(&with);
    let strip = |packets: Vec<Read>| -> Vec<_> { packets.into_iter().map(|p| (p.time_ns, p.frame)).collect() };
    let (outbreak_only, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.info.origin == Origin::Outbreak);
    assert_eq!(strip(rest), strip(collect(&quiet)));
    assert_eq!(strip(outbreak_only), strip(collect(&DrillConfig { packets_per_address_day: 0.0, ..with })));
}

#[test]
fn each_mark_has_its_shape() {
    let base = OutbreakConfig { start: Duration::ZERO, initial_infected: 5_000, ..OutbreakConfig::default() };
    for packet in collect(&outbreak(1, OutbreakConfig { port: 37_215, ..base })) {
        assert!(packet.is_syn() && packet.at32(24) == packet.at32(16));
        assert_eq!(packet.at16(22), 37_215);
    }
    for packet in collect(&outbreak(1, OutbreakConfig { mark: OutbreakMark::None, ..base })) {
        let marks = packet.info.marks();
        assert!(packet.is_syn() && !marks.mirai);
        assert_eq!((packet.at16(22), packet.at16(2)), (2323, 60));
    }
    let slammer = OutbreakConfig { transport: Transport::Udp, port: 1434, mark: OutbreakMark::Slammer, ..base };
    for packet in collect(&outbreak(1, slammer)) {
        assert!(packet.info.marks().slammer);
        assert_eq!((packet.ip()[9], packet.at16(22), packet.at16(2), packet.ip()[28]), (17, 1434, 404, 4));
    }
    let udp = OutbreakConfig { port: 7, mark: OutbreakMark::None, ..slammer };
    for packet in collect(&outbreak(1, udp)) {
        assert!(packet.ip()[9] == 17 && packet.at16(22) == 7 && !packet.info.marks().slammer);
    }
}

#[test]
fn an_exact_count_keeps_the_outbreak_whole() {
    let config = outbreak(8, OutbreakConfig::default());
    let alone = collect(&config).len();
    let exact = DrillConfig { exact_packets: Some(50_000), ..config.clone() };
    let all = collect(&exact);
    assert_eq!(all.len(), 50_000);
    assert_eq!(all.iter().filter(|p| p.info.origin == Origin::Outbreak).count(), alone);
    let short = DrillConfig { exact_packets: Some(10), ..config };
    assert!(matches!(Drill::new(&short).err(), Some(ConfigError::OutbreakLarger { packets: 10, .. })));
}

#[test]
fn nothing_at_all_is_an_empty_drill() {
    assert!(collect(&background(1, 0)).is_empty());
    let silent = DrillConfig { outbreak: None, packets_per_address_day: 0.0, ..DrillConfig::default() };
    assert!(collect(&silent).is_empty());
}
