//! What every daemon answers over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};

/// Whether the daemon does what it is for.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

impl Readiness {
    /// Starting.
    #[must_use]
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// From now on the daemon is ready.
    pub fn set_ready(&self) {
        self.0.store(READY, Relaxed);
    }

    /// From now on the daemon takes nothing new.
    pub fn set_stopping(&self) {
        self.0.store(STOPPING, Relaxed);
    }

    /// Whether the daemon has not been ready yet.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.0.load(Relaxed) == STARTING
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Relaxed) {
            STARTING => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            READY => (StatusCode::OK, "ready\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }
}

/// `/metrics` in Prometheus' text format 0.0.4, `/healthz` (the process answers), `/readyz` (200 only when ready).
pub fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(move || std::future::ready(metrics(&registry))))
        .route("/healthz", get(|| std::future::ready("alive\n")))
        .route("/readyz", get(move || std::future::ready(readiness.answer())))
}

/// The same, and at `path` what `answer` makes at each request: JSON.
pub fn with_json(
    router: Router,
    path: &'static str,
    answer: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Router {
    let answered = move || std::future::ready(([(header::CONTENT_TYPE, "application/json")], answer()));
    router.route(path, get(answered))
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!("cannot write the metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
