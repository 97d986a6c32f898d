//! Protocols, regions, known scanners, marks and sensors.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::{IpVersion, Kind};
use rusqlite::{Row, params};

use super::services::service_from;
use super::sums::Sum;
use super::{Filter, Piece, Snapshot, Span};
use crate::live::ServiceKey;
use crate::rollup::cells::Dimension;
use crate::rollup::error::RollupError;
use crate::rollup::records::number;

/// What a region, mark, known scanner, sensor or protocol comes to.
#[derive(Clone, Debug)]
pub struct GroupTotals {
    /// Its name; of a protocol its number.
    pub name: String,
    /// Packets, bytes and sources of the kinds that were asked for.
    pub sum: Sum,
    /// Packets by kind.
    pub kinds: [u64; Kind::ALL.len()],
}

/// Which packets are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All.
    All,
    /// Those of a service: kept of regions and marks, for the ports of `metrics.ports`, and of marks for the services that have
    /// the most packets with it.
    Service(ServiceKey),
    /// As [`Grouping::Service`], of each service that is kept, added up.
    EachService,
}

/// Takes a row of a group, and of what it is.
pub(super) type VisitGroup<'a> = dyn FnMut(ServiceKey, Kind, &str, &Row<'_>) -> Result<(), RollupError> + 'a;

impl Snapshot<'_> {
    /// Everything that a filter leaves.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn totals(&self, filter: &Filter, span: Span) -> Result<Sum, RollupError> {
        let mut totals = Sum::of(span, &self.pieces(span)?);
        for group in self.groups(filter, span, Dimension::Protocol, Grouping::All)? {
            totals.add(&group.sum);
        }
        Ok(totals)
    }

    /// The groups of a dimension, the ones with the most packets first. Protocols are told apart by [`Dimension::Protocol`] only:
    /// in all others a filter of a protocol is an error.
    ///
    /// # Errors
    /// If they cannot be read, or are not kept.
    pub fn groups(
        &self,
        filter: &Filter,
        span: Span,
        dimension: Dimension,
        grouping: Grouping,
    ) -> Result<Vec<GroupTotals>, RollupError> {
        check(filter, dimension, grouping)?;
        let mut groups: BTreeMap<String, GroupTotals> = BTreeMap::new();
        let pieces = self.pieces(span)?;
        for piece in &pieces {
            self.visit_groups(filter, piece, dimension, grouping, |_, kind, name, sum| {
                let group = groups.entry(name.to_owned()).or_insert_with(|| GroupTotals {
                    name: name.to_owned(),
                    sum: Sum::of(span, &pieces),
                    kinds: [0; Kind::ALL.len()],
                });
                let of_kind = &mut group.kinds[kind as usize];
                *of_kind = of_kind.saturating_add(sum.packets());
                group.sum.add(sum);
                Ok(())
            })?;
        }
        let mut groups: Vec<GroupTotals> = groups.into_values().filter(|group| group.sum.packets() > 0).collect();
        groups.sort_by(|a, b| (Reverse(a.sum.packets()), &a.name).cmp(&(Reverse(b.sum.packets()), &b.name)));
        Ok(groups)
    }

    /// The services that have the most packets with a mark on each of the days, added up: a service that is not among the listed
    /// of a day, and is not in `metrics.ports`, lacks the packets of that day.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn mark_services(
        &self,
        filter: &Filter,
        span: Span,
        mark: &str,
        limit: usize,
    ) -> Result<Vec<(ServiceKey, Sum)>, RollupError> {
        let mut sums: BTreeMap<ServiceKey, Sum> = BTreeMap::new();
        let pieces = self.pieces(span)?;
        for piece in &pieces {
            self.visit_groups(filter, piece, Dimension::Mark, Grouping::EachService, |service, _, name, sum| {
                if name == mark && filter.has(service) {
                    sums.entry(service).or_insert_with(|| Sum::of(span, &pieces)).add(sum);
                }
                Ok(())
            })?;
        }
        let mut sums: Vec<(ServiceKey, Sum)> = sums.into_iter().filter(|(_, sum)| sum.packets() > 0).collect();
        sums.sort_by_key(|(service, sum)| (Reverse(sum.packets()), *service));
        sums.truncate(limit);
        Ok(sums)
    }

    /// Visits the groups of a piece.
    fn visit_groups(
        &self,
        filter: &Filter,
        piece: &Piece,
        dimension: Dimension,
        grouping: Grouping,
        mut visit: impl FnMut(ServiceKey, Kind, &str, &Sum) -> Result<(), RollupError>,
    ) -> Result<(), RollupError> {
        self.group_range(filter, piece, dimension, grouping, &mut |service, kind, name, row| {
            let mut sum = Sum::default();
            sum.add_row(piece, row, 3, "rollup_groups")?;
            visit(service, kind, name, &sum)
        })
    }

    /// Visits the rows of a piece's groups; their columns from 3 on are packets, bytes, quarters and sketch.
    pub(super) fn group_range(
        &self,
        filter: &Filter,
        piece: &Piece,
        dimension: Dimension,
        grouping: Grouping,
        visit: &mut VisitGroup<'_>,
    ) -> Result<(), RollupError> {
        let (first, last) = match grouping {
            Grouping::All => (number(ServiceKey::rest(IpVersion::V4)), number(ServiceKey::rest(IpVersion::V6))),
            Grouping::Service(service) => (number(service), number(service)),
            Grouping::EachService => (0, number(ServiceKey::rest(IpVersion::V4)) - 1),
        };
        let sql = "SELECT service, kind, name, packets, bytes, quarters, sketch FROM rollup_groups
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND dimension = ?4 AND service BETWEEN ?5 AND ?6";
        let mut select = self.transaction.prepare_cached(sql)?;
        let (class, scope) = (filter.class as u8, filter.scope);
        let mut rows = select.query(params![piece.rollup, class, scope, dimension as u8, first, last])?;
        let only = filter.protocol.filter(|_| dimension == Dimension::Protocol).map(|protocol| protocol.to_string());
        while let Some(row) = rows.next()? {
            let damaged = RollupError::damaged("rollup_groups");
            let kind = Kind::from_number(row.get(1)?).ok_or_else(&damaged)?;
            let service = service_from(row.get(0)?).ok_or_else(&damaged)?;
            let name = row.get_ref(2)?.as_str().map_err(|_| damaged())?;
            if filter.has_kind(kind) && filter.has_ip(service.ip()) && only.as_deref().is_none_or(|only| only == name) {
                visit(service, kind, name, row)?;
            }
        }
        Ok(())
    }
}

pub(super) fn check(filter: &Filter, dimension: Dimension, grouping: Grouping) -> Result<(), RollupError> {
    if filter.protocol.is_some() && dimension != Dimension::Protocol {
        return Err(RollupError::NotKept(
            "only services and protocols are kept by protocol: leave the protocol out, or ask the archive",
        ));
    }
    if grouping != Grouping::All && !matches!(dimension, Dimension::Region | Dimension::Mark) {
        return Err(RollupError::NotKept("of single services only regions and marks are kept: ask the archive"));
    }
    if dimension == Dimension::Sensor && filter.scope != crate::rollup::settings::ALL_SENSORS {
        return Err(RollupError::NotKept("sensors are kept apart over all sensors only: leave the group out"));
    }
    Ok(())
}
