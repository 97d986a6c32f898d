//! What the world is told, all of it from the newest view: metrics, the HTTP API of docs/api.md, the page.

mod api;
mod metrics;
mod page;
mod services;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Request, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use crossbeam_channel::Receiver;
use martlet_telemetry::admin::{self, Readiness};
use prometheus::Registry;

use crate::aggregate::{self, Job};
use crate::config::HttpConfig;
use crate::ingest::{self, Ledger};
use crate::live::LiveView;

pub use metrics::merge_statistics;

/// Where everything that is published comes from.
#[derive(Clone)]
pub struct Sources {
    /// The newest view.
    pub view: Arc<ArcSwap<LiveView>>,
    /// What ingest counted.
    pub ingest: Arc<ingest::Counters>,
    /// What workers counted.
    pub aggregate: Arc<aggregate::Counters>,
    /// Sensors and streams.
    pub ledger: Arc<Ledger>,
    /// The workers' queue, for its depth.
    pub queue: Receiver<Job>,
    /// When the collector started.
    pub started: Instant,
    /// The same on the wall clock, in seconds since the Unix epoch.
    pub started_at: i64,
}

/// All routes.
///
/// # Errors
/// If a metric cannot be registered.
pub fn router(
    config: &HttpConfig,
    sources: Sources,
    registry: Registry,
    readiness: Readiness,
) -> Result<Router, prometheus::Error> {
    metrics::register(&registry, &sources)?;
    let api = api::router(config, sources);
    Ok(page::router().merge(api).merge(admin::router(registry, readiness)).layer(from_fn(secure)))
}

/// The page is one file with its script and style inside; nothing else may be loaded, framed or sent anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' \
     'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

async fn secure(request: Request<axum::body::Body>, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
