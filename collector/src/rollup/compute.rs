//! What the rows of a day come to.
//!
//! Rows come sorted by IP version, protocol, kind, service, marks, source and time. So one service after the other is counted and
//! written, and memory holds one service, and what there are few of: regions, marks, sensors, networks, and as many sources as are
//! tracked. What comes out does not depend on how the rows were distributed over files.

use std::collections::{BTreeMap, BTreeSet};

use martlet_window::{IpVersion, Kind, Mark, PackedClass, Service, TrafficClass};

use super::best::Best;
use super::cells::{Amount, CellKey, Cells, Dimension, Places};
use super::error::RollupError;
use super::exclusions::Exclusion;
use super::facts::{Facts, ObserverFacts};
use super::networks::{NetworkSums, Of};
use super::populations::PopulationSums;
use super::quarters::{self, QUARTER_SECONDS, QUARTERS};
use super::ranks::{Light, Ranks};
use super::records::{Record, Slot};
use super::sensors::{SensorLists, SensorTotals};
use super::settings::{ALL_SENSORS, Settings};
use super::sketch::{self, Sketch, SketchHash};
use super::sources::{Ended, Sensors, Sent, SourceList, Told};
use super::stage::{DaySummary, Stage};
use super::tally::{Tallies, Tally};
use super::zones::{DAY_SECONDS, Segments};
use crate::archive::{Labels, Row};
use crate::config::{Port, TCP};
use crate::live::{ServiceKey, ServiceKind, Source};

/// A rollup on its way from rows into the store.
pub(super) struct Computation<'a, 'c> {
    settings: &'a Settings,
    exclusions: &'a [Exclusion],
    stage: Stage<'c>,
    /// Start of the day, in seconds since the Unix epoch.
    start: i64,
    segments: Segments,
    by_quarter: [u8; QUARTERS],
    hash: SketchHash,
    facts: Facts,
    summary: DaySummary,
    current: Option<Current>,
    /// Services that have come, to tell one from the next.
    services: u32,
    /// By slot.
    tallies: Vec<Tally>,
    /// Slots that count the current service.
    active: Vec<u16>,
    /// Regions and marks of the current service.
    local: Tallies<CellKey>,
    /// Everything else, of the day.
    cells: Cells,
    /// By slot: where the cells of the current IP version, protocol and kind are.
    places: Vec<Places>,
    places_of: (IpVersion, Kind),
    /// Services that were too many.
    folded: Cells,
    mark_lists: BTreeMap<(Slot, u32), Best<ServiceKind, MarkService>>,
    sensors: SensorLists,
    sources: [SourceList; TrafficClass::ALL.len()],
    networks: NetworkSums,
    populations: PopulationSums,
    ranks: Ranks,
    run: Run,
}

/// The service whose rows are coming.
struct Current {
    service: ServiceKind,
    protocol_name: u32,
    is_port: bool,
    /// Whether its rows are TCP SYNs: scans but for stealthy ones.
    is_syn: bool,
    is_watched: bool,
    class: PackedClass,
    /// Numbers of the names of the class's marks.
    marks: Vec<u32>,
}

/// What a service has of a mark.
struct MarkService {
    bytes: u64,
    quarters: Vec<u8>,
    sketch: Sketch,
}

/// The rows of one source in one class that come one behind the other, by traffic class and network.
#[derive(Default)]
struct Run {
    source: u128,
    hash: u64,
    parts: Vec<RunPart>,
    /// Parts that are in use stand first, and the rest is for later.
    used: usize,
}

struct RunPart {
    class: TrafficClass,
    network: u32,
    bytes: u64,
    sensors: Sensors,
    /// By segment.
    packets: Vec<u64>,
}

