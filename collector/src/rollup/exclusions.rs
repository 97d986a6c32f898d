//! What is left out of history although it is in the archive: times in which a sensor was wrong.

use std::ops::Range;

use martlet_window::SensorName;
use rusqlite::{Connection, params};

use super::dirty::mark_days;
use super::error::RollupError;
use super::stage::begin;
use super::zones::DAY_SECONDS;

/// Exposure is known by the hour, and what is excluded must be excluded from it as well.
const ALIGNMENT_SECONDS: i64 = 3600;

/// A time of one sensor that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// Its number in the store.
    pub exclusion: i64,
    /// The sensor's name.
    pub sensor: String,
    /// Windows that start in this time, in seconds since the Unix epoch; whole hours.
    pub time: Range<i64>,
    /// When it was added, in milliseconds since the Unix epoch.
    pub added_ms: i64,
}

/// All exclusions.
///
/// # Errors
/// If they cannot be read.
pub fn exclusions(connection: &Connection) -> Result<Vec<Exclusion>, RollupError> {
    let sql = "SELECT exclusion, sensor, first, end, added_ms FROM rollup_exclusions ORDER BY sensor, first, end";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map((), |row| {
        let time = row.get(2)?..row.get(3)?;
        Ok(Exclusion { exclusion: row.get(0)?, sensor: row.get(1)?, time, added_ms: row.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds an exclusion, and has the days made again that it concerns. One that is there already is only made again.
///
/// # Errors
/// If it is not whole hours or no sensor can have this name, or it cannot be written.
pub fn exclude(connection: &Connection, sensor: &str, time: Range<i64>, now_ms: i64) -> Result<(), RollupError> {
    let wrong = |what: String| Err(RollupError::Exclusion(what));
    if let Err(error) = sensor.parse::<SensorName>() {
        return wrong(error.to_string());
    }
    if time.start >= time.end || time.start % ALIGNMENT_SECONDS != 0 || time.end % ALIGNMENT_SECONDS != 0 {
        return wrong(format!(
            "an exclusion from {} to {} (seconds since 1970): take whole hours of UTC, since exposure is known by the hour",
            time.start, time.end
        ));
    }
    let transaction = begin(connection)?;
    let sql = "INSERT OR IGNORE INTO rollup_exclusions (sensor, first, end, added_ms) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(sql, params![sensor, time.start, time.end, now_ms])?;
    mark_days(&transaction, days(&time))?;
    transaction.commit()?;
    Ok(())
}

/// Takes an exclusion back, and has its days made again.
///
/// # Errors
/// If there is none with this number, or it cannot be written.
pub fn include(connection: &Connection, exclusion: i64) -> Result<(), RollupError> {
    let transaction = begin(connection)?;
    let found = exclusions(&transaction)?.into_iter().find(|found| found.exclusion == exclusion);
    let Some(found) = found else {
        return Err(RollupError::Exclusion(format!("there is no exclusion {exclusion}")));
    };
    transaction.execute("DELETE FROM rollup_exclusions WHERE exclusion = ?1", params![exclusion])?;
    mark_days(&transaction, days(&found.time))?;
    transaction.commit()?;
    Ok(())
}

/// The UTC days that a time lies in.
fn days(time: &Range<i64>) -> Range<i64> {
    time.start.div_euclid(DAY_SECONDS)..(time.end - 1).div_euclid(DAY_SECONDS) + 1
}
