//! The outbox: a delivery for each change of an event and each target that wants it, made from the history in its order.
//!
//! A target has a place in the history. What lies behind it becomes deliveries, and the place moves on, in one transaction: so
//! each change is told once it has happened, and not forgotten by a collector that dies in between. A delivery is settled when
//! the receiver has taken it, or given up.

use rand::Rng;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::config::ClassName;
use super::error::EventError;
use super::event::{Event, HistoryEntry};
use super::kinds::{Action, Severity, named};
use super::{book, kinds};
use martlet_window::TrafficClass;

/// First wait after a failure, in milliseconds; it doubles up to the longest.
const FIRST_RETRY_MS: i64 = 10_000;
/// Longest wait, in milliseconds.
const LONGEST_RETRY_MS: i64 = 3_600_000;
/// When a delivery is given up, in days from the change on.
pub(super) const GIVE_UP_DAYS: i64 = 3;
/// How long settled deliveries are kept, in days.
const KEEP_SETTLED_DAYS: i64 = 90;
/// Most changes that become deliveries in one transaction.
const MOST_AT_ONCE: usize = 500;
/// Longest error that is kept, in characters.
const LONGEST_ERROR: usize = 200;
const DAY_MS: i64 = 86_400_000;

/// What a target is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) target: String,
    pub(super) min_severity: Severity,
    pub(super) classes: Vec<ClassName>,
}

impl Rule {
    /// Whether a target is told of events of a class and severity.
    pub(super) fn wants(&self, class: TrafficClass, severity: Severity) -> bool {
        severity >= self.min_severity && self.wants_class(class)
    }

    fn wants_class(&self, class: TrafficClass) -> bool {
        self.classes.iter().any(|name| TrafficClass::from(*name) == class)
    }
}

/// A delivery that is due, with what it tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) id: i64,
    pub(super) change: i64,
    pub(super) created_ms: i64,
    pub(super) attempts: u32,
    pub(super) event: Event,
    pub(super) entry: HistoryEntry,
}

