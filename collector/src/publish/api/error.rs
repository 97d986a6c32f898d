//! What goes wrong with a request.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    BadParameter { parameter: String, message: String },
    UnknownParameter { parameter: String, message: String },
    NotFound,
    MethodNotAllowed,
    Busy,
    Starting,
}

#[derive(Serialize)]
struct Body {
    error: Detail,
}

#[derive(Serialize)]
struct Detail {
    code: &'static str,
    message: String,
    parameter: Option<String>,
}

impl ApiError {
    pub(super) fn bad(parameter: &str, message: impl std::fmt::Display) -> ApiError {
        ApiError::BadParameter { parameter: parameter.to_owned(), message: format!("{parameter}: {message}") }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, message, parameter) = match self {
            ApiError::BadParameter { parameter, message } => {
                (StatusCode::BAD_REQUEST, "bad_parameter", message, Some(parameter))
            }
            ApiError::UnknownParameter { parameter, message } => {
                (StatusCode::BAD_REQUEST, "unknown_parameter", message, Some(parameter))
            }
            ApiError::NotFound => {
                (StatusCode::NOT_FOUND, "not_found", "there is no such path; see docs/api.md".to_owned(), None)
            }
            ApiError::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD".to_owned(), None)
            }
            ApiError::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many expensive queries at once; try again".to_owned(),
                None,
            ),
            ApiError::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "the journal is being replayed; try again".to_owned(),
                None,
            ),
        };
        let body = Json(Body { error: Detail { code, message, parameter } });
        match status {
            StatusCode::SERVICE_UNAVAILABLE => (status, [(header::RETRY_AFTER, "1")], body).into_response(),
            StatusCode::METHOD_NOT_ALLOWED => (status, [(header::ALLOW, "GET, HEAD")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}
