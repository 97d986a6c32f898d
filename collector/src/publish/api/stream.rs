//! `/api/v1/stream`: what `status` says, whenever it has changed, as server-sent events.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::super::access::Caller;
use super::super::problem::{Problem, VARY};
use super::endpoint::{About, Api, NEVER_KEPT};
use super::format::must_accept;
use super::params::{Accepts, Params};
use super::status;
use super::validator::Validity;
use crate::live::LiveView;
use crate::tokens::Scope;

/// What there is to say of the path. It has no answer that ends, so it is no [`super::endpoint::Endpoint`].
pub(super) const ABOUT: About = About {
    name: "stream",
    summary: "What status says, whenever it has changed",
    accepts: Accepts::new(&[]),
    scope: Scope::Read,
    validity: Validity::Never,
    walks: false,
};
/// Server-sent events, as the HTML standard has them.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// nginx would keep events back until a buffer is full.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Opens a stream.
pub(super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.needs(ABOUT.scope)?;
    Params::read(uri.query(), ABOUT.accepts)?;
    must_accept(&headers, MEDIA_TYPE)?;
    let listener = api.sources.streams.listen().ok_or_else(Problem::too_many_streams)?;
    let mut response = listener.body().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, NEVER_KEPT);
    headers.insert(header::VARY, VARY);
    let (name, value) = UNBUFFERED;
    headers.insert(name, value);
    Ok(response)
}

/// Writes what is sent, until all streams shall end.
pub(super) async fn run(api: Api) {
    let sources = &api.sources;
    let write = |view: &LiveView| {
        let line = serde_json::to_vec(&status::full(sources, view, sources.clock.now_ms()));
        line.inspect_err(|error| tracing::error!("cannot write an event: {error}")).ok()
    };
    sources.streams.run(|| sources.view.load_full(), write).await;
}
