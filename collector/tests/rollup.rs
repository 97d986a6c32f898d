//! Rollups of an archive against plain counting of the same rows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use common::history::{DAY, Fact, SOURCE_KEY, Site, distinct, is_kind, sums};
use martlet_collector::archive::Network;
use martlet_collector::geo::Region;
use martlet_collector::live::ServiceKey;
use martlet_collector::rollup::query::{
    Change, Filter, GroupBy, Grouping, Pool, SeriesKey, Snapshot, Span, Step, Unknown, Which,
};
use martlet_collector::rollup::{
    DAY_SECONDS, Dimension, Files, MULTI_PORT, Order, QUARTER_SECONDS, RollupError, Settings, Turn, Zone, Zones,
    erase_sources, exclude, exclusions, forget_days, forget_sources, include, make, mark_day,
};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, Service, TrafficClass, address_from_bits};
use proptest::prelude::*;

const REAL: TrafficClass = TrafficClass::Real;
const DAYS: i64 = 3;
const SENSORS: [&str; 3] = ["tokyo-1", "oslo-2", "lima-3"];

fn settings() -> Settings {
    let zones = Zones::named(&["UTC", "Asia/Tokyo", "Asia/Kathmandu"]).unwrap();
    Settings { zones, watched: vec!["tcp/2".parse().unwrap()], ..Settings::new(SOURCE_KEY) }
}

fn networks() -> Vec<Network> {
    let network = |region: &str, asn: Option<u32>, scanner: Option<&str>| Network {
        region: Region::parse(region).unwrap(),
        asn,
        organisation: asn.map(|asn| format!("Organisation {asn}").into()),
        known_scanner: scanner.map(Into::into),
        is_coarse: false,
    };
    vec![network("JP", Some(7), None), network("NO", Some(9), Some("survey")), network("ZZ", None, None)]
}

prop_compose! {
    /// A row of few different things, so that all of them meet.
    fn fact()(
        sensor in 0usize..3, traffic in 0usize..12, v6 in 0u8..8, service in 0u16..8, kind in 0u8..5, marks in 0u32..6,
        source in 0u128..40, second in 0..DAYS * DAY_SECONDS / 10, packets in 1u64..50, network in 0usize..9,
    ) -> Fact {
        let (ip, source) = match v6 {
            0 => (IpVersion::V6, source << 62),
            _ => (IpVersion::V4, source),
        };
        let (protocol, service) = match service {
            0 => (1, Service::Icmp { icmp_type: 8, code: 0 }),
            1 => (1, Service::IcmpError { icmp_type: 3, code: 3, quoted_protocol: 17, quoted_port: 53 }),
            2 => (47, Service::None),
            port => (if port < 5 { 17 } else { 6 }, Service::Port(port % 3)),
        };
        let kind = Kind::from_number(kind).unwrap_or(Kind::Scan);
        let marks = match marks {
            0 => Marks::NONE.with(Mark::Mirai),
            1 => Marks::NONE.with(Mark::Zmap).with(Mark::ZmapIpid),
            _ => Marks::NONE,
        };
        Fact {
            sensor: SENSORS[sensor],
            traffic: if traffic == 0 { TrafficClass::Drill } else { REAL },
            class: Class { ip, protocol, service, kind, marks },
            source,
            start: DAY * DAY_SECONDS + second * 10,
            packets,
            bytes: packets * 40,
            // Mostly what the source says, and now and then something else, as when a database is renewed.
            network: networks()[if network < 3 { network } else { usize::try_from(source % 3).unwrap() }].clone(),
        }
    }
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    proptest::collection::vec(fact(), 1..300)
}

fn quarters() -> impl Strategy<Value = Range<i64>> {
    (0..DAYS * 96, 1..DAYS * 96).prop_map(|(from, length)| from..(from + length).min(DAYS * 96))
}

fn span(quarters: &Range<i64>) -> Span {
    let time = |quarter: i64| DAY * DAY_SECONDS + quarter * QUARTER_SECONDS;
    Span::new(time(quarters.start), time(quarters.end)).unwrap()
}

fn within<'a>(facts: &'a [Fact], span: &Span) -> Vec<&'a Fact> {
    let real = facts.iter().filter(|fact| fact.traffic == REAL);
    real.filter(|fact| (span.from()..span.to()).contains(&fact.start)).collect()
}

fn rolled(facts: &[Fact]) -> Site {
    let mut site = Site::new(settings());
    site.archive("a", facts);
    site.roll();
    site
}

