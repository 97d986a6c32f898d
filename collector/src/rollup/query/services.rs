//! Ports, ICMP messages and protocols without ports.

use std::collections::BTreeMap;

use martlet_window::{IpVersion, Kind, Service, TrafficClass};
use rusqlite::params;

use super::ranking::Question;
use super::sums::{Sum, Unknown};
use super::{Filter, Piece, Snapshot, Span};
use crate::live::ServiceKey;
use crate::rollup::error::RollupError;
use crate::rollup::ranks::Order;
use crate::rollup::records::number;
use crate::rollup::zones::Zone;

/// Which services are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// TCP, UDP and whatever else has ports.
    Ports,
    /// ICMP and ICMPv6 messages.
    Icmp,
    /// What has neither.
    Bare,
}

impl Which {
    pub(super) fn has(self, service: ServiceKey) -> bool {
        service.class().is_some_and(|class| match class.service {
            Service::Port(_) => self == Which::Ports,
            Service::Icmp { .. } | Service::IcmpError { .. } => self == Which::Icmp,
            Service::None => self == Which::Bare,
        })
    }
}

/// What a service comes to.
#[derive(Clone, Debug)]
pub struct ServiceTotals {
    /// Which.
    pub service: ServiceKey,
    /// Packets, bytes and sources of the kinds that were asked for.
    pub sum: Sum,
    /// Packets by kind.
    pub kinds: [u64; Kind::ALL.len()],
    /// Sum of the distinct sources of each day of the zone, if the time is made of such days.
    pub daily_sources: Result<u64, Unknown>,
    /// Sensors that saw it, at least: as many as did on one day, for one kind.
    pub sensors: u64,
}

/// Services, the first ones first.
#[derive(Clone, Debug)]
pub struct ServiceList {
    /// Those that were asked for.
    pub services: Vec<ServiceTotals>,
    /// How many there are in all, where that had to be found out.
    pub count: Option<usize>,
    /// Everything, whether it is listed or not, of any service.
    pub totals: Sum,
}

/// A service that was not seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSeen {
    /// The service.
    pub service: ServiceKey,
    /// Kind.
    pub kind: Kind,
    /// The UTC day, in days since the Unix epoch.
    pub day: i64,
}

/// The days of a zone that a span is made of, each as places of pieces and their segments.
pub(super) type ZoneDays = Vec<Vec<(usize, u32)>>;

