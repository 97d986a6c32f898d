//! What the world is told, all of it from the newest view: metrics, the HTTP API of docs/api.md, the page.

mod access;
mod api;
mod document;
mod limits;
mod metrics;
mod page;
mod problem;
mod public_view;
mod publication;
pub(crate) mod services;
mod streams;
mod tag;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use martlet_telemetry::admin::{self, Readiness};
use martlet_telemetry::catalogue::Catalogue;

use self::access::Access;
use self::problem::Problem;
pub use self::publication::PublicationConfig;
pub use self::streams::Streams;
use crate::aggregate::{self, WorkerQueues};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::enroll::Lives;
use crate::events::{Book, TargetCounters};
use crate::geo::Geo;
use crate::ingest;
use crate::journal;
use crate::labels::SharedLabels;
use crate::latencies::Latencies;
use crate::live::LiveView;
use crate::report::Office;
use crate::rollup::Archive;
use crate::rollup::query::Pool;
use crate::store::Location;
use crate::tokens::Tokens;

/// What keeps other sites' pages from having ours, or anything of ours, within them.
const ISOLATION: [(&str, &str); 4] = [
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// Where everything that is published comes from.
#[derive(Clone)]
pub struct Sources {
    /// The newest view.
    pub view: Arc<ArcSwap<LiveView>>,
    /// What ingest counted.
    pub ingest: Arc<ingest::Counters>,
    /// How long the certificates of sensors hold that the collector has issued.
    pub certificates: Arc<Lives>,
    /// What workers counted.
    pub aggregate: Arc<aggregate::Counters>,
    /// What the journal stage and the committer say of themselves.
    pub journal: Arc<journal::State>,
    /// The workers' queues, for their depth.
    pub queues: WorkerQueues,
    /// How long the stages take.
    pub latencies: Latencies,
    /// Whom sources belong to.
    pub geo: Arc<Geo>,
    /// Where hours of loss and exposure are that are not in the view.
    pub store: Location,
    /// Connections to it for questions about history.
    pub history: Arc<Pool>,
    /// Where the archive's files are.
    pub archive: Archive,
    /// What operators say of sensors.
    pub labels: Arc<SharedLabels>,
    /// Events.
    pub events: Arc<Book>,
    /// Where reports are made and kept.
    pub reports: Arc<Office>,
    /// What is counted of those who are told of events.
    pub event_targets: Arc<[TargetCounters]>,
    /// Streams of live updates.
    pub streams: Arc<Streams>,
    /// The wall clock.
    pub clock: SharedClock,
    /// How far a sensor's clock may be from ours before it is called wrong, in milliseconds.
    pub max_clock_offset_ms: i64,
    /// When the collector started.
    pub started: Instant,
    /// The same on the wall clock, in seconds since the Unix epoch.
    pub started_at: i64,
}

impl Sources {
    /// Whether a sensor's clock is farther off than it may be.
    fn is_clock_wrong(&self, offset_ms: Option<i64>) -> bool {
        offset_ms.is_some_and(|offset| offset.unsigned_abs() > self.max_clock_offset_ms.unsigned_abs())
    }
}

/// Every metric family, in Markdown.
///
/// # Errors
/// If a metric cannot be registered.
pub fn metrics_markdown(sources: &Sources) -> Result<String, prometheus::Error> {
    let catalogue = Catalogue::default();
    metrics::register(&catalogue, sources)?;
    Ok(catalogue.markdown())
}

/// All routes. It must be called within a runtime.
///
/// # Errors
/// If a metric cannot be registered.
pub fn router(
    config: &Config,
    sources: Sources,
    tokens: Arc<Tokens>,
    catalogue: &Catalogue,
    readiness: Readiness,
) -> Result<Router, prometheus::Error> {
    metrics::register(catalogue, &sources)?;
    let secure = map_response(|response| std::future::ready(secure(response)));
    let access = Access::new(&config.http, tokens, sources.clock.clone());
    let admin = admin::router(catalogue.registry().clone(), readiness.clone());
    let public_view = public_view::router(config, sources.clone());
    let routes = page::router("").merge(api::router(config, sources)).merge(admin).merge(public_view);
    let routes = routes
        .fallback(|| std::future::ready(Problem::not_found()))
        .method_not_allowed_fallback(|| std::future::ready(Problem::method_not_allowed()));
    let routes = only_when_ready(routes.layer(from_fn_with_state(access, access::identify)), &readiness);
    let within = Duration::from_secs(config.http.request_timeout_seconds);
    Ok(routes.layer(from_fn_with_state(within, limits::within)).layer(from_fn(limits::bound)).layer(secure))
}

/// Answers 503 where counts would be shown, as long as the collector starts.
pub fn only_when_ready(routes: Router, readiness: &Readiness) -> Router {
    routes.layer(from_fn_with_state(readiness.clone(), until_ready))
}

/// Before the journal is replayed every number would be too low: nobody is shown one.
async fn until_ready(Shared(readiness): Shared<Readiness>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix(public_view::PREFIX).unwrap_or(path);
    let shows_counts = path == "/metrics" || path.starts_with("/api/");
    if shows_counts && readiness.is_starting() { Problem::starting().into_response() } else { next.run(request).await }
}

fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // A report has a stricter one.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(page::POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for (name, value) in ISOLATION {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
