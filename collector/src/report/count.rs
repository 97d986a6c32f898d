//! What is known of a time, and figures that are made of it alike everywhere.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use martlet_report::model::{self, Rules};
use martlet_window::{IpVersion, Kind, TrafficClass};

use super::period::Placed;
use crate::labels::FilteredPorts;
use crate::live::ServiceKey;
use crate::rollup::query::{
    Basis, Distinct, Exposure, Filter, GroupBy, Grouping, SeriesKey, Snapshot, Span, Step, Sum,
};
use crate::rollup::{ALL_SENSORS, DAY_SECONDS, Dimension, RollupError, Zone};

/// A time of one class, asked of one state of history.
pub(super) struct Counted<'a> {
    pub(super) snapshot: &'a Snapshot<'a>,
    pub(super) class: TrafficClass,
    /// All sensors, or a group of them.
    scope: u32,
    pub(super) zone: &'a Zone,
    pub(super) placed: &'a Placed,
    /// What stands behind it. What was watched is in `watched`.
    pub(super) basis: Basis,
    /// By day of the zone.
    pub(super) days: Vec<DayBasis>,
    /// What sensors watched on the UTC days that history has: packets of others are in no figure.
    pub(super) watched: Watched,
    /// By name: since when a sensor should have watched, in seconds since the Unix epoch.
    since: BTreeMap<String, i64>,
    /// Until when all should have.
    until: i64,
    /// By name: ports that are filtered before a sensor.
    filtered: BTreeMap<String, FilteredPorts>,
}

/// What was watched, by sensor and in all.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) sensors: BTreeMap<String, Exposure>,
    pub(super) all: Exposure,
}

impl Watched {
    fn add(&mut self, sensors: &BTreeMap<String, Exposure>, all: &Exposure) {
        self.all.add(all);
        for (name, exposure) in sensors {
            self.sensors.entry(name.clone()).or_default().add(exposure);
        }
    }
}

/// A day and what stands behind its figures.
pub(super) struct DayBasis {
    date: Date,
    span: Span,
    watched: Watched,
    /// Whether history has all of it, and somebody watched.
    pub(super) is_known: bool,
}

impl DayBasis {
    fn new(snapshot: &Snapshot<'_>, filter: &Filter, date: Date, span: Span) -> Result<DayBasis, RollupError> {
        let basis = snapshot.basis(filter, span)?;
        let is_whole = basis.missing_days.is_empty();
        let mut watched = Watched::default();
        if is_whole {
            watched.add(&basis.sensors, &basis.exposure);
        } else {
            // The UTC days that it is made of and history has.
            let days = span.from().div_euclid(DAY_SECONDS)..(span.to() - 1).div_euclid(DAY_SECONDS) + 1;
            for day in days.filter(|day| !basis.missing_days.contains(day)) {
                let (from, to) = (day * DAY_SECONDS, (day + 1) * DAY_SECONDS);
                let part = snapshot.basis(filter, Span::new(from.max(span.from()), to.min(span.to()))?)?;
                watched.add(&part.sensors, &part.exposure);
            }
        }
        // Of files nobody knows how long they watched.
        let is_watched = watched.all.is_unknown || watched.all.sensor_days() > 0.0;
        Ok(DayBasis { date, span, watched, is_known: is_whole && is_watched })
    }
}

