//! Weeks that are closed, so that what is published of them can be repeated.
//!
//! A week, Monday to Sunday of a configured zone, is closed [`GRACE_SECONDS`] after its end as revision 1, once its days are
//! made. If its figures change later, since data came late or was excluded, that is the next revision. What they come to is a
//! digest of its days and of what sensors said they watched; no figures are kept of earlier revisions.

use jiff::civil::{Date, Weekday};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::dirty;
use super::error::RollupError;
use super::stage::begin;
use super::zones::{DAY_SECONDS, Zone, Zones};
use crate::aggregate::HOUR_SECONDS;

/// How long after its end a week is closed: what sensors could not send sooner.
pub const GRACE_SECONDS: i64 = 72 * HOUR_SECONDS;
/// For so long after its end it is looked for changes that no day shows: of exposure and losses alone.
const WATCHED_SECONDS: i64 = 35 * DAY_SECONDS;
const WEEK_DAYS: i64 = 7;

/// A week that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedWeek {
    /// Begin and end, in seconds since the Unix epoch.
    pub start: i64,
    /// See `start`.
    pub end: i64,
    /// From 1 on.
    pub revision: i64,
    /// When it was closed with this revision, in milliseconds since the Unix epoch.
    pub closed_ms: i64,
}

/// The week of a zone, from a Monday on, in which a time lies.
#[must_use]
pub fn week_of(zone: &Zone, time: i64) -> Option<std::ops::Range<i64>> {
    let date = zone.date(time)?;
    let monday = monday_of(date)?;
    Some(zone.day(monday)?.start..zone.day(behind(monday)?)?.start)
}

fn monday_of(date: Date) -> Option<Date> {
    date.checked_sub(jiff::Span::new().days(i64::from(date.weekday().since(Weekday::Monday)))).ok()
}

fn behind(monday: Date) -> Option<Date> {
    monday.checked_add(jiff::Span::new().days(WEEK_DAYS)).ok()
}

/// Closes the weeks that can be and of which any day is kept, gives those that changed their next revision, and says how many
/// were written. Weeks that begin before `oldest`, a day since the Unix epoch, have lost days to retention and stay as they are.
pub(super) fn close_weeks(
    connection: &Connection,
    zones: &Zones,
    now_ms: i64,
    oldest: i64,
) -> Result<usize, RollupError> {
    let mut select = connection.prepare_cached("SELECT day FROM rollup_days WHERE day >= ?1 ORDER BY day")?;
    let days: Vec<i64> = select.query_map(params![oldest], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut written = 0;
    for zone in zones.all() {
        // A clock that was wrong makes days that are centuries apart: only weeks of which something is known are gone through.
        let mut done = i64::MIN;
        for &day in &days {
            let (begin, end) = (day.saturating_mul(DAY_SECONDS), day.saturating_add(1).saturating_mul(DAY_SECONDS));
            // A day of UTC lies in one week of the zone, or in two.
            for week in [begin, end - 1].into_iter().filter_map(|time| week_of(zone, time)) {
                let is_over = week.end.saturating_add(GRACE_SECONDS) <= now_ms.div_euclid(1000);
                let is_whole = week.start >= oldest.saturating_mul(DAY_SECONDS);
                if week.start >= done && is_over && is_whole {
                    written += usize::from(close(connection, zone, &week, now_ms)?);
                }
                done = done.max(week.end);
            }
        }
    }
    Ok(written)
}

fn close(connection: &Connection, zone: &Zone, week: &std::ops::Range<i64>, now_ms: i64) -> Result<bool, RollupError> {
    let days = week.start.div_euclid(DAY_SECONDS)..(week.end - 1).div_euclid(DAY_SECONDS) + 1;
    if !dirty::marked(connection, days.clone())?.is_empty() {
        return Ok(false);
    }
    let sql = "SELECT revision, generation, digest FROM rollup_weeks WHERE zone = ?1 AND start = ?2
         ORDER BY revision DESC LIMIT 1";
    let mut select = connection.prepare_cached(sql)?;
    let closed = select
        .query_row(params![zone.name(), week.start], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        })
        .optional()?;
    let sql = "SELECT coalesce(max(generation), 0) FROM rollup_days WHERE day >= ?1 AND day < ?2";
    let generation: i64 = connection.prepare_cached(sql)?.query_row(params![days.start, days.end], |row| row.get(0))?;
    let is_watched = now_ms.div_euclid(1000) < week.end.saturating_add(WATCHED_SECONDS);
    if closed.as_ref().is_some_and(|(_, looked, _)| *looked >= generation) && !is_watched {
        return Ok(false);
    }
    let digest = digest(connection, week, days)?;
    let revision = match &closed {
        Some((revision, looked, old)) if *old == digest => {
            if *looked < generation {
                let sql = "UPDATE rollup_weeks SET generation = ?4 WHERE zone = ?1 AND start = ?2 AND revision = ?3";
                connection.execute(sql, params![zone.name(), week.start, revision, generation])?;
            }
            return Ok(false);
        }
        Some((revision, ..)) => revision + 1,
        None => 1,
    };
    let transaction = begin(connection)?;
    let sql = "INSERT INTO rollup_weeks (zone, start, end, revision, closed_ms, generation, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![zone.name(), week.start, week.end, revision, now_ms, generation, digest];
    transaction.execute(sql, row)?;
    // What is said of a week is a part of every answer about it.
    transaction.execute("UPDATE rollup_state SET generation = generation + 1", ())?;
    transaction.commit()?;
    Ok(true)
}

