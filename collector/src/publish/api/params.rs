//! Parameters of queries: read, checked, resolved against a view.

use axum::extract::Query as UrlQuery;
use axum::http::Uri;
use jiff::Timestamp;
use martlet_window::{Kind, SensorName, TrafficClass};

use super::super::problem::{self, Problem};
use crate::aggregate::HOUR_SECONDS;
use crate::ingest::SensorId;
use crate::live::{LiveView, SensorView};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;
const DEFAULT_POINTS: i64 = 144;
const MAX_POINTS: i64 = 2000;
/// A week of hours.
const DEFAULT_HOUR_POINTS: i64 = 168;
const DAY_SECONDS: i64 = 86_400;
/// Longest range of hours, in seconds: a year.
const MOST_HOURS_SECONDS: i64 = 366 * DAY_SECONDS;
/// Most steps of all sensors in one answer about hours: what bounds its memory.
const MOST_HOUR_CELLS: usize = 200_000;
/// What nanoseconds since 1970 can say, in seconds; every window lies within.
const FARTHEST_SECONDS: i64 = i64::MAX / 1_000_000_000;

const NAMES: [&str; 7] = ["class", "from", "to", "sensor", "kind", "points", "limit"];

/// Which parameters a path takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accepts {
    pub(super) range: bool,
    pub(super) sensor: bool,
    pub(super) kind: bool,
    pub(super) points: bool,
    pub(super) limit: bool,
    /// Ranges are of whole hours, not of buckets, and end with the hour that runs.
    pub(super) hours: bool,
}

impl Accepts {
    pub(super) const NOTHING: Accepts =
        Accepts { range: false, sensor: false, kind: false, points: false, limit: false, hours: false };

    fn names(&self) -> Vec<&'static str> {
        NAMES.into_iter().filter(|name| self.takes(name)).collect()
    }

    fn takes(&self, name: &str) -> bool {
        match name {
            "class" | "from" | "to" => self.range,
            "sensor" => self.sensor,
            "kind" => self.kind,
            "points" => self.points,
            "limit" => self.limit,
            _ => false,
        }
    }
}

/// Parameters as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params {
    class: Option<TrafficClass>,
    from: Option<i64>,
    to: Option<i64>,
    sensor: Option<String>,
    kind: Option<Kind>,
    points: Option<i64>,
    limit: Option<usize>,
}

/// A query that can be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) class: TrafficClass,
    /// Start of the first bucket, in seconds since the Unix epoch.
    pub(super) from: i64,
    /// End of the last bucket.
    pub(super) to: i64,
    pub(super) bucket_seconds: i64,
    pub(super) sensor_name: Option<String>,
    pub(super) sensor: Selection,
    pub(super) kind: Option<Kind>,
    pub(super) limit: usize,
    pub(super) step_seconds: i64,
    pub(super) steps: usize,
}

/// Whose rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    All,
    One(SensorId),
    /// A name that no sensor has.
    Nobody,
}

impl Selection {
    pub(super) fn has(self, sensor: SensorId) -> bool {
        match self {
            Selection::All => true,
            Selection::One(one) => one == sensor,
            Selection::Nobody => false,
        }
    }
}