fn ranked<K: Ord + Copy>(sums: &BTreeMap<K, u64>) -> Vec<(u64, K)> {
    let mut ranked: Vec<(u64, K)> = sums.iter().map(|(key, packets)| (*packets, *key)).collect();
    ranked.sort_by_key(|&(packets, key)| (Reverse(packets), key));
    ranked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever files the rows are in, and however often a day is made, its rows in the store are the same bytes.
    #[test]
    fn a_rollup_depends_on_rows_only(facts in facts(), cut in proptest::collection::vec(0usize..4, 300)) {
        let whole = rolled(&facts);
        let mut split = Site::new(settings());
        // In parts, the last ones late, and the days made in between.
        for part in 0..4 {
            let of: Vec<Fact> = facts.iter().zip(&cut).filter(|(_, of)| **of == part).map(|(fact, _)| fact.clone()).collect();
            split.archive(&format!("part-{}", 9 - part), &of);
            split.roll();
        }
        prop_assert_eq!(split.dump(), whole.dump());
        prop_assert_eq!(split.stale_rows(), 0);
        // Files are merged: nothing is marked; and made again, nothing changes.
        split.empty_archive();
        split.archive("merged", &facts);
        let days: BTreeSet<i64> = facts.iter().map(Fact::day).collect();
        prop_assert_eq!(split.roll(), days.len());
        prop_assert_eq!(split.dump(), whole.dump());
    }

    #[test]
    fn services_are_what_counting_says(
        facts in facts(), time in quarters(), kind in 0u8..4, protocol in 0usize..3, limit in 1usize..8,
    ) {
        let site = rolled(&facts);
        let history = site.history();
        let (snapshot, span) = (history.snapshot().unwrap(), span(&time));
        let protocol = [None, Some(6), Some(17)][protocol];
        let filter = Filter { kind: Kind::from_number(kind), protocol, ..Filter::class(REAL) };
        let is_asked = |fact: &&Fact| is_kind(fact, filter.kind) && protocol.is_none_or(|only| only == fact.class.protocol);
        let asked: Vec<&Fact> = within(&facts, &span).into_iter().filter(is_asked).collect();
        let ports = sums(asked.iter().copied(), |fact| matches!(fact.class.service, Service::Port(_)).then(|| fact.service()));
        let list = snapshot.services(&filter, span, &Zone::UTC, Which::Ports, Order::Packets, limit).unwrap();
        let found: Vec<_> = list.services.iter().map(|totals| (totals.sum.packets(), totals.service)).collect();
        prop_assert_eq!(&found, &ranked(&ports)[..limit.min(ports.len())]);
        prop_assert_eq!(list.totals.packets(), asked.iter().map(|fact| fact.packets).sum::<u64>());
        prop_assert!(list.count.is_none_or(|count| count >= ports.len()));
        let whole_days = time.start % 96 == 0 && time.end % 96 == 0;
        for totals in &list.services {
            let of: Vec<&Fact> = asked.iter().copied().filter(|fact| fact.service() == totals.service).collect();
            let kinds = sums(of.iter().copied(), |fact| Some(fact.class.kind as usize));
            prop_assert_eq!(totals.kinds.iter().sum::<u64>(), totals.sum.packets());
            prop_assert!(kinds.iter().all(|(kind, packets)| totals.kinds[*kind] == *packets));
            prop_assert_eq!(totals.sum.bytes(), if whole_days { Ok(totals.sum.packets() * 40) } else { Err(Unknown::CutsDays) });
            let sensors: BTreeSet<&str> = of.iter().map(|fact| fact.sensor).collect();
            prop_assert!(!whole_days || totals.sensors <= sensors.len() as u64);
            // 00:00 UTC, 00:00 +9 and 00:00 +5:45.
            let is_cut = |quarter: i64| [0, 60, 73].contains(&(quarter % 96));
            match totals.sum.sources() {
                Ok(sources) => prop_assert_eq!((sources.count, sources.error), (distinct(of.iter().copied()), 0.0)),
                Err(unknown) => prop_assert!(unknown == Unknown::CutsSegments && !(is_cut(time.start) && is_cut(time.end))),
            }
            prop_assert!(!(is_cut(time.start) && is_cut(time.end)) || totals.sum.sources().is_ok());
        }
        let icmp = sums(asked.iter().copied(), |fact| match fact.class.service {
            Service::Icmp { icmp_type, code } | Service::IcmpError { icmp_type, code, .. } => Some((fact.class.ip, icmp_type, code)),
            _ => None,
        });
        // An ICMP message over IPv6 with ICMP's number is none that the list has.
        let icmp: BTreeMap<_, _> = icmp.into_iter().filter(|((ip, ..), _)| *ip == IpVersion::V4).collect();
        let found = snapshot.icmp(&filter, span, 9).unwrap();
        if protocol.is_none() {
            let found: Vec<_> = found.iter().map(|(ip, t, c, sum)| (sum.packets(), (*ip, *t, *c))).collect();
            prop_assert_eq!(found, ranked(&icmp));
        }
    }

    /// Sources of each day of a zone, added up, as an order.
    #[test]
    fn services_are_ranked_by_daily_sources(facts in facts(), zone in 0usize..3, first in 0i64..2, kind in 0u8..4) {
        let site = rolled(&facts);
        let history = site.history();
        let snapshot = history.snapshot().unwrap();
        let zone = Zone::named(["UTC", "Asia/Tokyo", "Asia/Kathmandu"][zone]).unwrap();
        let date = zone.date((DAY + first) * DAY_SECONDS).unwrap();
        let days = [zone.day(date).unwrap(), zone.day(date.tomorrow().unwrap()).unwrap()];
        let span = Span::new(days[0].start, days[1].end).unwrap();
        let filter = Filter { kind: Kind::from_number(kind), ..Filter::class(REAL) };
        let mut daily: BTreeMap<ServiceKey, u64> = BTreeMap::new();
        for day in &days {
            let of_day = within(&facts, &Span::new(day.start, day.end).unwrap());
            let of_day: Vec<&Fact> = of_day.into_iter().filter(|fact| is_kind(fact, filter.kind)).collect();
            let ports = of_day.iter().filter(|fact| matches!(fact.class.service, Service::Port(_)));
            for service in ports.map(|fact| fact.service()).collect::<BTreeSet<_>>() {
                let of = of_day.iter().copied().filter(|fact| fact.service() == service);
                *daily.entry(service).or_default() += distinct(of);
            }
        }
        let list = snapshot.services(&filter, span, &zone, Which::Ports, Order::Sources, 4).unwrap();
        let found: Vec<_> = list.services.iter().map(|totals| (totals.daily_sources.unwrap(), totals.service)).collect();
        prop_assert_eq!(&found, &ranked(&daily)[..4.min(daily.len())]);
    }

    #[test]
    fn groups_are_what_counting_says(facts in facts(), time in quarters(), kind in 0u8..4) {
        let site = rolled(&facts);
        let history = site.history();
        let (snapshot, span) = (history.snapshot().unwrap(), span(&time));
        let filter = Filter { kind: Kind::from_number(kind), ..Filter::class(REAL) };
        let asked: Vec<&Fact> = within(&facts, &span).into_iter().filter(|fact| is_kind(fact, filter.kind)).collect();
        let names = |dimension: Dimension, fact: &Fact| -> Vec<String> {
            match dimension {
                Dimension::Protocol => vec![fact.class.protocol.to_string()],
                Dimension::Region => vec![fact.network.region.to_string()],
                Dimension::Scanner => fact.network.known_scanner.iter().map(ToString::to_string).collect(),
                Dimension::Mark => fact.class.marks.iter().map(|mark| mark.name().to_owned()).collect(),
                Dimension::Sensor => vec![fact.sensor.to_owned()],
            }
        };
        let watched = ServiceKey::new(
            Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(2), kind: Kind::Scan, marks: Marks::NONE }.into(),
        );
        let cases = [Dimension::Protocol, Dimension::Region, Dimension::Scanner, Dimension::Mark, Dimension::Sensor]
            .map(|dimension| (dimension, Grouping::All));
        let of_service = [Dimension::Region, Dimension::Mark].map(|dimension| (dimension, Grouping::Service(watched)));
        for (dimension, grouping) in cases.into_iter().chain(of_service) {
            let is_grouped = |fact: &Fact| grouping == Grouping::All || fact.service() == watched;
            let found = snapshot.groups(&filter, span, dimension, grouping).unwrap();
            let all: BTreeSet<String> =
                asked.iter().filter(|fact| is_grouped(fact)).flat_map(|fact| names(dimension, fact)).collect();
            prop_assert_eq!(found.iter().map(|group| group.name.clone()).collect::<BTreeSet<_>>(), all);
            prop_assert!(found.is_sorted_by_key(|group| Reverse(group.sum.packets())));
            for group in found {
                let of: Vec<&Fact> =
                    asked.iter().copied().filter(|fact| is_grouped(fact) && names(dimension, fact).contains(&group.name)).collect();
                prop_assert_eq!(group.sum.packets(), of.iter().map(|fact| fact.packets).sum::<u64>());
                prop_assert_eq!(group.kinds.iter().sum::<u64>(), group.sum.packets());
                if let Ok(sources) = group.sum.sources() {
                    prop_assert_eq!(sources.count, distinct(of));
                }
            }
        }
    }

    #[test]
    fn series_are_what_counting_says(facts in facts(), time in quarters(), step in 1i64..200) {
        let site = rolled(&facts);
        let history = site.history();
        let (snapshot, span) = (history.snapshot().unwrap(), span(&time));
        let asked = within(&facts, &span);
        let services: Vec<ServiceKey> = asked.iter().map(|fact| fact.service()).take(2).collect::<BTreeSet<_>>().into_iter().collect();
        let region = GroupBy::Dimension(Dimension::Region, Grouping::All);
        for group_by in [GroupBy::Nothing, GroupBy::Kind, GroupBy::Services(services.clone()), region] {
            let list = snapshot.series(&Filter::class(REAL), span, &Step::Seconds(step * QUARTER_SECONDS), &group_by, false).unwrap();
            let mut expected: BTreeMap<SeriesKey, Vec<u64>> = BTreeMap::new();
            for fact in &asked {
                let key = match &group_by {
                    GroupBy::Nothing => SeriesKey::All,
                    GroupBy::Kind => SeriesKey::Kind(fact.class.kind),
                    GroupBy::Services(services) if !services.contains(&fact.service()) => continue,
                    GroupBy::Services(_) => SeriesKey::Service(fact.service()),
                    GroupBy::Dimension(..) => SeriesKey::Name(fact.network.region.to_string()),
                };
                let place = usize::try_from((fact.start - span.from()) / (step * QUARTER_SECONDS)).unwrap();
                expected.entry(key).or_insert_with(|| vec![0; list.starts.len()])[place] += fact.packets;
            }
            let found = list.series.into_iter().filter(|series| series.packets.iter().any(|packets| *packets > 0));
            prop_assert_eq!(found.map(|series| (series.key, series.packets)).collect::<BTreeMap<_, _>>(), expected);
        }
    }

    #[test]
    fn sources_and_networks_are_what_counting_says(facts in facts(), first in 0i64..DAYS, kind in 0u8..3) {
        let site = rolled(&facts);
        let history = site.history();
        let snapshot = history.snapshot().unwrap();
        let span = Span::new((DAY + first) * DAY_SECONDS, (DAY + DAYS) * DAY_SECONDS).unwrap();
        let kind = Kind::from_number(kind).unwrap();
        let asked: Vec<&Fact> = within(&facts, &span).into_iter().filter(|fact| fact.class.kind == kind).collect();
        let list = snapshot.top_sources(REAL, kind, span, 1000).unwrap();
        let text = |fact: &Fact| address_from_bits(fact.class.ip, fact.source).to_string();
        let expected = sums(asked.iter().copied(), |fact| Some(text(fact)));
        prop_assert!(list.is_complete && list.floor == 0);
        prop_assert!(list.sources.iter().all(|entry| entry.error == 0 && entry.bytes == entry.packets * 40));
        let found: BTreeMap<_, _> = list.sources.iter().map(|entry| (entry.source.clone(), entry.packets)).collect();
        prop_assert_eq!(found, expected);
        // Ports of the day on which they were most.
        let mut multi_port = 0;
        for entry in &list.sources {
            let mut most = 0;
            for day in DAY + first..DAY + DAYS {
                let of_day: Vec<&Fact> = asked.iter().copied().filter(|fact| fact.day() == day && text(fact) == entry.source).collect();
                let of = of_day.iter().filter(|fact| kind == Kind::Scan && matches!(fact.class.service, Service::Port(_)));
                let ports = of.map(|fact| fact.service()).collect::<BTreeSet<_>>().len() as u64;
                let is_known = of_day.iter().map(|fact| &fact.network).max().is_some_and(|network| network.known_scanner.is_some());
                multi_port += u64::from(ports >= u64::from(MULTI_PORT) && !is_known);
                most = most.max(ports);
            }
            prop_assert_eq!(entry.ports, most);
        }
        prop_assert_eq!(list.multi_port_sources, multi_port);
        let filter = Filter { kind: Some(kind), ..Filter::class(REAL) };
        let networks = snapshot.networks(&filter, span, 10).unwrap();
        let found: BTreeMap<_, _> = networks.iter().map(|network| (network.asn, network.packets)).collect();
        prop_assert_eq!(found, sums(asked.iter().copied(), |fact| Some(fact.network.asn.map(i64::from))));
        for network in networks {
            let of = asked.iter().copied().filter(|fact| fact.network.asn.map(i64::from) == network.asn);
            prop_assert_eq!(network.sources.count, distinct(of));
            prop_assert_eq!(network.organisation, network.asn.map(|asn| format!("Organisation {asn}")));
        }
    }

    #[test]
    fn sensors_are_what_counting_says(facts in facts(), hours in (0..DAYS * 24, 1..DAYS * 24), limit in 1usize..30, listed in 1usize..12) {
        let mut settings = settings();
        settings.limits.sensor_services = listed;
        let mut site = Site::new(settings);
        site.archive("a", &facts);
        site.roll();
        let span = span(&(hours.0 * 4..(hours.0 + hours.1).min(DAYS * 24) * 4));
        let history = site.history();
        let snapshot = history.snapshot().unwrap();
        for sensor in SENSORS {
            let of_sensor = |fact: &&Fact| fact.sensor == sensor;
            let key = |fact: &Fact| Some((fact.service(), fact.class.kind));
            // The first ones of each day, whatever part of it is asked for.
            let mut expected: BTreeMap<(ServiceKey, Kind), Vec<u64>> = BTreeMap::new();
            let count = usize::try_from((span.to() - span.from()) / 3600).unwrap();
            let mut others = vec![0; count];
            for day in DAY..DAY + DAYS {
                let of_day = Span::new(day * DAY_SECONDS, (day + 1) * DAY_SECONDS).unwrap();
                let of_day: Vec<&Fact> = within(&facts, &of_day).into_iter().filter(of_sensor).collect();
                let first: BTreeSet<_> =
                    ranked(&sums(of_day.iter().copied(), key)).into_iter().take(listed).map(|(_, key)| key).collect();
                for fact in of_day.into_iter().filter(|fact| (span.from()..span.to()).contains(&fact.start)) {
                    let key = (fact.service(), fact.class.kind);
                    let sum = if first.contains(&key) { expected.entry(key).or_insert_with(|| vec![0; count]) } else { &mut others };
                    sum[usize::try_from((fact.start - span.from()) / 3600).unwrap()] += fact.packets;
                }
            }
            let found = snapshot.sensor_services(REAL, sensor, span, limit).unwrap();
            let totals: BTreeMap<_, _> = expected.iter().map(|(key, hours)| (*key, hours.iter().sum::<u64>())).collect();
            let order: Vec<_> = ranked(&totals);
            for (packets, key) in order.iter().skip(limit) {
                prop_assert!(*packets > 0);
                others.iter_mut().zip(&expected[key]).for_each(|(sum, packets)| *sum += packets);
            }
            prop_assert_eq!(&found.others, &others);
            let found: Vec<_> = found.services.iter().map(|of| (of.packets, (of.service.service, of.service.kind), of.hours.clone())).collect();
            let order: Vec<_> = order.into_iter().take(limit).map(|(packets, key)| (packets, key, expected[&key].clone())).collect();
            prop_assert_eq!(found, order);
        }
    }

    #[test]
    fn movers_are_what_counting_says(
        facts in facts(), kind in 0u8..4, limit in 1usize..6, is_shifted in any::<bool>(),
    ) {
        let site = rolled(&facts);
        let history = site.history();
        let snapshot = history.snapshot().unwrap();
        let filter = Filter { kind: Kind::from_number(kind), ..Filter::class(REAL) };
        // Whole days, whose pages are added up, and days of Tokyo, of which some have only the quarter hours of their rows.
        let shift = if is_shifted { 9 * 3600 } else { 0 };
        let day = |day: i64| Span::new(day * DAY_SECONDS + shift, (day + 1) * DAY_SECONDS + shift).unwrap();
        let (now, before) = (day(DAY + 1), day(DAY));
        prop_assert_eq!(now.before().unwrap(), before);
        let of = |span: &Span| {
            let asked = within(&facts, span).into_iter().filter(|fact| is_kind(fact, filter.kind));
            sums(asked, |fact| matches!(fact.class.service, Service::Port(_)).then(|| fact.service()))
        };
        for (change, more, less) in [(Change::Up, of(&now), of(&before)), (Change::Down, of(&before), of(&now))] {
            let mut expected: BTreeMap<ServiceKey, u64> = BTreeMap::new();
            for (service, packets) in &more {
                let difference = packets.saturating_sub(less.get(service).copied().unwrap_or(0));
                expected.extend((difference > 0).then_some((*service, difference)));
            }
            let comparison =
                snapshot.compare(&filter, now, before, &Zone::UTC, Which::Ports, Order::Packets).unwrap();
            let found = comparison.first(change, limit).unwrap();
            prop_assert_eq!(&found, &ranked(&expected)[..limit.min(expected.len())]);
            for (difference, service) in found {
                let mover = comparison.mover((difference, service)).unwrap();
                let packets = |sums: &BTreeMap<ServiceKey, u64>| sums.get(&service).copied().unwrap_or(0);
                prop_assert_eq!(mover.now.sum.packets(), packets(&of(&now)));
                prop_assert_eq!(mover.before.sum.packets(), packets(&of(&before)));
            }
        }
    }

    #[test]
    fn first_days_follow_when_days_change(facts in facts(), late in facts()) {
        let expected = |facts: &[Fact]| {
            let mut first: BTreeMap<(ServiceKey, Kind), i64> = BTreeMap::new();
            for fact in facts.iter().filter(|fact| fact.traffic == REAL) {
                let day = first.entry((fact.service(), fact.class.kind)).or_insert(i64::MAX);
                *day = (*day).min(fact.day());
            }
            first
        };
        let check = |site: &Site, facts: &[Fact]| {
            let history = site.history();
            let snapshot = history.snapshot().unwrap();
            let span = Span::new(DAY * DAY_SECONDS, (DAY + DAYS) * DAY_SECONDS).unwrap();
            let listed = snapshot.first_seen_in(REAL, span, 1000).unwrap();
            assert!(listed.is_sorted_by_key(|first| first.day));
            let listed: BTreeMap<_, _> = listed.iter().map(|first| ((first.service, first.kind), first.day)).collect();
            assert_eq!(listed, expected(facts));
            for ((service, kind), day) in listed {
                assert_eq!(snapshot.first_seen(REAL, service, kind).unwrap(), Some(day));
            }
        };
        let mut site = rolled(&facts);
        check(&site, &facts);
        site.archive("late", &late);
        site.roll();
        check(&site, &[facts.clone(), late.clone()].concat());
        // The first ones are taken out again: a service was first seen on a later day, or never.
        let days: BTreeSet<i64> = facts.iter().chain(&late).map(Fact::day).collect();
        site.empty_archive();
        let last = facts.iter().chain(&late).last().unwrap();
        let keep: Vec<Fact> = days.iter().map(|&day| Fact { start: day * DAY_SECONDS, ..last.clone() }).chain(late.clone()).collect();
        site.archive("kept", &keep);
        site.roll();
        check(&site, &keep);
    }
}

