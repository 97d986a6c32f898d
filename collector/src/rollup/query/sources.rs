//! Heaviest sources, and the networks of all sources.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::{IpVersion, Kind, TrafficClass};
use rusqlite::params;

use super::sums::{Distinct, Unknown};
use super::{Filter, Piece, Snapshot, Span};
use crate::rollup::error::RollupError;
use crate::rollup::networks::UNKNOWN_ASN;
use crate::rollup::quarters::decode_to;
use crate::rollup::sketch;
use martlet_window::DistinctSources;

/// A source that was among the heaviest of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// Its address; or its network, where only that is left.
    pub source: String,
    /// Packets that are certain.
    pub packets: u64,
    /// Most packets it may have sent beside them.
    pub error: u64,
    /// Bytes of the packets that are certain.
    pub bytes: u64,
    /// Ports, by protocol, that it scanned on the day on which they were most, as far as is known.
    pub ports: u64,
    /// Its region on the last of the days.
    pub region: String,
    /// Its autonomous system then.
    pub asn: Option<u32>,
    /// Who that is.
    pub organisation: Option<String>,
    /// The list of known scanners that it was on then.
    pub known_scanner: Option<String>,
}

/// Heaviest sources of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopSourceList {
    /// The first ones, by the most that they can have sent.
    pub sources: Vec<SourceEntry>,
    /// Most packets that a source which is not on any day's list can have sent.
    pub floor: u64,
    /// Sources, on no list of known scanners, that scanned [`MULTI_PORT`](crate::rollup::MULTI_PORT) ports or more in a day: sum over days.
    pub multi_port_sources: u64,
    /// Their packets.
    pub multi_port_packets: u64,
    /// Whether every source of every day was told apart; if not, the two before are lower bounds.
    pub is_complete: bool,
}

/// What an autonomous system comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkTotals {
    /// Its number; `None` for sources of which none is known.
    pub asn: Option<i64>,
    /// Who it is.
    pub organisation: Option<String>,
    /// Packets.
    pub packets: u64,
    /// Distinct sources.
    pub sources: Distinct,
}

