//! Making the rollups of days, again and again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::compute::Computation;
use super::date_text;
use super::dirty;
use super::error::RollupError;
use super::exclusions::{Exclusion, exclusions};
use super::settings::Settings;
use super::stage::{Stage, Stored};
use super::zones::Zones;
use crate::archive::{Merge, REGION_DATA};
use crate::labels;
use crate::store::{BUSY_TIMEOUT, CHECKPOINT_BYTES, Location};

/// So often the files of a day are listed again when one has gone.
const MOST_LISTINGS: u32 = 8;

/// Where the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive(pub PathBuf);

impl Archive {
    /// The directory of a day's files.
    #[must_use]
    pub fn directory(&self, day: i64) -> PathBuf {
        self.0.join(format!("date={}", date_text(day)))
    }
}

/// Makes days again that were marked.
pub struct Roller {
    connection: Connection,
    archive: Archive,
    settings: Settings,
}

/// What came of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// No day is marked.
    Idle,
    /// A day was made.
    Made(Stored),
    /// A marked day has no files any more: its rollup, if it has one, stays as it is.
    Gone(i64),
}

impl Roller {
    /// For a store that was opened, and so has its tables.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(location: &Location, archive: Archive, settings: Settings) -> Result<Roller, RollupError> {
        let connection = location.connect()?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", "full")?;
        let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BYTES / page_bytes.max(1))?;
        Ok(Roller { connection, archive, settings })
    }

    /// The connection, for marks and exclusions.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The zones that reports are made in.
    #[must_use]
    pub const fn zones(&self) -> &Zones {
        &self.settings.zones
    }

    /// Makes the oldest marked day.
    ///
    /// # Errors
    /// If the archive or the store fails; the day stays marked.
    pub fn turn(&mut self, now_ms: i64) -> Result<Turn, RollupError> {
        let Some((day, _)) = dirty::oldest(&self.connection)? else { return Ok(Turn::Idle) };
        if !self.settings.group_labels.is_empty() {
            self.settings.groups = labels::scopes(&self.connection, &self.settings.group_labels)?;
        }
        for _ in 0..MOST_LISTINGS {
            let Listing { names, mark, exclusions } = self.list(day)?;
            if names.is_empty() {
                self.connection
                    .execute("DELETE FROM rollup_dirty WHERE day = ?1 AND mark IS ?2", params![day, mark])?;
                return Ok(Turn::Gone(day));
            }
            let files = Files { directory: self.archive.directory(day), names };
            match make(&self.connection, &files, day, &self.settings, &exclusions, now_ms, mark) {
                Ok(stored) => return Ok(Turn::Made(stored)),
                // It was replaced, then there is another list; or it is lost.
                Err(error) if is_gone(&error) => {
                    if self.list(day)?.names == files.names {
                        return Err(files.missing().map_or(error, RollupError::Missing));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(RollupError::Moving { day: date_text(day), times: MOST_LISTINGS })
    }

    /// Marks the days of a range that have files, and says how many they are.
    ///
    /// # Errors
    /// If they cannot be marked.
    pub fn rebuild(&mut self, days: Range<i64>) -> Result<usize, RollupError> {
        let transaction = super::stage::begin(&self.connection)?;
        let marked = dirty::mark_days(&transaction, days)?;
        transaction.commit()?;
        Ok(marked)
    }

    fn list(&self, day: i64) -> Result<Listing, RollupError> {
        // One transaction: files, exclusions and the mark that stands for them belong together.
        let transaction = self.connection.unchecked_transaction()?;
        let mut select = transaction.prepare_cached("SELECT name FROM archive_files WHERE day = ?1 ORDER BY name")?;
        let names = select.query_map(params![day], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        let mut select = transaction.prepare_cached("SELECT mark FROM rollup_dirty WHERE day = ?1")?;
        let mark = select.query_map(params![day], |row| row.get(0))?.next().transpose()?;
        let exclusions = exclusions(&transaction)?;
        Ok(Listing { names, mark, exclusions })
    }
}

/// The secret of a store's sketches.
///
/// # Errors
/// If it cannot be read: no collector has run on the store yet.
pub fn source_key(location: &Location) -> Result<[u8; 16], RollupError> {
    let connection = location.connect()?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let key = connection.query_row("SELECT source_key FROM meta", (), |row| row.get(0)).optional()?;
    key.ok_or(RollupError::NotKept("no collector has run on this store yet: there is nothing to be made of"))
}

struct Listing {
    names: Vec<String>,
    mark: Option<i64>,
    exclusions: Vec<Exclusion>,
}

/// The files of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Their directory.
    pub directory: PathBuf,
    /// Their names in it.
    pub names: Vec<String>,
}

impl Files {
    fn paths(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| self.directory.join(name)).collect()
    }

    fn missing(&self) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| !Path::exists(path))
    }
}

/// Makes the rollup of a day of all of its files, and puts it into the place of the one before.
///
/// # Errors
/// If the archive or the store fails: then the one before stays.
pub fn make(
    connection: &Connection,
    files: &Files,
    day: i64,
    settings: &Settings,
    exclusions: &[Exclusion],
    now_ms: i64,
    mark: Option<i64>,
) -> Result<Stored, RollupError> {
    let mut merge = Merge::open(&files.paths())?;
    let stage = Stage::begin(connection, settings.rests)?;
    let mut computation = Computation::new(day, settings, exclusions, stage);
    while let Some(row) = merge.next_row()? {
        computation.add(&row, merge.labels())?;
    }
    let (stage, mut summary) = computation.finish(merge.labels())?;
    summary.files.clone_from(&files.names);
    let facts = merge.facts().into_iter();
    summary.region_data = facts.filter(|(key, _)| key == REGION_DATA).map(|(_, value)| value).collect();
    summary.region_data.sort();
    stage.finish(day, &summary, now_ms, mark)
}

fn is_gone(error: &RollupError) -> bool {
    let RollupError::Archive(error) = error else { return false };
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