impl<'a> Counted<'a> {
    /// `heard_before` are sensors that were heard in the time right before: they should have watched from the begin of this one on.
    /// Nothing is expected behind `until`.
    pub(super) fn new(
        snapshot: &'a Snapshot<'a>,
        of: &Filter,
        zone: &'a Zone,
        placed: &'a Placed,
        heard_before: &BTreeSet<String>,
        until: i64,
    ) -> Result<Counted<'a>, RollupError> {
        let Filter { class, scope, .. } = *of;
        let basis = snapshot.basis(of, placed.span)?;
        let days = placed.days.iter().map(|(date, span)| DayBasis::new(snapshot, of, *date, *span));
        let days = days.collect::<Result<Vec<_>, RollupError>>()?;
        let mut watched = Watched::default();
        days.iter().for_each(|day| watched.add(&day.watched.sensors, &day.watched.all));
        let from = placed.span.from();
        let names: BTreeSet<&String> = heard_before.iter().chain(basis.sensors.keys()).collect();
        let since = names.into_iter().map(|name| {
            let first = basis.sensors.get(name).and_then(|exposure| exposure.first_hour);
            let begins = first.filter(|_| !heard_before.contains(name));
            (name.clone(), begins.map_or(from, |first| first.max(from)))
        });
        let since = since.collect();
        let until = until.clamp(from, placed.span.to());
        let mut filtered = snapshot.filtered_ports()?;
        filtered.retain(|name, _| watched.sensors.contains_key(name));
        Ok(Counted { snapshot, class, scope, zone, placed, basis, days, watched, since, until, filtered })
    }

    /// Packets of a kind over an IP version; of all kinds with `None`.
    pub(super) const fn filter(&self, ip: IpVersion, kind: Option<Kind>) -> Filter {
        Filter { ip: Some(ip), kind, ..self.scoped(self.scope) }
    }

    /// Everything of its class that a scope saw.
    pub(super) const fn scoped(&self, scope: u32) -> Filter {
        Filter { scope, ..Filter::class(self.class) }
    }

    /// Whether all sensors are meant.
    pub(super) const fn is_of_all(&self) -> bool {
        self.scope == ALL_SENSORS
    }

    /// Whether anything is known.
    pub(super) fn is_known(&self) -> bool {
        self.days.iter().any(|day| day.is_known)
    }

    /// Whether all of it is known.
    pub(super) fn is_whole(&self) -> bool {
        self.days.iter().all(|day| day.is_known)
    }

    /// Whether distinct sources are known: of days of zones that history cuts days at.
    pub(super) fn has_sources(&self) -> Result<bool, RollupError> {
        Ok(self.snapshot.totals(&self.filter(IpVersion::V4, Some(Kind::Scan)), self.placed.span)?.sources().is_ok())
    }

    /// The sensors that were heard, or should have been.
    pub(super) fn sensors(&self) -> impl Iterator<Item = &String> {
        self.since.keys()
    }

    /// What a sensor watched of what it should have, in percent.
    pub(super) fn coverage(&self, sensor: &str) -> Option<f64> {
        let since = *self.since.get(sensor)?;
        let exposure = self.watched.sensors.get(sensor).copied().unwrap_or_default();
        self.coverage_of(&exposure, (self.until - since).max(0))
    }

    /// What was watched of so many seconds, in percent. Only of sensors of real traffic anything is expected.
    fn coverage_of(&self, exposure: &Exposure, expected_seconds: i64) -> Option<f64> {
        let expected = to_f64(expected_seconds.unsigned_abs()) / to_f64(DAY_SECONDS.unsigned_abs());
        let is_expected = self.class == TrafficClass::Real && expected > 0.0;
        // A sensor that two programs served for a moment watched twice then.
        sensor_days(exposure).filter(|_| is_expected).map(|days| (100.0 * days / expected).min(100.0))
    }

    /// Exposure of the time.
    pub(super) fn exposure(&self) -> model::Exposure {
        self.exposure_of(&self.watched, self.placed.span)
    }

    /// Exposure of a group of these sensors. Coverage is known if they belonged to it all the time.
    pub(super) fn exposure_of_group(&self, scope: u32) -> Result<model::Exposure, RollupError> {
        let basis = self.snapshot.basis(&self.scoped(scope), self.placed.span)?;
        let is_steady = basis.sensors.iter().all(|(name, exposure)| self.watched.sensors.get(name) == Some(exposure));
        let begins = basis.sensors.keys().filter_map(|name| self.since.get(name));
        let expected = begins.map(|since| (self.until - since).max(0)).sum();
        let all = &basis.exposure;
        Ok(model::Exposure {
            sensors: u32::try_from(basis.sensors.len()).unwrap_or(u32::MAX),
            sensor_days: sensor_days(all),
            address_days: all.address_days(IpVersion::V4),
            prefix_days: all.address_days(IpVersion::V6),
            coverage_percent: self.coverage_of(all, expected).filter(|_| is_steady),
        })
    }

    fn exposure_of(&self, watched: &Watched, span: Span) -> model::Exposure {
        let all = &watched.all;
        let until = self.until.min(span.to());
        let expected = self.since.values().map(|&since| (until - since.max(span.from())).max(0)).sum();
        model::Exposure {
            sensors: u32::try_from(watched.sensors.len()).unwrap_or(u32::MAX),
            sensor_days: sensor_days(all),
            address_days: all.address_days(IpVersion::V4),
            prefix_days: all.address_days(IpVersion::V6),
            coverage_percent: self.coverage_of(all, expected),
        }
    }

    /// What was watched of a port that is filtered before some sensors: by the others. `None` where all watched it, and where it
    /// would tell of few sensors.
    pub(super) fn watching(&self, service: ServiceKey, rules: &Rules) -> Option<model::Watching> {
        let (protocol, port) = service.port()?;
        let is_filtered = |name: &str| self.filtered.get(name).is_some_and(|ports| ports.has(protocol, port));
        let all = self.watched.sensors.len();
        let filtered = self.watched.sensors.keys().filter(|name| is_filtered(name)).count();
        let least = rules.min_sensors as usize;
        if filtered == 0 || filtered < least || all - filtered < least {
            return None;
        }
        let days_of = |watched: &Watched| {
            let mut others = Exposure::default();
            watched.sensors.iter().filter(|(name, _)| !is_filtered(name)).for_each(|(_, of)| others.add(of));
            sensor_days(&others)
        };
        Some(model::Watching {
            sensors: u32::try_from(all - filtered).unwrap_or(u32::MAX),
            sensor_days: days_of(&self.watched),
            daily: self.days.iter().map(|day| days_of(&day.watched)).collect(),
        })
    }

    /// Packets per sensor and day: of those that watched, where not all did.
    pub(super) fn per_sensor_day(&self, packets: u64, watching: Option<&model::Watching>) -> Option<f64> {
        let days = watching.map_or_else(|| sensor_days(&self.watched.all), |watching| watching.sensor_days);
        days.and_then(|days| per(packets, days))
    }

    /// Packets by kind.
    pub(super) fn kinds(&self, ip: IpVersion) -> Result<model::Kinds, RollupError> {
        self.kinds_of(&self.filter(ip, None))
    }

    /// Packets by kind of what is asked for.
    pub(super) fn kinds_of(&self, filter: &Filter) -> Result<model::Kinds, RollupError> {
        let mut kinds = model::Kinds::default();
        for group in self.snapshot.groups(filter, self.placed.span, Dimension::Protocol, Grouping::All)? {
            for kind in Kind::ALL {
                add_kind(&mut kinds, kind, group.kinds[kind as usize]);
            }
        }
        Ok(kinds)
    }

    /// Packets of each day, by what they are told apart by.
    pub(super) fn daily(
        &self,
        filter: &Filter,
        group_by: &GroupBy,
    ) -> Result<BTreeMap<SeriesKey, Vec<u64>>, RollupError> {
        let step = Step::Days(self.zone.clone());
        let list = self.snapshot.series(filter, self.placed.span, &step, group_by, false)?;
        Ok(list.series.into_iter().map(|series| (series.key, series.packets)).collect())
    }

    /// The same as it is written down; `None` on days of which not all is known.
    pub(super) fn told(&self, daily: &[u64], watching: Option<&model::Watching>) -> Vec<Option<model::Daily>> {
        let told = self.days.iter().zip(daily).enumerate().map(|(place, (day, &packets))| {
            let days = watching.map_or_else(|| sensor_days(&day.watched.all), |watching| watching.daily[place]);
            let per_sensor = days.and_then(|days| per(packets, days));
            day.is_known.then_some(model::Daily { packets, per_sensor })
        });
        told.collect()
    }

    /// The days, with packets and sources.
    pub(super) fn day_rows(&self) -> Result<Vec<model::Day>, RollupError> {
        let (span, step) = (self.placed.span, Step::Days(self.zone.clone()));
        let all = self.filter(IpVersion::V4, None);
        let kinds = self.snapshot.series(&all, span, &step, &GroupBy::Kind, false)?;
        let scan = self.filter(IpVersion::V4, Some(Kind::Scan));
        let sources = self.snapshot.series(&scan, span, &step, &GroupBy::Nothing, true)?;
        let sources = sources.series.into_iter().next().map(|series| series.sources);
        let rows = self.days.iter().enumerate().map(|(place, day)| {
            let mut packets = model::Kinds::default();
            for series in &kinds.series {
                if let SeriesKey::Kind(kind) = series.key {
                    add_kind(&mut packets, kind, series.packets[place]);
                }
            }
            let distinct = match &sources {
                Some(Ok(distinct)) => Some(tell(distinct[place])),
                // Days of this zone have no distinct sources.
                Some(Err(_)) => None,
                // Nothing was scanned.
                None => Some(model::Sources { count: 0, error: 0.0 }),
            };
            let is_known = day.is_known;
            let rate = sensor_days(&day.watched.all).and_then(|days| per(packets.scan, days));
            model::Day {
                date: day.date.to_string(),
                exposure: self.exposure_of(&day.watched, day.span),
                packets: is_known.then_some(packets),
                sources: distinct.filter(|_| is_known),
                per_sensor_day: rate.filter(|_| is_known),
            }
        });
        Ok(rows.collect())
    }
}

