//! `/api/v1/reports/{time}/notes`: what analysts write into the report of a time.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use martlet_window::TrafficClass;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::body;
use super::super::endpoint::{About, Api, NEVER_KEPT, describe, turn, unchanged};
use super::super::format::{Format, must_accept};
use super::super::parameter::Parameter;
use super::super::params::{Accepts, Params};
use super::super::validator::Validity;
use super::period;
use crate::events::LOCAL;
use crate::publish::access::Caller;
use crate::publish::problem::{Kind, Problem};
use crate::publish::tag::Tag;
use crate::report::{Notes, Office, Period, ReportError, Wanted};
use crate::tokens::Scope;

/// Longest body, in bytes: several times what the longest texts of every language take.
const MOST_BODY_BYTES: usize = 1 << 20;

/// What there is to say of the path.
pub(in super::super) const ABOUT: About = About {
    name: "reports/{time}/notes",
    summary: "What analysts write into the report of a time",
    accepts: Accepts::without_range(&[Parameter::Class, Parameter::Group]),
    scope: Scope::Read,
    validity: Validity::Answer,
    walks: false,
};
/// The same of replacing them.
pub(in super::super) const ABOUT_REPLACING: About =
    About { summary: "Replaces what analysts write into the report of a time", scope: Scope::Analyst, ..ABOUT };

/// What analysts write into a report: texts by language (BCP 47).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ReportNotes)]
pub(in super::super) struct Shape {
    /// On the whole.
    comment: BTreeMap<String, String>,
    /// On what was noteworthy.
    phenomena: BTreeMap<String, String>,
    /// On events, by their identifier.
    events: BTreeMap<String, BTreeMap<String, String>>,
}

impl From<Notes> for Shape {
    fn from(Notes { comment, phenomena, events }: Notes) -> Shape {
        Shape { comment, phenomena, events }
    }
}

impl From<Shape> for Notes {
    fn from(Shape { comment, phenomena, events }: Shape) -> Notes {
        Notes { comment, phenomena, events }
    }
}

/// Notes as they are sent, and their tag.
struct Written {
    body: Vec<u8>,
    tag: Tag,
}

impl Written {
    fn new(notes: Notes) -> Result<Written, Problem> {
        let body = serde_json::to_vec(&Shape::from(notes)).map_err(|error| {
            tracing::error!("cannot write notes: {error}");
            Problem::failed()
        })?;
        Ok(Written { tag: Tag::new(0, 0, &body), body })
    }

    fn respond(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        describe(headers, Some(&self.tag));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::Json.content_type()));
        response
    }
}

/// What is written.
pub(in super::super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    item: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.needs(ABOUT.scope)?;
    let params = Params::read(uri.query(), ABOUT.accepts)?;
    must_accept(&headers, Format::Json.media_type())?;
    let (period, class) = (period(item)?, params.class());
    let office = api.sources.reports.of_group(params.wanted().group.as_ref());
    let turn = caller.turn()?;
    let written = blocking(move || {
        let _turn = turn;
        Written::new(office.notes(class, &period.to_string())?)
    })
    .await?;
    if written.tag.is_known(&headers) {
        return Ok(unchanged(&written.tag));
    }
    Ok(written.respond())
}

/// Replaces it, and answers with what is written then.
pub(in super::super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    item: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(ABOUT_REPLACING.scope)?;
    let params = Params::read(uri.query(), ABOUT.accepts)?;
    let shape: Shape = body::read(&headers, body, MOST_BODY_BYTES).await?;
    let (period, class) = (period(item)?, params.class());
    let bad = |error: crate::report::NotesError| Problem::new(Kind::BadBody, error.to_string());
    let notes = Notes::from(shape).bounded().map_err(bad)?;
    if !headers.contains_key(header::IF_MATCH) {
        let detail =
            "send If-Match with the ETag that GET has answered: what others have written meanwhile would be lost";
        return Err(Problem::new(Kind::NotesUnseen, detail));
    }
    let by = caller.name.clone();
    let office = api.sources.reports.of_group(params.wanted().group.as_ref());
    // Whether there is such a report may have to be worked out.
    let turn = turn(&api, &caller).await?;
    let written = blocking(move || {
        let _turn = turn;
        check(&api, &office, class, period, &notes)?;
        let label = period.to_string();
        let was_seen =
            |there: &Notes| Written::new(there.clone()).is_ok_and(|there| there.tag.is_meant(&headers) == Some(true));
        if !office.replace_notes(class, &label, &notes, was_seen)? {
            let detail =
                "somebody else has written meanwhile: GET them, put both together, and send If-Match with the new ETag";
            return Err(Problem::new(Kind::NotesChanged, detail));
        }
        let by = by.as_deref().unwrap_or(LOCAL);
        tracing::info!(event = "report_notes_changed", class = class.name(), time = label, by, "notes were written");
        Written::new(notes)
    })
    .await?;
    let mut response = written.respond();
    response.headers_mut().insert(header::CACHE_CONTROL, NEVER_KEPT);
    Ok(response)
}

/// Whether there is a report that they belong to, kept or as it would be made now.
fn check(api: &Api, office: &Office, class: TrafficClass, period: Period, notes: &Notes) -> Result<(), Problem> {
    let kept = office.shelf().newest(class, &period.to_string()).map_err(ReportError::from)?;
    // An event that was assessed since is in the report that would be made now.
    if kept.is_some_and(|report| notes.check(&report).is_ok()) {
        return Ok(());
    }
    let wanted = Wanted { class, period, compare: 1 };
    let now = api.sources.clock.now();
    let made = api.sources.history.ask(Instant::now() + api.patience, |history| office.make(history, &wanted, now));
    let report = made.map_err(ReportError::from)??.report;
    notes.check(&report).map_err(|error| Problem::new(Kind::BadBody, error.to_string()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("notes failed: {error}");
        Problem::failed()
    })?
}
