//! Populations of a day against plain counting of the same rows, and what must not move which.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::history::{DAY, Fact, SOURCE_KEY, Site};
use martlet_collector::archive::Network;
use martlet_collector::geo::Region;
use martlet_collector::rollup::query::{Filter, PopulationBy, PopulationTotals, Span};
use martlet_collector::rollup::{DAY_SECONDS, MULTI_PORT, Population, RollupError, RollupLimits, Settings, Zones};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, Service, TrafficClass};
use proptest::prelude::*;

const REAL: TrafficClass = TrafficClass::Real;
const SENSORS: [&str; 3] = ["tokyo-1", "oslo-2", "lima-3"];

fn settings() -> Settings {
    Settings { zones: Zones::named(&["UTC", "Asia/Tokyo"]).unwrap(), ..Settings::new(SOURCE_KEY) }
}

fn network(scanner: Option<&str>) -> Network {
    let (region, known_scanner) = (Region::parse("JP").unwrap(), scanner.map(Into::into));
    Network { region, asn: Some(7), organisation: None, known_scanner, is_coarse: false }
}

/// A packet of a TCP scan; `second` is that of the day.
fn syn(source: u128, port: u16, marks: &[Mark], second: i64) -> Fact {
    let marks = marks.iter().fold(Marks::NONE, |marks, &mark| marks.with(mark));
    let class = Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(port), kind: Kind::Scan, marks };
    Fact {
        sensor: SENSORS[0],
        traffic: REAL,
        class,
        source,
        start: DAY * DAY_SECONDS + second,
        packets: 1,
        bytes: 40,
        network: network(None),
    }
}

fn whole_days(days: i64) -> Span {
    Span::new(DAY * DAY_SECONDS, (DAY + days) * DAY_SECONDS).unwrap()
}

fn populations(site: &Site, filter: &Filter, days: i64) -> Vec<PopulationTotals> {
    site.history().snapshot().unwrap().populations(filter, whole_days(days)).unwrap()
}

/// Packets and sources of what the rules of sources say, by name and kind.
fn kept(totals: &[PopulationTotals]) -> BTreeMap<(String, Kind), (u64, u64)> {
    let of = totals.iter().filter(|totals| matches!(totals.by, PopulationBy::Confirmed | PopulationBy::Reach));
    of.map(|totals| {
        let (packets, sources) = totals.known.unwrap();
        assert!(totals.is_complete && sources.error <= 0.0);
        ((totals.name.clone(), totals.kind), (packets, sources.count))
    })
    .collect()
}

fn made(settings: Settings, facts: &[Fact]) -> Site {
    let mut site = Site::new(settings);
    site.archive("a", facts);
    site.roll();
    site
}

prop_compose! {
    /// A row of few sources, so that each has several.
    fn fact()(
        sensor in 0usize..3, protocol in 0usize..3, port in 0u16..14, kind in 0u8..5, marks in 0usize..8, source in 0u128..12,
        second in 0..2 * DAY_SECONDS / 10, packets in 1u64..4, is_drill in 0u8..10,
    ) -> Fact {
        let marks: &[Mark] = match marks {
            0 => &[Mark::MasscanIpid],
            1 => &[Mark::NmapShape],
            2 => &[Mark::NmapShape, Mark::Nmap],
            3 if source % 3 == 0 => &[Mark::Unicornscan],
            4 if source % 4 == 0 => &[Mark::Mirai],
            5 if source % 5 == 0 => &[Mark::ZmapIpid, Mark::Zmap],
            6 => &[Mark::Stealth],
            _ => &[],
        };
        let kind = Kind::from_number(kind).unwrap_or(Kind::Scan);
        let mut fact = syn(source, port, if kind == Kind::Scan { marks } else { &[] }, second * 10);
        fact.class.kind = kind;
        // Marks are of TCP.
        fact.class.protocol = if protocol == 0 && fact.class.marks.is_empty() { 17 } else { 6 };
        fact.sensor = if source < 4 { SENSORS[0] } else { SENSORS[sensor] };
        fact.traffic = if is_drill == 0 { TrafficClass::Drill } else { REAL };
        fact.network = network((source % 6 == 1).then_some("survey"));
        fact.packets = packets;
        fact
    }
}

/// What a source did on a day, by plain counting.
#[derive(Default)]
struct Did {
    packets: u64,
    syns: u64,
    marks: BTreeMap<Mark, u64>,
    ports: BTreeSet<(u8, Service)>,
    sensors: BTreeSet<&'static str>,
    is_listed: bool,
}

