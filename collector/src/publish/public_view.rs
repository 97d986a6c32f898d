//! The public view: what is published, told to anybody, below a path of its own. A proxy can pass on that path and nothing else.
//!
//! Whoever asks is a caller of scope `public`: the same paths, computed by the same code. Who it is makes no difference, or a
//! token in a browser, or a proxy on this machine, would show more than was meant.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::access::Caller;
use super::{Sources, api, page};
use crate::config::Config;

/// What its paths begin with.
pub(super) const PREFIX: &str = "/public";

/// Answers are the same for everybody, so whoever is in between may keep them; what they say changes by the hour.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=60");
const VARY: HeaderValue = HeaderValue::from_static("accept");

/// Its routes, if there is one.
pub(super) fn router(config: &Config, sources: Sources) -> Router {
    if !config.publication.public {
        return Router::new();
    }
    let anybody = Caller::anybody(config.http.max_queries_per_caller);
    page::router(PREFIX)
        .merge(api::public_router(PREFIX, config, sources))
        .layer(from_fn_with_state(anybody, as_anybody))
}

async fn as_anybody(State(anybody): State<Caller>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(anybody);
    let mut response = next.run(request).await;
    if matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, KEPT);
        headers.insert(header::VARY, VARY);
    }
    response
}
