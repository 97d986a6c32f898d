//! The HTTP API, version 1. docs/api.md specifies it; each path has one file.
//!
//! ```text
//! request -> endpoint::answer: params -> format -> Query -> validator -> Endpoint::answer -> format -> response
//!                                |          |        |           |              ^ a file for each path
//!                                \----------+--------+-----------+-> Problem: what is wrong, and what would be right
//! ```
//!
//! A path says what it takes and of what its answer is ([`endpoint`]); routes and the API's description ([`openapi`]) are made
//! from that.

mod coverage;
mod cursor;
mod endpoint;
mod exposure;
mod format;
mod geo;
mod history;
mod json;
mod list;
mod openapi;
mod parameter;
mod params;
mod ports;
mod public;
mod sensors;
mod sources;
mod status;
mod summary;
mod time;
mod validator;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;

use self::endpoint::{Api, Endpoint, answer};
use self::openapi::Description;
use super::Sources;
use crate::config::Config;
use crate::tokens::LoopbackScope;

/// Where the API's description is: open to everybody.
pub(super) const DESCRIPTION_PATH: &str = "/api/v1/openapi.json";

pub(super) fn router(config: &Config, sources: Sources) -> Router {
    let api = Api {
        sources,
        queries: Arc::new(Semaphore::new(config.http.max_queries)),
        publication: Arc::new(config.publication.clone()),
        start: rand::random(),
    };
    let paths = Paths {
        router: Router::new(),
        description: Description::new(config.http.loopback_scope != LoopbackScope::None),
    }
    .with::<status::Path>()
    .with::<summary::Path>()
    .with::<ports::Path>()
    .with::<sources::Path>()
    .with::<sensors::Path>()
    .with::<coverage::Path>();
    let paths = history::paths(paths);
    let description = paths.description.finish();
    paths.router.route(DESCRIPTION_PATH, get(move |headers| openapi::answer(description, headers))).with_state(api)
}

/// Paths, each routed and described at once.
struct Paths {
    router: Router<Api>,
    description: Description,
}

impl Paths {
    fn with<E: Endpoint>(mut self) -> Paths {
        self.router = self.router.route(&E::ABOUT.path(), get(answer::<E>));
        self.description.add::<E>();
        self
    }
}
