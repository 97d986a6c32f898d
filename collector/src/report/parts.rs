//! The parts of a report that are no ranking.

use std::collections::BTreeMap;

use martlet_detect::FindingType;
use martlet_report::model::{self, Rules};
use martlet_window::{IpVersion, Kind, TrafficClass};

use super::ReportError;
use super::count::{Counted, change, change_of_rate, is_told, per, percent, sources, tell, to_f64};
use super::groups::Told;
use super::ranking::port;
use crate::events::{Book, Event, Wanted, severity_name, time, type_name};
use crate::publish::services;
use crate::rollup::query::{Change, Filter, Grouping, Mover, PopulationBy, PopulationTotals, ServiceTotals, Which};
use crate::rollup::{ALL_SENSORS, Dimension, Order, Population, RollupError, date_text};

/// Sizes of sensors, by the addresses that they watch on average.
const SIZES: [(u64, Option<u64>); 5] = [(1, Some(1)), (2, Some(15)), (16, Some(255)), (256, Some(4095)), (4096, None)];
/// A sensor with a lower coverage, in percent, is compared with nothing, and a time with a lower one carries a warning.
const LEAST_COVERAGE_PERCENT: f64 = 80.0;
/// Services that are looked at for each mover that is listed: some may not be told.
const LOOKED_AT: usize = 20;
/// Most events of a type that are looked at, the newest first.
const MOST_EVENTS: usize = 10_000;

/// What was seen on the whole.
pub(super) fn overview(
    now: &Counted<'_>,
    before: Option<&Counted<'_>>,
    groups: &Told,
    rules: &Rules,
) -> Result<model::Overview, RollupError> {
    let packets = now.kinds(IpVersion::V4)?;
    let previous_packets = before.map(|before| before.kinds(IpVersion::V4)).transpose()?;
    let days = now.day_rows()?;
    let daily: Vec<f64> = days.iter().filter_map(|day| day.sources.map(|sources| to_f64(sources.count))).collect();
    Ok(model::Overview {
        exposure: now.exposure(),
        previous_exposure: before.map(Counted::exposure),
        packets,
        previous_packets,
        change_percent: previous_packets.and_then(|before| change(sum(&before), sum(&packets))),
        per_sensor_day: now.per_sensor_day(packets.scan, None),
        mean_daily_sources: mean(&daily),
        rates: rates(now, before, groups, rules)?,
        days,
        ipv6: ipv6(now)?,
    })
}

const fn sum(kinds: &model::Kinds) -> u64 {
    kinds.scan.saturating_add(kinds.backscatter).saturating_add(kinds.other)
}

/// A sensor with what it is compared by.
struct Rated {
    name: String,
    /// Scans per address and day.
    rate: f64,
    /// Addresses that it watches on average.
    size: f64,
    /// Its rate before, if it may be compared.
    before: Option<f64>,
}