fn scan(port: u16, source: u128, start: i64, packets: u64) -> Fact {
    let class =
        Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(port), kind: Kind::Scan, marks: Marks::NONE };
    let network = networks()[0].clone();
    Fact { sensor: SENSORS[0], traffic: REAL, class, source, start, packets, bytes: packets * 40, network }
}

fn ask<T>(site: &Site, question: impl FnOnce(&Snapshot<'_>) -> T) -> T {
    let history = site.history();
    let snapshot = history.snapshot().unwrap();
    question(&snapshot)
}

fn one_day() -> Span {
    Span::new(DAY * DAY_SECONDS, (DAY + 1) * DAY_SECONDS).unwrap()
}

#[test]
fn services_beyond_the_limit_are_added_up() {
    let mut settings = settings();
    settings.limits.services = 3;
    let mut site = Site::new(settings);
    // 40 ports, the higher the more packets; so that the limit is met on the way, too.
    let facts: Vec<Fact> = (1..=40)
        .map(|port| scan(port, u128::from(port % 7), DAY * DAY_SECONDS + i64::from(port) * 900, port.into()))
        .collect();
    site.archive("a", &facts);
    site.roll();
    let list = ask(&site, |snapshot| {
        snapshot.services(&Filter::class(REAL), one_day(), &Zone::UTC, Which::Ports, Order::Packets, 10).unwrap()
    });
    let found: Vec<u64> = list.services.iter().map(|totals| totals.sum.packets()).collect();
    assert_eq!((found, list.totals.packets()), (vec![40, 39, 38], (1..=40).sum()));
    let basis = ask(&site, |snapshot| snapshot.basis(&Filter::class(REAL), one_day()).unwrap());
    assert_eq!(basis.folded_services, 37);
    let rest = ask(&site, |snapshot| {
        snapshot.service(&Filter::class(REAL), one_day(), &Zone::UTC, ServiceKey::rest(IpVersion::V4)).unwrap()
    });
    assert_eq!((rest.sum.packets(), rest.sum.sources().unwrap().count), ((1..=37).sum(), 7));
    assert_eq!(rest.sum.bytes(), Ok(rest.sum.packets() * 40));
}

#[test]
fn a_question_that_takes_too_long_ends_and_the_next_is_answered() {
    let mut site = Site::new(settings());
    let facts: Vec<Fact> = (1..=5000).map(|port| scan(port, 1, DAY * DAY_SECONDS, 1)).collect();
    site.archive("a", &facts);
    site.roll();
    let pool = Pool::new(site.location.clone());
    let now = Instant::now();
    let all = |deadline| {
        pool.ask(deadline, |history| history.snapshot()?.first_seen_in(REAL, one_day(), usize::MAX)).unwrap()
    };
    // Asked on the same connection.
    assert!(matches!(all(now), Err(RollupError::TooLong)));
    assert_eq!(all(now + Duration::from_secs(600)).unwrap().len(), 5000);
}

/// More services than one page of a day's ranks has, spread evenly and not, over whole days and parts of days.
#[test]
fn long_lists_are_exact() {
    const PORTS: u16 = 5000;
    let mut facts = Vec::new();
    for day in 0..DAYS {
        for port in 0..PORTS {
            // Each day has other heavy ports, and a third of the ports is alike.
            let mixed = u64::from(port) * (7919 + day.unsigned_abs() * 104_729) % 10_007;
            let packets = if port % 3 == 0 { 4 } else { 1 + 30_000 / (1 + mixed) };
            let second = i64::from(port) * 11 % 8640 * 10;
            let start = (DAY + day) * DAY_SECONDS + second;
            facts.extend((0..1 + packets.min(3)).map(|source| scan(port, source.into(), start, packets)));
        }
    }
    let site = rolled(&facts);
    let day = |n: i64| (DAY + n) * DAY_SECONDS;
    let spans = [(day(0), day(3)), (day(1), day(2)), (day(0) + 36_000, day(2) + 18_000), (day(0) + 900, day(0) + 1800)];
    for (from, to) in spans {
        let span = Span::new(from, to).unwrap();
        let expected = ranked(&sums(within(&facts, &span), |fact| Some(fact.service())));
        for limit in [1, 20, 1500, 9000] {
            let list = ask(&site, |snapshot| {
                snapshot.services(&Filter::class(REAL), span, &Zone::UTC, Which::Ports, Order::Packets, limit).unwrap()
            });
            let found: Vec<_> = list.services.iter().map(|totals| (totals.sum.packets(), totals.service)).collect();
            assert!(found == expected[..limit.min(expected.len())], "{span:?} {limit}");
        }
    }
    let tokyo = Zone::named("Asia/Tokyo").unwrap();
    let (from, to) = (day(1) - 9 * 3600, day(3) - 9 * 3600);
    let mut daily: BTreeMap<ServiceKey, u64> = BTreeMap::new();
    for from in [from, from + DAY_SECONDS] {
        let mut sources: BTreeMap<ServiceKey, Vec<&Fact>> = BTreeMap::new();
        let of_day = within(&facts, &Span::new(from, from + DAY_SECONDS).unwrap());
        of_day.into_iter().for_each(|fact| sources.entry(fact.service()).or_default().push(fact));
        sources.into_iter().for_each(|(service, of)| *daily.entry(service).or_default() += distinct(of));
    }
    let (span, filter) = (Span::new(from, to).unwrap(), Filter { kind: Some(Kind::Scan), ..Filter::class(REAL) });
    let list =
        ask(&site, |snapshot| snapshot.services(&filter, span, &tokyo, Which::Ports, Order::Sources, 50).unwrap());
    let found: Vec<_> = list.services.iter().map(|totals| (totals.daily_sources.unwrap(), totals.service)).collect();
    assert_eq!(found, ranked(&daily)[..50]);
}

/// A day of Tokyo has parts of two of UTC, of which one is missing here.
#[test]
fn part_of_a_day_is_ranked_by_what_is_in_it() {
    let hour = |hour: i64| DAY * DAY_SECONDS + hour * 3600;
    let facts = [scan(1, 1, hour(0), 1), scan(1, 2, hour(1), 1), scan(2, 1, hour(20), 1)];
    let site = rolled(&facts);
    let tokyo = Zone::named("Asia/Tokyo").unwrap();
    let filter = Filter { kind: Some(Kind::Scan), ..Filter::class(REAL) };
    for (from, expected) in [(hour(-9), (2, facts[0].service())), (hour(15), (1, facts[2].service()))] {
        let span = Span::new(from, from + DAY_SECONDS).unwrap();
        let list =
            ask(&site, |snapshot| snapshot.services(&filter, span, &tokyo, Which::Ports, Order::Sources, 9).unwrap());
        let found: Vec<_> =
            list.services.iter().map(|totals| (totals.daily_sources.unwrap(), totals.service)).collect();
        assert_eq!(found, [expected]);
    }
}

#[test]
fn many_sources_are_estimated_and_heavy_ones_are_found() {
    let mut settings = settings();
    settings.limits.tracked_sources = 500;
    settings.limits.listed_sources = 20;
    let mut site = Site::new(settings);
    let mut facts = Vec::new();
    for source in 0..5000u128 {
        facts.push(scan(23, source, DAY * DAY_SECONDS + i64::try_from(source).unwrap() * 10, 1));
        // Ten sources come back on other ports.
        let port = 100 + u16::try_from(source % 50).unwrap();
        facts.push(scan(port, source % 10, DAY * DAY_SECONDS + i64::try_from(source).unwrap() * 10, 3));
    }
    site.archive("a", &facts);
    site.roll();
    let truth = sums(&facts, |fact| Some(address_from_bits(IpVersion::V4, fact.source).to_string()));
    let list = ask(&site, |snapshot| snapshot.top_sources(REAL, Kind::Scan, one_day(), 1000).unwrap());
    assert!(!list.is_complete && list.sources.len() == 20);
    for entry in &list.sources {
        let packets = truth[&entry.source];
        assert!(entry.packets <= packets && packets <= entry.packets + entry.error, "{entry:?} {packets}");
    }
    let listed: BTreeSet<&str> = list.sources.iter().map(|entry| entry.source.as_str()).collect();
    assert!((0..10).all(|source| listed.contains(format!("0.0.0.{source}").as_str())), "{listed:?}");
    assert!(truth.iter().all(|(source, packets)| listed.contains(source.as_str()) || *packets <= list.floor));
    let totals = ask(&site, |snapshot| snapshot.totals(&Filter::class(REAL), one_day()).unwrap());
    let sources = totals.sources().unwrap();
    assert!(sources.error > 0.0 && (4750..5250).contains(&sources.count), "{sources:?}");
}

#[test]
fn a_group_of_sensors_has_services_of_its_own() {
    let mut settings = settings();
    settings.groups = [("tokyo-1".to_owned(), vec![4]), ("oslo-2".to_owned(), vec![4, 9, 4, 0])].into();
    let mut site = Site::new(settings);
    let facts: Vec<Fact> = SENSORS
        .iter()
        .zip([1, 10, 100])
        .map(|(sensor, packets)| Fact { sensor, ..scan(23, packets.into(), DAY * DAY_SECONDS, packets) })
        .collect();
    site.archive("a", &facts);
    site.roll();
    for (scope, packets, sources) in [(0, 111, 3), (4, 11, 2), (9, 10, 1), (5, 0, 0)] {
        let filter = Filter { scope, ..Filter::class(REAL) };
        let list = ask(&site, |snapshot| {
            snapshot.services(&filter, one_day(), &Zone::UTC, Which::Ports, Order::Packets, 9).unwrap()
        });
        assert_eq!((list.totals.packets(), list.totals.sources().unwrap().count), (packets, sources));
        let found: Vec<_> = list.services.iter().map(|totals| (totals.sum.packets(), totals.sensors)).collect();
        assert_eq!(found, if packets > 0 { vec![(packets, sources)] } else { vec![] });
    }
}

#[test]
fn what_is_excluded_does_not_count_until_it_is_taken_back() {
    let mut site = Site::new(settings());
    let at = |hour: i64| DAY * DAY_SECONDS + hour * 3600;
    let mut facts: Vec<Fact> = (0..48).map(|hour| scan(23, 1, at(hour), 1 << (hour % 24))).collect();
    facts.extend((0..24).map(|hour| Fact { sensor: SENSORS[1], ..scan(22, 2, at(hour), 1) }));
    site.archive("a", &facts);
    site.roll();
    let before = site.dump();
    for (sensor, time) in [("Tokyo 1", at(1)..at(2)), ("tokyo-1", at(2)..at(1)), ("tokyo-1", at(1)..at(2) + 60)] {
        assert!(matches!(exclude(site.connection(), sensor, time, 0), Err(RollupError::Exclusion(_))));
    }
    // From the third hour of the first day until the second of the next.
    exclude(site.connection(), "tokyo-1", at(3)..at(26), 7).unwrap();
    assert_eq!(site.roll(), 2);
    let packets = |site: &Site| {
        let two = Span::new(at(0), at(48)).unwrap();
        ask(site, |snapshot| {
            let filter = Filter::class(REAL);
            (snapshot.totals(&filter, two).unwrap().packets(), snapshot.basis(&filter, two).unwrap().excluded_packets)
        })
    };
    let (all, kept): (u64, u64) = (2 * ((1 << 24) - 1) + 24, 7 + (1 << 24) - 4 + 24);
    assert_eq!(packets(&site), (kept, all - kept));
    // What comes late is excluded as well.
    site.archive("late", &[scan(80, 9, at(4), 5), scan(80, 9, at(2), 6)]);
    assert_eq!(site.roll(), 1);
    assert_eq!(packets(&site), (kept + 6, all - kept + 5));
    let listed = exclusions(site.connection()).unwrap();
    assert_eq!(
        (listed.len(), listed[0].sensor.as_str(), &listed[0].time, listed[0].added_ms),
        (1, "tokyo-1", &(at(3)..at(26)), 7)
    );
    include(site.connection(), listed[0].exclusion).unwrap();
    assert!(include(site.connection(), listed[0].exclusion).is_err());
    site.connection().execute("DELETE FROM archive_files WHERE name = 'late'", ()).unwrap();
    assert_eq!(site.roll(), 2);
    assert_eq!(site.dump(), before);
}

#[test]
fn a_day_stays_as_it_is_when_its_files_are_gone_and_is_made_again_when_they_change() {
    let mut site = Site::new(settings());
    site.archive("a", &[scan(23, 1, DAY * DAY_SECONDS, 5)]);
    site.roll();
    let before = site.dump();
    // A file that is in the catalog and not there.
    let sql = "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse) VALUES (?1, 'b', 0, 0, 0, 0, 0, 0)";
    site.connection().execute(sql, [DAY]).unwrap();
    assert_eq!(site.roller.rebuild(DAY - 5..DAY + 5).unwrap(), 1);
    let error = site.roller.turn(0).unwrap_err();
    assert!(matches!(&error, RollupError::Missing(path) if path.ends_with("b")), "{error}");
    assert_eq!(site.dump(), before);
    // It is still marked, and made when the file is out of the catalog.
    site.connection().execute("DELETE FROM archive_files WHERE name = 'b'", ()).unwrap();
    assert_eq!(site.roll(), 1);
    assert_eq!(site.dump(), before);
    // A window of another day is in the wrong file.
    std::fs::create_dir_all(site.path(DAY + 1, "x").parent().unwrap()).unwrap();
    std::fs::copy(site.path(DAY, "a"), site.path(DAY + 1, "b")).unwrap();
    site.connection().execute(sql, [DAY + 1]).unwrap();
    assert_eq!(site.roller.rebuild(DAY + 1..DAY + 2).unwrap(), 1);
    assert!(matches!(site.roller.turn(0), Err(RollupError::OtherDay { .. })));
    site.connection().execute("DELETE FROM archive_files WHERE name = 'b'", ()).unwrap();
    assert_eq!(site.roller.turn(0).unwrap(), Turn::Gone(DAY + 1));
    // All files are gone: history stays.
    site.roller.rebuild(DAY..DAY + 1).unwrap();
    site.empty_archive();
    assert_eq!(site.roller.turn(0).unwrap(), Turn::Gone(DAY));
    assert_eq!((site.roller.turn(0).unwrap(), site.dump()), (Turn::Idle, before));
    let generation = site.history().snapshot().unwrap().generation();
    assert_eq!(generation, 2);
}

#[test]
fn a_day_that_cannot_be_made_leaves_the_one_before_and_nothing_for_ever() {
    let mut site = Site::new(settings());
    site.archive("a", &[scan(23, 1, DAY * DAY_SECONDS, 5)]);
    site.roll();
    let before = site.dump();
    // So many services that some are written before the last row turns out to be of another day.
    let facts: Vec<Fact> = (1..20_000).map(|port| scan(port, 1, DAY * DAY_SECONDS, 1)).collect();
    site.archive("b", &facts);
    let class = Class { ip: IpVersion::V6, ..facts[0].class };
    site.archive("c", &[Fact { class, ..scan(1, 1, (DAY + 1) * DAY_SECONDS, 1) }]);
    site.roll_day_fails(DAY, "c");
    assert!(site.stale_rows() > 0);
    assert_eq!(site.dump(), before);
    site.connection().execute("DELETE FROM archive_files WHERE day = ?1 AND name = 'c'", [DAY]).unwrap();
    site.roll();
    assert_eq!(site.stale_rows(), 0);
    let packets = ask(&site, |snapshot| snapshot.totals(&Filter::class(REAL), one_day()).unwrap().packets());
    assert_eq!(packets, 5 + 19_999);
}

#[test]
fn a_snapshot_stays_as_it_is_while_days_are_made() {
    let mut site = Site::new(settings());
    site.archive("a", &[scan(23, 1, DAY * DAY_SECONDS, 5)]);
    site.roll();
    let history = site.history();
    let snapshot = history.snapshot().unwrap();
    let packets = |snapshot: &Snapshot<'_>| {
        let list =
            snapshot.services(&Filter::class(REAL), one_day(), &Zone::UTC, Which::Ports, Order::Packets, 9).unwrap();
        (list.totals.packets(), list.services[0].sum.packets(), snapshot.generation())
    };
    assert_eq!(packets(&snapshot), (5, 5, 1));
    site.archive("b", &[scan(23, 2, DAY * DAY_SECONDS, 7)]);
    site.roll();
    assert_eq!(packets(&snapshot), (5, 5, 1));
    assert_eq!(packets(&site.history().snapshot().unwrap()), (12, 12, 2));
}

