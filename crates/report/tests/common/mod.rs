//! Reports whose numbers agree: counts are made, and everything else is worked out of them.
//!
//! This does with its own code what `check` does with its own: so neither is tested against itself.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "counts of a test are small, and a test fails by panicking"
)]
#![allow(dead_code, reason = "each test program uses its own part")]

use martlet_report::model::*;

/// Fewest packets of what is told.
const LEAST: u64 = 10;

/// Counts that a report is made of.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// By day; `false` where nothing is known.
    pub(crate) known: Vec<bool>,
    /// Packets of kind scan by port and day.
    pub(crate) ports: Vec<Vec<u64>>,
    /// How packets of a day are shared out over regions.
    pub(crate) weights: Vec<u64>,
    /// Packets of kind backscatter by port and day.
    pub(crate) backscatter: Vec<Vec<u64>>,
    pub(crate) other: Vec<u64>,
    /// By port in the previous period; `None` if nothing is known of it.
    pub(crate) previous: Option<Vec<u64>>,
    pub(crate) sensors: u32,
    /// Sensors before which the second port is filtered.
    pub(crate) filtered: u32,
    pub(crate) top: u32,
    pub(crate) class: Class,
}

const NAMES: [(&str, u16, Option<&str>); 14] = [
    ("tcp", 23, Some("telnet")),
    ("tcp", 445, Some("microsoft-ds")),
    ("tcp", 22, Some("ssh")),
    ("tcp", 6379, Some("redis")),
    ("icmp", 8, None),
    ("tcp", 80, Some("http")),
    ("udp", 53, Some("domain")),
    ("tcp", 8080, Some("http-alt")),
    ("udp", 5060, Some("sip")),
    ("tcp", 3389, Some("ms-wbt-server")),
    ("tcp", 37215, None),
    ("udp", 1900, Some("ssdp")),
    ("tcp", 2323, None),
    ("47", 0, None),
];
const REGIONS: [&str; 8] = ["CN", "US", "RU", "TW", "ZZ", "BR", "NL", "JP"];

pub(crate) fn service(place: usize) -> Service {
    let (protocol, number, name) = NAMES[place % NAMES.len()];
    Service { protocol: protocol.into(), number, name: name.map(Into::into) }
}

fn float(count: u64) -> f64 {
    count as f64
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    if whole == 0 { None } else { Some(float(part) / float(whole) * 100.0) }
}

fn change(now: f64, before: f64) -> Option<f64> {
    if before == 0.0 { None } else { Some((now / before - 1.0) * 100.0) }
}

/// Sources that go with so many packets.
fn sources(packets: u64) -> Option<Sources> {
    let count = packets / 3 + 20;
    Some(Sources { count, error: if count > 1024 { 0.016 } else { 0.0 } })
}

fn days_of(first: &str, days: usize) -> Vec<String> {
    let first: jiff::civil::Date = first.parse().unwrap();
    first.series(jiff::Span::new().days(1)).take(days).map(|day| day.to_string()).collect()
}

fn period(first: &str, days: usize) -> Period {
    let dates = days_of(first, days);
    let (first, last) = (dates[0].clone(), dates[days - 1].clone());
    let zone = jiff::tz::TimeZone::get("Asia/Tokyo").unwrap();
    let midnight = |day: &str, more: i64| {
        let day: jiff::civil::Date = day.parse().unwrap();
        let day = day.checked_add(jiff::Span::new().days(more)).unwrap();
        day.to_zoned(zone.clone()).unwrap().timestamp().to_string()
    };
    Period {
        kind: if days == 7 { PeriodKind::Week } else { PeriodKind::Days },
        label: if days == 7 && first == "2021-03-08" {
            "2021-W10".into()
        } else if days == 7 && first == "2021-03-01" {
            "2021-W09".into()
        } else {
            format!("{first}..{last}")
        },
        zone: "Asia/Tokyo".into(),
        from: midnight(&first, 0),
        to: midnight(&last, 1),
        first,
        last,
    }
}

struct Maker<'a> {
    counts: &'a Counts,
    sensors: f64,
}

