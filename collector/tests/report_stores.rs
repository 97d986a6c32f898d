//! Reports of random stores agree with themselves, whatever was seen, watched, labelled and configured.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::history::{DAY, Fact, SOURCE_KEY, Site};
use martlet_collector::archive::Network;
use martlet_collector::config::Config;
use martlet_collector::events::Book;
use martlet_collector::geo::Region;
use martlet_collector::labels::{Group, Label, LabelStore};
use martlet_collector::report::{Office, Period, ReportError, Wanted};
use martlet_collector::rollup::{DAY_SECONDS, Settings, Zones};
use martlet_report::{Report, check};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, Service, TrafficClass};
use proptest::prelude::*;

const REAL: TrafficClass = TrafficClass::Real;
const SENSORS: [&str; 5] = ["tokyo-1", "oslo-2", "lima-3", "nara-4", "cork-5"];
/// Two weeks that end with Sunday, 2026-03-29.
const FIRST: i64 = DAY - 13;
const WEEKS: [&str; 2] = ["2026-W12", "2026-W13"];
/// Long after both.
const NOW: i64 = (DAY + 100) * DAY_SECONDS;

prop_compose! {
    fn fact()(
        sensor in 0..SENSORS.len(), v6 in 0u8..8, service in 0u16..14, kind in 0u8..6, marks in 0u8..5, source in 0u128..60,
        second in 0..14 * DAY_SECONDS / 10, packets in 1u64..60, network in 0usize..6,
    ) -> Fact {
        let (ip, source) = if v6 == 0 { (IpVersion::V6, source << 62) } else { (IpVersion::V4, source) };
        let (protocol, service) = match service {
            0 | 1 => (1, Service::Icmp { icmp_type: 8 * u8::try_from(service).unwrap(), code: 0 }),
            2 => (47, Service::None),
            port => (if port < 8 { 17 } else { 6 }, Service::Port(port % 7)),
        };
        Fact {
            sensor: SENSORS[sensor],
            traffic: REAL,
            class: Class {
                ip,
                protocol,
                service,
                kind: Kind::from_number(kind).unwrap_or(Kind::Scan),
                marks: if marks == 0 { Marks::NONE.with(Mark::Mirai) } else { Marks::NONE },
            },
            source,
            start: FIRST * DAY_SECONDS + second * 10,
            packets,
            bytes: packets * 40,
            network: Network {
                region: Region::parse(["JP", "NO", "PE", "US", "CN", "ZZ"][network]).unwrap(),
                asn: None,
                organisation: None,
                known_scanner: (network == 3).then(|| "survey".into()),
                is_coarse: false,
            },
        }
    }
}

/// What a sensor watched, of how many addresses, which hours not, and what is said of it.
#[derive(Clone, Debug)]
struct Watch {
    addresses: i64,
    silent: Vec<i64>,
    since: i64,
    labels: Vec<&'static str>,
}

prop_compose! {
    fn watch()(
        addresses in prop::sample::select(vec![1i64, 4, 16, 300]),
        silent in prop::collection::vec(0i64..14 * 24, 0..80),
        since in prop::sample::select(vec![0i64, 0, 0, 30, 200]),
        labels in prop::sample::subsequence(vec!["position=domestic", "group=a", "economy=JP", "position=overseas", "group=b"], 0..4),
    ) -> Watch {
        Watch { addresses, silent, since, labels }
    }
}

/// How reports are made.
#[derive(Clone, Debug)]
struct Rules {
    zone: &'static str,
    top: u32,
    min_sensors: u32,
    min_sources: u64,
    min_packets: u64,
    group: Option<&'static str>,
}

prop_compose! {
    fn rules()(
        zone in prop::sample::select(vec!["UTC", "Asia/Tokyo", "Asia/Kathmandu"]), top in 1u32..9, min_sensors in 1u32..4, min_sources in 1u64..4,
        min_packets in 1u64..40, group in prop::sample::select(vec![None, None, Some("a"), Some("position:overseas")]),
    ) -> Rules {
        Rules { zone, top, min_sensors, min_sources, min_packets, group }
    }
}

