//! `POST /api/v1/events/{id}`: what an analyst says of an event. Nothing else is changed over HTTP.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::super::endpoint::{About, Api, NEVER_KEPT};
use super::super::format::{Format, must_accept};
use super::super::params::{Accepts, Params};
use super::super::validator::Validity;
use super::event::Answer;
use super::id;
use crate::events::{Change, LOCAL, Request, Severity};
use crate::publish::access::{Caller, is_of_another_site};
use crate::publish::problem::{Kind, Problem, VARY};
use crate::tokens::Scope;

/// Longest body, in bytes: several times what the longest note and list of recipients take.
const MOST_BODY_BYTES: usize = 64 << 10;

/// What there is to say of the path.
pub(in super::super) const ABOUT: About = About {
    name: "events/{id}",
    summary: "Says where an event is in its life, and whose it is",
    accepts: Accepts::without_range(&[]),
    scope: Scope::Analyst,
    validity: Validity::Never,
    walks: false,
};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: Request,
    #[serde(default)]
    version: Option<i64>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    recipients: Option<Vec<String>>,
    #[serde(default)]
    severity: Option<Severity>,
}

/// Changes an event, and answers with what it is then.
pub(in super::super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Path(item): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(ABOUT.scope)?;
    // Who shows a token has it from no cookie, so that another site's page can do nothing in somebody's name; that it is JSON makes
    // browsers ask first, and they are not allowed to. This is the third lock on that door.
    if is_of_another_site(&headers) {
        return Err(Problem::new(Kind::CrossSite, "another site's page may change nothing here"));
    }
    Params::read(uri.query(), ABOUT.accepts)?;
    must_accept(&headers, Format::Json.media_type())?;
    if !is_json(&headers) {
        let detail = "send JSON, with `Content-Type: application/json`";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail).expecting(Format::Json.media_type()));
    }
    let too_large =
        |_| Problem::new(Kind::BodyNotTaken, "shorten the note").expecting(format!("at most {MOST_BODY_BYTES} bytes"));
    let body = to_bytes(body, MOST_BODY_BYTES).await.map_err(too_large)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| bad_body(&error))?;
    let id = id(Some(&item))?;
    let Asked { action, version, note, owner, recipients, severity } = asked;
    let change = Change { request: action, version, note, owner, recipients, severity };
    let (by, scope) = (caller.name.clone(), caller.scope);
    let turn = caller.turn()?;
    let work = move || {
        let _turn = turn;
        let by = by.as_deref().unwrap_or(LOCAL);
        let whole = api.sources.events.change(id, &change, by, api.sources.clock.now_ms())?;
        serde_json::to_vec(&Answer::new(whole, scope, None)).map_err(|error| {
            tracing::error!("cannot write an answer: {error}");
            Problem::failed()
        })
    };
    let written = tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a change failed: {error}");
        Problem::failed()
    })??;
    let mut response = written.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Format::Json.content_type()));
    headers.insert(header::CACHE_CONTROL, NEVER_KEPT);
    headers.insert(header::VARY, VARY);
    Ok(response)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let is_json = |value: &str| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case(Format::Json.media_type())
    };
    types.next().is_some_and(is_json) && types.next().is_none()
}

fn bad_body(error: &serde_json::Error) -> Problem {
    // The parser's words name fields and values of ours, and what of the request was found in their place.
    let detail: String = error.to_string().chars().take(200).collect();
    Problem::new(Kind::BadBody, detail).expecting("an object as docs/api.md describes it")
}
