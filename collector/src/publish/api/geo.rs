//! What answers say of the data that regions, networks and known scanners come from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::json::Time;
use super::status::age_seconds;
use crate::geo::{About, Part, Reload, Snapshot};

/// Which data an answer used.
#[derive(Serialize)]
pub(super) struct GeoUsed {
    country: DatabaseUsed,
    asn: Option<DatabaseUsed>,
    scanner_lists: Vec<ListUsed>,
}

#[derive(Serialize)]
struct DatabaseUsed {
    name: String,
    built: Option<Time>,
}

#[derive(Serialize)]
struct ListUsed {
    name: String,
    networks: u64,
}

impl From<&About> for DatabaseUsed {
    fn from(about: &About) -> DatabaseUsed {
        DatabaseUsed { name: about.name.clone(), built: about.built.map(Time) }
    }
}

impl From<&Snapshot> for GeoUsed {
    fn from(snapshot: &Snapshot) -> GeoUsed {
        let lists = snapshot.scanner_lists().iter();
        GeoUsed {
            country: snapshot.country().into(),
            asn: snapshot.asn().map(DatabaseUsed::from),
            scanner_lists: lists.map(|list| ListUsed { name: list.name.clone(), networks: list.networks }).collect(),
        }
    }
}

/// The same, and how it fares.
#[derive(Serialize)]
pub(super) struct GeoStatus {
    #[serde(flatten)]
    used: GeoUsed,
    reload: BTreeMap<&'static str, Option<ReloadStatus>>,
}

#[derive(Serialize)]
struct ReloadStatus {
    state: &'static str,
    reason: Option<&'static str>,
    stale_seconds: Option<f64>,
    loaded: u64,
    failed: u64,
}

impl ReloadStatus {
    fn of(reload: &Reload, now_ms: i64) -> ReloadStatus {
        ReloadStatus {
            state: if reload.stale.is_some() { "stale" } else { "current" },
            reason: reload.stale.map(|stale| stale.reason.name()),
            stale_seconds: reload.stale.map(|stale| age_seconds(stale.since_ms, now_ms)),
            loaded: reload.loaded,
            failed: reload.failed,
        }
    }
}

impl GeoStatus {
    pub(super) fn of(snapshot: &Snapshot, now_ms: i64) -> GeoStatus {
        let status = |part| snapshot.reload(part).map(|reload| ReloadStatus::of(reload, now_ms));
        let reload = Part::ALL.iter().map(|&part| (part.key(), status(part))).collect();
        GeoStatus { used: snapshot.into(), reload }
    }
}