fn rates(
    now: &Counted<'_>,
    before: Option<&Counted<'_>>,
    groups: &Told,
    rules: &Rules,
) -> Result<Vec<model::Rate>, RollupError> {
    let of_now = sensor_rates(now)?;
    let of_before = before.map(sensor_rates).transpose()?.unwrap_or_default();
    let is_covered = |counted: &Counted<'_>, name: &str| {
        counted.coverage(name).is_some_and(|percent| percent >= LEAST_COVERAGE_PERCENT)
    };
    let rated = of_now.into_iter().filter_map(|(name, rate)| {
        let exposure = now.watched.sensors.get(&name)?;
        let size = exposure.address_days(IpVersion::V4)? / exposure.sensor_days();
        let is_compared = before.is_some_and(|before| is_covered(before, &name)) && is_covered(now, &name);
        let before_rate = of_before.get(&name).copied().filter(|_| is_compared);
        Some(Rated { name, rate, size, before: before_rate })
    });
    let rated: Vec<Rated> = rated.collect();
    let all: Vec<model::Rate> = rate(model::RateOf::All, rated.iter(), rules).into_iter().collect();
    let of_groups = groups.members().filter_map(|(name, members)| {
        let members = rated.iter().filter(|rated| members.contains(&rated.name));
        rate(model::RateOf::Group { name }, members, rules).filter(|rate| rate.sensors >= rules.min_sensors)
    });
    let of_groups: Vec<model::Rate> = of_groups.collect();
    let mut sizes = Vec::new();
    // The size of few sensors would help to find them.
    for (least, most) in SIZES {
        let is_meant = |rated: &&Rated| {
            let size = rated.size.round();
            size >= to_f64(least) && most.is_none_or(|most| size <= to_f64(most))
        };
        let of_size = rate(model::RateOf::Size { least, most }, rated.iter().filter(is_meant), rules);
        sizes.extend(of_size.filter(|rate| rate.sensors >= rules.min_sensors));
    }
    // Nor may they follow from all others.
    let others = |sizes: &[model::Rate]| {
        let told: u32 = sizes.iter().map(|rate| rate.sensors).sum();
        all.first().map_or(0, |all| all.sensors.saturating_sub(told))
    };
    while (1..rules.min_sensors).contains(&others(&sizes)) {
        let fewest = sizes.iter().enumerate().min_by_key(|(_, rate)| rate.sensors).map(|(place, _)| place);
        let Some(fewest) = fewest else { break };
        sizes.remove(fewest);
    }
    Ok(all.into_iter().chain(of_groups).chain(sizes).collect())
}

/// Scans per address and day, of each sensor that knows how much it watched.
fn sensor_rates(counted: &Counted<'_>) -> Result<BTreeMap<String, f64>, RollupError> {
    // Sensors are kept apart over all of them.
    let filter = Filter { scope: ALL_SENSORS, ..counted.filter(IpVersion::V4, Some(Kind::Scan)) };
    let everything = counted.snapshot.basis(&Filter::class(counted.class), counted.placed.span)?;
    let groups = counted.snapshot.groups(&filter, counted.placed.span, Dimension::Sensor, Grouping::All)?;
    let packets: BTreeMap<&str, u64> = groups.iter().map(|group| (group.name.as_str(), group.sum.packets())).collect();
    let rates = counted.watched.sensors.iter().filter_map(|(name, exposure)| {
        // Of one that belonged to the group for a part of the time it is not known what it saw then.
        let is_steady = counted.is_of_all() || everything.sensors.get(name) == Some(exposure);
        // One that saw nothing has a rate of 0.
        let packets = packets.get(name.as_str()).copied().unwrap_or(0);
        Some((name.clone(), exposure.rate(packets, IpVersion::V4).filter(|_| is_steady)?))
    });
    Ok(rates.collect())
}

fn rate<'a>(of: model::RateOf, rated: impl Iterator<Item = &'a Rated> + Clone, rules: &Rules) -> Option<model::Rate> {
    let mut rates: Vec<f64> = rated.clone().map(|rated| rated.rate).collect();
    rates.sort_by(f64::total_cmp);
    let compared: Vec<(f64, f64)> = rated.filter_map(|rated| Some((rated.rate, rated.before?))).collect();
    let is_told = compared.len() >= rules.min_sensors as usize;
    let (compared, compared_before): (Vec<f64>, Vec<f64>) = compared.into_iter().filter(|_| is_told).unzip();
    let (compared_mean, compared_previous) = (mean(&compared), mean(&compared_before));
    Some(model::Rate {
        of,
        sensors: u32::try_from(rates.len()).ok()?,
        mean: mean(&rates)?,
        lower_quartile: quantile(&rates, 0.25)?,
        median: quantile(&rates, 0.5)?,
        upper_quartile: quantile(&rates, 0.75)?,
        compared: u32::try_from(compared.len()).ok()?,
        compared_mean,
        compared_previous,
        change_percent: compared_previous.zip(compared_mean).and_then(|(before, now)| change_of_rate(before, now)),
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / to_f64(values.len() as u64))
}

/// Of ascending values, interpolated between those beside it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let place = share * to_f64(values.len().checked_sub(1)? as u64);
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(values[below] + (values[above] - values[below]) * (place - place.floor()))
}