/// A store with these rows and hours.
fn site(facts: &[Fact], watches: &[Watch]) -> Site {
    let mut settings = Settings::new(SOURCE_KEY);
    settings.zones = Zones::named(&["UTC", "Asia/Tokyo"]).unwrap();
    settings.group_labels = vec![Label::Group, Label::Position];
    let mut site = Site::new(settings);
    let mut labels = LabelStore::open(&site.location).unwrap();
    for (number, (name, watch)) in SENSORS.iter().zip(watches).enumerate() {
        let number = i64::try_from(number).unwrap();
        let said: Vec<_> = watch.labels.iter().map(|label| label.parse().unwrap()).collect();
        labels.set(&name.parse().unwrap(), &said).unwrap();
        let insert = "INSERT INTO sensors (sensor, origin, name) VALUES (?1, ?2, ?3)";
        site.connection()
            .execute(insert, rusqlite::params![number, [u8::try_from(number).unwrap(); 16], name])
            .unwrap();
        for hour in (watch.since..14 * 24).filter(|hour| !watch.silent.contains(hour)) {
            let insert = "INSERT INTO sensor_hours (hour, class, sensor, window_seconds, windows, late_windows, packets, kernel_drops,
                     interface_drops, lost_batches, lost_windows, lost_packets, lost_ms, watched_ms, ipv4_address_ms, ipv6_prefix_ms,
                     exposure_unknown) VALUES (?1, 0, ?2, 10, 360, 0, 0, 1, 0, 0, 0, 2, 0, 3600000, ?3, 3600000, 0)";
            let hour = FIRST * DAY_SECONDS + hour * 3600;
            site.connection().execute(insert, rusqlite::params![hour, number, watch.addresses * 3_600_000]).unwrap();
        }
    }
    site.archive("a", facts);
    site.roll();
    site
}

/// The report of a week; `None` where there is a reason that there is none.
fn report(site: &Site, rules: &Rules, week: &str) -> Option<Report> {
    let mut config = Config::default();
    config.store.data_dir = site.directory.path().to_owned();
    config.reports.zone = rules.zone.to_owned();
    (config.reports.top, config.reports.min_sensors) = (rules.top, rules.min_sensors);
    (config.publication.min_sources, config.publication.min_packets) = (rules.min_sources, rules.min_packets);
    let group: Option<Group> = rules.group.map(|group| group.parse().unwrap());
    let office = Office::new(&config, Arc::new(Book::new(site.location.clone()))).of_group(group.as_ref());
    let wanted = Wanted { class: REAL, period: Period::week(week).unwrap(), compare: 1 };
    match office.make(&site.history(), &wanted, NOW) {
        Err(
            ReportError::Nothing(..) | ReportError::Zone(_) | ReportError::NoGroup(_) | ReportError::FewSensors { .. },
        ) => None,
        made => Some(made.unwrap().report),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reports_agree_with_themselves(
        facts in prop::collection::vec(fact(), 0..250), watches in prop::collection::vec(watch(), SENSORS.len()), rules in rules(),
    ) {
        let site = site(&facts, &watches);
        let made = WEEKS.map(|week| report(&site, &rules, week));
        for (at, report) in made.iter().enumerate() {
            let Some(report) = report else { continue };
            prop_assert_eq!(report.revision, Some(1));
            let packets = |rows: &[&Fact]| rows.iter().map(|fact| fact.packets).sum::<u64>();
            if rules.zone == "UTC" && rules.group.is_none() {
                // Days of which history has nothing are not known, and have no packets.
                let week = FIRST + 7 * i64::try_from(at).unwrap()..FIRST + 7 * (i64::try_from(at).unwrap() + 1);
                let of_week: Vec<&Fact> =
                    facts.iter().filter(|fact| week.contains(&fact.day()) && fact.class.ip == IpVersion::V4).collect();
                let told = report.overview.packets;
                prop_assert_eq!(told.scan + told.backscatter + told.other, packets(&of_week));
            }
            for row in &report.ports.rows {
                prop_assert!(row.cell.packets >= rules.min_packets && row.sensors.is_none_or(|sensors| sensors >= rules.min_sensors));
            }
            for group in &report.groups {
                prop_assert!(group.exposure.sensors >= rules.min_sensors);
            }
            // What was found right is found wrong as soon as a number of it is another.
            let mut wrong = report.clone();
            wrong.ports.total.packets += 1;
            prop_assert!(check(&wrong, None).is_err());
            let mut wrong = report.clone();
            wrong.overview.packets.scan += 1;
            prop_assert!(check(&wrong, None).is_err());
            if let Some(row) = wrong.groups.first_mut() {
                let mut wrong = report.clone();
                row.packets.scan += 1;
                wrong.groups[0] = row.clone();
                prop_assert!(row.per_sensor_day.is_none() || check(&wrong, None).is_err());
            }
        }
    }
}