/// Marked while it is made: it is made again.
#[test]
fn a_mark_that_comes_while_a_day_is_made_stays() {
    let site = Site::new(settings());
    site.archive("a", &[scan(23, 1, DAY * DAY_SECONDS, 5)]);
    let directory = site.path(DAY, "a").parent().unwrap().to_owned();
    let files = Files { directory, names: vec!["a".to_owned()] };
    let marks =
        || site.connection().query_row("SELECT count(*) FROM rollup_dirty", (), |row| row.get::<_, i64>(0)).unwrap();
    mark_day(site.connection(), DAY).unwrap();
    make(site.connection(), &files, DAY, &settings(), &[], 0, Some(1)).unwrap();
    assert_eq!(marks(), 1);
    make(site.connection(), &files, DAY, &settings(), &[], 0, Some(2)).unwrap();
    assert_eq!((marks(), site.stale_rows()), (0, 0));
}

#[test]
fn sources_of_which_only_the_network_is_left_are_told() {
    let mut site = Site::new(settings());
    let mut coarse = scan(23, 0x0a01_0200, DAY * DAY_SECONDS, 5);
    coarse.network.is_coarse = true;
    site.archive("a", &[coarse, scan(23, 0x0a01_0200, DAY * DAY_SECONDS + 10, 2)]);
    site.roll();
    ask(&site, |snapshot| {
        let list = snapshot.top_sources(REAL, Kind::Scan, one_day(), 9).unwrap();
        let found: Vec<_> = list.sources.iter().map(|entry| (entry.source.as_str(), entry.packets)).collect();
        assert_eq!(found, [("10.1.2.0/24", 5), ("10.1.2.0", 2)]);
        assert_eq!(snapshot.basis(&Filter::class(REAL), one_day()).unwrap().coarse_packets, 5);
    });
}