fn ipv6(now: &Counted<'_>) -> Result<Option<model::Ipv6>, RollupError> {
    let packets = now.kinds(IpVersion::V6)?;
    let watched = now.watched.all.address_days(IpVersion::V6);
    if sum(&packets) == 0 && watched.is_none_or(|days| days <= 0.0) {
        return Ok(None);
    }
    let totals = now.snapshot.totals(&now.filter(IpVersion::V6, Some(Kind::Scan)), now.placed.span)?;
    let per_prefix_day = watched.and_then(|days| per(packets.scan, days));
    Ok(Some(model::Ipv6 { packets, sources: sources(&totals), per_prefix_day }))
}

/// The ports that changed most.
pub(super) fn movers(now: &Counted<'_>, before: &Counted<'_>, rules: &Rules) -> Result<model::Movers, RollupError> {
    let filter = now.filter(IpVersion::V4, Some(Kind::Scan));
    let top = rules.top as usize;
    let lists = |order: Order| -> Result<[Vec<model::Mover>; 2], RollupError> {
        let (spans, zone) = ((now.placed.span, before.placed.span), now.zone);
        let comparison = match now.snapshot.compare(&filter, spans.0, spans.1, zone, Which::Ports, order) {
            // Days of the zone have no distinct sources.
            Err(RollupError::NotKept(_)) if order == Order::Sources => return Ok([Vec::new(), Vec::new()]),
            comparison => comparison?,
        };
        let list = |change: Change| -> Result<Vec<model::Mover>, RollupError> {
            let mut told = Vec::with_capacity(top);
            for ranked in comparison.first(change, top + LOOKED_AT)? {
                let found = comparison.mover(ranked)?;
                if may_be_told(&found, rules) {
                    told.push(mover(&found, order));
                }
                if told.len() == top {
                    break;
                }
            }
            Ok(told)
        };
        Ok([list(Change::Up)?, list(Change::Down)?])
    };
    let ([packets_up, packets_down], [sources_up, sources_down]) = (lists(Order::Packets)?, lists(Order::Sources)?);
    Ok(model::Movers { packets_up, packets_down, sources_up, sources_down })
}

/// Whether both times may be told; that there was nothing always may.
fn may_be_told(mover: &Mover, rules: &Rules) -> bool {
    [&mover.now, &mover.before].into_iter().all(|totals| {
        let packets = totals.sum.packets();
        packets == 0 || is_told(rules, packets, sources(&totals.sum), Some(totals.sensors))
    })
}

fn mover(found: &Mover, order: Order) -> model::Mover {
    let daily = |totals: &ServiceTotals| totals.daily_sources.ok();
    let (packets, previous_packets) = (found.now.sum.packets(), found.before.sum.packets());
    let (daily_sources, previous_daily_sources) = (daily(&found.now), daily(&found.before));
    let change_percent = match order {
        Order::Packets => change(previous_packets, packets),
        Order::Sources => previous_daily_sources.zip(daily_sources).and_then(|(before, now)| change(before, now)),
    };
    model::Mover {
        service: port(found.now.service),
        packets,
        previous_packets,
        daily_sources,
        previous_daily_sources,
        change_percent,
    }
}

