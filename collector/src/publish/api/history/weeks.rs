//! `/api/v1/history/weeks`: weeks that are closed, and their revisions.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::Time;
use super::super::list::page;
use super::super::parameter::Parameter;
use super::{HistoryAsked, HistoryPath, Refusal, about};

/// The path.
pub(super) struct Path;

/// Weeks that are closed.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryWeeks)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Every revision of the weeks that lie in the time as a whole; the newest week first, and of it the newest revision.
    weeks: Vec<Entry>,
    /// How many are behind these.
    weeks_left_out: usize,
}

/// A revision of a week.
#[derive(Serialize, ToSchema)]
#[schema(as = WeekRevision)]
pub(super) struct Entry {
    /// Its begin, a Monday of the zone.
    from: Time,
    /// Its end.
    to: Time,
    /// From 1 on.
    revision: i64,
    /// When it was made.
    closed: Time,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/weeks",
        "Weeks of a zone of history.report_zones that are closed, and their revisions",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Zone,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, span, zone, .. } = *asked;
        let weeks = snapshot.weeks(zone, span)?;
        let page = page(query, weeks, |week| {
            [(i64::MAX - week.start).to_be_bytes(), (i64::MAX - week.revision).to_be_bytes()].concat()
        });
        let entry = |week: crate::rollup::ClosedWeek| Entry {
            from: Time(week.start),
            to: Time(week.end),
            revision: week.revision,
            closed: Time(week.closed_ms.div_euclid(1000)),
        };
        Ok(Body {
            next_cursor: page.next,
            weeks: page.entries.into_iter().map(entry).collect(),
            weeks_left_out: page.left_out,
        })
    }
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] = &["from", "to", "revision", "closed"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.weeks.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
