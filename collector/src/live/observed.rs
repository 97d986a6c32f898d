//! What Prometheus is told of observed traffic: counters that only grow, for a bounded set of ports.
//!
//! Some ports are configured; others are promoted because they are seen most. A promoted port has a series from its
//! promotion on, what was counted before stays in `other`; at UTC midnight ports that are no longer among the most
//! seen are retired and count in `other` again. A series that comes back goes on where it ended. So no counter ever
//! goes down, and every packet is in exactly one series.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState as TableState;
use martlet_window::{Kind, Mark, TrafficClass};

use super::codec::{Reader, Stored, Writer};
use crate::aggregate::{BucketDelta, OwnerKey};
use crate::config::{MetricsConfig, Port, TCP, UDP};
use crate::geo::Region;
use crate::ingest::SensorId;

/// How often rates are looked at, in seconds.
const EVALUATION_SECONDS: i64 = 60;
/// What a rate keeps of itself from one evaluation to the next.
const DECAY: f64 = 0.5;
/// A port must be this much busier than the least busy promoted one to be promoted when all places are taken.
const CLEARLY_ABOVE: f64 = 2.0;
/// Rates below this are forgotten.
const NEGLIGIBLE: f64 = 0.25;
const SECONDS_PER_DAY: i64 = 86_400;

/// The names of protocols in labels, in the order in which they are stored.
const PROTOCOLS: [&str; 5] = ["tcp", "udp", "icmp", "icmpv6", "other"];
/// How many of the highest rates are written down.
const STORED_RATES: usize = 1024;

/// Place of a protocol's name among [`PROTOCOLS`].
const fn protocol_place(protocol: u8) -> usize {
    match protocol {
        TCP => 0,
        UDP => 1,
        1 => 2,
        58 => 3,
        _ => 4,
    }
}

/// The value of the label `protocol`.
#[must_use]
pub const fn protocol_label(protocol: u8) -> &'static str {
    PROTOCOLS[protocol_place(protocol)]
}

/// The labels of a port series. The port is empty for protocols without ports, and `other` where it has no series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Class.
    pub class: TrafficClass,
    /// Sensor.
    pub sensor: SensorId,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or `other`.
    pub protocol: &'static str,
    /// A port with a series of its own.
    pub port: Option<u16>,
}

impl Series {
    /// The value of the label `port`.
    #[must_use]
    pub fn port_label(&self) -> String {
        match (self.port, self.protocol) {
            (Some(port), _) => port.to_string(),
            (None, "tcp" | "udp") => "other".to_owned(),
            (None, _) => String::new(),
        }
    }
}

/// Packets and bytes of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservedSample {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
}

impl ObservedSample {
    const fn add(&mut self, other: ObservedSample) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The labels of a kind series: class, sensor, protocol, kind.
pub type KindSeries = (TrafficClass, SensorId, &'static str, Kind);

/// Counters as they are published; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By port.
    pub ports: Arc<BTreeMap<Series, ObservedSample>>,
    /// Packets by class, sensor, protocol and kind.
    pub kinds: Arc<BTreeMap<KindSeries, u64>>,
    /// Packets by class and mark number.
    pub marks: Arc<BTreeMap<(TrafficClass, u8), u64>>,
    /// Packets by who sent them.
    pub owners: Arc<BTreeMap<OwnerKey, u64>>,
    /// Ports of each class that have series.
    pub tracked: Arc<[BTreeSet<(u8, u16)>; 3]>,
}

/// Counts what is observed and decides which ports have series.
#[derive(Debug)]
pub(super) struct Observer {
    /// What is published; ports that were retired keep their counts here, unpublished.
    all: BTreeMap<Series, ObservedSample>,
    published: Observed,
    configured: BTreeSet<(u8, u16)>,
    top_ports: usize,
    classes: [Ranking; 3],
    evaluated: Option<i64>,
    dirty: bool,
    /// Whether anything changed since it was last written down.
    unwritten: bool,
}

/// The counters as they are written down, so that none goes down when the collector restarts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObserverImage {
    all: BTreeMap<Series, ObservedSample>,
    kinds: Arc<BTreeMap<KindSeries, u64>>,
    marks: Arc<BTreeMap<(TrafficClass, u8), u64>>,
    owners: Arc<BTreeMap<OwnerKey, u64>>,
    evaluated: Option<i64>,
    promoted: [BTreeSet<(u8, u16)>; 3],
    /// The highest rates of each class.
    rates: [Vec<((u8, u16), f64)>; 3],
}

#[derive(Debug, Default)]
struct Ranking {
    promoted: BTreeSet<(u8, u16)>,
    rates: HashMap<(u8, u16), f64>,
    /// By [`place`]; empty until something is counted.
    ports: Vec<PortState>,
}

