//! What goes wrong with a request, as problem details (RFC 9457). docs/api.md lists every kind.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::tokens::Scope;

/// Which headers of a request decide about its answer.
pub(super) const VARY: HeaderValue = HeaderValue::from_static("accept, authorization");
/// Media type of problem details.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// Longest piece of a request that is repeated in an answer, in characters.
const LONGEST_QUOTE: usize = 60;

/// Which kind of problem it is: its status, and what `type` and `title` say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BadParameter,
    UnknownParameter,
    RepeatedParameter,
    TokenMissing,
    TokenInvalid,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    BodyNotTaken,
    UriTooLong,
    TooManyQueries,
    Busy,
    TooSlow,
    /// History does not keep what was asked for.
    NotKept,
    /// History would have to read too much.
    TooWide,
    Starting,
    /// The store cannot be read; the log says why.
    Store,
    /// A defect; the log says more.
    Failed,
    /// Of paths that name an event.
    NoSuchEvent,
    /// Of paths that name the time of a report.
    NoSuchReport,
    ReportRefused,
    /// Of paths that change something: the body, and what it is refused for.
    BadBody,
    UnsupportedMediaType,
    CrossSite,
    EventChanged,
    IllegalTransition,
    NotesUnseen,
    NotesChanged,
}

impl Kind {
    /// What only paths that name an event answer.
    pub(super) const OF_EVENTS: [Kind; 1] = [Kind::NoSuchEvent];
    /// What only paths that name the time of a report answer.
    pub(super) const OF_REPORTS: [Kind; 2] = [Kind::NoSuchReport, Kind::ReportRefused];
    /// What only the path that changes an event answers.
    pub(super) const OF_EVENT_CHANGES: [Kind; 5] =
        [Kind::BadBody, Kind::UnsupportedMediaType, Kind::CrossSite, Kind::EventChanged, Kind::IllegalTransition];
    /// What only the path that changes notes answers.
    pub(super) const OF_NOTE_CHANGES: [Kind; 5] =
        [Kind::BadBody, Kind::UnsupportedMediaType, Kind::CrossSite, Kind::NotesUnseen, Kind::NotesChanged];

    /// Every kind.
    pub(super) const ALL: [Kind; 29] = [
        Kind::BadParameter,
        Kind::UnknownParameter,
        Kind::RepeatedParameter,
        Kind::TokenMissing,
        Kind::TokenInvalid,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::NotAcceptable,
        Kind::BodyNotTaken,
        Kind::UriTooLong,
        Kind::TooManyQueries,
        Kind::Busy,
        Kind::TooSlow,
        Kind::NotKept,
        Kind::TooWide,
        Kind::Starting,
        Kind::Store,
        Kind::Failed,
        Kind::NoSuchEvent,
        Kind::NoSuchReport,
        Kind::ReportRefused,
        Kind::BadBody,
        Kind::UnsupportedMediaType,
        Kind::CrossSite,
        Kind::EventChanged,
        Kind::IllegalTransition,
        Kind::NotesUnseen,
        Kind::NotesChanged,
    ];

