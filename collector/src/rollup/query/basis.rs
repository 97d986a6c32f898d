//! What figures of a time are to be divided by, and how much of it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use martlet_window::{IpVersion, TrafficClass};
use rusqlite::params;

use super::{Filter, QUARTER_SECONDS, Snapshot, Span};
use crate::aggregate::HOUR_SECONDS;
use crate::rollup::error::RollupError;
use crate::rollup::exclusions::{Exclusion, exclusions};
use crate::rollup::settings::ALL_SENSORS;
use crate::rollup::zones::DAY_SECONDS;

/// Exposure is summed up in so many parts of an hour: a span may begin and end at any of them.
const PARTS: i64 = HOUR_SECONDS / QUARTER_SECONDS;

/// How much was watched, and what of it was lost, from `sensor_hours`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Milliseconds watched, times [`PARTS`].
    watched: u128,
    /// IPv4 addresses times milliseconds, times [`PARTS`].
    ipv4: u128,
    /// /64 prefixes times milliseconds, times [`PARTS`].
    ipv6: u128,
    /// Whether somebody watched who does not know how much; then nothing is per address.
    pub is_unknown: bool,
    /// Whether an hour at the begin or end counts in part only: what is known of hours is then shared out by time.
    pub is_shared: bool,
    /// Frames that kernels dropped in the hours that the time touches.
    pub kernel_drops: u64,
    /// Frames that interfaces dropped in them.
    pub interface_drops: u64,
    /// Packets that spools lost in them.
    pub lost_packets: u64,
    /// Windows that spools lost in them.
    pub lost_windows: u64,
    /// Begin of the first hour of which something is known, in seconds since the Unix epoch.
    pub first_hour: Option<i64>,
}

impl Exposure {
    /// Addresses, or of IPv6 /64 prefixes, times days; `None` where it is not known.
    #[must_use]
    pub fn address_days(&self, ip: IpVersion) -> Option<f64> {
        let exposure = match ip {
            IpVersion::V4 => self.ipv4,
            IpVersion::V6 => self.ipv6,
        };
        (!self.is_unknown).then(|| days(exposure))
    }

    /// Sensors times days.
    #[must_use]
    pub fn sensor_days(&self) -> f64 {
        days(self.watched)
    }

    /// Packets for each address and day; `None` where nothing was watched, or nobody knows how much.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a quotient with a few digits")]
    pub fn rate(&self, packets: u64, ip: IpVersion) -> Option<f64> {
        self.address_days(ip).filter(|&days| days > 0.0).map(|days| packets as f64 / days)
    }

