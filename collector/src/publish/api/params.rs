//! Parameters of queries: read, checked, resolved against a view.

use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::Query as UrlQuery;
use axum::http::Uri;
use martlet_detect::FindingType;
use martlet_window::{IpVersion, Kind, SensorName, TrafficClass};
use sha2::{Digest, Sha256};

use super::super::problem::{self, Problem};
use super::super::services::protocol_name;
use super::cursor::{Check, Cursor};
use super::format::Format;
use super::json::ip_number;
use super::list::Place;
use super::parameter::{GroupBy, Parameter};
use super::public::Minimum;
use super::time::{Rounding, read_step, read_time, step_text};
use crate::aggregate::HOUR_SECONDS;
use crate::events::{Language, State, Tlp, named, type_named};
use crate::ingest::SensorId;
use crate::labels::Group;
use crate::live::{LiveView, SensorView};
use crate::report::{Form, MOST_TIMES_BEFORE};
use crate::rollup::query::Change;
use crate::rollup::{Order, QUARTER_SECONDS, Zone};

pub(super) const DEFAULT_LIMIT: usize = 20;
pub(super) const MAX_LIMIT: usize = 1000;
/// Most steps of a series.
pub(super) const MAX_STEPS: i64 = 2000;
/// How many steps a series has at most where nobody says how long they are: a day of ten minutes.
pub(super) const DEFAULT_STEPS: i64 = 144;
/// A week of hours.
pub(super) const DEFAULT_HOUR_STEPS: i64 = 168;
const DAY_SECONDS: i64 = 86_400;
/// Longest range of hours, in seconds: a year.
const MOST_HOURS_SECONDS: i64 = 366 * DAY_SECONDS;
/// Most steps of all sensors in one answer about hours: what bounds its memory.
const MOST_HOUR_CELLS: usize = 200_000;

/// Which parameters a path takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepts {
    pub(super) parameters: &'static [Parameter],
    /// What ranges are made of.
    pub(super) ranges: Ranges,
}

/// What ranges are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Buckets of what is in memory.
    Buckets,
    /// Whole hours; they end with the hour that runs.
    Hours,
    /// Quarter hours of history, which [`super::history`] resolves: only it knows how far that goes.
    History,
    /// None is taken.
    None,
}

impl Accepts {
    /// Ranges of buckets.
    pub(super) const fn new(parameters: &'static [Parameter]) -> Accepts {
        Accepts { parameters, ranges: Ranges::Buckets }
    }

    /// Ranges of history.
    pub(super) const fn history(parameters: &'static [Parameter]) -> Accepts {
        Accepts { parameters, ranges: Ranges::History }
    }

    /// Without a range.
    pub(super) const fn without_range(parameters: &'static [Parameter]) -> Accepts {
        Accepts { parameters, ranges: Ranges::None }
    }

    fn has_hours(self) -> bool {
        self.ranges == Ranges::Hours
    }

    fn find(&self, name: &str) -> Option<Parameter> {
        self.parameters.iter().copied().find(|parameter| parameter.name() == name)
    }

    fn names(&self) -> Vec<&'static str> {
        self.parameters.iter().map(|parameter| parameter.name()).collect()
    }
}

/// Parameters as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params {
    class: Option<TrafficClass>,
    from: Option<i64>,
    to: Option<i64>,
    step_seconds: Option<i64>,
    sensor: Option<String>,
    kind: Option<Kind>,
    limit: Option<usize>,
    cursor: Option<String>,
    pub(super) format: Option<Format>,
    wanted: Wanted,
    /// All of them as text, in the order of [`Parameter`].
    given: Vec<(Parameter, String)>,
}

/// What few paths are asked about: history, and `ports` about single services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As given, or as the first page had it; in seconds since the Unix epoch.
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) step_seconds: Option<i64>,
    /// A name that there is.
    pub(super) zone: Option<String>,
    pub(super) group: Option<Group>,
    pub(super) ip: Option<IpVersion>,
    pub(super) protocol: Option<u8>,
    pub(super) port: Option<u16>,
    pub(super) address: Option<IpAddr>,
    pub(super) order: Option<Order>,
    pub(super) group_by: Option<GroupBy>,
    pub(super) change: Option<Change>,
    pub(super) sources: Option<bool>,
    /// Of events.
    pub(super) finding_type: Option<FindingType>,
    pub(super) state: Option<State>,
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    /// Of a draft or a report.
    pub(super) language: Option<Language>,
    pub(super) tlp: Option<Tlp>,
    /// Of a report.
    pub(super) revision: Option<u32>,
    pub(super) compare: Option<u32>,
    pub(super) form: Option<Form>,
}

