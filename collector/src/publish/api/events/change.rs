//! `POST /api/v1/events/{id}`: what an analyst says of an event.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::super::body;
use super::super::endpoint::{About, Api, NEVER_KEPT};
use super::super::format::Format;
use super::super::params::{Accepts, Params};
use super::super::validator::Validity;
use super::event::Answer;
use super::id;
use crate::events::{Change, LOCAL, Request, Severity};
use crate::publish::access::Caller;
use crate::publish::problem::{Problem, VARY};
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
    Params::read(uri.query(), ABOUT.accepts)?;
    let asked: Asked = body::read(&headers, body, MOST_BODY_BYTES).await?;
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