impl<'a, 'c> Computation<'a, 'c> {
    pub(super) fn new(day: i64, settings: &'a Settings, exclusions: &'a [Exclusion], stage: Stage<'c>) -> Self {
        let segments = settings.zones.segments(day);
        let count = segments.count();
        let limits = &settings.limits;
        let summary = DaySummary {
            zones: settings.zones.all().iter().map(|zone| zone.name().to_owned()).collect(),
            segments: segments.starts().to_vec(),
            ..DaySummary::default()
        };
        Computation {
            settings,
            exclusions,
            stage,
            start: day.saturating_mul(DAY_SECONDS),
            by_quarter: segments.by_quarter(),
            segments,
            hash: SketchHash::new(settings.source_key),
            facts: Facts::default(),
            summary,
            current: None,
            services: 0,
            tallies: Vec::new(),
            active: Vec::new(),
            local: Tallies::new(count),
            cells: Cells::new(count),
            places: Vec::new(),
            places_of: (IpVersion::V4, Kind::Scan),
            folded: Cells::new(count),
            mark_lists: BTreeMap::new(),
            sensors: SensorLists::new(limits.sensor_services),
            sources: std::array::from_fn(|_| SourceList::new(limits.tracked_sources)),
            networks: NetworkSums::new(limits.networks, count),
            populations: PopulationSums::new(count),
            ranks: Ranks::default(),
            run: Run::default(),
        }
    }

    /// Counts a row.
    pub(super) fn add(&mut self, row: &Row, labels: &Labels) -> Result<(), RollupError> {
        let Some(second) = row.start.checked_sub(self.start).filter(|second| (0..DAY_SECONDS).contains(second)) else {
            let expected = crate::rollup::date_text(self.start.div_euclid(DAY_SECONDS));
            return Err(RollupError::OtherDay { expected, found: row.start });
        };
        if !self.facts.is_current(labels) {
            self.facts.learn(labels, self.settings, self.exclusions, &mut self.sensors);
            let count = self.segments.count();
            self.tallies.resize_with(self.facts.slot_count(), || Tally::new(count));
            self.places.resize_with(self.facts.slot_count(), Places::default);
        }
        if row.packets == 0 {
            // Nobody writes such a row; it would be one of a service without packets.
            return Ok(());
        }
        if self.facts.observer(row.observer).is_excluded(row.start) {
            self.summary.excluded_rows += 1;
            self.summary.excluded_packets = self.summary.excluded_packets.saturating_add(row.packets);
            return Ok(());
        }
        if self.current.as_ref().is_none_or(|current| current.class != row.class) {
            self.end_run(labels);
            self.change_class(row.class)?;
            self.begin_run(row);
        } else if self.run.source != row.source {
            self.end_run(labels);
            self.begin_run(row);
        }
        let quarter = usize::try_from(second / QUARTER_SECONDS).unwrap_or(0);
        self.count(row, quarter);
        Ok(())
    }

    fn count(&mut self, row: &Row, quarter: usize) {
        let Some(current) = &self.current else { return };
        let (facts, network) = (self.facts.observer(row.observer), self.facts.network(row.network));
        let segment = usize::from(self.by_quarter[quarter]);
        let amount = Amount { packets: row.packets, bytes: row.bytes, quarter, segment, hash: self.run.hash };
        let summary = &mut self.summary;
        summary.rows += 1;
        summary.packets = summary.packets.saturating_add(row.packets);
        summary.bytes = summary.bytes.saturating_add(row.bytes);
        if network.is_coarse {
            summary.coarse_packets = summary.coarse_packets.saturating_add(row.packets);
        }
        self.run.add(facts, segment, self.segments.count(), row);
        self.sensors.add(facts.list, quarter, row.packets);
        let (ip, kind) = (row.class.ip(), current.service.kind);
        for (number, &slot) in facts.slots.iter().enumerate() {
            let tally = &mut self.tallies[usize::from(slot)];
            if tally.packets == 0 {
                self.active.push(slot);
            }
            tally.add(&amount);
            tally.see(facts.sensor);
            let key = |dimension, name| CellKey::new(slot, dimension, ip, kind, name);
            let places = &mut self.places[usize::from(slot)];
            let mut place =
                |cells: &mut Cells, dimension, name| places.get(dimension, name, || cells.place(key(dimension, name)));
            let cells = &mut self.cells;
            let protocol = place(cells, Dimension::Protocol, current.protocol_name);
            cells.at(protocol).add(&amount);
            // Of all sensors the table of sources says in the end which sources they had; of a group their names are known.
            let (is_all, region) = (number == 0, place(cells, Dimension::Region, network.region));
            let scanner = network.scanner.map(|scanner| place(cells, Dimension::Scanner, scanner));
            for place in [Some(region), scanner].into_iter().flatten() {
                if is_all { cells.at(place).count(&amount) } else { cells.at(place).add(&amount) }
            }
            if is_all {
                let sensor = place(cells, Dimension::Sensor, facts.name);
                cells.at(sensor).add(&amount);
            }
            for &mark in &current.marks {
                let of_day = place(cells, Dimension::Mark, mark);
                cells.at(of_day).add(&amount);
                self.local.of(key(Dimension::Mark, mark)).add(&amount);
            }
            if current.is_watched {
                self.local.of(key(Dimension::Region, network.region)).add(&amount);
            }
        }
    }