/// What the figures of a week come to.
fn digest(
    connection: &Connection,
    week: &std::ops::Range<i64>,
    days: std::ops::Range<i64>,
) -> Result<Vec<u8>, RollupError> {
    let mut hash = Sha256::new();
    let sql = "SELECT day, rows, packets, excluded_packets, coalesce(digest, x'') FROM rollup_days
         WHERE day >= ?1 AND day < ?2 ORDER BY day";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![days.start, days.end])?;
    while let Some(row) = rows.next()? {
        for place in 0..4 {
            hash.update(row.get::<_, i64>(place)?.to_be_bytes());
        }
        hash.update(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?);
    }
    let sql =
        "SELECT class, sensor, total(watched_ms), total(ipv4_address_ms), total(ipv6_prefix_ms), max(exposure_unknown),
             sum(kernel_drops), sum(interface_drops), sum(lost_packets), sum(lost_windows)
         FROM sensor_hours WHERE hour >= ?1 AND hour < ?2 GROUP BY class, sensor ORDER BY class, sensor";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![week.start, week.end])?;
    while let Some(row) = rows.next()? {
        for place in 0..10 {
            match row.get_ref(place)? {
                rusqlite::types::ValueRef::Real(number) => hash.update(number.to_be_bytes()),
                value => hash.update(value.as_i64().map_err(rusqlite::Error::from)?.to_be_bytes()),
            }
        }
    }
    Ok(hash.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_mondays_of_their_zone() {
        // 2026-11-25, a Wednesday, 22:00 UTC.
        let time = 1_795_644_000;
        let utc = week_of(&Zone::UTC, time).unwrap();
        // Monday 2026-11-23 to Monday 2026-11-30.
        assert_eq!(utc, 1_795_392_000..1_795_996_800);
        let tokyo = week_of(&Zone::named("Asia/Tokyo").unwrap(), time).unwrap();
        assert_eq!(tokyo, utc.start - 9 * 3600..utc.end - 9 * 3600);
        // Sunday evening UTC is Monday in Tokyo.
        let evening = utc.end - 3600;
        assert_eq!(week_of(&Zone::named("Asia/Tokyo").unwrap(), evening).unwrap().start, utc.end - 9 * 3600);
        // A week in which the clocks change has an hour less, or more.
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let october = week_of(&berlin, 1_792_800_000).unwrap();
        assert_eq!(october.end - october.start, 7 * DAY_SECONDS + 3600);
    }
}
