//! The rows of a rollup on their way into the store.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use martlet_window::{IpVersion, Kind, TrafficClass};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::cells::Dimension;
use super::populations::Population;
use super::sketch::Sketch;
use crate::archive::Network;
use crate::live::ServiceKey;

/// What a row costs in the store beside its blobs, in bytes; only says when it is time to write.
const ROW_BYTES: usize = 100;

/// Whose packets a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub(super) class: TrafficClass,
    pub(super) scope: u32,
}

/// A row.
#[derive(Debug, Hash)]
pub(super) enum Record {
    Service {
        slot: Slot,
        service: ServiceKey,
        kind: Kind,
        packets: u64,
        bytes: u64,
        sensors: u64,
        quarters: Vec<u8>,
        sketch: Sketch,
    },
    Group {
        slot: Slot,
        dimension: Dimension,
        /// [`ServiceKey::rest`] stands for all.
        service: ServiceKey,
        kind: Kind,
        name: Arc<str>,
        packets: u64,
        bytes: u64,
        quarters: Vec<u8>,
        sketch: Sketch,
    },
    SensorService {
        class: TrafficClass,
        sensor: Arc<str>,
        /// [`ServiceKey::rest`] stands for those that are not listed.
        service: ServiceKey,
        kind: Kind,
        packets: u64,
        hours: Vec<u8>,
    },
    Network {
        class: TrafficClass,
        ip: IpVersion,
        kind: Kind,
        asn: i64,
        organisation: Option<Arc<str>>,
        packets: u64,
        bytes: u64,
        segments: Vec<u8>,
        sketch: Sketch,
    },
    Source {
        class: TrafficClass,
        kind: Kind,
        place: usize,
        source: String,
        packets: u64,
        error: u64,
        bytes: u64,
        ports: u32,
        network: Network,
    },
    SourceList {
        class: TrafficClass,
        kind: Kind,
        floor: u64,
        is_complete: bool,
        multi_port_sources: u64,
        multi_port_packets: u64,
    },
    Population {
        class: TrafficClass,
        ip: IpVersion,
        kind: Kind,
        population: Population,
        packets: u64,
        is_complete: bool,
        sketch: Sketch,
    },
    Ranks {
        slot: Slot,
        kind: Kind,
        ordering: u8,
        page: usize,
        entries: Vec<u8>,
    },
    ScopeSensor {
        scope: u32,
        sensor: Arc<str>,
    },
}

/// Feeds a digest with what [`Hash`] tells.
struct Fed(Sha256);

impl Hasher for Fed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl Record {
    /// What it says, as a number: other records have others.
    pub(super) fn digest(&self) -> u128 {
        let mut bytes = Fed(Sha256::new());
        self.hash(&mut bytes);
        let hash: [u8; 32] = bytes.0.finalize().into();
        hash.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
    }

    /// About how many bytes it is.
    pub(super) fn size(&self) -> usize {
        ROW_BYTES
            + match self {
                Record::Service { quarters, sketch, .. } | Record::Group { quarters, sketch, .. } => {
                    quarters.len() + sketch.blob.len()
                }
                Record::Network { segments, sketch, .. } => segments.len() + sketch.blob.len(),
                Record::SensorService { hours, .. } => hours.len(),
                Record::Population { sketch, .. } => sketch.blob.len(),
                Record::Ranks { entries, .. } => entries.len(),
                Record::Source { .. } | Record::SourceList { .. } | Record::ScopeSensor { .. } => 0,
            }
    }

