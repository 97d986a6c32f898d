//! Ports, ICMP types and regions by packets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use martlet_report::model::{Cell, PreviousRank, Ranked, Ranking, Rules, Service, Sources, Watching};
use martlet_window::{IpVersion, Kind};

use super::count::{Counted, change, is_told, percent, sources};
use crate::live::ServiceKey;
use crate::publish::services;
use crate::rollup::query::{Filter, GroupBy, Grouping, SeriesKey, Sum, Which};
use crate::rollup::{Dimension, Order, RollupError};

/// So many services are looked at, at most, beside those that are listed: some may not be told.
const LOOKED_AT: usize = 200;
/// So many are looked at first: mostly they do, and each takes a lookup of each day.
const LOOKED_AT_FIRST: usize = 20;
const ICMP: u8 = 1;

/// What packets are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Destination ports and ICMP types of a kind.
    Service(Kind),
    /// Source regions of scans.
    Region,
}

impl By {
    const fn kind(self) -> Kind {
        match self {
            By::Service(kind) => kind,
            By::Region => Kind::Scan,
        }
    }
}

/// A key of one of them. Equals are told in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Port(ServiceKey),
    Icmp(u8),
    Region(String),
}

/// What there is of a key.
struct Entry {
    key: Key,
    packets: u64,
    sources: Option<Sources>,
    sensors: Option<u64>,
}

/// A time and what is asked of it.
struct Question<'a> {
    counted: &'a Counted<'a>,
    by: By,
    filter: Filter,
}

/// The first ones, which may be told, and the rest.
pub(super) fn ranking<K>(
    now: &Counted<'_>,
    before: Option<&Counted<'_>>,
    rules: &Rules,
    by: By,
    name: impl Fn(&Key) -> K,
) -> Result<Ranking<K>, RollupError> {
    let question = |counted| Question { counted, by, filter: Counted::filter(counted, IpVersion::V4, Some(by.kind())) };
    let wanted = rules.top.max(rules.previous_places) as usize;
    let now_asked = question(now);
    let (_, entries) = now_asked.first(wanted, rules)?;
    let before = before.map(|before| Before::new(question(before), wanted, rules)).transpose()?;

    let total_daily = now.daily(&now_asked.filter, &GroupBy::Nothing)?.into_values().next();
    let total_daily = total_daily.unwrap_or_else(|| vec![0; now.days.len()]);
    let total = total_daily.iter().fold(0u64, |sum, &packets| sum.saturating_add(packets));
    let shown = &entries[..entries.len().min(rules.top as usize)];
    let cell = |packets: u64, daily: &[u64], watching: Option<&Watching>| Cell {
        packets,
        share_percent: percent(packets, total),
        per_sensor_day: now.per_sensor_day(packets, watching),
        daily: now.told(daily, watching),
    };
    let (mut rest, mut rest_daily) = (total, total_daily.clone());
    let mut is_withheld = false;
    let mut rows = Vec::with_capacity(shown.len());
    for (entry, daily) in shown.iter().zip(now_asked.daily(shown)?) {
        rest = rest.saturating_sub(entry.packets);
        rest_daily.iter_mut().zip(&daily).for_each(|(rest, packets)| *rest = rest.saturating_sub(*packets));
        let previous_packets = before.as_ref().map(|before| before.packets(&entry.key, rules)).transpose()?.flatten();
        let previous_rank =
            before.as_ref().map_or(PreviousRank::Unknown, |before| before.rank(&entry.key, rules.previous_places));
        let watching = match entry.key {
            // What comes from a port of a victim has another port as its destination.
            Key::Port(service) if by == By::Service(Kind::Scan) => now.watching(service, rules),
            _ => None,
        };
        let mut cell = cell(entry.packets, &daily, watching.as_ref());
        // Days are finer than the whole.
        if daily.iter().any(|&packets| packets > 0 && packets < rules.min_packets) {
            cell.daily.fill(None);
            is_withheld = true;
        }
        rows.push(Ranked {
            rank: rank(&entries, entry.packets),
            key: name(&entry.key),
            cell,
            sources: entry.sources,
            sensors: entry.sensors.map(|sensors| u32::try_from(sensors).unwrap_or(u32::MAX)),
            watching,
            previous_rank,
            previous_packets,
            change_percent: previous_packets.and_then(|before| change(before, entry.packets)),
        });
    }
    let mut others = cell(rest, &rest_daily, None);
    if is_withheld {
        // They would tell what is withheld.
        others.daily.fill(None);
    }
    Ok(Ranking { rows, others, total: cell(total, &total_daily, None) })
}

