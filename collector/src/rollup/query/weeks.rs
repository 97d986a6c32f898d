//! Weeks that are closed, and what there is at all.

use martlet_window::TrafficClass;
use rusqlite::{OptionalExtension, params};

use super::{Snapshot, Span};
use crate::rollup::error::RollupError;
use crate::rollup::weeks::ClosedWeek;
use crate::rollup::zones::Zone;

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its UTC day, in days since the Unix epoch.
    pub day: i64,
    /// Its name in that day's directory.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

impl Snapshot<'_> {
    /// Every revision of the weeks of a zone that lie in a time as a whole, by their begin; and of each week the newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn weeks(&self, zone: &Zone, span: Span) -> Result<Vec<ClosedWeek>, RollupError> {
        let sql = "SELECT start, end, revision, closed_ms FROM rollup_weeks
             WHERE zone = ?1 AND start >= ?2 AND end <= ?3 ORDER BY start, revision DESC";
        let mut select = self.transaction.prepare_cached(sql)?;
        let weeks = select.query_map(params![zone.name(), span.from(), span.to()], |row| {
            Ok(ClosedWeek { start: row.get(0)?, end: row.get(1)?, revision: row.get(2)?, closed_ms: row.get(3)? })
        })?;
        Ok(weeks.collect::<Result<_, _>>()?)
    }

    /// Whether weeks of a zone are closed: of the zones that the newest day was made with.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn closes_weeks(&self, zone: &Zone) -> Result<bool, RollupError> {
        let sql = "SELECT zones FROM rollup_days ORDER BY day DESC LIMIT 1";
        let mut select = self.transaction.prepare_cached(sql)?;
        let zones: Option<String> = select.query_row((), |row| row.get(0)).optional()?;
        Ok(zones.is_some_and(|zones| zones.lines().any(|name| name == zone.name())))
    }

    /// The newest UTC day with packets of a class, in days since the Unix epoch.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn newest_day(&self, class: TrafficClass) -> Result<Option<i64>, RollupError> {
        let sql = "SELECT day FROM rollup_days AS d
             WHERE EXISTS (SELECT 1 FROM rollup_groups AS g WHERE g.rollup = d.rollup AND g.class = ?1)
             ORDER BY day DESC LIMIT 1";
        let mut select = self.transaction.prepare_cached(sql)?;
        Ok(select.query_row(params![class as u8], |row| row.get(0)).optional()?)
    }

    /// Whether there is a rollup of a UTC day, in days since the Unix epoch.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn has_day(&self, day: i64) -> Result<bool, RollupError> {
        let mut select = self.transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM rollup_days WHERE day = ?1)")?;
        Ok(select.query_row([day], |row| row.get(0))?)
    }

    /// The archive's files with windows that begin in a time.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn archive_files(&self, span: Span) -> Result<Vec<ListedFile>, RollupError> {
        let sql = "SELECT day, name, rows FROM archive_files
             WHERE day >= ?1 AND day < ?2 AND last >= ?3 AND first < ?4 ORDER BY day, name";
        let mut select = self.transaction.prepare_cached(sql)?;
        let days = span.days();
        let files = select.query_map(params![days.start, days.end, span.from(), span.to()], |row| {
            let rows: i64 = row.get(2)?;
            Ok(ListedFile { day: row.get(0)?, name: row.get(1)?, rows: rows.unsigned_abs() })
        })?;
        Ok(files.collect::<Result<_, _>>()?)
    }
}