    /// Its status.
    pub(super) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// What `type` and `title` say of it.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        let (_, problem, title) = self.parts();
        (problem, title)
    }

    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadParameter => {
                (StatusCode::BAD_REQUEST, "urn:martlet:problem:bad-parameter", "A parameter has a value it cannot have")
            }
            Kind::UnknownParameter => {
                (StatusCode::BAD_REQUEST, "urn:martlet:problem:unknown-parameter", "The path has no such parameter")
            }
            Kind::RepeatedParameter => {
                (StatusCode::BAD_REQUEST, "urn:martlet:problem:repeated-parameter", "A parameter was given twice")
            }
            Kind::TokenMissing => (StatusCode::UNAUTHORIZED, "urn:martlet:problem:token-missing", "A token is needed"),
            Kind::TokenInvalid => {
                (StatusCode::UNAUTHORIZED, "urn:martlet:problem:token-invalid", "The token is not one that is in use")
            }
            Kind::Forbidden => {
                (StatusCode::FORBIDDEN, "urn:martlet:problem:forbidden", "The caller may not see what was asked for")
            }
            Kind::NotFound => (StatusCode::NOT_FOUND, "urn:martlet:problem:not-found", "There is no such path"),
            Kind::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:martlet:problem:method-not-allowed",
                "The path is not asked with this method",
            ),
            Kind::NotAcceptable => (
                StatusCode::NOT_ACCEPTABLE,
                "urn:martlet:problem:not-acceptable",
                "The path has no answer in such a format",
            ),
            Kind::BodyNotTaken => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "urn:martlet:problem:body-not-taken",
                "The request has a body that is not taken",
            ),
            Kind::UriTooLong => {
                (StatusCode::URI_TOO_LONG, "urn:martlet:problem:uri-too-long", "The request target is too long")
            }
            Kind::TooManyQueries => (
                StatusCode::TOO_MANY_REQUESTS,
                "urn:martlet:problem:too-many-queries",
                "The caller has too many queries under way",
            ),
            Kind::TooSlow => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:martlet:problem:too-slow", "The answer took too long")
            }
            Kind::NotKept => {
                (StatusCode::BAD_REQUEST, "urn:martlet:problem:not-kept", "History does not keep what was asked for")
            }
            Kind::TooWide => {
                (StatusCode::BAD_REQUEST, "urn:martlet:problem:too-wide", "The answer would take too much reading")
            }
            Kind::Busy => (StatusCode::SERVICE_UNAVAILABLE, "urn:martlet:problem:busy", "The collector is busy"),
            Kind::Starting => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:martlet:problem:starting", "The collector is starting")
            }
            Kind::Store => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:martlet:problem:store-failed", "The store cannot be read")
            }
            Kind::Failed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "urn:martlet:problem:failed", "The collector failed to answer")
            }
            Kind::NoSuchEvent => {
                (StatusCode::NOT_FOUND, "urn:martlet:problem:no-such-event", "There is no event of this name")
            }
            Kind::NoSuchReport => {
                (StatusCode::NOT_FOUND, "urn:martlet:problem:no-such-report", "There is no report of this time")
            }
            Kind::ReportRefused => {
                (StatusCode::CONFLICT, "urn:martlet:problem:report-refused", "The report would say what does not hold")
            }
            Kind::NotesUnseen => (
                StatusCode::PRECONDITION_REQUIRED,
                "urn:martlet:problem:notes-unseen",
                "The request does not say which notes it replaces",
            ),
            Kind::NotesChanged => (
                StatusCode::PRECONDITION_FAILED,
                "urn:martlet:problem:notes-changed",
                "The notes have changed since the caller looked at them",
            ),
            Kind::BadBody => (StatusCode::BAD_REQUEST, "urn:martlet:problem:bad-body", "The body cannot be understood"),
            Kind::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:martlet:problem:unsupported-media-type",
                "The body is not of a type that is taken",
            ),
            Kind::CrossSite => {
                (StatusCode::FORBIDDEN, "urn:martlet:problem:cross-site", "Another site's page asks for a change")
            }
            Kind::EventChanged => (
                StatusCode::CONFLICT,
                "urn:martlet:problem:event-changed",
                "The event has changed since the caller looked at it",
            ),
            Kind::IllegalTransition => {
                (StatusCode::CONFLICT, "urn:martlet:problem:illegal-transition", "The event's life does not go there")
            }
        }
    }
}

/// Which methods a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Reading,
    /// With `POST`.
    Changing,
    /// With `PUT`.
    Replacing,
}

impl Allowed {
    const fn methods(self) -> &'static str {
        match self {
            Allowed::Reading => "GET, HEAD",
            Allowed::Changing => "GET, HEAD, POST",
            Allowed::Replacing => "GET, HEAD, PUT",
        }
    }
}

