//! What is the same for every request: bytes and the tag of these bytes.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::tag::Tag;

/// Something that is served as it is.
#[derive(Clone)]
pub(super) struct Document {
    body: Bytes,
    content_type: &'static str,
    /// How long a client may keep it.
    kept: HeaderValue,
    tag: Tag,
}

impl Document {
    pub(super) fn new(body: impl Into<Bytes>, content_type: &'static str, kept: HeaderValue) -> Document {
        let body = body.into();
        // The same for every start of the same program.
        let tag = Tag::new(0, 0, &body);
        Document { body, content_type, kept, tag }
    }

    /// Serves it to whoever does not have it yet.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let is_known = self.tag.is_known(headers);
        let mut response =
            if is_known { StatusCode::NOT_MODIFIED.into_response() } else { self.body.clone().into_response() };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, self.kept.clone());
        if let Some(tag) = self.tag.header() {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}