#[test]
fn what_figures_are_divided_by_is_told() {
    let mut settings = settings();
    settings.groups = [("oslo-2".to_owned(), vec![3])].into();
    let mut site = Site::new(settings);
    let at = |hour: i64| DAY * DAY_SECONDS + hour * 3600;
    site.archive("a", &[scan(23, 1, at(5), 96)]);
    site.roll();
    for (sensor, name) in ["tokyo-1", "oslo-2"].iter().enumerate() {
        let origin = [u8::try_from(sensor).unwrap(); 16];
        let sql = "INSERT INTO sensors (sensor, origin, name) VALUES (?1, ?2, ?3)";
        site.connection().execute(sql, rusqlite::params![sensor, origin, name]).unwrap();
        for hour in 0..24 {
            // Four addresses, or one, and a prefix; of an import nobody knows.
            let sql = "INSERT INTO sensor_hours VALUES (?1, ?2, ?3, 10, 360, 0, 5, 7, 0, 1, 2, 3, 0, 3600000, ?4, 3600000, ?2 / 2, NULL)";
            let addresses = [4, 1][sensor] * 3_600_000;
            for class in [0, 2] {
                site.connection().execute(sql, rusqlite::params![at(hour), class, sensor, addresses]).unwrap();
            }
        }
    }
    let basis = |filter: Filter, from, to| {
        ask(&site, |snapshot| snapshot.basis(&filter, Span::new(from, to).unwrap()).unwrap())
    };
    let whole = basis(Filter::class(REAL), at(0), at(24));
    let exposure = whole.exposure;
    assert_eq!((exposure.address_days(IpVersion::V4), exposure.address_days(IpVersion::V6)), (Some(5.0), Some(2.0)));
    assert_eq!(
        (exposure.sensor_days(), exposure.is_shared, exposure.rate(100, IpVersion::V4)),
        (2.0, false, Some(20.0))
    );
    assert_eq!((exposure.kernel_drops, exposure.lost_packets, exposure.lost_windows), (7 * 48, 3 * 48, 2 * 48));
    assert_eq!(whole.sensors["tokyo-1"].address_days(IpVersion::V4), Some(4.0));
    assert_eq!((whole.missing_days, whole.dirty_days, whole.sensors.len()), (vec![], vec![], 2));
    // From a quarter past five until half past six: three quarters of an hour and a half.
    let part = basis(Filter::class(REAL), at(5) + 900, at(6) + 1800);
    assert!(part.exposure.is_shared);
    assert_eq!(part.exposure.address_days(IpVersion::V4), Some(5.0 * 1.25 / 24.0));
    // By steps of which one begins within an hour.
    let (span, starts) = (Span::new(at(5), at(8)).unwrap(), [at(5), at(5) + 1800, at(7)]);
    let steps = ask(&site, |snapshot| snapshot.exposure_by_step(&Filter::class(REAL), span, &starts).unwrap());
    let steps: Vec<_> = steps.iter().map(|step| (step.address_days(IpVersion::V4), step.is_shared)).collect();
    let days = |hours: f64| Some(5.0 * hours / 24.0);
    assert_eq!(steps, [(days(0.5), true), (days(1.5), true), (days(1.0), false)]);
    let group = basis(Filter { scope: 3, ..Filter::class(REAL) }, at(0), at(24));
    assert_eq!(group.exposure.address_days(IpVersion::V4), Some(1.0));
    assert_eq!(group.sensors.keys().collect::<Vec<_>>(), ["oslo-2"]);
    let import = basis(Filter::class(TrafficClass::Import), at(0), at(24)).exposure;
    assert_eq!(
        (import.is_unknown, import.address_days(IpVersion::V4), import.rate(1, IpVersion::V4)),
        (true, None, None)
    );
    assert_eq!(basis(Filter::class(TrafficClass::Drill), at(0), at(24)).exposure.rate(1, IpVersion::V4), None);
    exclude(site.connection(), "tokyo-1", at(0)..at(12), 0).unwrap();
    let excluded = basis(Filter::class(REAL), at(-24), at(24));
    assert_eq!(excluded.exposure.address_days(IpVersion::V4), Some(3.0));
    assert_eq!((excluded.missing_days, excluded.dirty_days), (vec![DAY - 1], vec![DAY]));
}