/// What is known of one port since the last evaluation.
#[derive(Clone, Copy, Debug, Default)]
struct PortState {
    packets: u64,
    /// It has a series, by configuration or promotion.
    is_tracked: bool,
    is_configured: bool,
}

/// Ports of TCP and UDP together.
const PORTS: usize = 2 << 16;

/// Where a port of TCP or UDP lies among both.
fn place((protocol, port): (u8, u16)) -> usize {
    usize::from(protocol == UDP) << 16 | usize::from(port)
}

/// The port that lies there.
#[expect(clippy::cast_possible_truncation, reason = "the low sixteen bits are the port")]
const fn port_at(place: usize) -> (u8, u16) {
    (if place >> 16 == 0 { TCP } else { UDP }, place as u16)
}

impl Observer {
    pub(super) fn new(config: &MetricsConfig) -> Observer {
        let configured: BTreeSet<_> = config.ports.iter().map(|port| (port.protocol, port.number)).collect();
        let tracked = Arc::new([configured.clone(), configured.clone(), configured.clone()]);
        Observer {
            all: BTreeMap::new(),
            published: Observed { tracked, ..Observed::default() },
            configured,
            top_ports: config.top_ports,
            classes: Default::default(),
            evaluated: None,
            dirty: false,
            unwritten: false,
        }
    }

    /// The counters, if they changed since this was last asked.
    pub(super) fn changes(&mut self) -> Option<ObserverImage> {
        std::mem::take(&mut self.unwritten).then(|| ObserverImage {
            all: self.all.clone(),
            kinds: self.published.kinds.clone(),
            marks: self.published.marks.clone(),
            owners: self.published.owners.clone(),
            evaluated: self.evaluated,
            promoted: self.classes.each_ref().map(|ranking| ranking.promoted.clone()),
            rates: self.classes.each_ref().map(|ranking| ranking.highest(STORED_RATES)),
        })
    }

    /// Takes in counters that were written down.
    pub(super) fn restore(&mut self, image: ObserverImage) {
        let ObserverImage { all, kinds, marks, mut owners, evaluated, promoted, rates } = image;
        // What is not configured any more would have series for ever.
        Arc::make_mut(&mut owners).retain(|key, _| match key {
            OwnerKey::Port(_, port, _) => self.configured.contains(&(port.protocol, port.number)),
            _ => true,
        });
        self.all = all;
        self.evaluated = evaluated;
        for ((ranking, promoted), rates) in self.classes.iter_mut().zip(promoted).zip(rates) {
            // What has become configured since needs no place.
            ranking.promoted = promoted.difference(&self.configured).copied().collect();
            ranking.rates = rates.into_iter().collect();
        }
        self.published = Observed { kinds, marks, owners, tracked: Arc::new(self.tracked()), ..Observed::default() };
        self.dirty = true;
    }

    fn tracked(&self) -> [BTreeSet<(u8, u16)>; 3] {
        self.classes.each_ref().map(|ranking| self.configured.union(&ranking.promoted).copied().collect())
    }

    /// Counts what a worker added to one bucket, before the bucket takes it.
    pub(super) fn count(&mut self, class: TrafficClass, delta: &BucketDelta) {
        self.dirty = true;
        self.unwritten = true;
        let ranking = &mut self.classes[class as usize];
        if ranking.ports.is_empty() {
            ranking.track(&self.configured);
        }
        // Rows are many, and the series that they belong to are few.
        let mut sums: HashMap<(SensorId, usize, Kind), (u64, ObservedSample), TableState> = HashMap::default();
        for (key, counts) in delta.rows.iter() {
            let Some(packed) = key.service.class() else { continue };
            let protocol = protocol_place(packed.protocol);
            let added = ObservedSample { packets: counts.packets, bytes: counts.bytes };
            let (all, rest) = sums.entry((key.sensor, protocol, key.kind)).or_default();
            *all += added.packets;
            let port = key.service.port().filter(|(protocol, _)| matches!(*protocol, TCP | UDP));
            match port.filter(|&port| ranking.count(port, counts.packets)) {
                Some((_, port)) => {
                    let series = Series { class, sensor: key.sensor, protocol: PROTOCOLS[protocol], port: Some(port) };
                    self.all.entry(series).or_default().add(added);
                }
                None => rest.add(added),
            }
        }
        let kinds = Arc::make_mut(&mut self.published.kinds);
        for ((sensor, protocol, kind), (packets, rest)) in sums {
            let protocol = PROTOCOLS[protocol];
            *kinds.entry((class, sensor, protocol, kind)).or_default() += packets;
            // A row has a packet at least: without any there was no such row.
            if rest.packets > 0 {
                self.all.entry(Series { class, sensor, protocol, port: None }).or_default().add(rest);
            }
        }
        let marks = Arc::make_mut(&mut self.published.marks);
        for (mark, counts) in (0..).zip(&delta.marks).filter(|(_, counts)| counts.packets > 0) {
            *marks.entry((class, mark)).or_default() += counts.packets;
        }
    }