impl Maker<'_> {
    fn cell(&self, days: &[u64], total: u64) -> Cell {
        let packets = days.iter().sum();
        let known = self.counts.known.iter().filter(|known| **known).count() as f64;
        let daily = |(packets, known): (&u64, &bool)| {
            known.then(|| Daily { packets: *packets, per_sensor: Some(float(*packets) / self.sensors) })
        };
        Cell {
            packets,
            share_percent: percent(packets, total),
            per_sensor_day: (known > 0.0).then(|| float(packets) / (self.sensors * known)),
            daily: days.iter().zip(&self.counts.known).map(daily).collect(),
        }
    }

    /// `all` are the keys with their packets by day, and those before where they are known.
    fn ranking<K: Clone>(&self, all: &[(K, Vec<u64>, Option<u64>)], is_compared: bool) -> Ranking<K> {
        let days = self.counts.known.len();
        let sum = |which: &[&(K, Vec<u64>, Option<u64>)]| -> Vec<u64> {
            (0..days).map(|day| which.iter().map(|(_, packets, _)| packets[day]).sum()).collect()
        };
        let mut order: Vec<_> = all.iter().collect();
        order.sort_by_key(|(_, packets, _)| std::cmp::Reverse(packets.iter().sum::<u64>()));
        let total = sum(&order);
        let packets: u64 = total.iter().sum();
        let told = order.iter().filter(|(_, days, _)| days.iter().sum::<u64>() >= LEAST).count();
        let (first, rest) = order.split_at(told.min(self.counts.top as usize));
        let mut rows: Vec<Ranked<K>> = Vec::new();
        let mut others = self.cell(&sum(rest), packets);
        let is_told = |packets: u64| packets >= LEAST;
        for (key, days, previous) in first {
            let mut cell = self.cell(days, packets);
            if days.iter().any(|&packets| packets > 0 && !is_told(packets)) {
                cell.daily.fill(None);
                others.daily.fill(None);
            }
            let rank = match rows.last() {
                Some(last) if last.cell.packets == cell.packets => last.rank,
                _ => rows.len() as u32 + 1,
            };
            let previous = previous.filter(|_| is_compared);
            let told = previous.filter(|&previous| previous == 0 || is_told(previous));
            rows.push(Ranked {
                rank,
                key: key.clone(),
                sources: sources(cell.packets),
                sensors: Some(self.counts.sensors),
                watching: None,
                previous_rank: match previous {
                    None => PreviousRank::Unknown,
                    Some(previous) if !is_told(previous) => PreviousRank::Outside,
                    Some(previous) => {
                        let larger = all.iter().filter(|other| other.2.unwrap() > previous).count() as u32 + 1;
                        if larger <= 10 { PreviousRank::Place { rank: larger } } else { PreviousRank::Outside }
                    }
                },
                previous_packets: told,
                change_percent: told.and_then(|previous| change(float(cell.packets), float(previous))),
                cell,
            });
        }
        Ranking { rows, others, total: self.cell(&total, packets) }
    }

    /// Takes the sensors before which a port is filtered out of its exposure.
    fn filter(&self, row: &mut Ranked<Service>) {
        let sensors = self.counts.sensors - self.counts.filtered;
        if sensors == 0 || self.counts.filtered == 0 {
            return;
        }
        let watched = f64::from(sensors);
        let daily: Vec<f64> = self.counts.known.iter().map(|known| if *known { watched } else { 0.0 }).collect();
        let days: f64 = daily.iter().sum();
        row.cell.per_sensor_day = (days > 0.0).then(|| float(row.cell.packets) / days);
        for told in row.cell.daily.iter_mut().flatten() {
            told.per_sensor = Some(float(told.packets) / watched);
        }
        let daily = daily.into_iter().map(Some).collect();
        row.watching = Some(Watching { sensors, sensor_days: Some(days), daily });
    }

    fn movers(&self, ranked: &[(Service, Vec<u64>, Option<u64>)]) -> Movers {
        let mut movers = Movers::default();
        for (service, days, previous) in ranked {
            let (now, Some(before)) = (days.iter().sum::<u64>(), *previous) else { continue };
            if now < 10 {
                continue;
            }
            let (sources, sources_before) = (now / 2, before / 2);
            let mover = |percent| Mover {
                service: service.clone(),
                packets: now,
                previous_packets: before,
                daily_sources: Some(sources),
                previous_daily_sources: Some(sources_before),
                change_percent: percent,
            };
            let percent = change(float(now), float(before));
            match now.cmp(&before) {
                std::cmp::Ordering::Greater => movers.packets_up.push(mover(percent)),
                std::cmp::Ordering::Less => movers.packets_down.push(mover(percent)),
                std::cmp::Ordering::Equal => {}
            }
            let percent = change(float(sources), float(sources_before));
            match sources.cmp(&sources_before) {
                std::cmp::Ordering::Greater => movers.sources_up.push(mover(percent)),
                std::cmp::Ordering::Less => movers.sources_down.push(mover(percent)),
                std::cmp::Ordering::Equal => {}
            }
        }
        for list in [&mut movers.packets_up, &mut movers.packets_down] {
            list.sort_by_key(|mover| std::cmp::Reverse(mover.packets.abs_diff(mover.previous_packets)));
            list.truncate(self.counts.top as usize);
        }
        for list in [&mut movers.sources_up, &mut movers.sources_down] {
            list.sort_by_key(|mover| std::cmp::Reverse((mover.packets / 2).abs_diff(mover.previous_packets / 2)));
            list.truncate(self.counts.top as usize);
        }
        movers
    }
}