/// Why a request has no answer: problem details (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Which kind of problem it is: an identifier, not an address.
    #[serde(rename = "type")]
    problem: &'static str,
    /// The kind in words; the same for every problem of the kind.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: String,
    /// The parameter that is to blame, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) parameter: Option<Box<str>>,
    /// What would be right, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    expected: Option<Box<str>>,
    /// What `WWW-Authenticate` says.
    #[serde(skip)]
    challenge: Option<Box<str>>,
    /// What `Allow` says of a method that a path does not take.
    #[serde(skip)]
    allowed: Allowed,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let (status, problem, title) = kind.parts();
        let (status, detail) = (status.as_u16(), detail.into());
        Problem {
            problem,
            title,
            status,
            detail,
            parameter: None,
            expected: None,
            challenge: None,
            allowed: Allowed::Reading,
        }
    }

    fn about(self, parameter: &str, expected: impl Display) -> Problem {
        Problem { parameter: Some(quote(parameter).into()), expected: Some(expected.to_string().into()), ..self }
    }

    /// A value that a parameter cannot have; `expected` says what it can.
    pub(super) fn bad(parameter: &str, value: &str, expected: impl Display) -> Problem {
        let detail = format!("{parameter}: {:?} is not {expected}", quote(value));
        Problem::new(Kind::BadParameter, detail).about(parameter, expected)
    }

    /// A parameter that does not go with the others, or with what there is; `expected` says what it must be.
    pub(super) fn unfit(parameter: &str, expected: impl Display) -> Problem {
        Problem::new(Kind::BadParameter, format!("{parameter}: it must be {expected}")).about(parameter, expected)
    }

    pub(super) fn unknown(parameter: &str, known: &[&str]) -> Problem {
        let detail = format!("{:?}: this path has no such parameter", quote(parameter));
        let known = if known.is_empty() { "no parameter".to_owned() } else { format!("one of {}", known.join(", ")) };
        Problem::new(Kind::UnknownParameter, detail).about(parameter, known)
    }

    pub(super) fn repeated(parameter: &str) -> Problem {
        Problem::new(Kind::RepeatedParameter, format!("{parameter}: given twice")).about(parameter, "it once at most")
    }

    /// A cursor that cannot be gone on from.
    pub(super) fn bad_cursor(reason: &str, expected: &str) -> Problem {
        Problem::new(Kind::BadParameter, format!("cursor: {reason}")).about("cursor", expected)
    }

    /// No token, or not one that is in use.
    pub(super) fn unauthorized(kind: Kind) -> Problem {
        let (detail, error) = match kind {
            Kind::TokenMissing => (
                "send a header `Authorization: Bearer martlet_...`; a program of this machine needs none if it asks \
                 localhost itself and http.loopback_scope allows it",
                "",
            ),
            _ => ("it is damaged, unknown, revoked or expired", ", error=\"invalid_token\""),
        };
        let challenge = Some(format!("Bearer realm=\"martlet\"{error}").into());
        Problem { challenge, ..Problem::new(kind, detail) }
    }

    /// A caller who may see too little for the path.
    pub(super) fn forbidden(needed: Scope) -> Problem {
        let scope = needed.name();
        let challenge = format!("Bearer realm=\"martlet\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let problem = Problem::new(Kind::Forbidden, format!("the path needs a token of scope {scope}"));
        Problem { challenge: Some(challenge.into()), ..problem.expecting(format!("a token of scope {scope}")) }
    }

    /// A parameter that a caller may not give.
    pub(super) fn forbidden_parameter(parameter: &str, expected: &str) -> Problem {
        let detail = format!("{parameter}: with scope public it must be {expected}");
        let read = Problem::forbidden(Scope::Read);
        Problem { challenge: read.challenge, ..Problem::new(Kind::Forbidden, detail).about(parameter, expected) }
    }

    pub(super) fn too_many() -> Problem {
        Problem::new(Kind::TooManyQueries, "wait for the answers to earlier ones (http.max_queries_per_caller)")
    }

    pub(super) fn too_slow() -> Problem {
        Problem::new(Kind::TooSlow, "ask for a shorter range or fewer steps (http.request_timeout_seconds)")
    }

    pub(super) fn not_found() -> Problem {
        Problem::new(Kind::NotFound, "docs/api.md lists the paths, and so does /api/v1/openapi.json")
    }

    pub(super) fn method_not_allowed() -> Problem {
        Problem::new(Kind::MethodNotAllowed, "nothing is changed by this path").expecting("GET or HEAD")
    }

    /// The same of the path that changes an event.
    pub(super) fn method_not_allowed_of_event() -> Problem {
        let problem = Problem::new(Kind::MethodNotAllowed, "an event is read, and changed with POST");
        Problem { allowed: Allowed::Changing, ..problem.expecting("GET, HEAD or POST") }
    }

    /// The same of the path that changes notes.
    pub(super) fn method_not_allowed_of_notes() -> Problem {
        let problem = Problem::new(Kind::MethodNotAllowed, "notes are read, and replaced with PUT");
        Problem { allowed: Allowed::Replacing, ..problem.expecting("GET, HEAD or PUT") }
    }

    pub(super) fn starting() -> Problem {
        Problem::new(
            Kind::Starting,
            "the journal is being replayed, until then every number would be too low; try again",
        )
    }

    pub(super) fn busy() -> Problem {
        Problem::new(Kind::Busy, "too many expensive queries at once; try again")
    }

    pub(super) fn too_many_streams() -> Problem {
        Problem::new(Kind::Busy, "as many streams are open as may be (http.max_streams); ask /api/v1/status meanwhile")
    }

    pub(super) fn store() -> Problem {
        Problem::new(Kind::Store, "the collector's log says why")
    }

    /// A defect, which the caller has logged.
    pub(super) fn failed() -> Problem {
        Problem::new(Kind::Failed, "this is a defect; the collector's log says more")
    }

    pub(super) fn expecting(self, expected: impl Display) -> Problem {
        Problem { expected: Some(expected.to_string().into()), ..self }
    }
}

/// What a request said, short enough to be repeated.
fn quote(text: &str) -> String {
    text.chars().take(LONGEST_QUOTE).collect()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Texts and numbers can always be written.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, VARY);
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static(self.allowed.methods()));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kinds_are_told_apart_by_their_type() {
        let types: HashSet<_> = Kind::ALL.iter().map(|kind| kind.words().0).collect();
        assert_eq!(types.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.status().is_client_error() || kind.status().is_server_error()));
    }

    #[test]
    fn what_a_request_said_is_repeated_in_short() {
        let problem = Problem::bad("from", &"9".repeat(5000), "a time");
        assert!(problem.detail.len() < 100 && problem.detail.starts_with("from: \"999"), "{problem:?}");
        let problem = Problem::unknown(&"x".repeat(5000), &["class"]);
        assert_eq!(problem.parameter.unwrap().len(), LONGEST_QUOTE);
    }
}
