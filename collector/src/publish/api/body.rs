//! Bodies of requests that change something.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::format::{Format, must_accept};
use crate::publish::access::is_of_another_site;
use crate::publish::problem::{Kind, Problem};

/// Reads a body of JSON, of so many bytes at most, from a page of ours or from what is no page.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, most: usize) -> Result<T, Problem> {
    // Who shows a token has it from no cookie, so that another site's page can do nothing in somebody's name; that it is JSON makes
    // browsers ask first, and they are not allowed to. This is the third lock on that door.
    if is_of_another_site(headers) {
        return Err(Problem::new(Kind::CrossSite, "another site's page may change nothing here"));
    }
    must_accept(headers, Format::Json.media_type())?;
    if !is_json(headers) {
        let detail = "send JSON, with `Content-Type: application/json`";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail).expecting(Format::Json.media_type()));
    }
    let too_large = |_| Problem::new(Kind::BodyNotTaken, "shorten the note").expecting(format!("at most {most} bytes"));
    let body = to_bytes(body, most).await.map_err(too_large)?;
    // The parser would take a list for an object, in the order of its fields.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(bad_body(&"it is no object"));
    }
    serde_json::from_slice(&body).map_err(|error| bad_body(&error))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let is_json = |value: &str| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case(Format::Json.media_type())
    };
    types.next().is_some_and(is_json) && types.next().is_none()
}

fn bad_body(error: &impl ToString) -> Problem {
    // The parser's words name fields and values of ours, and what of the request was found in their place.
    let detail: String = error.to_string().chars().take(200).collect();
    Problem::new(Kind::BadBody, detail).expecting("an object as docs/api.md describes it")
}
