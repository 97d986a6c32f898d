//! `/api/v1/events`: events, the newest first.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::{About, Asked, Endpoint};
use super::super::format::Table;
use super::super::list::Place;
use super::super::parameter::Parameter;
use super::super::params::Accepts;
use super::super::validator::Validity;
use super::shapes::EventShape;
use crate::events::{Event, Wanted};
use crate::publish::problem::Problem;
use crate::tokens::Scope;

/// The path.
pub(in super::super) struct Path;

/// Events.
#[derive(Serialize, ToSchema)]
#[schema(as = Events)]
pub(in super::super) struct Answer {
    /// The newest first, by when they were detected.
    events: Vec<EventShape>,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl Table for Answer {
    type Row = EventShape;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "class",
        "type",
        "ip",
        "protocol",
        "port",
        "service",
        "mark",
        "state",
        "severity",
        "owner",
        "onset",
        "detected",
        "recorded",
        "last_active",
        "ended",
        "estimates.rate_per_hour.value",
        "estimates.rate_per_hour.low",
        "estimates.rate_per_hour.high",
        "estimates.doubling_seconds.value",
        "estimates.doubling_seconds.low",
        "estimates.doubling_seconds.high",
        "version",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.events.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "events",
        summary: "What the detector called: ports seen first, surges, outbreaks",
        accepts: Accepts::without_range(&[
            Parameter::Class,
            Parameter::Type,
            Parameter::State,
            Parameter::Since,
            Parameter::Until,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Port,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Public,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
        let (query, wanted) = (asked.query, &asked.query.wanted);
        let is_public = query.public.is_some();
        let after = match &query.after {
            None => None,
            Some(place) => Some(read_place(place).ok_or_else(|| {
                Problem::bad_cursor("it is damaged, or was never given out", Parameter::Cursor.expected())
            })?),
        };
        let wanted = Wanted {
            class: query.class,
            finding_type: wanted.finding_type,
            state: wanted.state,
            since: wanted.since,
            until: wanted.until,
            ip: wanted.ip,
            protocol: wanted.protocol,
            port: wanted.port,
            is_public,
            after,
            limit: query.limit,
        };
        let mut events = asked.sources.events.list(&wanted)?;
        let has_more = events.len() > query.limit;
        events.truncate(query.limit);
        let last = events.last().filter(|_| has_more);
        let next_cursor = last.map(|(event, _)| query.cursor_after(place(event)));
        let events = events.into_iter().map(|(event, history)| EventShape::new(event, history, is_public)).collect();
        Ok(Answer { events, next_cursor })
    }
}

/// Where an event is in the list.
fn place(event: &Event) -> Place {
    Place([event.detected.to_be_bytes(), event.id.finding.to_be_bytes()].concat())
}

fn read_place(Place(bytes): &Place) -> Option<(i64, u64)> {
    let (detected, finding) = bytes.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*detected), u64::from_be_bytes(finding.try_into().ok()?)))
}