    /// Writes it as a row of a rollup.
    pub(super) fn insert(&self, rollup: i64, into: &Connection) -> rusqlite::Result<()> {
        let mut insert = into.prepare_cached(self.sql())?;
        match self {
            Record::Service { slot, service, kind, packets, bytes, sensors, quarters, sketch } => {
                let Sketch { blob, sources, is_exact } = sketch;
                let (class, scope, service, kind) = (slot.class as u8, slot.scope, number(*service), *kind as u8);
                let (packets, bytes, sources, sensors) =
                    (count(*packets), count(*bytes), count(*sources), count(*sensors));
                insert.execute(params![
                    rollup, class, scope, service, kind, packets, bytes, sources, is_exact, sensors, quarters, blob
                ])
            }
            Record::Group { slot, dimension, service, kind, name, packets, bytes, quarters, sketch } => {
                let Sketch { blob, sources, is_exact } = sketch;
                let (class, scope, dimension) = (slot.class as u8, slot.scope, *dimension as u8);
                let (service, kind) = (number(*service), *kind as u8);
                let (packets, bytes, sources) = (count(*packets), count(*bytes), count(*sources));
                insert.execute(params![
                    rollup, class, scope, dimension, service, kind, name, packets, bytes, sources, is_exact, quarters,
                    blob
                ])
            }
            Record::SensorService { class, sensor, service, kind, packets, hours } => {
                let (class, service, kind) = (*class as u8, number(*service), *kind as u8);
                insert.execute(params![rollup, class, sensor, service, kind, count(*packets), hours])
            }
            Record::Network { class, ip, kind, asn, organisation, packets, bytes, segments, sketch } => {
                let Sketch { blob, sources, is_exact } = sketch;
                let (class, ip, kind) = (*class as u8, *ip as u8, *kind as u8);
                let (packets, bytes, sources) = (count(*packets), count(*bytes), count(*sources));
                insert.execute(params![
                    rollup,
                    class,
                    ip,
                    kind,
                    asn,
                    organisation,
                    packets,
                    bytes,
                    sources,
                    is_exact,
                    segments,
                    blob
                ])
            }
            Record::Source { class, kind, place, source, packets, error, bytes, ports, network } => {
                let (class, kind) = (*class as u8, *kind as u8);
                let (packets, error, bytes) = (count(*packets), count(*error), count(*bytes));
                let Network { region, asn, organisation, known_scanner, .. } = network;
                let region = region.as_str();
                insert.execute(params![
                    rollup,
                    class,
                    kind,
                    place,
                    source,
                    packets,
                    error,
                    bytes,
                    ports,
                    region,
                    asn,
                    organisation,
                    known_scanner
                ])
            }
            Record::SourceList { class, kind, floor, is_complete, multi_port_sources, multi_port_packets } => {
                let (class, kind) = (*class as u8, *kind as u8);
                let (floor, sources, packets) = (count(*floor), count(*multi_port_sources), count(*multi_port_packets));
                insert.execute(params![rollup, class, kind, floor, is_complete, sources, packets])
            }
            Record::Population { class, ip, kind, population, packets, is_complete, sketch } => {
                let Sketch { blob, sources, is_exact } = sketch;
                let (class, ip, kind, population) = (*class as u8, *ip as u8, *kind as u8, *population as u8);
                let (packets, sources) = (count(*packets), count(*sources));
                insert.execute(params![
                    rollup,
                    class,
                    ip,
                    kind,
                    population,
                    packets,
                    is_complete,
                    sources,
                    is_exact,
                    blob
                ])
            }
            Record::Ranks { slot, kind, ordering, page, entries } => {
                insert.execute(params![rollup, slot.class as u8, slot.scope, *kind as u8, ordering, page, entries])
            }
            Record::ScopeSensor { scope, sensor } => insert.execute(params![rollup, scope, sensor]),
        }
        .map(|_| ())
    }

    const fn sql(&self) -> &'static str {
        match self {
            Record::Service { .. } => {
                "INSERT INTO rollup_services (rollup, class, scope, service, kind, packets, bytes, sources, is_exact, sensors,
                 quarters, sketch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
            }
            Record::Group { .. } => {
                "INSERT INTO rollup_groups (rollup, class, scope, dimension, service, kind, name, packets, bytes, sources,
                 is_exact, quarters, sketch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            }
            Record::SensorService { .. } => {
                "INSERT INTO rollup_sensor_services (rollup, class, sensor, service, kind, packets, hours)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            }
            Record::Network { .. } => {
                "INSERT INTO rollup_networks (rollup, class, ip_version, kind, asn, organisation, packets, bytes, sources,
                 is_exact, segments, sketch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
            }
            Record::Source { .. } => {
                "INSERT INTO rollup_sources (rollup, class, kind, place, source, packets, error, bytes, ports, region, asn,
                 organisation, known_scanner) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            }
            Record::SourceList { .. } => {
                "INSERT INTO rollup_source_lists (rollup, class, kind, floor, is_complete, multi_port_sources,
                 multi_port_packets) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            }
            Record::Population { .. } => {
                "INSERT INTO rollup_populations (rollup, class, ip_version, kind, population, packets, is_complete, sources,
                 is_exact, sketch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
            }
            Record::Ranks { .. } => {
                "INSERT INTO rollup_ranks (rollup, class, scope, kind, ordering, page, entries)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            }
            Record::ScopeSensor { .. } => {
                "INSERT INTO rollup_scope_sensors (rollup, scope, sensor) VALUES (?1, ?2, ?3)"
            }
        }
    }
}

/// A count as SQLite has it, so that sums in SQL are sums.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A service as SQLite has it. Keys have 63 bits.
pub(super) const fn number(service: ServiceKey) -> i64 {
    service.bits().cast_signed()
}
