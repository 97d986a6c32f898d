//! Writing a rollup beside the one that counts, and putting it into its place.
//!
//! A rollup of a busy day is some 300 MiB (benches/results), and acknowledgements wait for the same disk. So its rows go in pieces, each a
//! transaction and then a rest as long as it took, under a number of their own; one small transaction at the end makes them count.
//! Readers see the old day or the new one. What a crash leaves belongs to no day, and is deleted before the next is begun.

use std::time::Instant;

use martlet_window::Kind;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::RollupError;
use super::first_seen::Changes;
use super::ranks::Light;
use super::records::{Record, Slot, count, number};
use crate::live::ServiceKey;

/// About so many bytes are written together.
const STRIDE: usize = 1 << 20;
/// So many rows of a table are deleted together.
const DELETED_ROWS: u32 = 4096;

/// The tables of rollups beside that of services, which is the large one.
const TABLES: [&str; 8] =
    ["ranks", "groups", "sensor_services", "networks", "sources", "source_lists", "populations", "scope_sensors"];

/// What is said of a day as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySummary {
    /// Names of the archive's files that it was made of.
    pub files: Vec<String>,
    /// What regions of sources were looked up in when its rows were archived.
    pub region_data: Vec<String>,
    /// Zones whose days have distinct sources.
    pub zones: Vec<String>,
    /// Quarter hours in which segments begin.
    pub segments: Vec<u8>,
    /// Rows that were counted.
    pub rows: u64,
    /// Their packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that were excluded.
    pub excluded_rows: u64,
    /// Their packets.
    pub excluded_packets: u64,
    /// Packets, among those counted, of whose source only the network is left: distinct sources count it as one.
    pub coarse_packets: u64,
    /// Services by kind that were added up, since there were more than the limit.
    pub folded_services: u64,
}

/// A rollup that is being written.
pub(super) struct Stage<'c> {
    connection: &'c Connection,
    rollup: i64,
    pending: Vec<Record>,
    pending_bytes: usize,
    rests: bool,
    rows: u64,
    /// Sum of the digests of all rows, since they come in no order.
    digest: u128,
}

impl<'c> Stage<'c> {
    /// Begins one; deletes what earlier ones left.
    pub(super) fn begin(connection: &'c Connection, rests: bool) -> Result<Stage<'c>, RollupError> {
        sweep(connection, rests)?;
        let transaction = begin(connection)?;
        let sql = "UPDATE rollup_state SET next_rollup = next_rollup + 1 RETURNING next_rollup - 1";
        let rollup = transaction.query_row(sql, (), |row| row.get(0))?;
        transaction.execute("INSERT INTO rollup_stale (rollup) VALUES (?1)", params![rollup])?;
        transaction.commit()?;
        Ok(Stage { connection, rollup, pending: Vec::new(), pending_bytes: 0, rests, rows: 0, digest: 0 })
    }

    /// Adds a row.
    pub(super) fn push(&mut self, record: Record) -> Result<(), RollupError> {
        self.pending_bytes += record.size();
        self.digest = self.digest.wrapping_add(record.digest());
        self.pending.push(record);
        if self.pending_bytes >= STRIDE { self.flush() } else { Ok(()) }
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> Result<(), RollupError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let transaction = begin(self.connection)?;
        self.rows += self.pending.len() as u64;
        for record in self.pending.drain(..) {
            record.insert(self.rollup, &transaction)?;
        }
        transaction.commit()?;
        self.pending_bytes = 0;
        rest(self.rests, begun);
        Ok(())
    }

    /// Takes services out again, and says of each what it was.
    pub(super) fn take_services(
        &mut self,
        slot: Slot,
        services: &[Light],
        mut take: impl FnMut(&Taken<'_>) -> Option<()>,
    ) -> Result<(), RollupError> {
        self.flush()?;
        let (class, scope) = (slot.class as u8, slot.scope);
        for piece in services.chunks(DELETED_ROWS as usize) {
            let begun = Instant::now();
            let transaction = begin(self.connection)?;
            let sql = "SELECT bytes, quarters, sketch, rowid FROM rollup_services
                 WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service = ?4 AND kind = ?5";
            let mut select = transaction.prepare_cached(sql)?;
            let mut delete = transaction.prepare_cached("DELETE FROM rollup_services WHERE rowid = ?1")?;
            for light in piece {
                let key = params![self.rollup, class, scope, number(light.service), light.kind as u8];
                let rowid = select.query_row(key, |row| {
                    let (quarters, sketch) = (row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
                    let bytes = row.get::<_, i64>(0)?.unsigned_abs();
                    let taken = Taken {
                        service: light.service,
                        kind: light.kind,
                        packets: light.packets,
                        bytes,
                        quarters,
                        sketch,
                    };
                    Ok((take(&taken), row.get::<_, i64>(3)?))
                })?;
                rowid.0.ok_or_else(RollupError::damaged("rollup_services"))?;
                delete.execute(params![rowid.1])?;
            }
            drop((select, delete));
            self.rows -= piece.len() as u64;
            transaction.commit()?;
            rest(self.rests, begun);
        }
        Ok(())
    }

    /// Makes it the rollup of a day. `mark` is that of the day when its files were listed: a later one stays.
    pub(super) fn finish(
        mut self,
        day: i64,
        summary: &DaySummary,
        now_ms: i64,
        mark: Option<i64>,
    ) -> Result<Stored, RollupError> {
        self.flush()?;
        let first_seen = Changes::of(self.connection, self.rollup, day)?;
        let transaction = begin(self.connection)?;
        let before: Option<i64> = transaction
            .query_row("SELECT rollup FROM rollup_days WHERE day = ?1", params![day], |row| row.get(0))
            .optional()?;
        transaction.execute("DELETE FROM rollup_days WHERE day = ?1", params![day])?;
        if let Some(before) = before {
            transaction.execute("INSERT INTO rollup_stale (rollup) VALUES (?1)", params![before])?;
        }
        transaction.execute("DELETE FROM rollup_stale WHERE rollup = ?1", params![self.rollup])?;
        let sql = "UPDATE rollup_state SET generation = generation + 1 RETURNING generation";
        let generation: i64 = transaction.query_row(sql, (), |row| row.get(0))?;
        insert_day(&transaction, self.rollup, day, generation, now_ms, summary, self.digest)?;
        first_seen.apply(&transaction)?;
        if let Some(mark) = mark {
            transaction.execute("DELETE FROM rollup_dirty WHERE day = ?1 AND mark = ?2", params![day, mark])?;
        }
        transaction.commit()?;
        sweep(self.connection, self.rests)?;
        Ok(Stored { day, generation, rows: self.rows })
    }
}

/// A service that is taken out again.
pub(super) struct Taken<'a> {
    pub(super) service: ServiceKey,
    pub(super) kind: Kind,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) quarters: &'a [u8],
    pub(super) sketch: &'a [u8],
}

/// A day that has a new rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The UTC day, in days since the Unix epoch.
    pub day: i64,
    /// The store's generation with it.
    pub generation: i64,
    /// Rows that it has in SQLite.
    pub rows: u64,
}