    /// Counts packets by who sent them.
    pub(super) fn count_owners(&mut self, added: impl ExactSizeIterator<Item = (OwnerKey, u64)>) {
        if added.len() == 0 {
            return;
        }
        self.unwritten = true;
        let owners = Arc::make_mut(&mut self.published.owners);
        for (key, packets) in added {
            *owners.entry(key).or_default() += packets;
        }
    }

    /// Promotes and retires ports; `now` is the wall clock in seconds since the Unix epoch.
    pub(super) fn evaluate(&mut self, now: i64) {
        let Some(before) = self.evaluated else {
            self.evaluated = Some(now);
            return;
        };
        if now.saturating_sub(before) < EVALUATION_SECONDS {
            return;
        }
        self.evaluated = Some(now);
        let midnight = now.div_euclid(SECONDS_PER_DAY) != before.div_euclid(SECONDS_PER_DAY);
        for ranking in &mut self.classes {
            ranking.evaluate(self.top_ports, midnight);
        }
        self.unwritten = true;
        let sets = self.tracked();
        if *self.published.tracked != sets {
            for ranking in self.classes.iter_mut().filter(|ranking| !ranking.ports.is_empty()) {
                ranking.track(&self.configured);
            }
            self.published.tracked = Arc::new(sets);
            self.dirty = true;
        }
    }

    /// The counters as they are now.
    pub(super) fn publish(&mut self) -> Observed {
        if std::mem::take(&mut self.dirty) {
            let tracked = &self.published.tracked;
            let is_published = |series: &Series| {
                let protocol = if series.protocol == "tcp" { TCP } else { UDP };
                series.port.is_none_or(|port| tracked[series.class as usize].contains(&(protocol, port)))
            };
            let ports = self.all.iter().filter(|(series, _)| is_published(series));
            self.published.ports = Arc::new(ports.map(|(series, sample)| (series.clone(), *sample)).collect());
        }
        self.published.clone()
    }
}

impl Ranking {
    /// Counts packets of a port, and says whether it has a series.
    fn count(&mut self, port: (u8, u16), packets: u64) -> bool {
        let state = &mut self.ports[place(port)];
        state.packets = state.packets.saturating_add(packets);
        state.is_tracked
    }

    /// Notes which ports have series.
    fn track(&mut self, configured: &BTreeSet<(u8, u16)>) {
        if self.ports.is_empty() {
            self.ports = vec![PortState::default(); PORTS];
        }
        for state in &mut self.ports {
            state.is_tracked = false;
        }
        for &port in configured {
            let state = &mut self.ports[place(port)];
            (state.is_tracked, state.is_configured) = (true, true);
        }
        for &port in &self.promoted {
            self.ports[place(port)].is_tracked = true;
        }
    }

    fn evaluate(&mut self, places: usize, midnight: bool) {
        for rate in self.rates.values_mut() {
            *rate *= DECAY;
        }
        for (place, port) in self.ports.iter_mut().enumerate().filter(|(_, port)| port.packets > 0) {
            let packets = std::mem::take(&mut port.packets);
            if !port.is_configured {
                *self.rates.entry(port_at(place)).or_default() += martlet_telemetry::counters::to_f64(packets);
            }
        }
        self.rates.retain(|_, rate| *rate >= NEGLIGIBLE);
        let ranked = self.highest(places);
        if midnight {
            self.promoted.retain(|port| ranked.iter().any(|(top, _)| top == port));
        }
        for (port, rate) in ranked {
            if self.promoted.contains(&port) {
                continue;
            }
            let rate_of = |port: &(u8, u16)| self.rates.get(port).copied().unwrap_or(0.0);
            let lowest = self.promoted.iter().map(rate_of).fold(f64::INFINITY, f64::min);
            // Between midnights nothing is retired, so the set may grow beyond its places, but to twice at most.
            let room = self.promoted.len() < places;
            if room || (rate > CLEARLY_ABOVE * lowest && self.promoted.len() < 2 * places) {
                self.promoted.insert(port);
            }
        }
    }
}

impl Ranking {
    /// So many ports with the highest rates, highest first.
    fn highest(&self, places: usize) -> Vec<((u8, u16), f64)> {
        let mut ranked: Vec<((u8, u16), f64)> = self.rates.iter().map(|(&port, &rate)| (port, rate)).collect();
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(places);
        ranked
    }
}

fn write_port(out: &mut Writer, &(protocol, port): &(u8, u16)) {
    out.number(protocol.into());
    out.number(port.into());
}

fn read_port(from: &mut Reader<'_>) -> Option<(u8, u16)> {
    Some((from.small()?, from.small()?))
}

