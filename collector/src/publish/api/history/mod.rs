//! `/api/v1/history/...`: answers from the days that are kept in the store, and from the archive.
//!
//! A path here is a [`HistoryPath`]; [`Over`] makes an endpoint of it: it takes a snapshot of the store, finds out which time is
//! meant, and says what stands behind the figures. Everything of one answer is of one snapshot.

mod changes;
mod exposure;
mod files;
mod first_seen;
mod groups;
mod icmp;
mod networks;
mod populations;
mod port;
mod port_sources;
mod ports;
mod series;
mod shapes;
mod source;
mod sources;
mod weeks;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::openapi::schema::AllOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use self::shapes::HistoryHead;
use super::super::Sources;
use super::super::problem::{Kind, Problem};
use super::endpoint::{About, Asked, Endpoint};
use super::format::Table;
use super::parameter::Parameter;
use super::params::{Accepts, Query};
use super::validator::Validity;
use super::{Paths, time};
use crate::labels::Group;
use crate::live::ServiceKey;
use crate::rollup::query::{Basis, Filter, MOST_DAYS, Snapshot, Span, Step};
use crate::rollup::{ALL_SENSORS, DAY_SECONDS, QUARTER_SECONDS, RollupError, Zone};
use crate::tokens::Scope;

/// How long an answer may be worked on. What takes longer is refused, with a hint.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many days there are without `from`.
const DEFAULT_DAYS: i64 = 7;
/// Up to here steps are hours unless somebody says how long they are, and beyond days.
const FORTNIGHT: i64 = 14 * DAY_SECONDS;
/// Most steps of a series.
const MOST_STEPS: i64 = 20_000;

/// Adds the paths.
pub(super) fn paths(paths: Paths) -> Paths {
    paths
        .with::<Over<ports::Path>>()
        .with::<Over<port::Path>>()
        .with::<Over<port_sources::Path>>()
        .with::<Over<series::Path>>()
        .with::<Over<changes::Path>>()
        .with::<Over<first_seen::Path>>()
        .with::<Over<icmp::Path>>()
        .with::<Over<groups::By<groups::Protocols>>>()
        .with::<Over<groups::By<groups::Regions>>>()
        .with::<Over<groups::By<groups::Marks>>>()
        .with::<Over<groups::By<groups::Scanners>>>()
        .with::<Over<groups::By<groups::Sensors>>>()
        .with::<Over<networks::Path>>()
        .with::<Over<populations::Path>>()
        .with::<Over<sources::Path>>()
        .with::<Over<source::Path>>()
        .with::<Over<exposure::Path>>()
        .with::<Over<weeks::Path>>()
}

/// One path.
trait HistoryPath: 'static {
    /// What there is to say of it.
    const ABOUT: About;
    /// Its answer, without what all begin with.
    type Body: Serialize + ToSchema + Table + Send + 'static;

    /// What is asked about, where the path means something else by what was not given.
    fn filter(filter: Filter) -> Filter {
        filter
    }

    fn answer(asked: &HistoryAsked<'_>) -> Result<Self::Body, Refusal>;
}

/// What all paths of history have in common.
const fn about(name: &'static str, summary: &'static str, parameters: &'static [Parameter]) -> About {
    let accepts = Accepts::history(parameters);
    About { name, summary, accepts, scope: Scope::Read, validity: Validity::Answer, walks: true }
}

/// An answer, and what stands behind it.
#[derive(Serialize)]
struct Answer<B> {
    #[serde(flatten)]
    head: HistoryHead,
    #[serde(flatten)]
    body: B,
}

impl<B: ToSchema> PartialSchema for Answer<B> {
    fn schema() -> RefOr<Schema> {
        AllOfBuilder::new().item(Ref::from_schema_name(HistoryHead::name())).item(B::schema()).into()
    }
}

/// By the name of what it is about.
impl<B: ToSchema> ToSchema for Answer<B> {
    fn name() -> Cow<'static, str> {
        B::name()
    }

    fn schemas(found: &mut Vec<(String, RefOr<Schema>)>) {
        found.push((HistoryHead::name().into_owned(), HistoryHead::schema()));
        HistoryHead::schemas(found);
        B::schemas(found);
    }
}

impl<B: Table> Table for Answer<B> {
    type Row = B::Row;
    const COLUMNS: &'static [&'static str] = B::COLUMNS;

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.body.rows()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.body.next_cursor()
    }
}

/// A path of history as an endpoint.
struct Over<P>(PhantomData<P>);

/// A question, and the state of the store that it is answered from.
struct HistoryAsked<'a> {
    sources: &'a Sources,
    snapshot: &'a Snapshot<'a>,
    query: &'a Query,
    filter: Filter,
    span: Span,
    zone: &'a Zone,
    /// What stands behind the figures of the time.
    basis: &'a Basis,
    deadline: Instant,
}

/// Why there is no answer.
enum Refusal {
    Problem(Problem),
    Rollup(RollupError),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal::Problem(problem)
    }
}

impl From<RollupError> for Refusal {
    fn from(error: RollupError) -> Refusal {
        Refusal::Rollup(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Problem(problem) => problem,
            Refusal::Rollup(error) => of_rollup(&error),
        }
    }
}

