//! What all paths of the API have in common: each says what it takes and computes its answer; the rest is here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::super::Sources;
use super::super::access::Caller;
use super::super::problem::{Problem, VARY};
use super::super::tag::Tag;
use super::format::{Format, Table};
use super::parameter::Parameter;
use super::params::{Accepts, Against, Params, Query};
use super::public::Minimum;
use super::validator::Validity;
use crate::config::Config;
use crate::geo::Snapshot;
use crate::live::LiveView;
use crate::tokens::Scope;

/// How long a query waits for its turn before it is told that the collector is busy.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);
/// What a client keeps it asks about each time; and nobody else keeps it.
pub(super) const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");
pub(super) const NEVER_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// One path.
pub(super) trait Endpoint: 'static {
    /// What there is to say of it.
    const ABOUT: About;
    /// Its answer.
    type Answer: Serialize + ToSchema + Table + Send + 'static;

    fn answer(asked: &Asked<'_>) -> Result<Self::Answer, Problem>;

    /// The state of history that an answer is made from, if it is made from nothing else.
    fn generation(_: &Self::Answer) -> Option<u64> {
        None
    }
}

/// What there is to say of a path.
pub(super) struct About {
    /// Its last part.
    pub(super) name: &'static str,
    /// In one line.
    pub(super) summary: &'static str,
    pub(super) accepts: Accepts,
    /// What a caller needs at least.
    pub(super) scope: Scope,
    pub(super) validity: Validity,
    /// Whether it walks over history: few such queries are computed at a time, on threads of their own.
    pub(super) walks: bool,
}

impl About {
    /// Where it is, below `prefix`.
    pub(super) fn path(&self, prefix: &str) -> String {
        format!("{prefix}/api/v1/{}", self.name)
    }
}

/// A question that can be answered, and what with.
pub(super) struct Asked<'a> {
    pub(super) sources: &'a Sources,
    pub(super) view: &'a LiveView,
    pub(super) geo: &'a Snapshot,
    pub(super) query: &'a Query,
    /// What the caller may do.
    pub(super) scope: Scope,
    /// What the path names, where it names something.
    pub(super) item: Option<&'a str>,
    /// The collector's clock, in milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
    pub(super) publication: &'a super::super::PublicationConfig,
}

/// What all paths share.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) sources: Sources,
    pub(super) queries: Arc<Semaphore>,
    pub(super) publication: Arc<super::super::PublicationConfig>,
    /// This start of the collector, unlike any other.
    pub(super) start: u64,
    /// How long an answer is waited for.
    pub(super) patience: Duration,
}

impl Api {
    /// With so many queries that are computed at a time.
    pub(super) fn new(config: &Config, sources: Sources, most_queries: usize) -> Api {
        Api {
            sources,
            queries: Arc::new(Semaphore::new(most_queries)),
            publication: Arc::new(config.publication.clone()),
            start: rand::random(),
            patience: Duration::from_secs(config.http.request_timeout_seconds),
        }
    }
}

/// An answer as it is sent.
struct Written {
    body: Vec<u8>,
    next_cursor: Option<String>,
    /// See [`Endpoint::generation`].
    history: Option<u64>,
}