/// A query that can be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) class: TrafficClass,
    /// Start of the first bucket, in seconds since the Unix epoch.
    pub(super) from: i64,
    /// End of the last bucket.
    pub(super) to: i64,
    /// To whole multiples of which range and steps are, in seconds.
    pub(super) bucket_seconds: i64,
    pub(super) sensor_name: Option<String>,
    pub(super) sensor: Selection,
    pub(super) kind: Option<Kind>,
    pub(super) limit: usize,
    pub(super) step_seconds: i64,
    pub(super) steps: usize,
    /// Behind which entry the list goes on.
    pub(super) after: Option<Place>,
    /// What may be shown of it; `None` for whoever may see everything.
    pub(super) public: Option<Minimum>,
    pub(super) wanted: Wanted,
    check: Check,
}

/// What a query is resolved against.
pub(super) struct Against<'a> {
    pub(super) view: &'a LiveView,
    /// The collector's clock, in seconds since the Unix epoch.
    pub(super) now: i64,
    pub(super) public: Option<Minimum>,
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
    /// The sensors that are asked for and have brought, or may yet bring, batches of the class.
    pub(super) fn sensors<'a>(&self, view: &'a LiveView) -> Vec<(SensorId, &'a SensorView)> {
        let known = view.sensors.iter().enumerate().filter_map(|(index, sensor)| {
            let id = SensorId(u16::try_from(index).ok()?);
            let of_class = sensor.reports[self.class as usize].is_some();
            let of_none = sensor.reports.iter().all(Option::is_none);
            (self.sensor.has(id) && (of_class || of_none)).then_some((id, sensor))
        });
        known.collect()
    }

    /// The step of the series that a bucket belongs to.
    pub(super) fn step(&self, bucket: i64) -> usize {
        usize::try_from((bucket - self.from) / self.step_seconds).unwrap_or(0).min(self.steps.saturating_sub(1))
    }

    /// What asks for the entries of a list behind this one.
    pub(super) fn cursor_after(&self, place: Place) -> String {
        Cursor { from: self.from, to: self.to, place }.write(&self.check)
    }
}

impl Params {
    /// Reads a query string.
    pub(super) fn read(query: Option<&str>, accepts: Accepts) -> Result<Params, Problem> {
        let mut params = Params::default();
        for (name, value) in pairs(query.unwrap_or(""))? {
            let Some(parameter) = accepts.find(&name) else {
                return Err(Problem::unknown(&name, &accepts.names()));
            };
            if params.given.iter().any(|(seen, _)| *seen == parameter) {
                return Err(Problem::repeated(&name));
            }
            params.set(parameter, &value)?;
            params.given.push((parameter, value));
        }
        if params.has(Parameter::Port) && !params.has(Parameter::Protocol) {
            return Err(Problem::unfit("protocol", "given with `port`"));
        }
        params.given.sort();
        Ok(params)
    }