    fn change_class(&mut self, class: PackedClass) -> Result<(), RollupError> {
        let service = ServiceKind { service: ServiceKey::new(class), kind: class.kind() };
        if self.current.as_ref().is_none_or(|current| current.service != service) {
            self.end_service()?;
            if self.places_of != (class.ip(), class.kind()) {
                self.places_of = (class.ip(), class.kind());
                self.places.iter_mut().for_each(Places::clear);
            }
        }
        let unpacked = class.unpack();
        let port = match unpacked.service {
            Service::Port(number) => Some(Port { protocol: unpacked.protocol, number }),
            _ => None,
        };
        let names = &mut self.facts.names;
        self.current = Some(Current {
            service,
            protocol_name: names.number(&unpacked.protocol.to_string()),
            is_port: port.is_some() && service.kind == Kind::Scan,
            is_syn: unpacked.protocol == TCP && service.kind == Kind::Scan && !unpacked.marks.contains(Mark::Stealth),
            is_watched: port.is_some_and(|port| self.settings.watched.contains(&port)),
            class,
            marks: class.marks().iter().map(|mark: Mark| names.number(mark.name())).collect(),
        });
        Ok(())
    }

    fn begin_run(&mut self, row: &Row) {
        (self.run.source, self.run.hash) = (row.source, self.hash.of(row.class.ip(), row.source));
    }

