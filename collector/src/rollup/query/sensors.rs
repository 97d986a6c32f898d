//! What one sensor saw, by the hour.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::{IpVersion, Kind, TrafficClass};
use rusqlite::params;

use super::services::service_from;
use super::{Piece, Snapshot, Span};
use crate::aggregate::HOUR_SECONDS;
use crate::live::{ServiceKey, ServiceKind};
use crate::rollup::error::RollupError;
use crate::rollup::quarters;
use crate::rollup::sensors::HOURS;
use crate::rollup::zones::DAY_SECONDS;

/// A service that a sensor saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorService {
    /// Which, and of which kind.
    pub service: ServiceKind,
    /// Packets on the days on which it was among the listed.
    pub packets: u64,
    /// The same for each hour of the time.
    pub hours: Vec<u64>,
}

/// The services of a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorServices {
    /// Those that were among the listed on a day, the ones with the most packets first.
    pub services: Vec<SensorService>,
    /// Everything else, by the hour: what was not listed, and what `limit` left out.
    pub others: Vec<u64>,
}

impl Snapshot<'_> {
    /// The services that a sensor saw most. Of each day the first fifty by kind are kept; all else is in `others`.
    ///
    /// # Errors
    /// If they cannot be read, or the time does not begin and end at full hours of UTC.
    pub fn sensor_services(
        &self,
        class: TrafficClass,
        sensor: &str,
        span: Span,
        limit: usize,
    ) -> Result<SensorServices, RollupError> {
        if [span.from(), span.to()].iter().any(|time| time.rem_euclid(HOUR_SECONDS) != 0) {
            return Err(RollupError::NotKept(
                "a sensor's services are kept by the hour: take from and to at full hours of UTC",
            ));
        }
        let hours = usize::try_from((span.to() - span.from()) / HOUR_SECONDS).unwrap_or(0);
        let mut sums: BTreeMap<ServiceKind, Vec<u64>> = BTreeMap::new();
        let mut others = vec![0; hours];
        for piece in self.pieces(span)? {
            self.sensor_rows(class, sensor, &piece, |service, of_day| {
                let listed = service.service < ServiceKey::rest(IpVersion::V4);
                let sum = if listed { sums.entry(service).or_insert_with(|| vec![0; hours]) } else { &mut others };
                add(sum, of_day, &piece, span);
            })?;
        }
        let services = sums.into_iter().map(|(service, hours)| {
            let packets = hours.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets));
            SensorService { service, packets, hours }
        });
        let mut services: Vec<SensorService> = services.filter(|service| service.packets > 0).collect();
        services.sort_by_key(|service| (Reverse(service.packets), service.service));
        for left_out in services.drain(limit.min(services.len())..) {
            others.iter_mut().zip(left_out.hours).for_each(|(sum, packets)| *sum = sum.saturating_add(packets));
        }
        Ok(SensorServices { services, others })
    }

    fn sensor_rows(
        &self,
        class: TrafficClass,
        sensor: &str,
        piece: &Piece,
        mut visit: impl FnMut(ServiceKind, [u64; HOURS]),
    ) -> Result<(), RollupError> {
        let sql = "SELECT service, kind, hours FROM rollup_sensor_services
             WHERE rollup = ?1 AND class = ?2 AND sensor = ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, class as u8, sensor])?;
        while let Some(row) = rows.next()? {
            let damaged = RollupError::damaged("rollup_sensor_services");
            let service = service_from(row.get(0)?).ok_or_else(&damaged)?;
            let kind = Kind::from_number(row.get(1)?).ok_or_else(&damaged)?;
            let hours = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            visit(ServiceKind { service, kind }, quarters::decode(hours).ok_or_else(damaged)?);
        }
        Ok(())
    }
}

/// Adds the hours of a day that are in a span.
fn add(sum: &mut [u64], of_day: [u64; HOURS], piece: &Piece, span: Span) {
    for (hour, packets) in (0..).zip(of_day) {
        let time = piece.day * DAY_SECONDS + hour * HOUR_SECONDS;
        let place = usize::try_from((time - span.from()).div_euclid(HOUR_SECONDS)).ok();
        if let Some(of_hour) = place.and_then(|place| sum.get_mut(place)) {
            *of_hour = of_hour.saturating_add(packets);
        }
    }
}
