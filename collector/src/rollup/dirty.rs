//! Days whose archive, or whose exclusions, have changed since their rollup was begun.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::RollupError;

/// Marks a day to be made again. Whoever changes the archive's rows calls it in the same transaction; who only merges files
/// need not.
///
/// # Errors
/// If it cannot be written.
pub fn mark_day(connection: &Connection, day: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO rollup_dirty (day, mark) VALUES (?1, 1) ON CONFLICT (day) DO UPDATE SET mark = mark + 1";
    connection.prepare_cached(sql)?.execute(params![day])?;
    Ok(())
}

/// Marks the days of a range that have files, or a rollup.
pub(super) fn mark_days(connection: &Connection, days: Range<i64>) -> Result<usize, RollupError> {
    let sql = "SELECT day FROM archive_files WHERE day >= ?1 AND day < ?2
         UNION SELECT day FROM rollup_days WHERE day >= ?1 AND day < ?2";
    let mut select = connection.prepare_cached(sql)?;
    let days: Vec<i64> =
        select.query_map(params![days.start, days.end], |row| row.get(0))?.collect::<Result<_, _>>()?;
    days.iter().try_for_each(|&day| mark_day(connection, day))?;
    Ok(days.len())
}

/// The oldest marked day, and its mark.
pub(super) fn oldest(connection: &Connection) -> Result<Option<(i64, i64)>, RollupError> {
    let mut select = connection.prepare_cached("SELECT day, mark FROM rollup_dirty ORDER BY day LIMIT 1")?;
    Ok(select.query_row((), |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Marked days of a range, ascending.
pub(super) fn marked(connection: &Connection, days: Range<i64>) -> Result<Vec<i64>, RollupError> {
    let sql = "SELECT day FROM rollup_dirty WHERE day >= ?1 AND day < ?2 ORDER BY day";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_map(params![days.start, days.end], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
