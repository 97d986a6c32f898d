//! `/api/v1/reports`: which reports are finished, the newest time first.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::endpoint::{About, Asked, Endpoint};
use super::super::format::Table;
use super::super::json::{class_schema, words};
use super::super::list::page;
use super::super::parameter::Parameter;
use super::super::params::Accepts;
use super::super::validator::Validity;
use crate::publish::problem::Problem;
use crate::report::{Period, PeriodKind, ReportError, ReportsConfig, Stored};
use crate::tokens::Scope;

/// The path.
pub(in super::super) struct Path;

/// Finished reports.
#[derive(Serialize, ToSchema)]
#[schema(as = Reports)]
pub(in super::super) struct Answer {
    /// The zone in which days and weeks of reports begin.
    zone: String,
    /// The week that runs there, as paths name it.
    current_week: Option<String>,
    /// The week before.
    last_week: Option<String>,
    /// Every revision that is kept, of all sensors or of the group that was asked for; the newest time first, and of it the newest revision.
    reports: Vec<Entry>,
    /// How many are behind these.
    reports_left_out: usize,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A revision of a report.
#[derive(Serialize, ToSchema)]
#[schema(as = KeptReport)]
pub(in super::super) struct Entry {
    /// `real`, `drill` or `import`.
    #[schema(schema_with = class_schema)]
    class: &'static str,
    /// Which time, as paths name it.
    time: String,
    /// Which kind of time.
    #[schema(schema_with = kind_schema)]
    kind: &'static str,
    /// From 1 on.
    revision: u32,
}

fn kind_schema() -> Schema {
    words(&["week", "month", "quarter", "days"])
}

const fn kind_name(period: Period) -> &'static str {
    match period {
        Period::Week(_) => "week",
        Period::Month(_) => "month",
        Period::Quarter(_) => "quarter",
        Period::Days(..) => "days",
    }
}

impl Table for Answer {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] = &["class", "time", "kind", "revision"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.reports.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "reports",
        summary: "Observation reports that are finished, and their revisions",
        accepts: Accepts::without_range(&[
            Parameter::Class,
            Parameter::Group,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Read,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
        let Asked { query, sources, .. } = asked;
        let office = sources.reports.of_group(query.wanted.group.as_ref());
        let config = office.config();
        let kept = office.shelf().list(query.class).map_err(ReportError::from)?;
        // What is named otherwise is no time that could be asked for.
        let kept = kept.into_iter().filter_map(|stored| Some((stored.label.parse().ok()?, stored)));
        let page = page(query, kept.collect(), |(period, stored): &(Period, Stored)| place(*period, stored, config));
        let week = |now| Period::around(PeriodKind::Week, config.zone().ok()?.date(now)?, config.week_start.weekday());
        let current = week(asked.now_ms.div_euclid(1000));
        let entry = |(period, stored): (Period, Stored)| Entry {
            class: query.class.name(),
            time: stored.label,
            kind: kind_name(period),
            revision: stored.revision,
        };
        Ok(Answer {
            zone: config.zone.clone(),
            current_week: current.map(|week| week.to_string()),
            last_week: current.and_then(Period::before).map(|week| week.to_string()),
            reports: page.entries.into_iter().map(entry).collect(),
            reports_left_out: page.left_out,
            next_cursor: page.next,
        })
    }
}

/// Where a report is in the list: by the last day of its time, then by its name, and by revision; times that end last come first.
fn place(period: Period, stored: &Stored, config: &ReportsConfig) -> Vec<u8> {
    // Days count from a day that no year of ours lies before.
    let first = jiff::civil::Date::MIN;
    let days = period.dates(config.week_start.weekday()).and_then(|(_, last)| first.until(last).ok());
    let days = days.map_or(0, |span| span.get_days());
    let mut place = (i32::MAX - days).to_be_bytes().to_vec();
    place.extend(stored.label.as_bytes());
    place.extend((u32::MAX - stored.revision).to_be_bytes());
    place
}