impl Snapshot<'_> {
    /// The heaviest sources of one kind, over all sensors, of whole UTC days.
    ///
    /// # Errors
    /// If they cannot be read, or the time cuts a UTC day.
    pub fn top_sources(
        &self,
        class: TrafficClass,
        kind: Kind,
        span: Span,
        limit: usize,
    ) -> Result<TopSourceList, RollupError> {
        let mut list = TopSourceList {
            sources: Vec::new(),
            floor: 0,
            multi_port_sources: 0,
            multi_port_packets: 0,
            is_complete: true,
        };
        let (mut sums, mut floors): (BTreeMap<String, (SourceEntry, u64)>, u64) = (BTreeMap::new(), 0);
        for piece in self.pieces(span)? {
            if !piece.is_whole() {
                return Err(RollupError::NotKept(
                    "lists of sources are kept of whole UTC days: take from and to at 00:00 UTC, or ask the archive",
                ));
            }
            let floor = self.source_list(class, kind, &piece, &mut list)?;
            self.day_sources(class, kind, &piece, |entry| {
                let (sum, listed_floors) = sums
                    .entry(entry.source.clone())
                    .or_insert_with(|| (SourceEntry { packets: 0, error: 0, bytes: 0, ..entry.clone() }, 0));
                let (packets, error, bytes) = (sum.packets, sum.error, sum.bytes);
                *sum = SourceEntry {
                    packets: packets.saturating_add(entry.packets),
                    error: error.saturating_add(entry.error),
                    bytes: bytes.saturating_add(entry.bytes),
                    ports: sum.ports.max(entry.ports),
                    ..entry
                };
                *listed_floors = listed_floors.saturating_add(floor);
            })?;
            floors = floors.saturating_add(floor);
        }
        // On a day on which it is not listed a source may have sent as much as that day's floor.
        let with_error = sums.into_values().map(|(mut entry, listed_floors)| {
            entry.error = entry.error.saturating_add(floors - listed_floors);
            entry
        });
        list.sources = with_error.collect();
        list.sources.sort_by(|a, b| {
            let rank = |entry: &SourceEntry| (Reverse(entry.packets.saturating_add(entry.error)), entry.error);
            rank(a).cmp(&rank(b)).then_with(|| a.source.cmp(&b.source))
        });
        list.sources.truncate(limit);
        list.floor = floors;
        Ok(list)
    }

    fn source_list(
        &self,
        class: TrafficClass,
        kind: Kind,
        piece: &Piece,
        list: &mut TopSourceList,
    ) -> Result<u64, RollupError> {
        let sql = "SELECT floor, is_complete, multi_port_sources, multi_port_packets FROM rollup_source_lists
             WHERE rollup = ?1 AND class = ?2 AND kind = ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, class as u8, kind as u8])?;
        let Some(row) = rows.next()? else { return Ok(0) };
        let number = |place: usize| row.get::<_, i64>(place).map(i64::unsigned_abs);
        list.is_complete &= row.get::<_, bool>(1)?;
        list.multi_port_sources += number(2)?;
        list.multi_port_packets = list.multi_port_packets.saturating_add(number(3)?);
        Ok(number(0)?)
    }

    fn day_sources(
        &self,
        class: TrafficClass,
        kind: Kind,
        piece: &Piece,
        mut visit: impl FnMut(SourceEntry),
    ) -> Result<(), RollupError> {
        let sql =
            "SELECT source, packets, error, bytes, ports, region, asn, organisation, known_scanner FROM rollup_sources
             WHERE rollup = ?1 AND class = ?2 AND kind = ?3 ORDER BY place";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, class as u8, kind as u8])?;
        while let Some(row) = rows.next()? {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::unsigned_abs);
            visit(SourceEntry {
                source: row.get(0)?,
                packets: number(1)?,
                error: number(2)?,
                bytes: number(3)?,
                ports: number(4)?,
                region: row.get(5)?,
                asn: row.get(6)?,
                organisation: row.get(7)?,
                known_scanner: row.get(8)?,
            });
        }
        Ok(())
    }

    /// Autonomous systems, those with the most packets first, over all sensors, of whole days of a configured zone.
    ///
    /// # Errors
    /// If they cannot be read, or the time cuts a segment.
    pub fn networks(&self, filter: &Filter, span: Span, limit: usize) -> Result<Vec<NetworkTotals>, RollupError> {
        if filter.scope != crate::rollup::settings::ALL_SENSORS || filter.protocol.is_some() {
            return Err(RollupError::NotKept(
                "networks are kept over all sensors and protocols: leave group and protocol out, or ask the archive",
            ));
        }
        let mut sums: BTreeMap<i64, (Option<String>, u64, DistinctSources)> = BTreeMap::new();
        for piece in self.pieces(span)? {
            let wanted = piece.segments.ok_or(RollupError::NotKept(Unknown::CutsSegments.reason()))?;
            self.day_networks(filter, &piece, wanted, &mut sums)?;
        }
        let mut networks: Vec<NetworkTotals> = sums
            .into_iter()
            .filter(|(_, (_, packets, _))| *packets > 0)
            .map(|(asn, (organisation, packets, set))| NetworkTotals {
                asn: (asn != UNKNOWN_ASN).then_some(asn),
                organisation,
                packets,
                sources: Distinct { count: set.count(), error: set.standard_error() },
            })
            .collect();
        networks.sort_by_key(|network| (Reverse(network.packets), network.asn));
        networks.truncate(limit);
        Ok(networks)
    }

    fn day_networks(
        &self,
        filter: &Filter,
        piece: &Piece,
        wanted: u32,
        sums: &mut BTreeMap<i64, (Option<String>, u64, DistinctSources)>,
    ) -> Result<(), RollupError> {
        let sql = "SELECT ip_version, kind, asn, organisation, segments, sketch FROM rollup_networks
             WHERE rollup = ?1 AND class = ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8])?;
        while let Some(row) = rows.next()? {
            let damaged = RollupError::damaged("rollup_networks");
            let ip = if row.get::<_, i64>(0)? == IpVersion::V6 as i64 { IpVersion::V6 } else { IpVersion::V4 };
            let kind = Kind::from_number(row.get(1)?).ok_or_else(&damaged)?;
            if !filter.has_ip(ip) || !filter.has_kind(kind) {
                continue;
            }
            let mut segments = vec![0; piece.cuts.count()];
            decode_to(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?, &mut segments).ok_or_else(&damaged)?;
            let of = segments.iter().enumerate().filter(|(segment, _)| wanted >> segment & 1 == 1);
            let packets = of.fold(0u64, |sum, (_, &packets)| sum.saturating_add(packets));
            if packets == 0 {
                continue;
            }
            let sum = sums.entry(row.get(2)?).or_default();
            let organisation: Option<String> = row.get(3)?;
            sum.0 = organisation.or(sum.0.take());
            sum.1 = sum.1.saturating_add(packets);
            let sketch = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
            sketch::add_to(&mut sum.2, sketch, wanted).ok_or_else(damaged)?;
        }
        Ok(())
    }
}
