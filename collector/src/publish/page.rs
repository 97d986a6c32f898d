//! The live page: one file without anything to load, made from the API.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

const PAGE: &str = include_str!("../page/index.html");

pub(super) fn router() -> Router {
    Router::new().route("/", get(|| std::future::ready(Html(PAGE))))
}