    fn set(&mut self, parameter: Parameter, value: &str) -> Result<(), Problem> {
        let bad = || Problem::bad(parameter.name(), value, parameter.expected());
        match parameter {
            Parameter::Class => {
                let class = TrafficClass::ALL.into_iter().find(|class| class.name() == value);
                self.class = Some(class.ok_or_else(bad)?);
            }
            Parameter::From => self.from = Some(read_time(value, Rounding::Down).ok_or_else(bad)?),
            Parameter::To => self.to = Some(read_time(value, Rounding::Up).ok_or_else(bad)?),
            Parameter::Step => self.step_seconds = Some(read_step(value).ok_or_else(bad)?),
            Parameter::Sensor => {
                let name: SensorName = value.parse().map_err(|_| bad())?;
                self.sensor = Some(name.to_string());
            }
            Parameter::Group => self.wanted.group = Some(value.parse().map_err(|_| bad())?),
            Parameter::Kind => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == value);
                self.kind = Some(kind.ok_or_else(bad)?);
            }
            Parameter::Zone => {
                Zone::named(value).map_err(|_| bad())?;
                self.wanted.zone = Some(value.to_owned());
            }
            Parameter::Ip => {
                let ip = [IpVersion::V4, IpVersion::V6].into_iter().find(|ip| ip_number(*ip).to_string() == value);
                self.wanted.ip = Some(ip.ok_or_else(bad)?);
            }
            Parameter::Protocol => {
                let mut numbers = 0..=u8::MAX;
                let is_meant = |number: &u8| protocol_name(*number) == value || number.to_string() == value;
                self.wanted.protocol = Some(numbers.find(is_meant).ok_or_else(bad)?);
            }
            Parameter::Port => {
                let port: u16 = value.parse().map_err(|_| bad())?;
                self.wanted.port = Some(Some(port).filter(|port| port.to_string() == value).ok_or_else(bad)?);
            }
            Parameter::Address => {
                self.wanted.address = Some(value.parse::<IpAddr>().map_err(|_| bad())?.to_canonical())
            }
            Parameter::Order => {
                self.wanted.order = Some(match value {
                    "packets" => Order::Packets,
                    "daily_sources" => Order::Sources,
                    _ => return Err(bad()),
                });
            }
            Parameter::GroupBy => self.wanted.group_by = Some(GroupBy::named(value).ok_or_else(bad)?),
            Parameter::Direction => {
                self.wanted.change = Some(match value {
                    "up" => Change::Up,
                    "down" => Change::Down,
                    _ => return Err(bad()),
                });
            }
            Parameter::Sources => {
                self.wanted.sources = Some(match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(bad()),
                });
            }
            Parameter::Type => self.wanted.finding_type = Some(type_named(value).ok_or_else(bad)?),
            Parameter::State => self.wanted.state = Some(named(State::ALL, value).ok_or_else(bad)?),
            Parameter::Since => self.wanted.since = Some(read_time(value, Rounding::Up).ok_or_else(bad)?),
            Parameter::Until => self.wanted.until = Some(read_time(value, Rounding::Up).ok_or_else(bad)?),
            Parameter::Lang => self.wanted.language = Some(Language::named(value).ok_or_else(bad)?),
            // A plus sign in a query is a blank to whoever reads forms, and nobody escapes it.
            Parameter::Tlp => self.wanted.tlp = Some(Tlp::named(&value.replace(' ', "+")).ok_or_else(bad)?),
            Parameter::Revision => self.wanted.revision = Some(whole(value).ok_or_else(bad)?),
            Parameter::Compare => {
                let times = whole(value).filter(|times| (1..=MOST_TIMES_BEFORE).contains(times));
                self.wanted.compare = Some(times.ok_or_else(bad)?);
            }
            Parameter::Limit => {
                let limit = whole(value).filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = Some(limit.ok_or_else(bad)?);
            }
            Parameter::Cursor => self.cursor = Some(value.to_owned()),
            Parameter::Format => self.format = Some(Format::named(value).ok_or_else(bad)?),
            Parameter::ReportFormat => {
                let form = Form::OF_ITS_OWN.into_iter().find(|form| form.name() == value);
                self.wanted.form = Some(form.ok_or_else(bad)?);
            }
        }
        Ok(())
    }

    /// What few paths are asked about, as given.
    pub(super) const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether a parameter was given.
    pub(super) fn has(&self, parameter: Parameter) -> bool {
        self.given.iter().any(|(given, _)| *given == parameter)
    }

    /// Which traffic is asked for.
    pub(super) fn class(&self) -> TrafficClass {
        self.class.unwrap_or(TrafficClass::Real)
    }

    /// Whether what is asked for is of real traffic.
    pub(super) fn is_real(&self) -> bool {
        self.class() == TrafficClass::Real
    }

    /// The query string that asks for the next page.
    pub(super) fn with_cursor(&self, cursor: &str) -> String {
        // Values were read, so they are of letters, digits, '-', '.' and ':' only; but for times, whose parser is not ours.
        let safe = |value: &str| value.replace('+', "%2B").replace(' ', "%20");
        let given = self.given.iter().filter(|(parameter, _)| *parameter != Parameter::Cursor);
        let given = given.map(|(parameter, value)| format!("{}={}&", parameter.name(), safe(value)));
        format!("{}cursor={cursor}", given.collect::<String>())
    }

    /// What must be the same in all queries of one list.
    fn check(&self, path: &str) -> Check {
        let paging = [Parameter::Limit, Parameter::Cursor, Parameter::Format];
        let given = self.given.iter().filter(|(parameter, _)| !paging.contains(parameter));
        let mut hash = Sha256::new();
        hash.update(path);
        for (parameter, value) in given {
            hash.update(format!("\n{}={value}", parameter.name()));
        }
        Check::of(&hash.finalize())
    }

    /// Fills in what was not given, and rounds the range outward to buckets.
    pub(super) fn resolve(mut self, path: &str, accepts: Accepts, against: &Against<'_>) -> Result<Query, Problem> {
        let check = self.check(path);
        let after = match &self.cursor {
            None => None,
            Some(text) => {
                let cursor = Cursor::read(text, &check)
                    .map_err(|error| Problem::bad_cursor(&error.to_string(), Parameter::Cursor.expected()))?;
                // All pages are of the range that the first one had.
                (self.from, self.to) = (Some(cursor.from), Some(cursor.to));
                Some(cursor.place)
            }
        };
        let Against { view, now, public } = against;
        let class = self.class();
        if matches!(accepts.ranges, Ranges::History | Ranges::None) {
            let Params { from, to, step_seconds, .. } = self;
            return Ok(Query {
                class,
                from: from.unwrap_or(0),
                to: to.unwrap_or(0),
                bucket_seconds: QUARTER_SECONDS,
                sensor: Selection::All,
                sensor_name: self.sensor,
                kind: self.kind,
                limit: self.limit.unwrap_or(DEFAULT_LIMIT),
                step_seconds: step_seconds.unwrap_or(0),
                steps: 0,
                after,
                public: *public,
                wanted: Wanted { from, to, step_seconds, ..self.wanted },
                check,
            });
        }
        let range = self.range(accepts, view, class, *now, *public)?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let (step_seconds, steps) = self.steps(accepts, &range)?;
        if accepts.has_hours() && steps.saturating_mul(limit) > MOST_HOUR_CELLS {
            let most = i64::try_from(MOST_HOUR_CELLS / limit).unwrap_or(i64::MAX);
            let least = shortest_step(&range, most);
            return Err(Problem::unfit("step", format!("at least {}, with this `limit`", step_text(least))));
        }
        let sensor = match &self.sensor {
            None => Selection::All,
            Some(name) => view.sensor_id(name).map_or(Selection::Nobody, Selection::One),
        };
        Ok(Query {
            class,
            from: range.from,
            to: range.to,
            bucket_seconds: range.unit,
            sensor_name: self.sensor,
            sensor,
            kind: self.kind,
            limit,
            step_seconds,
            steps,
            after,
            public: *public,
            wanted: self.wanted,
            check,
        })
    }

    fn range(
        &self,
        accepts: Accepts,
        view: &LiveView,
        class: TrafficClass,
        now: i64,
        public: Option<Minimum>,
    ) -> Result<Range, Problem> {
        let unit = if accepts.has_hours() { HOUR_SECONDS } else { view.bucket_seconds };
        let unit = if public.is_some() { Minimum::unit(unit) } else { unit };
        let newest = view.class(class).last_window_end.unwrap_or(now);
        // That nobody reports any more is what hours are to show.
        let newest = if accepts.has_hours() && class == TrafficClass::Real { newest.max(now) } else { newest };
        // Beyond this, nothing is told yet.
        let until = public.map_or(i64::MAX, |minimum| minimum.until(now, unit));
        let to = self.to.unwrap_or_else(|| round_up(newest, unit)).min(until);
        let from = self.from.unwrap_or_else(|| round_up(to, unit).saturating_sub(DAY_SECONDS));
        if from >= to {
            // Behind what is told, an end that was given does not matter.
            let told = jiff::Timestamp::from_second(until).map(|until| format!("before {until}, which is told by now"));
            let told = told.ok().filter(|_| to == until);
            return Err(Problem::unfit("from", told.as_deref().unwrap_or("before `to`")));
        }
        let (from, to) = (from - from.rem_euclid(unit), round_up(to, unit));
        if accepts.has_hours() && to - from > MOST_HOURS_SECONDS {
            return Err(Problem::unfit("from", "within 366 days before `to`"));
        }
        Ok(Range { from, to, unit })
    }

    /// Length and number of the steps of a series.
    fn steps(&self, accepts: Accepts, range: &Range) -> Result<(i64, usize), Problem> {
        let default = if accepts.has_hours() { DEFAULT_HOUR_STEPS } else { DEFAULT_STEPS };
        let step_seconds = self.step_seconds.unwrap_or_else(|| shortest_step(range, default));
        if step_seconds % range.unit != 0 {
            return Err(Problem::unfit("step", format!("a multiple of {}", step_text(range.unit))));
        }
        let length = range.to - range.from;
        let steps = length.div_euclid(step_seconds) + i64::from(length % step_seconds != 0);
        if steps > MAX_STEPS {
            let least = step_text(shortest_step(range, MAX_STEPS));
            return Err(Problem::unfit("step", format!("at least {least}: a series has {MAX_STEPS} steps at most")));
        }
        Ok((step_seconds, usize::try_from(steps).unwrap_or(0)))
    }
}

