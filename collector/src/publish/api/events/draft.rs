//! `/api/v1/events/{id}/draft`: a draft of the public alert about an event, as Markdown.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::super::endpoint::{About, Api, NEVER_KEPT};
use super::super::format::must_accept;
use super::super::parameter::Parameter;
use super::super::params::{Accepts, Params};
use super::super::validator::Validity;
use super::id;
use crate::events::{Language, Tlp, draft};
use crate::publish::access::Caller;
use crate::publish::problem::{Problem, VARY};
use crate::tokens::Scope;

/// What there is to say of the path.
pub(in super::super) const ABOUT: About = About {
    name: "events/{id}/draft",
    summary: "A draft of the public alert about an event: facts filled in, judgement left to the analyst",
    accepts: Accepts::without_range(&[Parameter::Lang, Parameter::Tlp]),
    scope: Scope::Read,
    validity: Validity::Never,
    walks: false,
};
/// Markdown (RFC 7763).
pub(in super::super) const MEDIA_TYPE: &str = "text/markdown";

/// Writes a draft.
pub(in super::super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Path(item): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.needs(ABOUT.scope)?;
    let params = Params::read(uri.query(), ABOUT.accepts)?;
    must_accept(&headers, MEDIA_TYPE)?;
    let id = id(Some(&item))?;
    // Who does not say how far it may go gets what may go least far.
    let language = params.wanted().language.unwrap_or(Language::English);
    let tlp = params.wanted().tlp.unwrap_or(Tlp::Red);
    let turn = caller.turn()?;
    let work = move || -> Result<String, Problem> {
        let _turn = turn;
        let whole = api.sources.events.event(id)?;
        Ok(draft(&whole, language, tlp, api.publication.min_sources, api.sources.clock.now()))
    };
    let text = tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a draft failed: {error}");
        Problem::failed()
    })??;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, NEVER_KEPT);
    headers.insert(header::VARY, VARY);
    Ok(response)
}