/// Who scanned.
pub(super) fn populations(now: &Counted<'_>, rules: &Rules) -> Result<model::Populations, RollupError> {
    let filter = now.filter(IpVersion::V4, Some(Kind::Scan));
    let (snapshot, span) = (now.snapshot, now.placed.span);
    let totals = snapshot.totals(&filter, span)?;
    let all = (totals.packets(), sources(&totals));
    let population = |name: String, packets: u64, sources: Option<model::Sources>| model::Population {
        name,
        packets,
        packets_percent: percent(packets, all.0),
        sources_percent: sources.zip(all.1).and_then(|(sources, all)| percent(sources.count, all.count)),
        sources,
    };
    let may_be_told = |told: &model::Population| is_told(rules, told.packets, told.sources, None);
    let groups = |dimension| -> Result<Vec<model::Population>, RollupError> {
        let groups = snapshot.groups(&filter, span, dimension, Grouping::All)?.into_iter();
        let told = groups.map(|group| population(group.name, group.sum.packets(), sources(&group.sum)));
        Ok(told.filter(may_be_told).collect())
    };
    let kept = match snapshot.populations(&filter, span) {
        Ok(kept) => kept,
        // They are kept of whole UTC days.
        Err(RollupError::NotKept(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let of = |is_meant: &dyn Fn(&PopulationTotals) -> bool| -> Option<Vec<model::Population>> {
        let meant = kept.iter().filter(|kept| is_meant(kept));
        // What one day does not know, the time does not know.
        let known = meant.map(|kept| kept.known.map(|known| (kept, known))).collect::<Option<Vec<_>>>()?;
        let told = known
            .into_iter()
            .map(|(kept, (packets, sources))| population(kept.name.clone(), packets, Some(tell(sources))));
        (!kept.is_empty()).then(|| told.filter(may_be_told).collect())
    };
    let multi_port = Population::MultiPort.name();
    Ok(model::Populations {
        all: population("all".to_owned(), all.0, all.1),
        marks: groups(Dimension::Mark)?,
        confirmed: of(&|kept| kept.by == PopulationBy::Confirmed),
        known_scanners: groups(Dimension::Scanner)?,
        multi_port: of(&|kept| kept.by == PopulationBy::Reach && kept.name == multi_port)
            .and_then(|list| list.into_iter().next()),
        mirai_ports: mirai_ports(now, rules)?,
    })
}

fn mirai_ports(now: &Counted<'_>, rules: &Rules) -> Result<Vec<model::MiraiPort>, RollupError> {
    let filter = now.filter(IpVersion::V4, Some(Kind::Scan));
    let (snapshot, span, top) = (now.snapshot, now.placed.span, rules.top as usize);
    let mut ports = Vec::new();
    for (key, marked) in snapshot.mark_services(&filter, span, "mirai", top + LOOKED_AT)? {
        if key.port().is_none() || ports.len() == top {
            continue;
        }
        let all = snapshot.service(&filter, span, now.zone, key)?;
        let sources = sources(&marked);
        if is_told(rules, marked.packets(), sources, Some(all.sensors)) {
            ports.push(model::MiraiPort {
                service: port(key),
                marked_packets: marked.packets(),
                packets: all.sum.packets(),
                percent: percent(marked.packets(), all.sum.packets()),
                sources,
            });
        }
    }
    Ok(ports)
}

/// Surges and outbreaks over IPv4 that began in the time.
pub(super) fn events(now: &Counted<'_>, book: &Book) -> Result<model::Events, ReportError> {
    let span = now.placed.span;
    // By their begin, which does not move; when they are called something stronger, that is later.
    let list = |finding_type, is_public| {
        book.list(&Wanted {
            class: now.class,
            finding_type: Some(finding_type),
            state: None,
            since: Some(span.from()),
            until: None,
            ip: Some(IpVersion::V4),
            protocol: None,
            port: None,
            is_public,
            after: None,
            limit: MOST_EVENTS,
        })
    };
    let lists = |is_public| -> Result<Vec<Event>, ReportError> {
        let (surges, outbreaks) = (list(FindingType::Surge, is_public)?, list(FindingType::Outbreak, is_public)?);
        let both = surges.into_iter().chain(outbreaks).map(|(event, _)| event);
        Ok(both.filter(|event| (span.from()..span.to()).contains(&event.onset)).collect())
    };
    let called = lists(false)?;
    let assessed = match now.class {
        TrafficClass::Real => lists(true)?,
        // Nothing of these is published as real: nobody has to assess them.
        TrafficClass::Drill | TrafficClass::Import => called.clone(),
    };
    let unassessed = u32::try_from(called.len().saturating_sub(assessed.len())).unwrap_or(u32::MAX);
    let mut assessed: Vec<model::Event> = assessed.iter().map(event).collect();
    assessed.sort_by(|a, b| (&a.onset, &a.id).cmp(&(&b.onset, &b.id)));
    Ok(model::Events { assessed, unassessed })
}

fn event(event: &Event) -> model::Event {
    let key = &event.key;
    let estimate = |estimate: martlet_detect::Estimate| model::Estimate {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    };
    model::Event {
        id: event.id.to_string(),
        event_type: type_name(event.finding_type).to_owned(),
        service: model::Service {
            protocol: services::protocol_name(key.protocol),
            number: key.port,
            name: services::service(key.protocol, key.port).map(str::to_owned),
        },
        mark: key.population.name().to_owned(),
        severity: severity_name(event.severity).to_owned(),
        onset: time(event.onset),
        detected: time(event.detected),
        ended: event.ended.map(time),
        rate_per_hour: event.estimates.map(|estimates| estimate(estimates.rate_per_hour)),
        doubling_seconds: event.estimates.map(|estimates| estimate(estimates.doubling_seconds)),
        note: None,
    }
}

/// How good the figures are.
pub(super) fn quality(now: &Counted<'_>, groups: &Told) -> Result<model::Quality, RollupError> {
    let numbers = now.snapshot.sensor_numbers()?;
    let sensors = now.sensors().filter_map(|name| {
        let exposure = now.watched.sensors.get(name).copied().unwrap_or_default();
        Some(model::SensorQuality {
            // From 1 on, as people count.
            sensor: numbers.get(name)?.saturating_add(1),
            group: groups.of(name),
            coverage_percent: now.coverage(name),
            kernel_drops: exposure.kernel_drops,
            interface_drops: exposure.interface_drops,
            lost_packets: exposure.lost_packets,
        })
    });
    let mut sensors: Vec<model::SensorQuality> = sensors.collect();
    sensors.sort_by_key(|sensor| sensor.sensor);
    Ok(model::Quality {
        least_coverage_percent: LEAST_COVERAGE_PERCENT,
        sensors,
        missing_days: now.basis.missing_days.iter().map(|&day| date_text(day)).collect(),
        excluded_packets: now.basis.excluded_packets,
        coarse_packets: now.basis.coarse_packets,
        folded_services: now.basis.folded_services,
        // Known when everything else is.
        largest_error: 0.0,
        region_data: now.basis.region_data.iter().cloned().collect(),
    })
}

/// What must be said first.
pub(super) fn warnings(now: &Counted<'_>, overview: &model::Overview) -> Vec<model::Warning> {
    let threshold_percent = LEAST_COVERAGE_PERCENT;
    let low = overview.exposure.coverage_percent.filter(|&percent| percent < threshold_percent);
    let low = low.map(|coverage_percent| model::Warning::LowCoverage { coverage_percent, threshold_percent });
    let unknown = overview.days.iter().filter(|day| day.packets.is_none()).map(|day| day.date.clone());
    let unknown = Some(unknown.collect::<Vec<_>>()).filter(|days| !days.is_empty());
    let dirty = now.basis.dirty_days.iter().map(|&day| date_text(day)).collect::<Vec<_>>();
    let dirty = Some(dirty).filter(|days| !days.is_empty());
    let is_unknown = now.watched.all.is_unknown.then_some(model::Warning::UnknownExposure);
    low.into_iter()
        .chain(unknown.map(|days| model::Warning::MissingDays { days }))
        .chain(dirty.map(|days| model::Warning::UnsettledDays { days }))
        .chain(is_unknown)
        .collect()
}