const fn add_kind(kinds: &mut model::Kinds, kind: Kind, packets: u64) {
    let sum = match kind {
        Kind::Scan => &mut kinds.scan,
        Kind::Backscatter => &mut kinds.backscatter,
        Kind::Other => &mut kinds.other,
    };
    *sum = sum.saturating_add(packets);
}

/// Whether a cell is coarse enough to be told. Where it is not known how many sensors saw it, or how many sources it has, only the
/// rest decides: but a rule about sources is then not met.
pub(super) fn is_told(rules: &Rules, packets: u64, sources: Option<model::Sources>, sensors: Option<u64>) -> bool {
    packets >= rules.min_packets
        && sources.map_or(rules.min_sources <= 1, |sources| sources.count >= rules.min_sources)
        && sensors.is_none_or(|sensors| sensors >= rules.min_sensors.into())
}

/// Distinct sources as they are written down.
pub(super) const fn tell(distinct: Distinct) -> model::Sources {
    model::Sources { count: distinct.count, error: distinct.error }
}

/// Distinct sources of a sum, where they are known.
pub(super) fn sources(sum: &Sum) -> Option<model::Sources> {
    sum.sources().ok().map(tell)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(super) const fn to_f64(number: u64) -> f64 {
    number as f64
}

/// Packets by days, or by sensors and days.
pub(super) fn per(packets: u64, days: f64) -> Option<f64> {
    (days > 0.0).then(|| to_f64(packets) / days)
}

/// A share in percent; none of nothing.
pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * to_f64(part) / to_f64(whole))
}

/// A change in percent; none from nothing.
pub(super) fn change(before: u64, now: u64) -> Option<f64> {
    change_of_rate(to_f64(before), to_f64(now))
}

/// A change in percent of what is no count.
pub(super) fn change_of_rate(before: f64, now: f64) -> Option<f64> {
    (before > 0.0).then(|| 100.0 * (now - before) / before)
}

/// Sensors times days, where all sensors know.
fn sensor_days(exposure: &Exposure) -> Option<f64> {
    (!exposure.is_unknown).then(|| exposure.sensor_days())
}