/// Answers a request to one path.
pub(super) async fn answer<E: Endpoint>(
    State(api): State<Api>,
    caller: Caller,
    items: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let about = const { &E::ABOUT };
    caller.needs(about.scope)?;
    let params = Params::read(uri.query(), about.accepts)?;
    let public = public(&caller, &params, &api)?;
    let offered = Format::offered(!E::Answer::COLUMNS.is_empty());
    let format = Format::choose(params.format, &headers, offered)?;
    let (view, geo) = (api.sources.view.load_full(), api.sources.geo.snapshot());
    let now_ms = api.sources.clock.now_ms();
    let against = Against { view: &view, now: now_ms.div_euclid(1000), public };
    let query = params.clone().resolve(about.name, about.accepts, &against)?;
    let (start, generation) = (api.start, view.generation);
    let described = || format!("{} {} {} {query:?}", about.name, format.name(), geo.generation());
    // When counts go up is not told to everybody: it would say when something came.
    let is_known_before = about.validity == Validity::Counts && public.is_none();
    let tag = is_known_before.then(|| Tag::new(start, generation, described().as_bytes()));
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_known(&headers)) {
        return Ok(unchanged(tag));
    }
    let turn = if about.walks { Some(turn(&api, &caller).await?) } else { None };
    let scope = caller.scope;
    let item = items.iter().next().map(|(_, value)| value.to_owned());
    let work = move || {
        // The turn lasts as long as the work, also when the client has gone.
        let _turn = turn;
        let (sources, publication) = (&api.sources, &*api.publication);
        let asked =
            Asked { sources, view: &view, geo: &geo, query: &query, scope, item: item.as_deref(), now_ms, publication };
        let answer = E::answer(&asked)?;
        write(&answer, format, E::generation(&answer))
    };
    let written = if about.walks {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!("a query failed: {error}");
            Problem::failed()
        })??
    } else {
        work()?
    };
    let tag = match about.validity {
        Validity::Counts | Validity::Answer if public.is_some() => Some(Tag::new(0, 0, &written.body)),
        Validity::Counts => tag,
        // History goes on behind a start of the collector.
        Validity::Answer => Some(match written.history {
            Some(generation) => Tag::new(0, generation, &written.body),
            None => Tag::new(start, generation, &written.body),
        }),
        Validity::Never => None,
    };
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_known(&headers)) {
        return Ok(unchanged(tag));
    }
    Ok(respond(about.name, &params, format, written, tag.as_ref()))
}

/// What a caller is held to that may see only what is published.
fn public(caller: &Caller, params: &Params, api: &Api) -> Result<Option<Minimum>, Problem> {
    if caller.scope > Scope::Public {
        return Ok(None);
    }
    if params.has(Parameter::Sensor) {
        return Err(Problem::forbidden_parameter("sensor", "not given: what is published is over all sensors"));
    }
    if params.has(Parameter::Kind) {
        // The packets of one kind are a part of a row: what is withheld of it could be had by subtraction.
        return Err(Problem::forbidden_parameter("kind", "not given: what is published is over all kinds"));
    }
    if !params.is_real() {
        return Err(Problem::forbidden_parameter("class", "real: drills and imports are not published"));
    }
    Ok(Some(Minimum::from(&*api.publication)))
}

/// Waits until a query may be computed: few are at a time, and one caller has some of them at most.
pub(super) async fn turn(api: &Api, caller: &Caller) -> Result<impl Send + use<>, Problem> {
    let own = caller.turn()?;
    match tokio::time::timeout(QUEUE_PATIENCE, api.queries.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok((turn, own)),
        _ => Err(Problem::busy()),
    }
}

fn write<T: Serialize + Table>(answer: &T, format: Format, history: Option<u64>) -> Result<Written, Problem> {
    let body = format.write(answer).map_err(|error| {
        tracing::error!("cannot write an answer: {error}");
        Problem::failed()
    })?;
    Ok(Written { body, next_cursor: answer.next_cursor().map(str::to_owned), history })
}

pub(super) fn unchanged(tag: &Tag) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(response.headers_mut(), Some(tag));
    response
}

/// The headers that an answer has whether it is sent or known already.
pub(super) fn describe(headers: &mut HeaderMap, tag: Option<&Tag>) {
    let tag = tag.and_then(Tag::header);
    headers.insert(header::CACHE_CONTROL, if tag.is_some() { REVALIDATED } else { NEVER_KEPT });
    headers.insert(header::VARY, VARY);
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
}

fn respond(name: &str, params: &Params, format: Format, written: Written, tag: Option<&Tag>) -> Response {
    let Written { body, next_cursor, .. } = written;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    describe(headers, tag);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    let link = next_cursor.map(|cursor| format!("<?{}>; rel=\"next\"", params.with_cursor(&cursor)));
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        headers.insert(header::LINK, link);
    }
    if format == Format::Csv {
        // A browser saves it, and opens it in nothing of its own.
        let disposition =
            HeaderValue::from_str(&format!("attachment; filename=\"martlet-{}.csv\"", name.replace('/', "-")));
        disposition.into_iter().for_each(|value| {
            headers.insert(header::CONTENT_DISPOSITION, value);
        });
    }
    response
}