/// A whole number from 1 on, written as numbers are.
fn whole<N: FromStr>(value: &str) -> Option<N> {
    value.parse().ok().filter(|_| !value.starts_with(['0', '+']))
}

/// A range of whole units.
struct Range {
    from: i64,
    to: i64,
    unit: i64,
}

/// The shortest step of whole units with which a range has at most so many steps.
fn shortest_step(range: &Range, most: i64) -> i64 {
    let units = (range.to - range.from) / range.unit;
    (units.div_euclid(most) + i64::from(units % most != 0)).saturating_mul(range.unit)
}

fn round_up(time: i64, unit: i64) -> i64 {
    time + (-time).rem_euclid(unit)
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let broken = || Problem::new(problem::Kind::BadParameter, "the query is not percent-encoded text");
    let uri: Uri = format!("/?{query}").parse().map_err(|_| broken())?;
    UrlQuery::<Vec<(String, String)>>::try_from_uri(&uri).map(|query| query.0).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Accepts = Accepts::new(&[
        Parameter::Class,
        Parameter::From,
        Parameter::To,
        Parameter::Step,
        Parameter::Sensor,
        Parameter::Kind,
        Parameter::Limit,
        Parameter::Cursor,
        Parameter::Format,
    ]);

    #[test]
    fn values_are_checked_and_named() {
        for (query, parameter) in [
            ("class=fake", "class"),
            ("from=yesterday", "from"),
            ("from=1795255200", "from"),
            ("to=2026-11-21T12:00:00%2B02:00", "to"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=%2B5", "limit"),
            ("limit=05", "limit"),
            ("step=0m", "step"),
            ("step=600", "step"),
            ("kind=Scan", "kind"),
            ("sensor=No%20name", "sensor"),
            ("format=xml", "format"),
            ("colour=red", "colour"),
            ("limit=1&limit=2", "limit"),
        ] {
            let problem = Params::read(Some(query), ALL).unwrap_err();
            assert_eq!(problem.parameter.as_deref(), Some(parameter), "{query}");
        }
        assert!(Params::read(Some("class=real"), Accepts::new(&[])).is_err());
        let services = Accepts::new(&[Parameter::Protocol, Parameter::Port]);
        let problem = Params::read(Some("port=23"), services).unwrap_err();
        assert_eq!(problem.parameter.as_deref(), Some("protocol"));
        assert!(Params::read(Some("port=23&protocol=tcp"), services).is_ok());
    }

    #[test]
    fn the_next_page_is_asked_for_with_the_same_query() {
        let params = Params::read(Some("limit=5&cursor=00&class=drill&from=2026-11-21T10:00:00Z"), ALL).unwrap();
        assert_eq!(params.with_cursor("ab"), "class=drill&from=2026-11-21T10:00:00Z&limit=5&cursor=ab");
        let other = Params::read(Some("from=2026-11-21T10:00:00Z&class=drill&format=csv"), ALL).unwrap();
        assert_eq!(params.check("/ports"), other.check("/ports"));
        assert_ne!(params.check("/ports"), other.check("/sources"));
        let other = Params::read(Some("class=drill"), ALL).unwrap();
        assert_ne!(params.check("/ports"), other.check("/ports"));
    }

    #[test]
    fn ranges_round_outward() {
        assert_eq!((round_up(0, 600), round_up(1, 600), round_up(-1, 600)), (0, 600, 0));
    }

    #[test]
    fn steps_are_as_short_as_their_number_allows() {
        let range = |length| Range { from: 0, to: length, unit: 600 };
        assert_eq!(shortest_step(&range(86_400), 144), 600);
        assert_eq!(shortest_step(&range(87_000), 144), 1200);
        assert_eq!(shortest_step(&range(600), 144), 600);
    }
}