impl Did {
    /// The rules of docs/fingerprints.md and docs/history.md.
    fn belongs(&self, kind: Kind) -> Vec<(Population, u64)> {
        let with = |mark| self.marks.get(&mark).copied().unwrap_or(0);
        let (masscan, nmap) = (with(Mark::MasscanIpid), with(Mark::Nmap));
        let scan = kind == Kind::Scan;
        let rules = [
            (Population::Mirai, with(Mark::Mirai), with(Mark::Mirai) >= 1),
            (Population::Zmap, with(Mark::Zmap), with(Mark::Zmap) >= 1),
            (Population::Masscan, masscan, masscan >= 2 && masscan >= self.syns - masscan),
            (Population::Nmap, nmap, nmap >= 2 && with(Mark::NmapShape) <= 8 * nmap),
            (Population::Unicornscan, with(Mark::Unicornscan), with(Mark::Unicornscan) >= 1),
            (Population::MultiPort, self.packets, scan && self.ports.len() >= MULTI_PORT as usize && !self.is_listed),
            (Population::SeveralSensors, self.packets, self.sensors.len() >= 2),
        ];
        rules.into_iter().filter(|rule| rule.2).map(|rule| (rule.0, rule.1)).collect()
    }
}

/// All populations of some days by plain counting: packets, and sources.
fn counted(facts: &[Fact]) -> BTreeMap<(String, Kind), (u64, u64)> {
    let mut did: BTreeMap<(i64, Kind, u128), Did> = BTreeMap::new();
    for fact in facts.iter().filter(|fact| fact.traffic == REAL) {
        let of = did.entry((fact.day(), fact.class.kind, fact.source)).or_default();
        of.packets += fact.packets;
        let is_syn = fact.class.protocol == 6 && !fact.class.marks.contains(Mark::Stealth);
        of.syns += if is_syn { fact.packets } else { 0 };
        fact.class.marks.iter().for_each(|mark| *of.marks.entry(mark).or_default() += fact.packets);
        of.ports.insert((fact.class.protocol, fact.class.service));
        of.sensors.insert(fact.sensor);
        of.is_listed = fact.network.known_scanner.is_some();
    }
    let mut sums: BTreeMap<(String, Kind), (u64, BTreeSet<u128>)> = BTreeMap::new();
    for population in Population::ALL {
        for kind in Kind::ALL.into_iter().filter(|&kind| population.has_kind(kind)) {
            sums.insert((population.name().to_owned(), kind), (0, BTreeSet::new()));
        }
    }
    for ((_, kind, source), did) in did {
        for (population, packets) in did.belongs(kind) {
            let sum = sums.get_mut(&(population.name().to_owned(), kind)).unwrap();
            sum.0 += packets;
            sum.1.insert(source);
        }
    }
    sums.into_iter().map(|(key, (packets, sources))| (key, (packets, sources.len() as u64))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever files the rows are in, whichever came first, and however often a day was made before.
    #[test]
    fn populations_are_what_counting_says_in_any_order(
        facts in proptest::collection::vec(fact(), 1..250), cut in proptest::collection::vec(0usize..3, 250),
    ) {
        let whole = made(settings(), &facts);
        let totals = populations(&whole, &Filter::class(REAL), 2);
        prop_assert_eq!(kept(&totals), counted(&facts));
        let mut split = Site::new(settings());
        for part in (0..3).rev() {
            let of = facts.iter().zip(&cut).filter(|(_, of)| **of == part);
            split.archive(&format!("part-{part}"), &of.map(|(fact, _)| fact.clone()).rev().collect::<Vec<_>>());
            split.roll();
        }
        prop_assert_eq!(populations(&split, &Filter::class(REAL), 2), totals);
    }
}

/// Two packets of a slow masscan, hours apart and at two sensors: neither window knows that there is another.
#[test]
fn a_slow_masscan_is_confirmed_over_the_day_and_not_over_midnight() {
    let mark = [Mark::MasscanIpid, Mark::Masscan];
    let mut elsewhere = syn(7, 1433, &mark, 80_000);
    elsewhere.sensor = SENSORS[1];
    let alone = [syn(8, 1433, &mark, 86_000), syn(8, 1433, &mark, DAY_SECONDS + 10)];
    let site = made(settings(), &[vec![syn(7, 1433, &mark, 10), elsewhere], alone.to_vec()].concat());
    let kept = kept(&populations(&site, &Filter::class(REAL), 2));
    assert_eq!(kept[&("masscan".to_owned(), Kind::Scan)], (2, 1));
    // The mark itself has both.
    let totals = populations(&site, &Filter::class(REAL), 2);
    let raw = totals.iter().find(|totals| totals.by == PopulationBy::Mark && totals.name == "masscan").unwrap();
    assert_eq!(raw.known.map(|(packets, sources)| (packets, sources.count)), Some((4, 2)));
}

/// Some of everything that a flood could be taken for.
fn background() -> Vec<Fact> {
    let mut facts = vec![syn(1, 23, &[Mark::Mirai], 0), syn(2, 443, &[Mark::ZmapIpid, Mark::Zmap], 10)];
    facts.extend((0..12).map(|port| syn(3, port + 1, &[], 20)));
    facts.extend(SENSORS.map(|sensor| Fact { sensor, ..syn(4, 80, &[], 30) }));
    facts.push(Fact { network: network(Some("survey")), ..syn(5, 80, &[], 40) });
    facts.extend([syn(6, 80, &[Mark::MasscanIpid], 50), syn(6, 81, &[Mark::MasscanIpid], 60)]);
    facts
}

/// SYN-ACKs to forged sources come from all over the address space, the networks of known scanners among it, to every sensor.
#[test]
fn a_flood_of_backscatter_moves_only_backscatter() {
    let flood = |number: u32| {
        let mut fact =
            syn(u128::from(number.wrapping_mul(2_654_435_761)), 443, &[], i64::from(number % 86_400) / 10 * 10);
        fact.class.kind = Kind::Backscatter;
        fact.sensor = SENSORS[number as usize % 3];
        fact.network = network(number.is_multiple_of(7).then_some("survey"));
        fact.packets = 3;
        fact
    };
    let quiet = made(settings(), &background());
    // Sources of the background are among those that seem to answer.
    let flooded: Vec<Fact> = (0..60_000).map(flood).chain((1..7).map(|source| Fact { source, ..flood(9) })).collect();
    let flooded = made(settings(), &[background(), flooded].concat());
    let apart = |site: &Site| -> (Vec<PopulationTotals>, Vec<PopulationTotals>) {
        let totals = populations(site, &Filter::class(REAL), 1);
        totals.into_iter().partition(|totals| totals.kind == Kind::Backscatter)
    };
    let (backscatter, others) = apart(&flooded);
    assert_eq!(others, apart(&quiet).1);
    assert!(others.iter().any(|totals| totals.by == PopulationBy::KnownScanner));
    let of = |by| backscatter.iter().find(|totals| totals.by == by).unwrap().known.unwrap();
    let (packets, sources) = of(PopulationBy::Kind);
    assert_eq!(packets, 3 * 60_006);
    // A sketch by then, with a standard error of 1.6 %.
    assert!((56_000..64_000).contains(&sources.count), "{sources:?}");
    assert!(of(PopulationBy::KnownScanner).0 > 20_000, "the flood has packets from known scanners' networks");
}

#[test]
fn memory_is_bounded_and_says_so() {
    let limits = RollupLimits { tracked_sources: 100, ..RollupLimits::default() };
    let facts: Vec<Fact> = (0..400).map(|source| syn(source, 23, &[Mark::Mirai], 0)).collect();
    let site = made(Settings { limits, ..settings() }, &facts);
    let totals = populations(&site, &Filter::class(REAL), 1);
    let mirai = totals.iter().find(|totals| totals.by == PopulationBy::Confirmed && totals.name == "mirai").unwrap();
    // Each source is judged when it is forgotten, and here none comes back.
    assert_eq!(mirai.known.map(|(packets, sources)| (packets, sources.count)), Some((400, 400)));
    assert!(!mirai.is_complete);
}

#[test]
fn what_a_day_does_not_know_is_null_and_cut_days_are_refused() {
    let site = made(settings(), &background());
    let history = site.history();
    let snapshot = history.snapshot().unwrap();
    let half = Span::new(DAY * DAY_SECONDS, DAY * DAY_SECONDS + DAY_SECONDS / 2).unwrap();
    let refused = snapshot.populations(&Filter::class(REAL), half);
    assert!(matches!(refused, Err(RollupError::NotKept(_))), "{refused:?}");
    drop(snapshot);
    // A day without packets has nobody, and that is known: also one of which nothing is known at all, which `basis` says.
    for totals in populations(&site, &Filter::class(TrafficClass::Import), 1) {
        assert_eq!(totals.known.map(|(packets, sources)| (packets, sources.count)), Some((0, 0)), "{totals:?}");
    }
    // As a rollup is that was made before there was this table.
    site.connection().execute("DELETE FROM rollup_populations", ()).unwrap();
    for totals in populations(&site, &Filter::class(REAL), 1) {
        let is_kept = matches!(totals.by, PopulationBy::Confirmed | PopulationBy::Reach);
        assert_eq!(totals.known.is_none(), is_kept, "{totals:?}");
    }
}

/// The names in SQL are those of the program.
#[test]
fn the_view_names_every_population() {
    let site = made(settings(), &background());
    let sql =
        "SELECT population, sum(packets) FROM populations_by_day WHERE class = 'real' AND kind = 'scan' GROUP BY 1";
    let mut select = site.connection().prepare(sql).unwrap();
    let found = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let found: BTreeMap<String, i64> = found.map(Result::unwrap).collect();
    let expected = [12, 2, 1, 0, 3, 0, 1];
    let names = ["multi_port", "masscan", "mirai", "nmap", "several_sensors", "unicornscan", "zmap"];
    assert_eq!(found, names.map(str::to_owned).into_iter().zip(expected).collect());
    let all: BTreeSet<&str> = Population::ALL.iter().map(|population| population.name()).collect();
    assert_eq!(all, names.into_iter().collect());
}