/// Packets of a port's days, none on days of which nothing is known.
fn masked(days: &[u64], known: &[bool]) -> Vec<u64> {
    days.iter().zip(known).map(|(packets, known)| if *known { *packets } else { 0 }).collect()
}

/// Makes a report of counts.
pub(crate) fn report(counts: &Counts) -> Report {
    let days = counts.known.len();
    let maker = Maker { counts, sensors: f64::from(counts.sensors) };
    let before = |place: usize| counts.previous.as_ref().map(|previous| previous[place]);
    let ports: Vec<_> = counts
        .ports
        .iter()
        .enumerate()
        .map(|(at, days)| (service(at), masked(days, &counts.known), before(at)))
        .collect();
    let scan: Vec<u64> = (0..days).map(|day| ports.iter().map(|port| port.1[day]).sum()).collect();
    let weight: u64 = counts.weights.iter().sum();
    let mut regions: Vec<(String, Vec<u64>, Option<u64>)> = Vec::new();
    for (at, part) in counts.weights.iter().enumerate() {
        let days = scan.iter().map(|packets| packets * part / weight).collect();
        regions.push((
            REGIONS[at].into(),
            days,
            counts.previous.as_ref().map(|previous| previous.iter().sum::<u64>() * part / weight),
        ));
    }
    // What rounding left.
    for (day, packets) in scan.iter().enumerate() {
        let rest = packets - regions.iter().map(|region| region.1[day]).sum::<u64>();
        regions[0].1[day] += rest;
    }
    let victims: Vec<_> = counts
        .backscatter
        .iter()
        .enumerate()
        .map(|(at, days)| (service(at), masked(days, &counts.known), None))
        .collect();
    let is_real = counts.class == Class::Real;
    let exposure = |days: f64| Exposure {
        sensors: counts.sensors,
        sensor_days: Some(maker.sensors * days),
        address_days: Some(maker.sensors * days * 16.0),
        prefix_days: Some(0.0),
        coverage_percent: is_real.then_some(97.25),
    };
    let days_known = counts.known.iter().filter(|known| **known).count() as f64;
    let day = |(at, date): (usize, String)| {
        let kinds =
            Kinds { scan: scan[at], backscatter: victims.iter().map(|port| port.1[at]).sum(), other: counts.other[at] };
        let known = counts.known[at];
        let nobody = Exposure { sensors: 0, coverage_percent: is_real.then_some(0.0), ..exposure(0.0) };
        Day {
            date,
            exposure: if known { exposure(1.0) } else { nobody },
            packets: known.then_some(kinds),
            sources: if known { sources(kinds.scan) } else { None },
            per_sensor_day: known.then(|| float(kinds.scan) / maker.sensors),
        }
    };
    let daily: Vec<_> = days_of("2021-03-08", days).into_iter().enumerate().map(day).collect();
    let packets = daily.iter().filter_map(|day| day.packets).fold(Kinds::default(), |sum, day| Kinds {
        scan: sum.scan + day.scan,
        backscatter: sum.backscatter + day.backscatter,
        other: sum.other + day.other,
    });
    let all = packets.scan + packets.backscatter + packets.other;
    let previous_packets =
        counts.previous.as_ref().map(|ports| Kinds { scan: ports.iter().sum(), backscatter: 70, other: 7 });
    let known: Vec<_> = daily.iter().filter_map(|day| day.sources).collect();
    let mean_daily_sources =
        (!known.is_empty()).then(|| known.iter().map(|sources| float(sources.count)).sum::<f64>() / known.len() as f64);
    let missing: Vec<_> = daily.iter().filter(|day| day.packets.is_none()).map(|day| day.date.clone()).collect();
    let all_sources = sources(packets.scan).unwrap();
    let population = |name: &str, share: u64| {
        let (packets, count) = ((packets.scan / share).max(10), (all_sources.count / share).max(5));
        Population {
            name: name.into(),
            packets,
            packets_percent: percent(packets, scan.iter().sum()),
            sources: Some(Sources { count, error: 0.0 }),
            sources_percent: percent(count, all_sources.count),
        }
    };
    let mut ranked = maker.ranking(&ports, true);
    ranked.rows.iter_mut().filter(|row| row.key == service(1)).for_each(|row| maker.filter(row));
    let mirai = |row: &Ranked<Service>| MiraiPort {
        service: row.key.clone(),
        marked_packets: (row.cell.packets / 2).max(10),
        packets: row.cell.packets,
        percent: percent((row.cell.packets / 2).max(10), row.cell.packets),
        sources: Some(Sources { count: 77, error: 0.0 }),
    };
    let rate = |of: RateOf, mean: f64| Rate {
        of,
        sensors: counts.sensors,
        mean,
        lower_quartile: mean * 0.5,
        median: mean,
        upper_quartile: mean * 1.75,
        compared: if counts.previous.is_some() { counts.sensors } else { 0 },
        compared_mean: counts.previous.as_ref().map(|_| mean),
        compared_previous: counts.previous.as_ref().map(|_| mean * 0.8),
        change_percent: counts.previous.as_ref().map(|_| 25.0),
    };
    let size = |least, most| RateOf::Size { least, most };
    let group = |name: &str, part: u64| Group {
        name: name.into(),
        exposure: Exposure { sensors: counts.sensors, ..exposure(days_known) },
        packets: Kinds { scan: packets.scan / part, ..packets },
        per_sensor_day: (days_known > 0.0).then(|| float(packets.scan / part) / (maker.sensors * days_known)),
        previous_per_sensor_day: (days_known > 0.0 && counts.previous.is_some()).then_some(100.0),
        change_percent: if days_known > 0.0 && counts.previous.is_some() {
            change(float(packets.scan / part) / (maker.sensors * days_known), 100.0)
        } else {
            None
        },
    };
    let backscatter = maker.ranking(&victims, false);
    let sources_of =
        |rows: &[Ranked<Service>]| rows.iter().filter_map(|row| row.sources).map(|s| s.error).fold(0.0, f64::max);
    let regions = maker.ranking(&regions, true);
    let errors = [
        sources_of(&ranked.rows),
        sources_of(&backscatter.rows),
        regions.rows.iter().filter_map(|row| row.sources).map(|s| s.error).fold(0.0, f64::max),
        known.iter().map(|sources| sources.error).fold(0.0, f64::max),
        all_sources.error,
    ];
    let first = days_of("2021-03-08", 1)[0].parse::<jiff::civil::Date>().unwrap();
    let start = first.checked_sub(jiff::Span::new().days(days as i64)).unwrap().to_string();
    let mut warnings = Vec::new();
    if !missing.is_empty() {
        warnings.push(Warning::MissingDays { days: missing.clone() });
    }
    Report {
        format: FORMAT,
        period: period("2021-03-08", days),
        previous: Previous { period: period(&start, days), revision: None, is_known: counts.previous.is_some() },
        revision: Some(1),
        changes: vec![],
        class: counts.class,
        group: None,
        rules: Rules {
            top: counts.top,
            min_sensors: 1,
            min_sources: 5,
            min_packets: LEAST,
            previous_places: 10,
            sensor_ports: false,
        },
        warnings,
        overview: Overview {
            exposure: Exposure { sensors: counts.sensors, ..exposure(days_known) },
            previous_exposure: counts.previous.as_ref().map(|_| exposure(days as f64)),
            packets,
            change_percent: previous_packets
                .and_then(|before| change(float(all), float(before.scan + before.backscatter + before.other))),
            previous_packets,
            per_sensor_day: (days_known > 0.0).then(|| float(packets.scan) / (maker.sensors * days_known)),
            mean_daily_sources,
            rates: vec![
                rate(RateOf::All, 12.5),
                rate(RateOf::Group { name: "domestic".into() }, 9.75),
                rate(RateOf::Group { name: "overseas".into() }, 14.0),
                rate(size(1, Some(1)), 30.25),
                rate(size(2, Some(255)), 11.0),
                rate(size(256, None), 0.0625),
            ],
            days: daily,
            ipv6: Some(Ipv6 {
                packets: Kinds { scan: 120, backscatter: 0, other: 3 },
                sources: Some(Sources { count: 14, error: 0.0 }),
                per_prefix_day: None,
            }),
        },
        movers: maker.movers(&ports),
        populations: Populations {
            all: Population { sources: Some(all_sources), sources_percent: Some(100.0), ..population("all", 1) },
            marks: vec![population("mirai", 2), population("zmap", 7)],
            confirmed: Some(vec![population("masscan", 9)]),
            known_scanners: vec![population("research-a", 11)],
            multi_port: Some(population("multi_port", 13)),
            mirai_ports: ranked.rows.iter().filter(|row| row.cell.packets >= 20).map(mirai).collect(),
        },
        sensor_ports: vec![],
        ports: ranked,
        regions,
        backscatter,
        groups: vec![group("domestic", 2), group("overseas", 3)],
        events: Events { assessed: vec![], unassessed: 2 },
        quality: Quality {
            least_coverage_percent: 80.0,
            sensors: (1..=counts.sensors)
                .map(|sensor| SensorQuality {
                    sensor,
                    group: Some(if sensor % 2 == 0 { "domestic".into() } else { "overseas".into() }),
                    coverage_percent: is_real.then_some(97.25),
                    kernel_drops: 0,
                    interface_drops: u64::from(sensor) % 3,
                    lost_packets: 0,
                })
                .collect(),
            missing_days: missing,
            excluded_packets: 0,
            coarse_packets: 12,
            folded_services: 0,
            largest_error: errors.into_iter().fold(0.0, f64::max),
            region_data: vec!["iptocc 1.4.175".into()],
        },
        notes: Notes::default(),
    }
}