/// The first ports of scans of which anything may be told.
pub(super) fn told_ports(now: &Counted<'_>, rules: &Rules) -> Result<BTreeSet<ServiceKey>, RollupError> {
    let filter = now.filter(IpVersion::V4, Some(Kind::Scan));
    let entries = Question { counted: now, by: By::Service(Kind::Scan), filter }.entries(LOOKED_AT)?;
    let told = entries.all.iter().filter(|entry| entry.is_told(rules));
    Ok(told.filter_map(|entry| if let Key::Port(service) = entry.key { Some(service) } else { None }).collect())
}

/// From 1 on; as many packets are the same rank.
fn rank(entries: &[Entry], packets: u64) -> u32 {
    let above = entries.iter().filter(|entry| entry.packets > packets).count();
    u32::try_from(above).unwrap_or(u32::MAX).saturating_add(1)
}

/// The first ports, and all ICMP types or regions.
struct Entries {
    /// In descending order of packets.
    all: Vec<Entry>,
    /// Of what has as many packets or more nothing is missing.
    complete_from: u64,
}

impl Entry {
    fn is_told(&self, rules: &Rules) -> bool {
        is_told(rules, self.packets, self.sources, self.sensors)
    }
}

/// The time that is compared with.
struct Before<'a> {
    question: Question<'a>,
    /// The first ports, and all ICMP types or regions.
    all: BTreeSet<Key>,
    told: Vec<Entry>,
}

impl<'a> Before<'a> {
    fn new(question: Question<'a>, wanted: usize, rules: &Rules) -> Result<Before<'a>, RollupError> {
        let (all, told) = question.first(wanted, rules)?;
        Ok(Before { question, all, told })
    }

    fn rank(&self, key: &Key, places: u32) -> PreviousRank {
        let entry = self.told.iter().find(|entry| entry.key == *key);
        match entry.map(|entry| rank(&self.told, entry.packets)) {
            Some(rank) if rank <= places => PreviousRank::Place { rank },
            _ => PreviousRank::Outside,
        }
    }

    /// Packets of a key, whether it is among the first or not; `None` if they may not be told.
    fn packets(&self, key: &Key, rules: &Rules) -> Result<Option<u64>, RollupError> {
        if self.all.contains(key) {
            return Ok(self.told.iter().find(|entry| entry.key == *key).map(|entry| entry.packets));
        }
        // That there was nothing always may be told.
        let Key::Port(service) = key else { return Ok(Some(0)) };
        let entry = self.question.port(*service)?;
        Ok(Some(entry.packets).filter(|&packets| packets == 0 || entry.is_told(rules)))
    }
}

impl Question<'_> {
    /// At least so many that may be told, if there are, in descending order of packets, and the keys that were looked at.
    fn first(&self, wanted: usize, rules: &Rules) -> Result<(BTreeSet<Key>, Vec<Entry>), RollupError> {
        let mut beside = LOOKED_AT_FIRST;
        loop {
            let Entries { all, complete_from } = self.entries(wanted + beside)?;
            let keys = all.iter().map(|entry| entry.key.clone()).collect();
            let told: Vec<Entry> = all.into_iter().filter(|entry| entry.is_told(rules)).collect();
            let complete = told.iter().take_while(|entry| entry.packets >= complete_from).count();
            if complete >= wanted || complete_from == 0 || beside >= LOOKED_AT {
                return Ok((keys, told));
            }
            beside = LOOKED_AT;
        }
    }