#[test]
fn days_and_addresses_are_forgotten() {
    let mut settings = settings();
    settings.limits.listed_sources = 3;
    let mut site = Site::new(settings);
    // 10.1.2.1 to 10.1.2.4 and 10.1.3.1, on three days; the fourth is not listed.
    let source = |n: u128| if n == 5 { 0x0a01_0301 } else { 0x0a01_0200 | n };
    let of_day =
        |day| (1..=5).map(move |n| scan(23, source(n), (DAY + day) * DAY_SECONDS, 10 - u64::try_from(n).unwrap()));
    let facts: Vec<Fact> = (0..3).flat_map(of_day).chain([scan(99, 1, DAY * DAY_SECONDS, 1)]).collect();
    site.archive("a", &facts);
    site.roll();
    let listed = |site: &Site, day: i64| {
        let span = Span::new((DAY + day) * DAY_SECONDS, (DAY + day + 1) * DAY_SECONDS).unwrap();
        let list = ask(site, |snapshot| snapshot.top_sources(REAL, Kind::Scan, span, 9).unwrap());
        (
            list.sources
                .iter()
                .map(|entry| format!("{} {}", entry.source, entry.packets))
                .collect::<Vec<_>>()
                .join(", "),
            list.floor,
        )
    };
    let all = ("10.1.2.1 9, 10.1.2.2 8, 10.1.2.3 7".to_owned(), 6);
    assert_eq!((listed(&site, 0), listed(&site, 1)), (all.clone(), all.clone()));
    assert_eq!(forget_sources(site.connection(), DAY + 1).unwrap(), 1);
    assert_eq!((listed(&site, 0), listed(&site, 1)), (("10.1.2.0/24 24".to_owned(), 6), all.clone()));
    assert_eq!(forget_sources(site.connection(), DAY + 1).unwrap(), 0);
    // Erased from the day on which it is listed, and from that of whose network it is a part.
    assert_eq!(erase_sources(site.connection(), "10.1.2.2/32".parse().unwrap()).unwrap(), 3);
    assert_eq!(listed(&site, 1), ("10.1.2.1 9, 10.1.2.3 7".to_owned(), 8));
    assert_eq!(listed(&site, 0), (String::new(), 24));
    assert_eq!(erase_sources(site.connection(), "192.0.2.0/24".parse().unwrap()).unwrap(), 0);
    let generation = site.history().snapshot().unwrap().generation();
    assert_eq!(forget_days(site.connection(), DAY + 1, false).unwrap(), 1);
    assert_eq!(site.history().snapshot().unwrap().generation(), generation + 1);
    assert_eq!((forget_days(site.connection(), DAY + 1, false).unwrap(), site.stale_rows()), (0, 0));
    // When a service was first seen is known for ever.
    let first = ask(&site, |snapshot| snapshot.first_seen(REAL, facts[15].service(), Kind::Scan).unwrap());
    assert_eq!(first, Some(DAY));
    assert_eq!(ask(&site, |snapshot| snapshot.basis(&Filter::class(REAL), one_day()).unwrap()).missing_days, [DAY]);
}

#[test]
fn a_time_that_history_cannot_tell_apart_is_refused() {
    assert!(matches!(Span::new(1, 900), Err(RollupError::Unaligned { what: "from", time: 1 })));
    assert!(matches!(Span::new(900, 900), Err(RollupError::Span { .. })));
    assert!(matches!(Span::new(0, i64::MAX / 900 * 900), Err(RollupError::Span { .. })));
    let site = rolled(&[scan(23, 1, DAY * DAY_SECONDS, 1)]);
    let span = Span::new(DAY * DAY_SECONDS + 900, (DAY + 1) * DAY_SECONDS).unwrap();
    let filter = Filter::class(REAL);
    ask(&site, |snapshot| {
        assert!(snapshot.top_sources(REAL, Kind::Scan, span, 1).is_err());
        assert!(snapshot.networks(&filter, span, 1).is_err());
        assert!(snapshot.services(&filter, span, &Zone::UTC, Which::Ports, Order::Sources, 1).is_err());
        let by_protocol = Filter { protocol: Some(6), ..filter };
        let error = snapshot.groups(&by_protocol, span, Dimension::Region, Grouping::All).unwrap_err();
        assert!(error.to_string().contains("protocol"), "{error}");
    });
}
