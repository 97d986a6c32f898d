//! The HTTP API, version 1. docs/api.md specifies it; each path has one file.

mod coverage;
mod exposure;
mod geo;
mod json;
mod params;
mod ports;
mod sensors;
mod sources;
mod status;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::Semaphore;

use self::params::{Accepts, Params, Query};
use super::Sources;
use super::problem::Problem;
use crate::config::HttpConfig;
use crate::live::LiveView;

/// How long a query waits for its turn before it is told that the collector is busy.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Api {
    sources: Sources,
    queries: Arc<Semaphore>,
}

pub(super) fn router(config: &HttpConfig, sources: Sources) -> Router {
    let api = Api { sources, queries: Arc::new(Semaphore::new(config.max_queries)) };
    Router::new()
        .route("/api/v1/status", get(status))
        .route(
            "/api/v1/summary",
            get(|api, query| answer(api, query, summary::ACCEPTS, |s, v, q| Ok(summary::summary(s, v, q)))),
        )
        .route(
            "/api/v1/ports",
            get(|api, query| answer(api, query, ports::ACCEPTS, |s, v, q| Ok(ports::ports(s, v, q)))),
        )
        .route(
            "/api/v1/sources",
            get(|api, query| answer(api, query, sources::ACCEPTS, |s, v, q| Ok(sources::sources(s, v, q)))),
        )
        .route(
            "/api/v1/sensors",
            get(|api, query| answer(api, query, sensors::ACCEPTS, |s, v, q| Ok(sensors::sensors(s, v, q)))),
        )
        .route("/api/v1/coverage", get(|api, query| answer(api, query, coverage::ACCEPTS, coverage::coverage)))
        .with_state(api)
}

async fn status(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Params::read(query.as_deref(), Accepts::NOTHING)?;
    Ok(Json(status::status(&api.sources, &api.sources.view.load(), api.sources.clock.now())).into_response())
}

/// Answers one of the queries that walk over history: few at a time, on threads of their own.
async fn answer<T: Serialize + Send + 'static>(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    accepts: Accepts,
    compute: fn(&Sources, &LiveView, &Query) -> Result<T, Problem>,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), accepts)?;
    let turn = tokio::time::timeout(QUEUE_PATIENCE, api.queries.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(Problem::busy());
    };
    let view = api.sources.view.load_full();
    let now = api.sources.clock.now();
    let query = params.resolve(accepts, &view, now)?;
    let computed = tokio::task::spawn_blocking(move || {
        // The turn lasts as long as the work, also when the client has gone.
        let _turn = turn;
        compute(&api.sources, &view, &query).map(|answer| serde_json::to_vec(&answer))
    });
    match computed.await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(Ok(body))) => Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response()),
        Ok(Ok(Err(error))) => {
            tracing::error!("cannot write an answer: {error}");
            Err(Problem::failed())
        }
        Err(error) => {
            tracing::error!("a query failed: {error}");
            Err(Problem::failed())
        }
    }
}
