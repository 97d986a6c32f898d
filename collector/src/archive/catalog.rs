//! What SQLite knows of the archive: its files, how far it has read the journal, and what it is doing.

use std::collections::HashMap;
use std::ops::Range;

use ipnet::IpNet;
use martlet_archive::Written;
use martlet_window::{Origin, TrafficClass};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::ArchiveError;
use crate::rollup::{erase_sources, mark_day};
use crate::store::{BUSY_TIMEOUT, Bits, Location, StoreError};

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its number in the catalog.
    pub file: i64,
    /// The UTC day whose windows it holds, in days since the Unix epoch.
    pub day: i64,
    /// Its name in the day's directory.
    pub name: String,
    /// What it holds.
    pub written: Written,
    /// Only networks are left of its sources.
    pub is_coarse: bool,
}

/// An operation that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Files are made of these records of the journal.
    Append {
        /// Which.
        records: Range<u64>,
    },
    /// Files of a day are replaced.
    Replace {
        /// The day.
        day: i64,
        /// Names of those that are replaced.
        inputs: Vec<String>,
    },
}

/// The catalog, to be written; by one thread at a time.
pub struct Catalog {
    connection: Connection,
}

impl Catalog {
    /// Opens the catalog of a store that is open, or was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(location: &Location) -> Result<Catalog, ArchiveError> {
        let connection = location.connect()?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute("INSERT OR IGNORE INTO archive (id, record, next_operation) VALUES (0, 0, 1)", ())?;
        Ok(Catalog { connection })
    }

    fn begin(&self) -> Result<Transaction<'_>, ArchiveError> {
        Ok(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?)
    }

    /// Records below are archived.
    ///
    /// # Errors
    /// If SQLite fails; so with all that follow.
    pub fn record(&self) -> Result<u64, ArchiveError> {
        Ok(self.connection.query_row("SELECT record FROM archive", (), |row| row.get::<_, Bits>(0))?.0)
    }

    /// Records below are committed.
    pub fn committed(&self) -> Result<u64, ArchiveError> {
        let record =
            self.connection.query_row("SELECT record FROM meta", (), |row| row.get::<_, Bits>(0)).optional()?;
        Ok(record.map_or(0, |record| record.0))
    }

    /// The names of sensors by their origin, as committed.
    pub fn sensors(&self) -> Result<HashMap<Origin, String>, ArchiveError> {
        let mut select = self.connection.prepare("SELECT origin, name FROM sensors")?;
        let rows = select.query_map((), |row| Ok((Origin(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What of these records does not count, ascending.
    pub fn skips(&self, records: &Range<u64>) -> Result<Vec<Range<u64>>, ArchiveError> {
        let mut select = self.connection.prepare(
            "SELECT first_record, end_record FROM archive_skips WHERE end_record > ?1 AND first_record < ?2 ORDER BY first_record",
        )?;
        let range = params![Bits(records.start), Bits(records.end)];
        let rows = select.query_map(range, |row| Ok(row.get::<_, Bits>(0)?.0..row.get::<_, Bits>(1)?.0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Operations that have begun and not ended.
    pub fn operations(&self) -> Result<Vec<(i64, Operation)>, ArchiveError> {
        let mut select = self
            .connection
            .prepare("SELECT operation, first_record, end_record, day FROM archive_operations ORDER BY operation")?;
        let rows = select.query_map((), |row| {
            let records = row.get::<_, Option<Bits>>(1)?.zip(row.get::<_, Option<Bits>>(2)?);
            Ok((row.get::<_, i64>(0)?, records, row.get::<_, Option<i64>>(3)?))
        })?;
        let mut operations = Vec::new();
        for row in rows {
            let (number, records, day) = row?;
            let operation = match records {
                Some((first, end)) => Operation::Append { records: first.0..end.0 },
                None => Operation::Replace { day: day.unwrap_or_default(), inputs: self.inputs(number)? },
            };
            operations.push((number, operation));
        }
        Ok(operations)
    }

    fn inputs(&self, operation: i64) -> Result<Vec<String>, ArchiveError> {
        let mut select = self.connection.prepare(
            "SELECT name FROM archive_inputs JOIN archive_files USING (file) WHERE operation = ?1 ORDER BY file",
        )?;
        let rows = select.query_map([operation], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Begins an operation that makes files of these records. Returns its number.
    pub fn begin_append(&self, records: &Range<u64>) -> Result<i64, ArchiveError> {
        let transaction = self.begin()?;
        let number = next_operation(&transaction)?;
        let sql = "INSERT INTO archive_operations (operation, first_record, end_record) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![number, Bits(records.start), Bits(records.end)])?;
        transaction.commit()?;
        Ok(number)
    }

    /// Ends one: the files are in the archive, and the records with them. `gaps` could not be read.
    pub fn end_append(
        &self,
        operation: i64,
        records: &Range<u64>,
        files: &[(i64, String, Written)],
        gaps: &[Range<u64>],
        now_ms: i64,
    ) -> Result<(), ArchiveError> {
        let transaction = self.begin()?;
        for (day, name, written) in files {
            insert_file(&transaction, *day, name, written, false)?;
            mark_day(&transaction, *day)?;
        }
        let mut gap = transaction.prepare(
            "INSERT OR REPLACE INTO archive_gaps (first_record, end_record, noticed_ms) VALUES (?1, ?2, ?3)",
        )?;
        for gap_records in gaps {
            gap.execute(params![Bits(gap_records.start), Bits(gap_records.end), now_ms])?;
        }
        drop(gap);
        transaction.execute("UPDATE archive SET record = ?1", [Bits(records.end)])?;
        // What the detector may read again it must skip again.
        let sql = "DELETE FROM archive_skips WHERE end_record <= ?1 AND end_record <= coalesce((SELECT min(record) FROM detector), ?1)";
        transaction.execute(sql, [Bits(records.end)])?;
        transaction.execute("DELETE FROM archive_operations WHERE operation = ?1", [operation])?;
        transaction.commit()?;
        Ok(())
    }

    /// Begins an operation that replaces files of a day. Returns its number.
    pub fn begin_replace(&self, day: i64, inputs: &[ArchiveFile]) -> Result<i64, ArchiveError> {
        let transaction = self.begin()?;
        let number = next_operation(&transaction)?;
        transaction.execute("INSERT INTO archive_operations (operation, day) VALUES (?1, ?2)", [number, day])?;
        for input in inputs {
            let sql = "INSERT INTO archive_inputs (operation, file) VALUES (?1, ?2)";
            transaction.execute(sql, [number, input.file])?;
        }
        transaction.commit()?;
        Ok(number)
    }

    /// Ends one: `output`, if anything is left, stands in the place of the inputs.
    pub fn end_replace(
        &self,
        operation: i64,
        day: i64,
        output: Option<(&str, &Written, bool)>,
    ) -> Result<(), ArchiveError> {
        // What is merged, masked, coarsened or deleted makes no day of history another one: its packets were counted, and what it
        // knew of sources is kept there for as long as it may be.
        let transaction = self.begin()?;
        let inputs = "SELECT file FROM archive_inputs WHERE operation = ?1";
        let mut select = transaction.prepare(inputs)?;
        let files = select.query_map([operation], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?;
        drop(select);
        transaction.execute("DELETE FROM archive_operations WHERE operation = ?1", [operation])?;
        for file in files {
            transaction.execute("DELETE FROM archive_files WHERE file = ?1", [file])?;
        }
        if let Some((name, written, is_coarse)) = output {
            insert_file(&transaction, day, name, written, is_coarse)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets an operation that did nothing.
    pub fn forget(&self, operation: i64) -> Result<(), ArchiveError> {
        self.connection.execute("DELETE FROM archive_operations WHERE operation = ?1", [operation])?;
        Ok(())
    }

    /// The files of days, ascending by day and number.
    pub fn files(&self, days: Range<i64>) -> Result<Vec<ArchiveFile>, ArchiveError> {
        let mut select = self.connection.prepare(
            "SELECT file, day, name, rows, packets, bytes, first, last, is_coarse FROM archive_files
             WHERE day >= ?1 AND day < ?2 ORDER BY day, file",
        )?;
        let rows = select.query_map([days.start, days.end], |row| {
            let written = Written {
                rows: row.get::<_, Bits>(3)?.0,
                packets: row.get::<_, Bits>(4)?.0,
                bytes: row.get::<_, Bits>(5)?.0,
                first: row.get(6)?,
                last: row.get(7)?,
            };
            Ok(ArchiveFile { file: row.get(0)?, day: row.get(1)?, name: row.get(2)?, written, is_coarse: row.get(8)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// IPv4 addresses times milliseconds watched, by class and start of the hour; of hours of which nobody lacks to say it.
    pub fn ipv4_address_ms(&self, time: Range<i64>) -> Result<Vec<(TrafficClass, i64, u64)>, ArchiveError> {
        let mut select = self.connection.prepare(
            "SELECT class, hour, sum(ipv4_address_ms) FROM sensor_hours WHERE hour >= ?1 AND hour < ?2
             GROUP BY class, hour HAVING NOT max(exposure_unknown)",
        )?;
        let rows = select.query_map(params![time.start, time.end], |row| {
            let class: u8 = row.get(0)?;
            let known = TrafficClass::from_number(class);
            let class = known.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, class.into()))?;
            Ok((class, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What could not be archived: ranges of records, and when that was noticed, in milliseconds since the Unix epoch.
    pub fn gaps(&self) -> Result<Vec<(Range<u64>, i64)>, ArchiveError> {
        let mut select = self
            .connection
            .prepare("SELECT first_record, end_record, noticed_ms FROM archive_gaps ORDER BY first_record")?;
        let rows = select
            .query_map((), |row| Ok((row.get::<_, Bits>(0)?.0..row.get::<_, Bits>(1)?.0, row.get::<_, i64>(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Asks for the addresses of a network to be masked. Returns the number of the erasure.
    pub fn ask_erasure(&self, network: &IpNet, now_ms: i64) -> Result<i64, ArchiveError> {
        let sql = "INSERT INTO archive_erasures (network, asked_ms) VALUES (?1, ?2)";
        self.connection.execute(sql, params![network.to_string(), now_ms])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The erasure that was asked for first.
    pub fn next_erasure(&self) -> Result<Option<Erasure>, ArchiveError> {
        let sql = "SELECT erasure, network, is_begun FROM archive_erasures ORDER BY erasure LIMIT 1";
        let row = self.connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)));
        let Some((erasure, network, is_begun)) = row.optional()? else { return Ok(None) };
        let network = network.parse().map_err(|_| StoreError::Damaged("archive_erasures"))?;
        Ok(Some(Erasure { erasure, network, is_begun }))
    }

    /// Notes all files that there are now as those that an erasure is to be done in.
    pub fn begin_erasure(&self, erasure: i64) -> Result<(), ArchiveError> {
        let transaction = self.begin()?;
        let sql = "INSERT INTO archive_erasure_files (erasure, file) SELECT ?1, file FROM archive_files";
        transaction.execute(sql, [erasure])?;
        transaction.execute("UPDATE archive_erasures SET is_begun = 1 WHERE erasure = ?1", [erasure])?;
        transaction.commit()?;
        Ok(())
    }

    /// The next file that an erasure is to be done in.
    pub fn next_erasure_file(&self, erasure: i64) -> Result<Option<ArchiveFile>, ArchiveError> {
        let sql =
            "SELECT day, file FROM archive_erasure_files JOIN archive_files USING (file) WHERE erasure = ?1 LIMIT 1";
        let file = self.connection.query_row(sql, [erasure], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let Some((day, file)) = file.optional()? else { return Ok(None) };
        Ok(self.files(day..day + 1)?.into_iter().find(|other| other.file == file))
    }

    /// An erasure is done in a file that had nothing of its network. A file that is replaced is forgotten with that.
    pub fn end_erasure_file(&self, erasure: i64, file: i64) -> Result<(), ArchiveError> {
        let sql = "DELETE FROM archive_erasure_files WHERE erasure = ?1 AND file = ?2";
        self.connection.execute(sql, [erasure, file])?;
        Ok(())
    }

    /// An erasure is done in all files; what history lists of the network goes with it.
    pub fn end_erasure(&self, erasure: i64, network: IpNet) -> Result<(), ArchiveError> {
        erase_sources(&self.connection, network).map_err(Box::new)?;
        self.connection.execute("DELETE FROM archive_erasures WHERE erasure = ?1", [erasure])?;
        Ok(())
    }

    /// How an erasure fares.
    pub fn erasure_progress(&self, erasure: i64) -> Result<Progress, ArchiveError> {
        let sql = "SELECT is_begun, (SELECT count(*) FROM archive_erasure_files f WHERE f.erasure = e.erasure)
                   FROM archive_erasures e WHERE erasure = ?1";
        let row =
            self.connection.query_row(sql, [erasure], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, Bits>(1)?.0)));
        Ok(match row.optional()? {
            None => Progress::Done,
            Some((false, _)) => Progress::Waiting,
            Some((true, files)) => Progress::Left(files),
        })
    }
}

/// Addresses that are to be masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its number.
    pub erasure: i64,
    /// Whose addresses.
    pub network: IpNet,
    /// Whether the files are noted that it is to be done in.
    pub is_begun: bool,
}

/// How an erasure fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has taken notice yet.
    Waiting,
    /// So many files are left.
    Left(u64),
    /// It is done.
    Done,
}

fn next_operation(transaction: &Transaction<'_>) -> Result<i64, ArchiveError> {
    let sql = "UPDATE archive SET next_operation = next_operation + 1 RETURNING next_operation - 1";
    Ok(transaction.query_row(sql, (), |row| row.get(0))?)
}

fn insert_file(
    transaction: &Transaction<'_>,
    day: i64,
    name: &str,
    written: &Written,
    is_coarse: bool,
) -> Result<(), ArchiveError> {
    transaction.execute(
        "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            day,
            name,
            Bits(written.rows),
            Bits(written.packets),
            Bits(written.bytes),
            written.first,
            written.last,
            is_coarse
        ],
    )?;
    Ok(())
}