/// Forgets targets that are not configured any more, and gives up what they, and others of classes that are not theirs any more,
/// were not told.
pub(super) fn retire(connection: &mut Connection, rules: &[Rule], now_ms: i64) -> Result<(), EventError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Vec<String> = {
        let mut select = transaction.prepare("SELECT name FROM event_targets")?;
        select.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for name in known.iter().filter(|name| rules.iter().all(|rule| rule.target != **name)) {
        transaction.execute("DELETE FROM event_targets WHERE name = ?1", [name])?;
        transaction.execute(
            "UPDATE event_deliveries SET given_up_ms = ?2, last_error = 'the target is not configured any more'
             WHERE target = ?1 AND delivered_ms IS NULL AND given_up_ms IS NULL",
            params![name, now_ms],
        )?;
    }
    for rule in rules {
        // Nor of what it is not to be told any more: an exercise must not reach whom it is not meant for.
        for class in TrafficClass::ALL.into_iter().filter(|class| !rule.wants_class(*class)) {
            transaction.execute(
                "UPDATE event_deliveries SET given_up_ms = ?2, last_error = 'the target is not told of this class any more'
                 WHERE target = ?1 AND delivered_ms IS NULL AND given_up_ms IS NULL
                     AND event IN (SELECT id FROM events WHERE class = ?3)",
                params![rule.target, now_ms, class as u8],
            )?;
        }
        // A target that is new is told what happens from now on.
        transaction.execute(
            "INSERT INTO event_targets (name, change)
             VALUES (?1, (SELECT coalesce(max(change), 0) FROM event_history)) ON CONFLICT DO NOTHING",
            [&rule.target],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// Makes deliveries of what has happened; `true` if there may be more.
pub(super) fn fill(connection: &mut Connection, rules: &[Rule], now_ms: i64) -> Result<bool, EventError> {
    let mut has_more = false;
    for rule in rules {
        has_more |= fill_one(connection, rule, now_ms)?;
    }
    Ok(has_more)
}

fn fill_one(connection: &mut Connection, rule: &Rule, now_ms: i64) -> Result<bool, EventError> {
    let newest: i64 =
        connection.query_row("SELECT coalesce(max(change), 0) FROM event_history", (), |row| row.get(0))?;
    let place = "SELECT change FROM event_targets WHERE name = ?1";
    let place: i64 = connection.query_row(place, [&rule.target], |row| row.get(0)).optional()?.unwrap_or(newest);
    // Most often nothing has happened, and then nothing is written.
    if newest <= place {
        return Ok(false);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changes: Vec<(i64, i64, String, u8, String)> = {
        let mut select = transaction.prepare_cached(
            "SELECT h.change, h.event, h.action, e.class, e.severity FROM event_history AS h JOIN events AS e ON e.id = h.event
             WHERE h.change > ?1 ORDER BY h.change LIMIT ?2",
        )?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        select.query_map(params![place, MOST_AT_ONCE], read)?.collect::<Result<_, _>>()?
    };
    for (change, event, action, class, severity) in &changes {
        let class = TrafficClass::from_number(*class).ok_or(EventError::Damaged)?;
        let severity = named(Severity::ALL, severity).ok_or(EventError::Damaged)?;
        // Whoever was told of an event is told when it turns out to be less.
        let was_told = || {
            let told = "SELECT EXISTS (SELECT 1 FROM event_deliveries WHERE event = ?1 AND target = ?2)";
            transaction.query_row(told, params![event, rule.target], |row| row.get::<_, bool>(0))
        };
        if rule.wants_class(class) && (rule.wants(class, severity) || was_told()?) {
            transaction
                .prepare_cached(
                    "INSERT INTO event_deliveries (event, change, action, target, created_ms, attempts, next_try_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, ?5) ON CONFLICT DO NOTHING",
                )?
                .execute(params![event, change, action, rule.target, now_ms])?;
        }
    }
    let is_all = changes.len() < MOST_AT_ONCE;
    let reached = if is_all { newest } else { changes.last().map_or(newest, |change| change.0) };
    transaction
        .execute("UPDATE event_targets SET change = max(change, ?2) WHERE name = ?1", params![rule.target, reached])?;
    transaction.commit()?;
    Ok(!is_all)
}

/// The delivery of a target that has waited longest, if one is due.
pub(super) fn due(connection: &Connection, target: &str, now_ms: i64) -> Result<Option<Due>, EventError> {
    let mut select = connection.prepare_cached(
        "SELECT d.id, d.change, d.created_ms, d.attempts, d.event, h.at_ms, h.by, h.action, h.note
         FROM event_deliveries AS d JOIN event_history AS h ON h.change = d.change
         WHERE d.target = ?1 AND d.delivered_ms IS NULL AND d.given_up_ms IS NULL AND d.next_try_ms <= ?2
         ORDER BY d.next_try_ms, d.change LIMIT 1",
    )?;
    let mut rows = select.query(params![target, now_ms])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let action: String = row.get(7)?;
    let action = kinds::named(Action::ALL, &action).ok_or(EventError::Damaged)?;
    let entry = HistoryEntry { at_ms: row.get(5)?, by: row.get(6)?, action, note: row.get(8)? };
    let event = book::by_row(connection, row.get(4)?)?.ok_or(EventError::Damaged)?;
    let (id, change, created_ms, attempts) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(Some(Due { id, change, created_ms, attempts, event, entry }))
}

/// How many deliveries of a target are open.
pub(super) fn pending(connection: &Connection, target: &str) -> Result<u64, EventError> {
    let mut select = connection.prepare_cached(
        "SELECT count(*) FROM event_deliveries WHERE target = ?1 AND delivered_ms IS NULL AND given_up_ms IS NULL",
    )?;
    Ok(select.query_row([target], |row| row.get::<_, crate::store::Bits>(0))?.0)
}

/// Writes down that a receiver has taken a delivery.
pub(super) fn delivered(connection: &Connection, due: &Due, now_ms: i64) -> Result<(), EventError> {
    connection.execute(
        "UPDATE event_deliveries SET attempts = attempts + 1, delivered_ms = ?2, last_error = NULL WHERE id = ?1",
        params![due.id, now_ms],
    )?;
    Ok(())
}

/// Writes down that an attempt failed; `true` if it was the last one.
pub(super) fn failed(connection: &Connection, due: &Due, error: &str, now_ms: i64) -> Result<bool, EventError> {
    let error: String = error.chars().take(LONGEST_ERROR).collect();
    let is_over = now_ms.saturating_sub(due.created_ms) >= GIVE_UP_DAYS * DAY_MS;
    let given_up = is_over.then_some(now_ms);
    connection.execute(
        "UPDATE event_deliveries SET attempts = attempts + 1, next_try_ms = ?2, last_error = ?3, given_up_ms = ?4 WHERE id = ?1",
        params![due.id, now_ms + wait_ms(due.attempts, &mut rand::rng()), error, given_up],
    )?;
    Ok(is_over)
}

/// How long to wait after so many failures and one: doubling, and a random part of the upper half, so that receivers that come
/// back are not called by everybody at once.
fn wait_ms(attempts: u32, random: &mut impl Rng) -> i64 {
    let whole = FIRST_RETRY_MS.saturating_mul(1 << attempts.min(20)).min(LONGEST_RETRY_MS);
    random.random_range(whole / 2..=whole)
}

/// Deletes deliveries that were settled long ago.
pub(super) fn forget(connection: &Connection, now_ms: i64) -> Result<(), EventError> {
    connection.execute(
        "DELETE FROM event_deliveries WHERE coalesce(delivered_ms, given_up_ms) < ?1",
        [now_ms - KEEP_SETTLED_DAYS * DAY_MS],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_end_at_an_hour() {
        let mut random = rand::rng();
        for (attempts, whole) in [(0, 10_000), (1, 20_000), (5, 320_000), (9, 3_600_000), (u32::MAX, 3_600_000)] {
            let waits: Vec<_> = (0..200).map(|_| wait_ms(attempts, &mut random)).collect();
            assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{attempts}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]));
        }
    }
}
