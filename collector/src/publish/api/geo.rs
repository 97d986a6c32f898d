//! What answers say of the data that regions, networks and known scanners come from.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::json::{Time, words};
use super::status::age_seconds;
use crate::geo::{About, Part, Reload, Snapshot};

/// Which data an answer used.
#[derive(Serialize, ToSchema)]
pub(super) struct GeoUsed {
    /// Where regions come from.
    country: DatabaseUsed,
    /// Where autonomous systems come from, if there is a database of them.
    asn: Option<DatabaseUsed>,
    /// Lists of known scanners.
    scanner_lists: Vec<ListUsed>,
}

/// A database.
#[derive(Serialize, ToSchema)]
struct DatabaseUsed {
    /// Its own name, or that of the data that is built in.
    name: String,
    /// When it was built, if something says it.
    built: Option<Time>,
}

/// A list of known scanners.
#[derive(Serialize, ToSchema)]
struct ListUsed {
    /// Whose networks they are.
    name: String,
    /// How many are written in it.
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
#[derive(Serialize, ToSchema)]
pub(super) struct GeoStatus {
    #[serde(flatten)]
    used: GeoUsed,
    /// By setting of `[geo]`; null where it is not set.
    reload: Reloads,
}

/// What is read from files, by setting of `[geo]`; null where it is not set.
#[derive(Serialize, ToSchema)]
struct Reloads {
    /// Autonomous systems.
    asn_database: Option<ReloadStatus>,
    /// Regions.
    country_database: Option<ReloadStatus>,
    /// Known scanners.
    scanner_lists: Option<ReloadStatus>,
}

/// How what is read from files fares.
#[derive(Serialize, ToSchema)]
struct ReloadStatus {
    /// `stale` while the newest file cannot be used.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// Why it is stale.
    reason: Option<&'static str>,
    /// Since when.
    stale_seconds: Option<f64>,
    /// How often it was read again since the start.
    loaded: u64,
    /// How often it could not be used.
    failed: u64,
}

fn state_schema() -> Schema {
    words(&["current", "stale"])
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
        let reload = Reloads {
            asn_database: status(Part::AsnDatabase),
            country_database: status(Part::CountryDatabase),
            scanner_lists: status(Part::ScannerLists),
        };
        GeoStatus { used: snapshot.into(), reload }
    }
}
