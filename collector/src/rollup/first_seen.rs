//! On which day each service was seen first: the earliest day whose rollup has it.

use martlet_window::{IpVersion, TrafficClass};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::error::RollupError;
use super::records::number;
use super::settings::ALL_SENSORS;
use crate::live::ServiceKey;

/// Traffic class, service and kind, as they stand in the store.
type Key = (u8, i64, u8);

/// What changes with a new rollup of a day. It is found out before the transaction that others wait for.
pub(super) struct Changes {
    day: i64,
    /// Seen on no earlier day.
    earlier: Vec<Key>,
    /// Seen first on this day so far, and now on a later one, or on none.
    gone: Vec<(Key, Option<i64>)>,
}

impl Changes {
    /// What changes when this rollup becomes that of the day.
    pub(super) fn of(connection: &Connection, rollup: i64, day: i64) -> Result<Changes, RollupError> {
        let (mut earlier, mut gone) = (Vec::new(), Vec::new());
        for class in TrafficClass::ALL.map(|class| class as u8) {
            let sql = "SELECT service, kind FROM rollup_services AS s
                 WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service < ?4
                 AND NOT EXISTS (SELECT 1 FROM rollup_first_seen AS f
                     WHERE f.class = s.class AND f.service = s.service AND f.kind = s.kind AND f.day <= ?5)";
            let mut select = connection.prepare_cached(sql)?;
            let mut rows =
                select.query(params![rollup, class, ALL_SENSORS, number(ServiceKey::rest(IpVersion::V4)), day])?;
            while let Some(row) = rows.next()? {
                earlier.push((class, row.get(0)?, row.get(1)?));
            }
            let sql = "SELECT service, kind FROM rollup_first_seen AS f WHERE class = ?1 AND day = ?2
                 AND NOT EXISTS (SELECT 1 FROM rollup_services AS s WHERE s.rollup = ?3 AND s.class = f.class
                     AND s.scope = ?4 AND s.service = f.service AND s.kind = f.kind)";
            let mut select = connection.prepare_cached(sql)?;
            let mut rows = select.query(params![class, day, rollup, ALL_SENSORS])?;
            while let Some(row) = rows.next()? {
                let key = (class, row.get(0)?, row.get(1)?);
                gone.push((key, next_day(connection, key, day)?));
            }
        }
        Ok(Changes { day, earlier, gone })
    }

    /// Makes them.
    pub(super) fn apply(&self, transaction: &Transaction<'_>) -> Result<(), RollupError> {
        let sql = "INSERT OR REPLACE INTO rollup_first_seen (class, service, kind, day) VALUES (?1, ?2, ?3, ?4)";
        let mut put = transaction.prepare_cached(sql)?;
        for (class, service, kind) in &self.earlier {
            put.execute(params![class, service, kind, self.day])?;
        }
        let sql = "DELETE FROM rollup_first_seen WHERE class = ?1 AND service = ?2 AND kind = ?3";
        let mut delete = transaction.prepare_cached(sql)?;
        for ((class, service, kind), day) in &self.gone {
            match day {
                Some(day) => put.execute(params![class, service, kind, day])?,
                None => delete.execute(params![class, service, kind])?,
            };
        }
        Ok(())
    }
}

/// The first day after this one whose rollup has a service.
fn next_day(connection: &Connection, (class, service, kind): Key, day: i64) -> Result<Option<i64>, RollupError> {
    let sql = "SELECT day FROM rollup_days AS d WHERE day > ?1
         AND EXISTS (SELECT 1 FROM rollup_services AS s WHERE s.rollup = d.rollup AND s.class = ?2 AND s.scope = ?3
             AND s.service = ?4 AND s.kind = ?5)
         ORDER BY day LIMIT 1";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_row(params![day, class, ALL_SENSORS, service, kind], |row| row.get(0)).optional()?)
}
