//! Which events are forgotten, and when.

use rusqlite::Connection;

use super::error::EventError;

/// Most events that are kept; beyond, those of severity info and low go first, of them drills and imports, of these what is over or
/// resolved, and of that what was detected first.
pub const MOST_EVENTS: usize = 100_000;
const DAY_SECONDS: i64 = 86_400;

/// Deletes what is too old, and what is too much; says how many events went. Events of severity medium and higher are never too
/// old: they are what reports of later years are made of.
///
/// # Errors
/// If the store cannot be written.
pub(super) fn forget(connection: &Connection, keep_days: u32, most: usize, now_ms: i64) -> Result<usize, EventError> {
    let mut gone = 0;
    if keep_days > 0 {
        let oldest = now_ms.div_euclid(1000) - i64::from(keep_days) * DAY_SECONDS;
        // By the collector's clock, too: an import of years ago was recorded today.
        gone += connection.execute(
            "DELETE FROM events WHERE max(last_active, recorded_ms / 1000) < ?1
             AND (state = 'resolved' OR ended IS NOT NULL) AND severity IN ('info', 'low')",
            [oldest],
        )?;
    }
    let kept: usize = connection.query_row("SELECT count(*) FROM events", (), |row| row.get(0))?;
    if kept > most {
        gone += connection.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events
             ORDER BY severity NOT IN ('info', 'low'), class = 0, (ended IS NULL AND state != 'resolved'), detected, id LIMIT ?1)",
            [kept - most],
        )?;
    }
    Ok(gone)
}
