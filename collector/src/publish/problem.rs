//! What goes wrong with a request, as problem details (RFC 9457). docs/api.md lists every kind.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
    NotFound,
    MethodNotAllowed,
    BodyNotTaken,
    UriTooLong,
    Busy,
    Starting,
    /// The store cannot be read; the log says why.
    Store,
    /// A defect; the log says more.
    Failed,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(super) const ALL: [Kind; 11] = [
        Kind::BadParameter,
        Kind::UnknownParameter,
        Kind::RepeatedParameter,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::BodyNotTaken,
        Kind::UriTooLong,
        Kind::Busy,
        Kind::Starting,
        Kind::Store,
        Kind::Failed,
    ];

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
            Kind::NotFound => (StatusCode::NOT_FOUND, "urn:martlet:problem:not-found", "There is no such path"),
            Kind::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:martlet:problem:method-not-allowed",
                "The path is read with GET or HEAD only",
            ),
            Kind::BodyNotTaken => {
                (StatusCode::PAYLOAD_TOO_LARGE, "urn:martlet:problem:body-not-taken", "Requests have no body here")
            }
            Kind::UriTooLong => {
                (StatusCode::URI_TOO_LONG, "urn:martlet:problem:uri-too-long", "The request target is too long")
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
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    pub(super) parameter: Option<String>,
    /// What would be right, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let (status, problem, title) = kind.parts();
        let (status, detail) = (status.as_u16(), detail.into());
        Problem { problem, title, status, detail, parameter: None, expected: None }
    }

    fn about(self, parameter: &str, expected: impl Display) -> Problem {
        Problem { parameter: Some(quote(parameter)), expected: Some(expected.to_string()), ..self }
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

    pub(super) fn not_found() -> Problem {
        Problem::new(Kind::NotFound, "docs/api.md lists the paths, and so does /api/v1/openapi.json")
    }

    pub(super) fn method_not_allowed() -> Problem {
        Problem::new(Kind::MethodNotAllowed, "nothing is changed over HTTP").expecting("GET or HEAD")
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

    pub(super) fn store() -> Problem {
        Problem::new(Kind::Store, "the collector's log says why")
    }

    /// A defect, which the caller has logged.
    pub(super) fn failed() -> Problem {
        Problem::new(Kind::Failed, "this is a defect; the collector's log says more")
    }

    pub(super) fn expecting(self, expected: impl Display) -> Problem {
        Problem { expected: Some(expected.to_string()), ..self }
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
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
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
        let types: HashSet<_> = Kind::ALL.iter().map(|kind| kind.parts().1).collect();
        assert_eq!(types.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.parts().0.is_client_error() || kind.parts().0.is_server_error()));
    }

    #[test]
    fn what_a_request_said_is_repeated_in_short() {
        let problem = Problem::bad("from", &"9".repeat(5000), "a time");
        assert!(problem.detail.len() < 100 && problem.detail.starts_with("from: \"999"), "{problem:?}");
        let problem = Problem::unknown(&"x".repeat(5000), &["class"]);
        assert_eq!(problem.parameter.unwrap().len(), LONGEST_QUOTE);
    }
}