pub(super) fn of_rollup(error: &RollupError) -> Problem {
    match error {
        RollupError::NotKept(reason) => Problem::new(Kind::NotKept, *reason),
        RollupError::Unaligned { what, .. } => Problem::unfit(what, "whole quarter hours"),
        RollupError::Span { .. } => Problem::unfit("from", format!("before `to`, by {MOST_DAYS} days at most")),
        RollupError::TooLong => Problem::new(
            Kind::TooWide,
            "ask for a shorter time, fewer series or a longer step; or ask the archive's files with DuckDB (docs/archive.md)",
        ),
        error => {
            tracing::error!("cannot answer from history: {error}");
            Problem::store()
        }
    }
}

impl<P: HistoryPath> Endpoint for Over<P> {
    const ABOUT: About = P::ABOUT;
    type Answer = Answer<P::Body>;

    fn answer(asked: &Asked<'_>) -> Result<Answer<P::Body>, Problem> {
        let deadline = Instant::now() + PATIENCE;
        let answer = asked.sources.history.ask(deadline, |history| -> Result<Answer<P::Body>, Refusal> {
            let snapshot = history.snapshot()?;
            let zone = asked.query.wanted.zone.as_deref().map_or(Ok(Zone::UTC), Zone::named);
            let zone = zone.map_err(|error| Problem::unfit("zone", error))?;
            let span = span(asked, &snapshot, &zone)?;
            let mut query = asked.query.clone();
            (query.from, query.to) = (span.from(), span.to());
            let (ip, protocol) = (query.wanted.ip, query.wanted.protocol);
            let scope = match &query.wanted.group {
                None => ALL_SENSORS,
                Some(group) => snapshot.scope_of(group)?.ok_or_else(|| no_such_group(group))?,
            };
            let filter = P::filter(Filter { scope, ip, protocol, kind: query.kind, ..Filter::class(query.class) });
            let basis = &snapshot.basis(&filter, span)?;
            let (sources, query, zone, snapshot) = (asked.sources, &query, &zone, &snapshot);
            let asked = HistoryAsked { sources, snapshot, query, filter, span, zone, basis, deadline };
            Ok(Answer { body: P::answer(&asked)?, head: HistoryHead::of(&asked)? })
        });
        answer.map_err(Refusal::from)?.map_err(Problem::from)
    }

    fn generation(answer: &Answer<P::Body>) -> Option<u64> {
        Some(answer.head.generation())
    }
}

fn no_such_group(group: &Group) -> Problem {
    Problem::bad("group", &group.to_string(), "a group that there is: `sensors` has the labels of each")
}

/// Which time is meant: rounded outward to quarter hours; without an end up to the end of the newest day, without a begin the
/// days before that.
fn span(asked: &Asked<'_>, snapshot: &Snapshot<'_>, zone: &Zone) -> Result<Span, Refusal> {
    let wanted = &asked.query.wanted;
    let beyond = || Problem::unfit("to", "within what calendars have");
    let to = match wanted.to {
        Some(to) => to + (-to).rem_euclid(QUARTER_SECONDS),
        None => {
            let newest = snapshot.newest_day(asked.query.class)?.map(|day| (day + 1).saturating_mul(DAY_SECONDS));
            let moment = newest.unwrap_or_else(|| asked.now_ms.div_euclid(1000)) - 1;
            zone.date(moment).and_then(|date| zone.day(date)).ok_or_else(beyond)?.end
        }
    };
    let from = match wanted.from {
        Some(from) => from - from.rem_euclid(QUARTER_SECONDS),
        None => days_before(zone, to, DEFAULT_DAYS).ok_or_else(beyond)?,
    };
    if from >= to {
        return Err(Problem::unfit("from", "before `to`").into());
    }
    Ok(Span::new(from, to)?)
}

/// So many days of a zone before a time.
fn days_before(zone: &Zone, time: i64, days: i64) -> Option<i64> {
    let last = zone.date(time - 1)?;
    let first = last.checked_sub(jiff::Span::new().days(days - 1)).ok()?;
    Some(zone.day(first)?.start)
}

impl HistoryAsked<'_> {
    /// The service that is asked for, if one is.
    fn service(&self) -> Option<ServiceKey> {
        let wanted = &self.query.wanted;
        // A port comes with its protocol.
        let (protocol, port) = wanted.protocol.zip(wanted.port)?;
        Some(shapes::port_key(wanted.ip.unwrap_or(martlet_window::IpVersion::V4), protocol, port))
    }

    /// The filter without what only says which service is meant.
    const fn without_protocol(&self) -> Filter {
        Filter { protocol: None, ..self.filter }
    }
}

/// A port is of one IP version: of IPv4 unless another one is asked for.
fn of_one_version(filter: Filter) -> Filter {
    Filter { ip: filter.ip.or(Some(martlet_window::IpVersion::V4)), ..filter }
}

/// Steps of a series where nobody says how long they are: hours of a fortnight, and else days.
fn step(asked: &HistoryAsked<'_>) -> Result<Step, Problem> {
    let length = asked.span.to() - asked.span.from();
    let default = if length > FORTNIGHT { DAY_SECONDS } else { 3600 };
    let seconds = asked.query.wanted.step_seconds.unwrap_or(default);
    if seconds % QUARTER_SECONDS != 0 {
        return Err(Problem::unfit("step", "a multiple of 15m"));
    }
    if length / seconds > MOST_STEPS {
        let least = (length / MOST_STEPS).div_euclid(QUARTER_SECONDS).saturating_add(1).saturating_mul(QUARTER_SECONDS);
        return Err(Problem::unfit("step", format!("at least {}", time::step_text(least))));
    }
    Ok(if seconds == DAY_SECONDS { Step::Days(asked.zone.clone()) } else { Step::Seconds(seconds) })
}