fn write_protocol(out: &mut Writer, protocol: &str) {
    out.length(PROTOCOLS.iter().position(|name| *name == protocol).unwrap_or(PROTOCOLS.len() - 1));
}

fn read_protocol(from: &mut Reader<'_>) -> Option<&'static str> {
    PROTOCOLS.get(from.small::<usize>()?).copied()
}

fn read_class(from: &mut Reader<'_>) -> Option<TrafficClass> {
    TrafficClass::from_number(from.small()?)
}

fn write_region(out: &mut Writer, region: Region) {
    out.length(region.number());
}

fn read_region(from: &mut Reader<'_>) -> Option<Region> {
    Region::from_number(from.small()?)
}

fn write_owner(out: &mut Writer, key: &OwnerKey) {
    match key {
        OwnerKey::Region(class, kind, region) => {
            out.number(0);
            out.number(*class as u64);
            out.number(*kind as u64);
            write_region(out, *region);
        }
        OwnerKey::Port(class, port, region) => {
            out.number(1);
            out.number(*class as u64);
            write_port(out, &(port.protocol, port.number));
            write_region(out, *region);
        }
        OwnerKey::Scanner(class, name) => {
            out.number(2);
            out.number(*class as u64);
            out.option(name.as_deref(), Writer::text);
        }
    }
}

fn read_owner(from: &mut Reader<'_>) -> Option<OwnerKey> {
    let (what, class) = (from.number()?, read_class(from)?);
    Some(match what {
        0 => OwnerKey::Region(class, Kind::from_number(from.small()?)?, read_region(from)?),
        1 => {
            let (protocol, number) = read_port(from)?;
            OwnerKey::Port(class, Port { protocol, number }, read_region(from)?)
        }
        2 => OwnerKey::Scanner(class, from.option(Reader::text)?.map(Arc::from)),
        _ => return None,
    })
}

impl Stored for ObserverImage {
    fn write(&self, out: &mut Writer) {
        out.list(self.all.iter(), |out, (series, sample)| {
            out.number(series.class as u64);
            series.sensor.write(out);
            write_protocol(out, series.protocol);
            out.option(series.port, |out, port| out.number(port.into()));
            out.number(sample.packets);
            out.number(sample.bytes);
        });
        out.list(self.kinds.iter(), |out, (&(class, sensor, protocol, kind), &packets)| {
            out.number(class as u64);
            sensor.write(out);
            write_protocol(out, protocol);
            out.number(kind as u64);
            out.number(packets);
        });
        out.list(self.marks.iter(), |out, (&(class, mark), &packets)| {
            out.number(class as u64);
            out.number(mark.into());
            out.number(packets);
        });
        out.list(self.owners.iter(), |out, (key, &packets)| {
            write_owner(out, key);
            out.number(packets);
        });
        out.option(self.evaluated, Writer::signed);
        for promoted in &self.promoted {
            out.list(promoted.iter(), write_port);
        }
        for rates in &self.rates {
            out.list(rates.iter(), |out, (port, rate)| {
                write_port(out, port);
                out.number(rate.to_bits());
            });
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<ObserverImage> {
        let all = from.list(|from| {
            let (class, sensor) = (read_class(from)?, SensorId::read(from)?);
            let series = Series { class, sensor, protocol: read_protocol(from)?, port: from.option(Reader::small)? };
            Some((series, ObservedSample { packets: from.number()?, bytes: from.number()? }))
        })?;
        let kinds = from.list(|from| {
            let (class, sensor, protocol) = (read_class(from)?, SensorId::read(from)?, read_protocol(from)?);
            Some(((class, sensor, protocol, Kind::from_number(from.small()?)?), from.number()?))
        })?;
        let marks = from.list(|from| Some(((read_class(from)?, from.small()?), from.number()?)))?;
        let owners = match from.version() {
            ..3 => Vec::new(),
            _ => from.list(|from| Some((read_owner(from)?, from.number()?)))?,
        };
        let evaluated = from.option(Reader::signed)?;
        let mut image = ObserverImage {
            all: all.into_iter().collect(),
            kinds: Arc::new(kinds.into_iter().collect()),
            marks: Arc::new(marks.into_iter().collect()),
            owners: Arc::new(owners.into_iter().collect()),
            evaluated,
            ..ObserverImage::default()
        };
        for promoted in &mut image.promoted {
            *promoted = from.list(read_port)?.into_iter().collect();
        }
        for rates in &mut image.rates {
            *rates = from.list(|from| Some((read_port(from)?, f64::from_bits(from.number()?))))?;
        }
        Some(image)
    }
}

/// The name of a mark with this number.
#[must_use]
pub fn mark_name(number: u8) -> &'static str {
    Mark::ALL.get(usize::from(number)).map_or("unknown", |mark| mark.name())
}