impl Query {
    /// The sensors that are asked for and have brought, or may yet bring, batches of the class; by name.
    pub(super) fn sensors<'a>(&self, view: &'a LiveView) -> Vec<(SensorId, &'a SensorView)> {
        let known = view.sensors.iter().enumerate().filter_map(|(index, sensor)| {
            let id = SensorId(u16::try_from(index).ok()?);
            let of_class = sensor.reports[self.class as usize].is_some();
            let of_none = sensor.reports.iter().all(Option::is_none);
            (self.sensor.has(id) && (of_class || of_none)).then_some((id, sensor))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        known.truncate(self.limit);
        known
    }

    /// The step of the series that a bucket belongs to.
    pub(super) fn step(&self, bucket: i64) -> usize {
        usize::try_from((bucket - self.from) / self.step_seconds).unwrap_or(0).min(self.steps.saturating_sub(1))
    }
}

impl Params {
    /// Reads a query string.
    pub(super) fn read(query: Option<&str>, accepts: Accepts) -> Result<Params, Problem> {
        let mut params = Params::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in pairs(query.unwrap_or(""))? {
            if !accepts.takes(&name) {
                return Err(Problem::unknown(&name, &accepts.names()));
            }
            if seen.contains(&name) {
                return Err(Problem::repeated(&name));
            }
            params.set(&name, &value)?;
            seen.push(name);
        }
        Ok(params)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let bad = |rule: &str| Problem::bad(name, value, rule);
        match name {
            "class" => {
                let class = TrafficClass::ALL.into_iter().find(|class| class.name() == value);
                self.class = Some(class.ok_or_else(|| bad("one of real, drill, import"))?);
            }
            "from" => self.from = Some(time(value).ok_or_else(|| bad(TIME_RULE))?),
            "to" => self.to = Some(time(value).ok_or_else(|| bad(TIME_RULE))?),
            "sensor" => {
                let name: SensorName = value.parse().map_err(|_| bad("the name of a sensor"))?;
                self.sensor = Some(name.to_string());
            }
            "kind" => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == value);
                self.kind = Some(kind.ok_or_else(|| bad("one of scan, backscatter, other"))?);
            }
            "points" => {
                let points = value.parse().ok().filter(|points| (1..=MAX_POINTS).contains(points));
                self.points = Some(points.ok_or_else(|| bad("a number from 1 to 2000"))?);
            }
            _ => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = Some(limit.ok_or_else(|| bad("a number from 1 to 1000"))?);
            }
        }
        Ok(())
    }

    /// Fills in what was not given, and rounds the range outward to buckets. `now` in seconds since the Unix epoch.
    pub(super) fn resolve(self, accepts: Accepts, view: &LiveView, now: i64) -> Result<Query, Problem> {
        let bucket = if accepts.hours { HOUR_SECONDS } else { view.bucket_seconds };
        let class = self.class.unwrap_or(TrafficClass::Real);
        let newest = view.class(class).last_window_end.unwrap_or(now);
        // That nobody reports any more is what hours are to show.
        let newest = if accepts.hours && class == TrafficClass::Real { newest.max(now) } else { newest };
        let to = self.to.unwrap_or_else(|| round_up(newest, bucket));
        let from = self.from.unwrap_or_else(|| round_up(to, bucket).saturating_sub(DAY_SECONDS));
        if from >= to {
            return Err(Problem::unfit("from", "before `to`"));
        }
        let (from, to) = (from - from.rem_euclid(bucket), round_up(to, bucket));
        let buckets = (to - from) / bucket;
        let points = self.points.unwrap_or(if accepts.hours { DEFAULT_HOUR_POINTS } else { DEFAULT_POINTS });
        let step_seconds = buckets.div_euclid(points).saturating_add(i64::from(buckets % points != 0)) * bucket;
        let steps = (to - from).div_euclid(step_seconds) + i64::from((to - from) % step_seconds != 0);
        let steps = usize::try_from(steps).unwrap_or(0);
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if accepts.hours && to - from > MOST_HOURS_SECONDS {
            return Err(Problem::unfit("from", "within 366 days before `to`"));
        }
        if accepts.hours && steps.saturating_mul(limit) > MOST_HOUR_CELLS {
            return Err(Problem::unfit("points", "at most 200000, multiplied by `limit`"));
        }
        let sensor = match &self.sensor {
            None => Selection::All,
            Some(name) => view.sensor_id(name).map_or(Selection::Nobody, Selection::One),
        };
        Ok(Query {
            class,
            from,
            to,
            bucket_seconds: bucket,
            sensor_name: self.sensor,
            sensor,
            kind: self.kind,
            limit,
            step_seconds,
            steps,
        })
    }
}

const TIME_RULE: &str = "a time: write 2026-11-21T10:20:30Z or Unix seconds, between the years 1678 and 2261";

fn round_up(time: i64, bucket: i64) -> i64 {
    time + (-time).rem_euclid(bucket)
}

fn time(text: &str) -> Option<i64> {
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<Timestamp>().ok()?.as_second(),
    };
    (-FARTHEST_SECONDS..=FARTHEST_SECONDS).contains(&seconds).then_some(seconds)
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let broken = || Problem::new(problem::Kind::BadParameter, "the query is not percent-encoded text");
    let uri: Uri = format!("/?{query}").parse().map_err(|_| broken())?;
    UrlQuery::<Vec<(String, String)>>::try_from_uri(&uri).map(|query| query.0).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Accepts = Accepts { range: true, sensor: true, kind: true, points: true, limit: true, hours: false };

    #[test]
    fn values_are_checked_and_named() {
        for (query, parameter) in [
            ("class=fake", "class"),
            ("from=yesterday", "from"),
            ("to=99999999999999", "to"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("points=-1", "points"),
            ("kind=Scan", "kind"),
            ("sensor=No%20name", "sensor"),
        ] {
            match Params::read(Some(query), ALL) {
                Err(problem) => assert_eq!(problem.parameter.as_deref(), Some(parameter), "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
        for query in ["colour=red", "limit=1&limit=2"] {
            assert!(Params::read(Some(query), ALL).is_err(), "{query}");
        }
        assert!(Params::read(Some("class=real"), Accepts::NOTHING).is_err());
    }

    #[test]
    fn times_come_in_two_spellings() {
        let both = Params::read(Some("from=2026-11-21T10:00:00Z&to=1795255200"), ALL).unwrap();
        assert_eq!(both.from, Some(1_795_255_200));
        assert_eq!(both.from, both.to);
        // A plus sign in a query string is a space: the offset must be percent-encoded.
        assert_eq!(time("2026-11-21T12:00:00+02:00"), Some(1_795_255_200));
        assert_eq!(time("-10"), Some(-10));
    }

    #[test]
    fn ranges_round_outward() {
        assert_eq!((round_up(0, 600), round_up(1, 600), round_up(-1, 600)), (0, 600, 0));
    }
}