/// A small report with something in each of its parts.
pub(crate) fn sample() -> Report {
    let port =
        |base: u64, rise: u64| -> Vec<u64> { (0..7).map(|day| base + day * rise + (day * day * 37) % 19).collect() };
    let mut report = report(&Counts {
        known: vec![true, true, true, false, true, true, true],
        ports: vec![
            port(52_000, 900),
            port(21_000, 10),
            port(18_500, 0),
            port(900, 5200),
            port(6400, 12),
            port(6100, 40),
            port(3000, 1),
            port(2500, 7),
            port(800, 3),
            port(700, 9),
            port(650, 0),
            port(90, 1),
            port(3, 0),
        ],
        weights: vec![31, 22, 11, 9, 4, 8, 6],
        backscatter: vec![port(40, 1), port(3, 0), port(300, 4), port(0, 0), port(0, 0), port(1200, 9)],
        other: vec![400; 7],
        previous: Some(vec![
            400_000, 121_000, 120_000, 300, 44_000, 39_000, 21_000, 18_000, 6000, 5000, 4700, 650, 900,
        ]),
        sensors: 6,
        filtered: 2,
        top: 5,
        class: Class::Real,
    });
    report.sensor_ports = vec![SensorPorts {
        sensor: 1,
        group: Some("overseas".into()),
        ports: vec![
            SensorPort { rank: 1, service: service(0), packets: 60_000 },
            SensorPort { rank: 2, service: service(3), packets: 20_000 },
        ],
    }];
    report.events.assessed.push(Event {
        id: "0a1b2c3d4e5f60718".into(),
        event_type: "outbreak".into(),
        service: service(3),
        mark: "none".into(),
        severity: "high".into(),
        onset: "2021-03-09T04:10:00Z".into(),
        detected: "2021-03-09T06:40:00Z".into(),
        ended: None,
        rate_per_hour: Some(Estimate { value: Some(0.231), low: 0.18, high: Some(0.29) }),
        doubling_seconds: Some(Estimate { value: Some(10_800.0), low: 8600.0, high: None }),
        note: Some(Text::from([
            ("en".into(), "Scans for Redis without a password.\nNo malware sample yet.".into()),
            ("ja".into(), "パスワードのないRedisの探索とみられます。\n検体は未入手です。".into()),
        ])),
    });
    report.notes.comment = Some(Text::from([("en".into(), "A quiet week but for port 6379.".into())]));
    report.overview.exposure.prefix_days = Some(24.0);
    for (place, day) in report.overview.days.iter_mut().enumerate() {
        day.exposure.prefix_days = Some(if place == 3 { 0.0 } else { 4.0 });
    }
    if let Some(ipv6) = &mut report.overview.ipv6 {
        ipv6.per_prefix_day = Some(5.0);
    }
    report.warnings.push(Warning::LowCoverage { coverage_percent: 97.25, threshold_percent: 98.0 });
    report
}