    /// The first ports.
    fn entries(&self, most: usize) -> Result<Entries, RollupError> {
        let Counted { snapshot, placed, zone, .. } = self.counted;
        let entry = |key, sum: &Sum, sensors| self.entry(key, sum, sensors);
        let mut complete_from = 0;
        let mut entries: Vec<Entry> = match self.by {
            By::Service(_) => {
                let ports = snapshot.services(&self.filter, placed.span, zone, Which::Ports, Order::Packets, most)?;
                if ports.services.len() >= most {
                    // Others may have as many as the last one.
                    let last = ports.services.last().map_or(0, |last| last.sum.packets());
                    complete_from = last.saturating_add(1);
                }
                let ports = ports.services.iter();
                let ports = ports.map(|totals| entry(Key::Port(totals.service), &totals.sum, Some(totals.sensors)));
                let types = snapshot.icmp_types(&self.filter, placed.span)?;
                ports.chain(types.iter().map(|(number, sum)| entry(Key::Icmp(*number), sum, None))).collect()
            }
            By::Region => {
                let regions = snapshot.groups(&self.filter, placed.span, Dimension::Region, Grouping::All)?;
                regions.iter().map(|group| entry(Key::Region(group.name.clone()), &group.sum, None)).collect()
            }
        };
        entries.retain(|entry| entry.packets > 0);
        entries.sort_by(|a, b| (Reverse(a.packets), &a.key).cmp(&(Reverse(b.packets), &b.key)));
        Ok(Entries { all: entries, complete_from })
    }

    fn entry(&self, key: Key, sum: &Sum, sensors: Option<u64>) -> Entry {
        // Sensors of whole UTC days are known; of a time that is not made of them there may have been fewer.
        let most = self.counted.watched.sensors.len() as u64;
        let sensors = sensors.map(|sensors| sensors.min(most));
        Entry { key, packets: sum.packets(), sources: sources(sum), sensors }
    }

    fn port(&self, service: ServiceKey) -> Result<Entry, RollupError> {
        let Counted { snapshot, placed, zone, .. } = self.counted;
        let totals = snapshot.service(&self.filter, placed.span, zone, service)?;
        Ok(self.entry(Key::Port(service), &totals.sum, Some(totals.sensors)))
    }

    /// Packets of each day, of each of these.
    fn daily(&self, entries: &[Entry]) -> Result<Vec<Vec<u64>>, RollupError> {
        let Counted { snapshot, placed, .. } = self.counted;
        let port = |entry: &Entry| if let Key::Port(service) = entry.key { Some(service) } else { None };
        let group_by = match self.by {
            By::Service(_) => GroupBy::Services(entries.iter().filter_map(port).collect()),
            By::Region => GroupBy::Dimension(Dimension::Region, Grouping::All),
        };
        let series = self.counted.daily(&self.filter, &group_by)?;
        let none = vec![0; placed.days.len()];
        let mut types: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        if entries.iter().any(|entry| matches!(entry.key, Key::Icmp(_))) {
            for (place, (_, day)) in placed.days.iter().enumerate() {
                for (number, sum) in snapshot.icmp_types(&self.filter, *day)? {
                    types.entry(number).or_insert_with(|| none.clone())[place] = sum.packets();
                }
            }
        }
        let of = |key: &Key| match key {
            Key::Port(service) => series.get(&SeriesKey::Service(*service)),
            Key::Icmp(number) => types.get(number),
            Key::Region(name) => series.get(&SeriesKey::Name(name.clone())),
        };
        Ok(entries.iter().map(|entry| of(&entry.key).unwrap_or(&none).clone()).collect())
    }
}

/// A port or ICMP type as it is written down.
pub(super) fn service(key: &Key) -> Service {
    match key {
        Key::Port(service) => port(*service),
        Key::Icmp(number) => {
            Service { protocol: services::protocol_name(ICMP), number: u16::from(*number), name: None }
        }
        Key::Region(name) => Service { protocol: name.clone(), number: 0, name: None },
    }
}

/// A port as it is written down.
pub(super) fn port(service: ServiceKey) -> Service {
    let (protocol, number) = service.port().unwrap_or_default();
    let name = services::service(protocol, number).map(str::to_owned);
    Service { protocol: services::protocol_name(protocol), number, name }
}

/// A region as it is written down.
pub(super) fn region(key: &Key) -> String {
    match key {
        Key::Region(name) => name.clone(),
        Key::Port(_) | Key::Icmp(_) => String::new(),
    }
}
