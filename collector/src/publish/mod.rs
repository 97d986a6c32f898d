//! What the world is told, all of it from the newest view: metrics, the HTTP API of docs/api.md, the page.

mod api;
mod metrics;
mod page;
mod services;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
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
    // The policy is plain ASCII, so this cannot fail; if it did, nothing would be allowed.
    let policy = HeaderValue::from_str(&page::content_security_policy())
        .unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let secure = map_response(move |response| std::future::ready(secure(response, policy.clone())));
    let api = api::router(config, sources);
    Ok(page::router().merge(api).merge(admin::router(registry, readiness)).layer(secure))
}

fn secure(mut response: Response, policy: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
