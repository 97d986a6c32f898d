//! That consistent reports pass, and that a wrong number does not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Counts, report, sample};
use martlet_report::check;
use martlet_report::model::*;
use proptest::prelude::*;

fn counts() -> impl Strategy<Value = Counts> {
    (1..=10_usize, 1..=13_usize, 0..=6_usize, 1..=7_usize, 1..=9_u32, 0..=9_u32, 1..=10_u32).prop_flat_map(
        |(days, ports, victims, regions, sensors, filtered, top)| {
            // Few values, so that there are ties; and large ones.
            let packets = prop_oneof![0..4_u64, 10..40_u64, Just(500), 0..3_000_000_000_u64];
            let class = prop_oneof![Just(Class::Real), Just(Class::Drill), Just(Class::Import)];
            (
                prop::collection::vec(prop::bool::weighted(0.9), days),
                prop::collection::vec(prop::collection::vec(packets.clone(), days), ports),
                prop::collection::vec(1..50_u64, regions),
                prop::collection::vec(prop::collection::vec(packets.clone(), days), victims),
                prop::collection::vec(packets.clone(), days),
                prop::option::of(prop::collection::vec(packets, ports)),
                class,
            )
                .prop_map(move |(known, ports, weights, backscatter, other, previous, class)| Counts {
                    known,
                    ports,
                    weights,
                    backscatter,
                    other,
                    previous,
                    sensors,
                    filtered: filtered.min(sensors),
                    top,
                    class,
                })
                // Populations of a report need a few packets to be part of.
                .prop_filter("too few packets", |counts| {
                    let known = |days: &Vec<u64>| {
                        days.iter().zip(&counts.known).filter(|(_, known)| **known).map(|(p, _)| p).sum::<u64>()
                    };
                    counts.ports.iter().map(known).sum::<u64>() >= 10
                })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn consistent_reports_pass(counts in counts()) {
        let report = report(&counts);
        prop_assert_eq!(check(&report, None), Ok(()));
    }
}

type Plant = fn(&mut Report);

/// Wrong numbers, each by its place; `check` may name others that follow from it, too.
const PLANTS: &[(&str, Plant)] = &[
    ("/format", |r| r.format += 1),
    ("/previous/period/kind", |r| r.previous.period.kind = PeriodKind::Month),
    ("/revision", |r| r.revision = Some(0)),
    ("/changes", |r| r.changes.push(Changed { place: "/x".into(), before: None, now: None })),
    ("/warnings", |r| r.warnings.clear()),
    ("/warnings/1/coverage_percent", |r| {
        r.warnings[1] = Warning::LowCoverage { coverage_percent: 96.0, threshold_percent: 98.0 };
    }),
    ("/overview/change_percent", |r| *r.overview.change_percent.as_mut().unwrap() += 0.1),
    ("/overview/change_percent", |r| r.overview.previous_packets.as_mut().unwrap().other += 1),
    ("/overview/previous_packets", |r| r.previous.is_known = false),
    ("/overview/per_sensor_day", |r| *r.overview.per_sensor_day.as_mut().unwrap() *= 1.000_001),
    ("/overview/mean_daily_sources", |r| *r.overview.mean_daily_sources.as_mut().unwrap() += 1.0),
    ("/overview/exposure/sensor_days", |r| {
        r.overview.exposure.sensor_days = r.overview.exposure.sensor_days.map(|days| days + 1.0)
    }),
    ("/overview/exposure/address_days", |r| r.overview.exposure.address_days = None),
    ("/overview/exposure/coverage_percent", |r| r.overview.exposure.coverage_percent = Some(100.5)),
    ("/overview/exposure/coverage_percent", |r| r.class = Class::Drill),
    ("/overview/days", |r| {
        r.overview.days.pop();
    }),
    ("/overview/days/2/date", |r| r.overview.days[2].date = "2021-03-11".into()),
    ("/overview/days/2/per_sensor_day", |r| r.overview.days[2].per_sensor_day = Some(1.0)),
    ("/overview/days/1/exposure/sensors", |r| r.overview.days[1].exposure.sensors += 1),
    ("/overview/ipv6/per_prefix_day", |r| r.overview.ipv6.as_mut().unwrap().packets.scan += 1),
    ("/overview/rates/2/of", |r| r.overview.rates.swap(1, 2)),
    ("/overview/rates/1/of", |r| r.overview.rates.swap(0, 1)),
    ("/overview/rates/4/of", |r| r.overview.rates[4].of = RateOf::Size { least: 1, most: Some(255) }),
    ("/overview/rates/1/sensors", |r| r.rules.min_sensors = 7),
    ("/overview/rates/0/lower_quartile", |r| r.overview.rates[0].lower_quartile = 99.0),
    ("/overview/rates/0/upper_quartile", |r| r.overview.rates[0].upper_quartile = 0.5),
    ("/overview/rates/0/compared", |r| r.overview.rates[0].compared += 1),
    ("/overview/rates/0/compared", |r| r.overview.rates[0].compared = 0),
    ("/overview/rates/0/change_percent", |r| r.overview.rates[0].change_percent = Some(20.0)),
    ("/ports/rows/1/rank", |r| r.ports.rows[1].rank = 1),
    ("/ports/rows/1/cell/packets", |r| r.ports.rows.swap(0, 1)),
    ("/ports/rows", |r| r.rules.top = 4),
    ("/ports/total/packets", |r| r.ports.others.packets += 1),
    ("/ports/total/packets", |r| r.overview.packets.scan += 1),
    ("/ports/rows/0/cell/share_percent", |r| *r.ports.rows[0].cell.share_percent.as_mut().unwrap() += 0.05),
    ("/ports/others/share_percent", |r| r.ports.others.share_percent = None),
    ("/ports/rows/2/cell/daily", |r| r.ports.rows[2].cell.daily.truncate(6)),
    ("/ports/rows/2/cell/daily/3", |r| {
        r.ports.rows[2].cell.daily[3] = Some(Daily { packets: 0, per_sensor: Some(0.0) })
    }),
    ("/ports/rows/2/cell/daily/1", |r| r.ports.rows[2].cell.daily[1] = None),
    ("/ports/rows/2/cell/daily", |r| r.ports.rows[2].cell.daily[1].as_mut().unwrap().packets = 3),
    ("/ports/total/daily/0/packets", |r| r.ports.rows[2].cell.daily.fill(None)),
    ("/ports/rows/0/previous_packets", |r| r.ports.rows[0].previous_packets = Some(3)),
    ("/ports/total/daily/1/packets", |r| r.ports.rows[0].cell.daily[1].as_mut().unwrap().packets += 1),
    ("/ports/rows/0/cell/per_sensor_day", |r| r.ports.rows[0].cell.per_sensor_day = Some(f64::NAN)),
    ("/ports/rows/0/previous_rank/rank", |r| r.ports.rows[0].previous_rank = PreviousRank::Place { rank: 11 }),
    ("/ports/rows/0/previous_rank", |r| r.ports.rows[0].previous_rank = PreviousRank::Unknown),
    ("/ports/rows/0/previous_rank", |r| r.ports.rows[0].previous_rank = PreviousRank::Place { rank: 2 }),
    ("/ports/rows/0/change_percent", |r| r.ports.rows[0].change_percent = Some(-1.0)),
    ("/ports/rows/0/sources/count", |r| r.ports.rows[0].sources = Some(Sources { count: 4, error: 0.0 })),
    ("/ports/rows/0/sensors", |r| r.ports.rows[0].sensors = Some(0)),
    ("/ports/rows/4/cell/packets", |r| r.rules.min_packets = 60_000),
    ("/ports/rows/1/watching/sensors", |r| watching(r).sensors = 6),
    ("/ports/rows/1/watching/sensors", |r| r.rules.min_sensors = 3),
    ("/ports/rows/1/watching/sensor_days", |r| *watching(r).sensor_days.as_mut().unwrap() += 1.0),
    ("/ports/rows/1/watching/daily", |r| watching(r).daily.truncate(6)),
    ("/ports/rows/1/watching/daily/1", |r| watching(r).daily[1] = Some(6.5)),
    ("/ports/rows/1/cell/per_sensor_day", |r| r.ports.rows[1].watching = None),
    ("/ports/rows/1/cell/daily/2/per_sensor", |r| watching(r).daily[2] = Some(5.0)),
    ("/regions/rows/0/cell/per_sensor_day", |r| r.regions.rows[0].cell.per_sensor_day = Some(1.0)),
    ("/regions/rows/0/cell/daily/0/per_sensor", |r| {
        r.regions.rows[0].cell.daily[0].as_mut().unwrap().per_sensor = None
    }),
    ("/backscatter/total/packets", |r| r.overview.packets.backscatter += 1),
    ("/backscatter/rows/0/previous_packets", |r| r.backscatter.rows[0].previous_packets = Some(4)),
    ("/movers/packets_up/1", |r| r.movers.packets_up.swap(0, 1)),
    ("/movers/packets_up/0", |r| r.movers.packets_up[0].previous_packets = 10_000_000),
    ("/movers/packets_up/0/packets", |r| r.movers.packets_up[0].packets += 1),
    ("/movers/packets_down/0/change_percent", |r| r.movers.packets_down[0].change_percent = None),
    ("/movers/sources_up/0", |r| r.movers.sources_up[0].daily_sources = None),
    ("/populations/all/packets", |r| r.populations.all.packets -= 1),
    ("/populations/marks/0/packets_percent", |r| r.populations.marks[0].packets += 5),
    ("/populations/known_scanners/0/sources_percent", |r| r.populations.known_scanners[0].sources_percent = Some(1.0)),
    ("/populations/multi_port/sources/count", |r| {
        r.populations.multi_port.as_mut().unwrap().sources.as_mut().unwrap().count = 1
    }),
    ("/populations/mirai_ports/0/percent", |r| r.populations.mirai_ports[0].percent = Some(51.0)),
    ("/populations/mirai_ports/0/packets", |r| r.populations.mirai_ports[0].packets += 2),
    ("/populations/mirai_ports/1/marked_packets", |r| r.populations.mirai_ports.swap(0, 1)),
    ("/groups/0/per_sensor_day", |r| r.groups[0].packets.scan += 6),
    ("/groups/0/change_percent", |r| r.groups[0].previous_per_sensor_day = None),
    ("/groups/1/name", |r| r.groups.swap(0, 1)),
    ("/sensor_ports/0/ports/1/rank", |r| r.sensor_ports[0].ports[1].rank = 1),
    ("/sensor_ports/0/ports/1/packets", |r| r.sensor_ports[0].ports[1].packets = 70_000),
    ("/events/assessed/0/detected", |r| r.events.assessed[0].detected = "2021-03-09T04:09:59Z".into()),
    ("/events/assessed/0/rate_per_hour/value", |r| r.events.assessed[0].rate_per_hour.as_mut().unwrap().low = 0.3),
    ("/quality/largest_error", |r| r.quality.largest_error = 0.0),
    ("/quality/sensors/1/sensor", |r| r.quality.sensors[1].sensor = 1),
];

fn watching(report: &mut Report) -> &mut Watching {
    report.ports.rows[1].watching.as_mut().unwrap()
}

#[test]
fn wrong_numbers_are_found_where_they_stand() {
    assert_eq!(check(&sample(), None), Ok(()));
    for (at, (place, plant)) in PLANTS.iter().enumerate() {
        let mut report = sample();
        plant(&mut report);
        let found = check(&report, None).err().unwrap_or_default();
        let places: Vec<_> = found.iter().map(|disagreement| disagreement.place.as_str()).collect();
        assert!(places.contains(place), "plant {at}: {place} is not among {places:?}");
    }
}

/// The report of the week before, and one that was made with it.
fn pair() -> (Report, Report) {
    let (mut before, mut now) = (sample(), sample());
    before.period = now.previous.period.clone();
    now.previous.revision = Some(1);
    now.overview.previous_packets = Some(before.overview.packets);
    now.overview.change_percent = Some(0.0);
    let rank = |at: usize, rows: &mut Vec<Ranked<Service>>| {
        rows[at].previous_rank = PreviousRank::Place { rank: rows[at].rank };
        rows[at].previous_packets = Some(rows[at].cell.packets);
        rows[at].change_percent = Some(0.0);
    };
    (0..5).for_each(|at| rank(at, &mut now.ports.rows));
    for row in &mut now.regions.rows {
        row.previous_rank = PreviousRank::Place { rank: row.rank };
        row.previous_packets = Some(row.cell.packets);
        row.change_percent = Some(0.0);
    }
    // Movers are of the same numbers.
    now.movers = Movers::default();
    (before, now)
}

#[test]
fn a_stored_report_is_what_ranks_are_compared_with() {
    let (before, now) = pair();
    assert_eq!(check(&now, Some(&before)), Ok(()));
    let plants: &[(&str, Plant)] = &[
        ("/previous/revision", |r| r.previous.revision = Some(2)),
        ("/previous/period/label", |r| r.previous.period.label = "2021-W08".into()),
        ("/overview/previous_packets", |r| r.overview.previous_packets = Some(Kinds::default())),
        ("/ports/rows/4/previous_rank", |r| r.ports.rows[4].previous_rank = PreviousRank::Place { rank: 6 }),
        ("/ports/rows/4/previous_rank", |r| r.ports.rows[4].previous_rank = PreviousRank::Outside),
        ("/ports/rows/4/previous_packets", |r| {
            r.ports.rows[4].previous_packets = Some(7);
            r.ports.rows[4].change_percent = None;
        }),
        ("/regions/rows/1/previous_rank", |r| r.regions.rows[1].previous_rank = PreviousRank::Place { rank: 3 }),
        ("/regions/rows/4/previous_rank", |r| {
            r.regions.rows[4].key = "XX".into();
            r.regions.rows[4].previous_rank = PreviousRank::Place { rank: 4 };
        }),
    ];
    for (place, plant) in plants {
        let mut now = now.clone();
        plant(&mut now);
        let found = check(&now, Some(&before)).err().unwrap_or_default();
        assert!(found.iter().any(|disagreement| disagreement.place == *place), "{place} is not in {found:?}");
    }
}

#[test]
fn a_disagreement_names_its_place_and_both_numbers() {
    let mut report = sample();
    report.ports.rows[1].rank = 7;
    let found = check(&report, None).unwrap_err();
    assert_eq!(found[0].to_string(), "/ports/rows/1/rank is 7, but should be 2");
}
