//! What a request may bring.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Problem};

/// Longest request target, in bytes: several times what the longest query of ours takes.
const MAX_URI_BYTES: usize = 4096;

/// Refuses what is too large before anything looks at it. The head as a whole is bounded where it is read.
pub(super) async fn bound(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if length(request.uri()) > MAX_URI_BYTES {
        let expected = format!("at most {MAX_URI_BYTES} bytes");
        return Problem::new(Kind::UriTooLong, "shorten the request").expecting(expected).into_response();
    }
    // What is not read is refused by its method, with or without a body.
    if is_read && has_body(request.headers()) {
        return Problem::new(Kind::BodyNotTaken, "everything is asked for by path and parameters")
            .expecting("no body")
            .into_response();
    }
    next.run(request).await
}

/// Gives up an answer that takes too long. What is being computed for it goes on, and has its place among the queries, until
/// it is done.
pub(super) async fn within(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    }
}

fn length(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}