fn insert_day(
    transaction: &Transaction<'_>,
    rollup: i64,
    day: i64,
    generation: i64,
    now_ms: i64,
    summary: &DaySummary,
    digest: u128,
) -> Result<(), RollupError> {
    let sql = "INSERT INTO rollup_days (rollup, day, generation, made_ms, files, zones, segments, rows, packets, bytes,
         excluded_rows, excluded_packets, coarse_packets, folded_services, digest, region_data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    transaction.execute(
        sql,
        params![
            rollup,
            day,
            generation,
            now_ms,
            summary.files.join("\n"),
            summary.zones.join("\n"),
            summary.segments,
            count(summary.rows),
            count(summary.packets),
            count(summary.bytes),
            count(summary.excluded_rows),
            count(summary.excluded_packets),
            count(summary.coarse_packets),
            count(summary.folded_services),
            digest.to_be_bytes(),
            summary.region_data.join("\n"),
        ],
    )?;
    Ok(())
}

/// Deletes rows that belong to no day.
pub(super) fn sweep(connection: &Connection, rests: bool) -> Result<(), RollupError> {
    let stale: Vec<i64> = {
        let mut select = connection.prepare("SELECT rollup FROM rollup_stale ORDER BY rollup")?;
        select.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for rollup in stale {
        loop {
            let begun = Instant::now();
            let transaction = begin(connection)?;
            let sql = "DELETE FROM rollup_services WHERE rowid IN
                 (SELECT rowid FROM rollup_services WHERE rollup = ?1 LIMIT ?2)";
            let deleted = transaction.prepare_cached(sql)?.execute(params![rollup, DELETED_ROWS])?;
            transaction.commit()?;
            if deleted == 0 {
                break;
            }
            rest(rests, begun);
        }
        for table in TABLES {
            let begun = Instant::now();
            connection.execute(&format!("DELETE FROM rollup_{table} WHERE rollup = ?1"), params![rollup])?;
            rest(rests, begun);
        }
        connection.execute("DELETE FROM rollup_stale WHERE rollup = ?1", params![rollup])?;
    }
    Ok(())
}

/// Begins a transaction as the writer.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
}

fn rest(rests: bool, begun: Instant) {
    if rests {
        std::thread::sleep(begun.elapsed());
    }
}
