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

mod body;
mod coverage;
mod cursor;
mod endpoint;
mod events;
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
mod reports;
mod sensors;
mod sources;
mod status;
mod stream;
mod summary;
mod time;
mod validator;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;

use self::endpoint::{Api, Endpoint, answer};
use self::openapi::{Description, Needs};
use super::Sources;
use super::problem::Problem;
use crate::config::Config;
use crate::tokens::LoopbackScope;

/// Where the API's description is, below the prefix of its paths: open to everybody.
pub(super) const DESCRIPTION_PATH: &str = "/api/v1/openapi.json";

/// Everything. It must be called within a runtime, in which streams are written.
pub(super) fn router(config: &Config, sources: Sources) -> Router {
    let api = Api::new(config, sources, config.http.max_queries);
    tokio::spawn(stream::run(api.clone()));
    let needs = match config.http.loopback_scope {
        LoopbackScope::None => Needs::Token,
        _ => Needs::TokenElsewhere,
    };
    let paths = Paths::new("", needs)
        .with::<status::Path>()
        .with_stream()
        .with::<summary::Path>()
        .with::<ports::Path>()
        .with::<sources::Path>()
        .with::<sensors::Path>()
        .with::<coverage::Path>()
        .with::<events::list::Path>()
        .with_changes::<events::event::Path>()
        .with_draft()
        .with::<reports::list::Path>()
        .with_report()
        .with_notes();
    history::paths(paths).finish(api)
}

/// What everybody may ask for, below `prefix`. One query at a time is computed, beside those of all others: they do not wait for it.
pub(super) fn public_router(prefix: &'static str, config: &Config, sources: Sources) -> Router {
    Paths::new(prefix, Needs::Nothing)
        .with::<status::Path>()
        .with::<summary::Path>()
        .with::<ports::Path>()
        .with::<sources::Path>()
        .with::<events::list::Path>()
        .with::<events::event::Path>()
        .finish(Api::new(config, sources, 1))
}

/// Paths, each routed and described at once.
struct Paths {
    /// What all of them begin with.
    prefix: &'static str,
    router: Router<Api>,
    description: Description,
}

impl Paths {
    fn new(prefix: &'static str, needs: Needs) -> Paths {
        Paths { prefix, router: Router::new(), description: Description::new(prefix, needs) }
    }

    fn with<E: Endpoint>(mut self) -> Paths {
        self.router = self.router.route(&E::ABOUT.path(self.prefix), get(answer::<E>));
        self.description.add::<E>();
        self
    }

    fn with_stream(mut self) -> Paths {
        self.router = self.router.route(&stream::ABOUT.path(self.prefix), get(stream::answer));
        self.description.add_stream();
        self
    }

    /// An event, which can also be changed.
    fn with_changes<E: Endpoint>(mut self) -> Paths {
        let method = get(answer::<E>)
            .post(events::change::answer)
            .fallback(|| std::future::ready(Problem::method_not_allowed_of_event()));
        self.router = self.router.route(&E::ABOUT.path(self.prefix), method);
        self.description.add::<E>();
        self.description.add_change();
        self
    }

    fn with_draft(mut self) -> Paths {
        self.router = self.router.route(&events::draft::ABOUT.path(self.prefix), get(events::draft::answer));
        self.description.add_draft();
        self
    }

    fn with_report(mut self) -> Paths {
        self.router = self.router.route(&reports::report::ABOUT.path(self.prefix), get(reports::report::answer));
        self.description.add_report();
        self
    }

    /// Notes, which can also be replaced.
    fn with_notes(mut self) -> Paths {
        let method = get(reports::notes::answer)
            .put(reports::notes::replace)
            .fallback(|| std::future::ready(Problem::method_not_allowed_of_notes()));
        self.router = self.router.route(&reports::notes::ABOUT.path(self.prefix), method);
        self.description.add_notes();
        self
    }

    fn finish(self, api: Api) -> Router {
        let description = self.description.finish();
        let answer = move |headers: HeaderMap| std::future::ready(openapi::answer(&description, &headers));
        self.router.route(&format!("{}{DESCRIPTION_PATH}", self.prefix), get(answer)).with_state(api)
    }
}