impl Snapshot<'_> {
    /// The first services by packets, or by the distinct sources of each day of a zone added up.
    ///
    /// # Errors
    /// If they cannot be read, or there are too many alike.
    pub fn services(
        &self,
        filter: &Filter,
        span: Span,
        zone: &Zone,
        which: Which,
        order: Order,
        limit: usize,
    ) -> Result<ServiceList, RollupError> {
        let pieces = self.pieces(span)?;
        let days = zone_days(&pieces, span, zone);
        if order == Order::Sources && days.is_none() {
            return Err(RollupError::NotKept(Unknown::CutsSegments.reason()));
        }
        let accepts = |service| which.has(service);
        let days_or_none = days.as_deref().unwrap_or_default();
        let question = Question { filter, pieces: &pieces, order, days: days_or_none, accepts: &accepts };
        let ranking = self.rank(&question, limit)?;
        let services = ranking.services.into_iter();
        let services = services.map(|(_, service)| self.service_of(filter, span, &pieces, days.as_deref(), service));
        let services = services.collect::<Result<_, _>>()?;
        Ok(ServiceList { services, count: ranking.count, totals: self.totals(filter, span)? })
    }

    /// As [`Self::services`], only which they are, and by what they are ranked: cheap also where the list is long.
    ///
    /// # Errors
    /// If they cannot be read, or there are too many alike.
    pub fn ranked_services(
        &self,
        filter: &Filter,
        span: Span,
        zone: &Zone,
        which: Which,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(u64, ServiceKey)>, RollupError> {
        let pieces = self.pieces(span)?;
        let days = zone_days(&pieces, span, zone);
        if order == Order::Sources && days.is_none() {
            return Err(RollupError::NotKept(Unknown::CutsSegments.reason()));
        }
        let accepts = |service| which.has(service);
        let days = days.as_deref().unwrap_or_default();
        Ok(self.rank(&Question { filter, pieces: &pieces, order, days, accepts: &accepts }, limit)?.services)
    }

    /// What one service comes to; of kinds that were not asked for nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn service(
        &self,
        filter: &Filter,
        span: Span,
        zone: &Zone,
        service: ServiceKey,
    ) -> Result<ServiceTotals, RollupError> {
        let pieces = self.pieces(span)?;
        let days = zone_days(&pieces, span, zone);
        self.service_of(filter, span, &pieces, days.as_deref(), service)
    }

    /// ICMP and ICMPv6 messages by type and code, whatever they quote; the ones with the most packets first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn icmp(
        &self,
        filter: &Filter,
        span: Span,
        limit: usize,
    ) -> Result<Vec<(IpVersion, u8, u8, Sum)>, RollupError> {
        let sums = self.icmp_by(filter, span, |ip, icmp_type, code| (ip, icmp_type, code))?;
        let sums = sums.into_iter().map(|((ip, icmp_type, code), sum)| (ip, icmp_type, code, sum));
        Ok(sums.take(limit).collect())
    }

    /// The same by type alone. ICMP and ICMPv6 number them differently: ask for one IP version.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn icmp_types(&self, filter: &Filter, span: Span) -> Result<Vec<(u8, Sum)>, RollupError> {
        self.icmp_by(filter, span, |_, icmp_type, _| icmp_type)
    }

    fn icmp_by<K: Ord + Copy>(
        &self,
        filter: &Filter,
        span: Span,
        key: impl Fn(IpVersion, u8, u8) -> K,
    ) -> Result<Vec<(K, Sum)>, RollupError> {
        let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
        let pieces = self.pieces(span)?;
        for piece in &pieces {
            for (ip, protocol) in
                [(IpVersion::V4, 1u8), (IpVersion::V6, 58)].into_iter().filter(|(ip, _)| filter.has_ip(*ip))
            {
                self.visit_services(filter, piece, protocol_range(ip, protocol), |service, _, sum| {
                    if let Some(Service::Icmp { icmp_type, code } | Service::IcmpError { icmp_type, code, .. }) =
                        service.class().map(|class| class.service)
                    {
                        sums.entry(key(ip, icmp_type, code)).or_insert_with(|| Sum::of(span, &pieces)).add(sum);
                    }
                })?;
            }
        }
        let mut sums: Vec<_> = sums.into_iter().filter(|(_, sum)| sum.packets() > 0).collect();
        sums.sort_by_key(|(key, sum)| (std::cmp::Reverse(sum.packets()), *key));
        Ok(sums)
    }

    /// Services that were seen for the first time on one of the UTC days that begin in a time, by day, and then as they sort.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn first_seen_in(&self, class: TrafficClass, span: Span, limit: usize) -> Result<Vec<FirstSeen>, RollupError> {
        let days = span.days();
        let sql = "SELECT service, kind, day FROM rollup_first_seen
             WHERE class = ?1 AND day >= ?2 AND day < ?3 ORDER BY day, service, kind LIMIT ?4";
        let mut select = self.transaction.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query(params![class as u8, days.start, days.end, limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let damaged = RollupError::damaged("rollup_first_seen");
            let service = service_from(row.get(0)?).ok_or_else(&damaged)?;
            let kind = Kind::from_number(row.get(1)?).ok_or_else(damaged)?;
            found.push(FirstSeen { service, kind, day: row.get(2)? });
        }
        Ok(found)
    }

    pub(super) fn service_of(
        &self,
        filter: &Filter,
        span: Span,
        pieces: &[Piece],
        days: Option<&[Vec<(usize, u32)>]>,
        service: ServiceKey,
    ) -> Result<ServiceTotals, RollupError> {
        let mut totals = ServiceTotals {
            service,
            sum: Sum::of(span, pieces),
            kinds: [0; Kind::ALL.len()],
            daily_sources: Err(Unknown::CutsSegments),
            sensors: 0,
        };
        for piece in pieces {
            let range = (number(service), number(service));
            self.visit_services(filter, piece, range, |_, kind, sum| {
                let of_kind = &mut totals.kinds[kind as usize];
                *of_kind = of_kind.saturating_add(sum.packets());
                totals.sum.add(sum);
            })?;
            totals.sensors = totals.sensors.max(self.sensors_of(filter, piece, service)?);
        }
        if let Some(days) = days {
            let question = Question { filter, pieces, order: Order::Sources, days, accepts: &|_| true };
            totals.daily_sources = Ok(self.value(&question, service)?);
        }
        Ok(totals)
    }

    fn sensors_of(&self, filter: &Filter, piece: &Piece, service: ServiceKey) -> Result<u64, RollupError> {
        let sql = "SELECT coalesce(max(sensors), 0) FROM rollup_services
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service = ?4 AND (?5 IS NULL OR kind = ?5)";
        let mut select = self.transaction.prepare_cached(sql)?;
        let kind = filter.kind.map(|kind| kind as u8);
        let key = params![piece.rollup, filter.class as u8, filter.scope, number(service), kind];
        Ok(select.query_row(key, |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Visits the services of a piece whose numbers are in a range, both ends included.
    pub(super) fn visit_services(
        &self,
        filter: &Filter,
        piece: &Piece,
        (first, last): (i64, i64),
        mut visit: impl FnMut(ServiceKey, Kind, &Sum),
    ) -> Result<(), RollupError> {
        let sql = "SELECT service, kind, packets, bytes, quarters, sketch FROM rollup_services
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service BETWEEN ?4 AND ?5";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8, filter.scope, first, last])?;
        while let Some(row) = rows.next()? {
            let damaged = RollupError::damaged("rollup_services");
            let service = service_from(row.get(0)?).ok_or_else(&damaged)?;
            let kind = Kind::from_number(row.get(1)?).ok_or_else(damaged)?;
            if filter.has_kind(kind) {
                let mut sum = Sum::default();
                sum.add_row(piece, row, 2, "rollup_services")?;
                visit(service, kind, &sum);
            }
        }
        Ok(())
    }
}

/// The numbers that services of a protocol have, both ends included.
fn protocol_range(ip: IpVersion, protocol: u8) -> (i64, i64) {
    let first = |protocol: u16| {
        let version = u64::from(ip == IpVersion::V6);
        (version << 52 | u64::from(protocol) << 44).cast_signed()
    };
    (first(protocol.into()), first(u16::from(protocol) + 1) - 1)
}

pub(super) fn service_from(number: i64) -> Option<ServiceKey> {
    ServiceKey::from_bits(number.cast_unsigned())
}

/// The days of a zone that a span is made of, if it is made of nothing else and they are made of whole segments. A day without a
/// rollup, or with a part of one, has the sources that are known of it.
pub(super) fn zone_days(pieces: &[Piece], span: Span, zone: &Zone) -> Option<ZoneDays> {
    let mut days = ZoneDays::new();
    for day in zone.days(span.from()..span.to())? {
        let mut of_day = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            let time = piece.time();
            if time.start >= day.end || time.end <= day.start {
                continue;
            }
            of_day.push((place, piece.segments_within(day.clone())?));
        }
        days.push(of_day);
    }
    Some(days)
}