    fn end_run(&mut self, labels: &Labels) {
        let Some(current) = &self.current else { return };
        let (run, kind) = (&mut self.run, current.service.kind);
        let parts = &mut run.parts[..run.used];
        // The same order, whatever came first.
        parts.sort_unstable_by_key(|part| (part.class, labels.network(part.network)));
        let ip = current.class.ip();
        let marks = current.class.marks();
        let facts = &self.facts;
        let mut sets =
            Sets { cells: &mut self.cells, networks: &mut self.networks, populations: &mut self.populations };
        for RunPart { class, network, bytes, sensors, packets } in parts {
            let (class, network, bytes, sensors) = (*class, *network, *bytes, *sensors);
            let mask =
                packets.iter().enumerate().filter(|(_, packets)| **packets > 0).fold(0, |mask, (n, _)| mask | 1 << n);
            let sent = Sent {
                kind,
                source: Source::new(ip, run.source),
                packets: packets.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets)),
                bytes,
                seen: (run.hash, mask),
                service: self.services,
                is_port: current.is_port,
                network,
                marks,
                is_syn: current.is_syn,
                sensors,
            };
            sets.networks.add(Of { class, ip, kind, network }, labels, packets, bytes);
            self.sources[class as usize].add(&sent, labels, &mut |told| sets.tell(facts, labels, class, &told));
        }
        run.used = 0;
    }

    /// Writes what the current service comes to.
    fn end_service(&mut self) -> Result<(), RollupError> {
        let Some(Current { service, is_watched, .. }) = self.current.take() else { return Ok(()) };
        self.services = self.services.wrapping_add(1);
        self.sensors.end(service);
        let ServiceKind { service, kind } = service;
        let mut full = Vec::new();
        self.active.sort_unstable();
        for number in self.active.drain(..) {
            let (slot, tally) = (self.facts.slot_of(number), &mut self.tallies[usize::from(number)]);
            let sketch = tally.sketch().map_err(crate::store::StoreError::from)?;
            let (packets, bytes, sensors) = (tally.packets, tally.bytes, tally.sensors());
            let light = Light { service, kind, packets, sources: sketch.sources };
            let quarters = quarters::encode(&tally.quarters);
            tally.clear();
            self.stage.push(Record::Service { slot, service, kind, packets, bytes, sensors, quarters, sketch })?;
            if self.ranks.push(slot, light) >= self.settings.limits.services.saturating_mul(2) {
                full.push(slot);
            }
        }
        self.end_local(ServiceKind { service, kind }, is_watched)?;
        full.into_iter().try_for_each(|slot| self.fold(slot))
    }

    fn end_local(&mut self, service: ServiceKind, is_watched: bool) -> Result<(), RollupError> {
        for (key, tally) in self.local.iter_mut() {
            let (slot, dimension, _, kind, name) = key.parts();
            let (slot, packets, bytes) = (self.facts.slot_of(slot), tally.packets, tally.bytes);
            let mut made =
                || Ok((quarters::encode(&tally.quarters), tally.sketch().map_err(crate::store::StoreError::from)?));
            if is_watched {
                let (quarters, sketch) = made()?;
                let (name, service) = (self.facts.names.text(name).clone(), service.service);
                let group = Record::Group { slot, dimension, service, kind, name, packets, bytes, quarters, sketch };
                self.stage.push(group)?;
                continue;
            }
            let limit = self.settings.limits.mark_services;
            let list = self.mark_lists.entry((slot, name)).or_insert_with(|| Best::new(limit));
            list.offer(packets, service, || made().map(|(quarters, sketch)| MarkService { bytes, quarters, sketch }))
                .map_err(|error: RollupError| error)?;
        }
        self.local.clear();
        Ok(())
    }

    /// Adds up the services of a slot that have the fewest packets, beyond the limit.
    fn fold(&mut self, slot: Slot) -> Result<(), RollupError> {
        let others = self.ranks.prune(slot, self.settings.limits.services);
        let Some(number) = self.facts.slot_number(slot).filter(|_| !others.is_empty()) else { return Ok(()) };
        self.summary.folded_services += others.len() as u64;
        let folded = &mut self.folded;
        self.stage.take_services(slot, &others, |taken| {
            let key = CellKey::new(number, Dimension::Protocol, taken.service.ip(), taken.kind, 0);
            let cell = folded.cell(key);
            let quarters = quarters::decode::<QUARTERS>(taken.quarters)?;
            cell.packets = cell.packets.saturating_add(taken.packets);
            cell.bytes = cell.bytes.saturating_add(taken.bytes);
            for (sum, packets) in cell.quarters.iter_mut().zip(quarters) {
                *sum = sum.saturating_add(packets);
            }
            sketch::add_to_each(&mut cell.sets, taken.sketch)
        })
    }

    /// Writes everything that is known only at the end, and makes it the rollup of the day.
    pub(super) fn finish(mut self, labels: &Labels) -> Result<(Stage<'c>, DaySummary), RollupError> {
        self.end_run(labels);
        self.end_service()?;
        self.ranks.slots().into_iter().try_for_each(|slot| self.fold(slot))?;
        let facts = &self.facts;
        let mut sets =
            Sets { cells: &mut self.cells, networks: &mut self.networks, populations: &mut self.populations };
        for (class, list) in TrafficClass::ALL.into_iter().zip(&self.sources) {
            list.tell_all(labels, &mut |told| sets.tell(facts, labels, class, &told));
        }
        let failed = crate::store::StoreError::from;
        let sources = &self.sources;
        let populations =
            self.populations.into_records(|class| sources[class as usize].is_complete()).map_err(failed)?;
        let Computation { mut stage, facts, cells, folded, mark_lists, sensors, sources, networks, ranks, .. } = self;
        populations.into_iter().try_for_each(|record| stage.push(record))?;
        for (key, cell) in folded.iter() {
            let (slot, _, ip, kind, _) = key.parts();
            let (service, slot) = (ServiceKey::rest(ip), facts.slot_of(slot));
            let (packets, bytes, quarters) = (cell.packets, cell.bytes, quarters::encode(&cell.quarters));
            let sketch = cell.sketch().map_err(failed)?;
            stage.push(Record::Service { slot, service, kind, packets, bytes, sensors: 0, quarters, sketch })?;
        }
        let mut totals = SensorTotals::new();
        for (key, cell) in cells.iter() {
            let (slot, dimension, ip, kind, name) = key.parts();
            let (slot, name) = (facts.slot_of(slot), facts.names.text(name).clone());
            if dimension == Dimension::Sensor {
                totals.insert((slot.class, name.clone(), ip, kind), cell.quarters);
            }
            stage.push(group(slot, dimension, ip, kind, name, cell).map_err(failed)?)?;
        }
        for ((slot, name), list) in mark_lists {
            for (packets, ServiceKind { service, kind }, MarkService { bytes, quarters, sketch }) in list.into_sorted()
            {
                let (dimension, name) = (Dimension::Mark, facts.names.text(name).clone());
                stage.push(Record::Group { slot, dimension, service, kind, name, packets, bytes, quarters, sketch })?;
            }
        }
        sensors.into_records(totals).into_iter().try_for_each(|record| stage.push(record))?;
        for (class, list) in TrafficClass::ALL.into_iter().zip(sources) {
            let records = list.into_records(class, self.settings.limits.listed_sources, labels);
            records.into_iter().try_for_each(|record| stage.push(record))?;
        }
        networks.into_records().map_err(failed)?.into_iter().try_for_each(|record| stage.push(record))?;
        ranks.into_records().map_err(failed)?.into_iter().try_for_each(|record| stage.push(record))?;
        for (sensor, scopes) in &self.settings.groups {
            for scope in scopes.iter().copied().collect::<BTreeSet<u32>>() {
                stage.push(Record::ScopeSensor { scope, sensor: sensor.as_str().into() })?;
            }
        }
        Ok((stage, self.summary))
    }
}

