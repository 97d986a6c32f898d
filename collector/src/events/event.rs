//! An event as it is kept, and how it stands in the store.

use martlet_detect::{Estimates, FindingType, Key, Label};
use martlet_window::TrafficClass;
use rusqlite::{Connection, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::EventError;
use super::evidence::Evidence;
use super::kinds::{self, Action, EventId, Severity, State};
use crate::store::Bits;

/// An event. Times are seconds since the Unix epoch of event time, unless their name ends in `_ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the store.
    pub(super) row: i64,
    /// What it is called.
    pub id: EventId,
    /// Of which population on which port.
    pub key: Key,
    /// What it is.
    pub finding_type: FindingType,
    /// When it began as far as can be told.
    pub onset: i64,
    /// When it was called what it is.
    pub detected: i64,
    /// When it was first written down, by the collector's clock.
    pub recorded_ms: i64,
    /// When it was last above what was expected.
    pub last_active: i64,
    /// When it was over.
    pub ended: Option<i64>,
    /// What must be said beside it.
    pub labels: Vec<Label>,
    /// What is estimated of an outbreak.
    pub estimates: Option<Estimates>,
    /// Where it is in its life.
    pub state: State,
    /// How much it matters.
    pub severity: Severity,
    /// Who looks after it.
    pub owner: Option<String>,
    /// Who is to be told.
    pub recipients: Vec<String>,
    /// Goes up with every entry of the history.
    pub version: i64,
}

/// An entry of an event's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When, by the collector's clock.
    pub at_ms: i64,
    /// Who: the name of a token, [`super::DETECTOR`], or [`super::LOCAL`].
    pub by: String,
    /// What happened.
    pub action: Action,
    /// What was said.
    pub note: Option<String>,
}

/// What became of telling somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Whom.
    pub target: String,
    /// Of what.
    pub action: Action,
    /// How often it was tried.
    pub attempts: u32,
    /// When it will be tried again; only while it is open.
    pub next_try_ms: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was taken.
    pub delivered_ms: Option<i64>,
    /// When it was given up.
    pub given_up_ms: Option<i64>,
}

/// An event with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The event.
    pub event: Event,
    /// What it was called on.
    pub evidence: Evidence,
    /// What happened, in its order.
    pub history: Vec<HistoryEntry>,
    /// Who was told.
    pub deliveries: Vec<DeliveryRecord>,
}

impl Event {
    /// Whether there is still something to do about it, or it goes on.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended.is_none() && !matches!(self.state, State::Resolved)
    }
}

/// The columns that [`read`] reads, in their order.
pub(super) const COLUMNS: &str = "id, class, finding, ip, protocol, port, population, type, onset, detected, recorded_ms, last_active, \
     ended, labels, estimates, state, severity, owner, recipients, version";

/// An event of a row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> Result<Event, EventError> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(|_| EventError::Damaged);
    let class = TrafficClass::from_number(row.get(1)?).ok_or(EventError::Damaged)?;
    let key = kinds::key_of((row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?)).ok_or(EventError::Damaged)?;
    let estimates: Option<String> = row.get(14)?;
    Ok(Event {
        row: row.get(0)?,
        id: EventId { class, finding: row.get::<_, Bits>(2)?.0 },
        key,
        finding_type: kinds::type_named(text(7)?).ok_or(EventError::Damaged)?,
        onset: row.get(8)?,
        detected: row.get(9)?,
        recorded_ms: row.get(10)?,
        last_active: row.get(11)?,
        ended: row.get(12)?,
        labels: parse(text(13)?)?,
        estimates: estimates.as_deref().map(parse).transpose()?,
        state: kinds::named(State::ALL, text(15)?).ok_or(EventError::Damaged)?,
        severity: kinds::named(Severity::ALL, text(16)?).ok_or(EventError::Damaged)?,
        owner: row.get(17)?,
        recipients: parse(text(18)?)?,
        version: row.get(19)?,
    })
}

/// What stands as JSON.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, EventError> {
    serde_json::from_str(text).map_err(|_| EventError::Damaged)
}

/// As JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, EventError> {
    serde_json::to_string(value).map_err(|_| EventError::Damaged)
}

/// Adds to an event's history, and says which change it was.
pub(super) fn add_history(
    connection: &Connection,
    row: i64,
    at_ms: i64,
    by: &str,
    action: Action,
    note: Option<&str>,
) -> Result<i64, EventError> {
    connection
        .prepare_cached("INSERT INTO event_history (event, at_ms, by, action, note) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((row, at_ms, by, kinds::name(action), note))?;
    Ok(connection.last_insert_rowid())
}

/// An event's history, in its order.
pub(super) fn history(connection: &Connection, row: i64) -> Result<Vec<HistoryEntry>, EventError> {
    let mut select = connection
        .prepare_cached("SELECT at_ms, by, action, note FROM event_history WHERE event = ?1 ORDER BY change")?;
    let mut rows = select.query([row])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let action: String = row.get(2)?;
        let action = kinds::named(Action::ALL, &action).ok_or(EventError::Damaged)?;
        entries.push(HistoryEntry { at_ms: row.get(0)?, by: row.get(1)?, action, note: row.get(3)? });
    }
    Ok(entries)
}