    /// Adds that of another time, or of other sensors.
    pub fn add(&mut self, other: &Exposure) {
        self.watched += other.watched;
        self.ipv4 += other.ipv4;
        self.ipv6 += other.ipv6;
        self.is_unknown |= other.is_unknown;
        self.is_shared |= other.is_shared;
        self.kernel_drops = self.kernel_drops.saturating_add(other.kernel_drops);
        self.interface_drops = self.interface_drops.saturating_add(other.interface_drops);
        self.lost_packets = self.lost_packets.saturating_add(other.lost_packets);
        self.lost_windows = self.lost_windows.saturating_add(other.lost_windows);
        self.first_hour = self.first_hour.into_iter().chain(other.first_hour).min();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of days with a few digits")]
fn days(milliseconds: u128) -> f64 {
    milliseconds as f64 / (1000 * DAY_SECONDS * PARTS) as f64
}

/// What stands behind the figures of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The time.
    pub span: Span,
    /// The state of the store.
    pub generation: i64,
    /// UTC days of it that have no rollup, in days since the Unix epoch: nothing was archived of them, or they are not made yet.
    pub missing_days: Vec<i64>,
    /// UTC days of it that will be made again, since something came late, or was excluded.
    pub dirty_days: Vec<i64>,
    /// What regions of sources were looked up in when the rows were archived; a day that was made before schema version 12 says
    /// nothing.
    pub region_data: BTreeSet<String>,
    /// Packets, in whole UTC days, that exclusions left out.
    pub excluded_packets: u64,
    /// Packets, in whole UTC days, of whose sources only the network was left: distinct sources count each network once.
    pub coarse_packets: u64,
    /// Services that were added up, since there were too many on a day: packets are complete, these services are not listed.
    pub folded_services: u64,
    /// Exposure of all sensors of the scope; excluded hours are left out.
    pub exposure: Exposure,
    /// The same by sensor.
    pub sensors: BTreeMap<String, Exposure>,
}

impl Snapshot<'_> {
    /// The numbers that sensors have for ever, by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn sensor_numbers(&self) -> Result<BTreeMap<String, u32>, RollupError> {
        let mut select = self.transaction.prepare_cached("SELECT name, sensor FROM sensors")?;
        let numbers = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// What stands behind the figures of a time. It is known by the hour and as of the last commit.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn basis(&self, filter: &Filter, span: Span) -> Result<Basis, RollupError> {
        let mut basis = Basis {
            span,
            generation: self.generation,
            missing_days: Vec::new(),
            dirty_days: self.dirty(span)?,
            region_data: BTreeSet::new(),
            excluded_packets: 0,
            coarse_packets: 0,
            folded_services: 0,
            exposure: Exposure::default(),
            sensors: BTreeMap::new(),
        };
        let sql = "SELECT day, excluded_packets, coarse_packets, folded_services, region_data FROM rollup_days
             WHERE day >= ?1 AND day < ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![span.days().start, span.days().end])?;
        let mut made = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::unsigned_abs);
            made.insert(row.get::<_, i64>(0)?);
            basis.excluded_packets = basis.excluded_packets.saturating_add(number(1)?);
            basis.coarse_packets = basis.coarse_packets.saturating_add(number(2)?);
            basis.folded_services += number(3)?;
            basis.region_data.extend(row.get::<_, String>(4)?.lines().map(str::to_owned));
        }
        basis.missing_days = span.days().filter(|day| !made.contains(day)).collect();
        self.member_hours(filter, span, |sensor, hour| {
            let exposure = hour.within(span.from()..span.to());
            basis.exposure.add(&exposure);
            match basis.sensors.get_mut(sensor) {
                Some(of_sensor) => of_sensor.add(&exposure),
                None => drop(basis.sensors.insert(sensor.to_owned(), exposure)),
            }
        })?;
        Ok(basis)
    }

    /// Exposure of each step of a time; steps begin at these times, ascending, and the last one ends with the time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn exposure_by_step(&self, filter: &Filter, span: Span, starts: &[i64]) -> Result<Vec<Exposure>, RollupError> {
        let mut steps = vec![Exposure::default(); starts.len()];
        self.member_hours(filter, span, |_, hour| {
            let mut step = starts.partition_point(|&start| start <= hour.start).saturating_sub(1);
            while let Some(&start) = starts.get(step).filter(|&&start| start < hour.start + HOUR_SECONDS) {
                let end = starts.get(step + 1).copied().unwrap_or(span.to());
                steps[step].add(&hour.within(start..end));
                step += 1;
            }
        })?;
        Ok(steps)
    }

    /// Visits the hours that a time touches of the sensors that are meant; excluded ones are left out.
    fn member_hours(&self, filter: &Filter, span: Span, mut visit: impl FnMut(&str, &Hour)) -> Result<(), RollupError> {
        let members = self.members(filter.scope, span)?;
        let excluded = exclusions(&self.transaction)?;
        self.hours(filter.class, span, |sensor, hour| {
            let is_member = members.as_ref().is_none_or(|members| {
                members.get(&hour.start.div_euclid(DAY_SECONDS)).is_some_and(|sensors| sensors.contains(sensor))
            });
            if is_member && !is_excluded(&excluded, sensor, hour.start) {
                visit(sensor, hour);
            }
        })
    }

    /// The sensors that a scope had on each day; `None` for all sensors.
    fn members(&self, scope: u32, span: Span) -> Result<Option<BTreeMap<i64, BTreeSet<String>>>, RollupError> {
        if scope == ALL_SENSORS {
            return Ok(None);
        }
        let sql = "SELECT day, sensor FROM rollup_scope_sensors JOIN rollup_days USING (rollup)
             WHERE scope = ?1 AND day >= ?2 AND day < ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![scope, span.days().start, span.days().end])?;
        let mut members: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            members.entry(row.get(0)?).or_default().insert(row.get(1)?);
        }
        Ok(Some(members))
    }

    /// The sensors of each scope of which something is known on a day on which they belonged to it.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn scope_members(
        &self,
        class: TrafficClass,
        span: Span,
    ) -> Result<BTreeMap<u32, BTreeSet<String>>, RollupError> {
        let mut known: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        self.member_hours(&Filter::class(class), span, |sensor, hour| {
            let of_day = known.entry(hour.start.div_euclid(DAY_SECONDS)).or_default();
            if !of_day.contains(sensor) {
                of_day.insert(sensor.to_owned());
            }
        })?;
        let sql = "SELECT scope, day, sensor FROM rollup_scope_sensors JOIN rollup_days USING (rollup)
             WHERE day >= ?1 AND day < ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![span.days().start, span.days().end])?;
        let mut members: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (scope, day, sensor): (u32, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if known.get(&day).is_some_and(|sensors| sensors.contains(&sensor)) {
                members.entry(scope).or_default().insert(sensor);
            }
        }
        Ok(members)
    }

    /// Visits the hours of all sensors that a time touches.
    fn hours(&self, class: TrafficClass, span: Span, mut visit: impl FnMut(&str, &Hour)) -> Result<(), RollupError> {
        let sql = "SELECT name, hour, watched_ms, ipv4_address_ms, ipv6_prefix_ms, exposure_unknown, kernel_drops,
                 interface_drops, h.lost_packets, h.lost_windows
             FROM sensor_hours AS h JOIN sensors USING (sensor) WHERE class = ?1 AND hour > ?2 AND hour < ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![class as u8, span.from() - HOUR_SECONDS, span.to()])?;
        while let Some(row) = rows.next()? {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
            let whole = Exposure {
                watched: number(2)?.into(),
                ipv4: number(3)?.into(),
                ipv6: number(4)?.into(),
                is_unknown: row.get(5)?,
                is_shared: false,
                kernel_drops: number(6)?,
                interface_drops: number(7)?,
                lost_packets: number(8)?,
                lost_windows: number(9)?,
                first_hour: row.get(1)?,
            };
            visit(row.get_ref(0)?.as_str().unwrap_or_default(), &Hour { start: row.get(1)?, whole });
        }
        Ok(())
    }
}

/// An hour of a sensor.
struct Hour {
    /// In seconds since the Unix epoch.
    start: i64,
    /// Its sums as they stand in the store: not times [`PARTS`] yet.
    whole: Exposure,
}

impl Hour {
    /// What of it lies in a time, shared out evenly; what was lost counts whole.
    fn within(&self, time: Range<i64>) -> Exposure {
        let touched = (self.start + HOUR_SECONDS).min(time.end) - self.start.max(time.start);
        let parts = u128::try_from(touched / QUARTER_SECONDS).unwrap_or(0);
        Exposure {
            watched: self.whole.watched * parts,
            ipv4: self.whole.ipv4 * parts,
            ipv6: self.whole.ipv6 * parts,
            is_shared: touched < HOUR_SECONDS,
            ..self.whole
        }
    }
}

fn is_excluded(exclusions: &[Exclusion], sensor: &str, hour: i64) -> bool {
    exclusions.iter().any(|exclusion| exclusion.sensor == sensor && exclusion.time.contains(&hour))
}