impl Run {
    fn add(&mut self, facts: &ObserverFacts, segment: usize, segments: usize, row: &Row) {
        let (class, network) = (facts.class, row.network);
        let sensors = Sensors::one(facts.sensor);
        let known = self.parts[..self.used].iter().position(|part| (part.class, part.network) == (class, network));
        let place = known.unwrap_or_else(|| {
            let fresh = || RunPart { class, network, bytes: 0, sensors, packets: vec![0; segments] };
            match self.parts.get_mut(self.used) {
                Some(part) => {
                    (part.class, part.network, part.bytes, part.sensors) = (class, network, 0, sensors);
                    part.packets.fill(0);
                }
                None => self.parts.push(fresh()),
            }
            self.used += 1;
            self.used - 1
        });
        let part = &mut self.parts[place];
        part.sensors = part.sensors.and(sensors);
        part.bytes = part.bytes.saturating_add(row.bytes);
        part.packets[segment] = part.packets[segment].saturating_add(row.packets);
    }
}

/// What is told of sources.
struct Sets<'a> {
    cells: &'a mut Cells,
    networks: &'a mut NetworkSums,
    populations: &'a mut PopulationSums,
}

impl Sets<'_> {
    /// Tells region, list of known scanners and network of a source; and populations of one that has ended.
    fn tell(&mut self, facts: &Facts, labels: &Labels, class: TrafficClass, told: &Told) {
        let Told { kind, source, network, seen, ref ended } = *told;
        self.networks.see(Of { class, ip: source.ip, kind, network }, labels, seen);
        if let Some(Ended { segments, belongs }) = ended {
            self.populations.add((class, source.ip, kind), (seen.0, *segments), belongs);
        }
        let Some(slot) = facts.slot_number(Slot { class, scope: ALL_SENSORS }) else { return };
        let known = facts.network(network);
        self.cells.cell(CellKey::new(slot, Dimension::Region, source.ip, kind, known.region)).see(seen);
        if let Some(scanner) = known.scanner {
            self.cells.cell(CellKey::new(slot, Dimension::Scanner, source.ip, kind, scanner)).see(seen);
        }
    }
}

fn group(
    slot: Slot,
    dimension: Dimension,
    ip: IpVersion,
    kind: Kind,
    name: std::sync::Arc<str>,
    cell: &super::cells::Cell,
) -> std::io::Result<Record> {
    let (service, sketch) = (ServiceKey::rest(ip), cell.sketch()?);
    let (packets, bytes, quarters) = (cell.packets, cell.bytes, quarters::encode(&cell.quarters));
    Ok(Record::Group { slot, dimension, service, kind, name, packets, bytes, quarters, sketch })
}
