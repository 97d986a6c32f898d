//! One commit: everything up to a record of the journal, and the number of the record, or nothing.

use std::fs::File;

use martlet_window::TrafficClass;
use rusqlite::{Transaction, params};

use super::reader::{HOUR_COLUMNS, read_hour};
use super::schema::{Store, StoreError, WrittenLists};
use super::sql::Bits;
use crate::aggregate::{HourKey, SensorHour};
use crate::journal::{Checkpoint, StreamPosition};
use crate::live::{LIST_KINDS, ListId, LiveImage, Snapshot, Start, Stored};

/// About so many bytes of blobs are synced together. Acknowledgements wait for the same disk: what is written at the end all
/// at once, they wait for all at once.
const STRIDE: usize = 1 << 20;

impl Store {
    /// Writes a snapshot in one transaction; it is on disk when this returns.
    ///
    /// # Errors
    /// If SQLite fails: then nothing of it was written, and it can be tried again.
    pub fn commit(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let result = self.try_commit(snapshot);
        if result.as_ref().is_err_and(StoreError::is_full) {
            // What the log holds of earlier commits may be all that takes the room. If not, the next attempt says so.
            let _ = self.checkpoint();
        }
        result
    }

    fn try_commit(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut strides = Strides { wal: self.wal.as_ref(), unsynced: 0 };
        let transaction = self.connection.transaction()?;
        let Snapshot { checkpoint, live } = snapshot;
        write_sensors(&transaction, checkpoint)?;
        write_streams(&transaction, &checkpoint.streams)?;
        write_totals(&transaction, live)?;
        write_hours(&transaction, live)?;
        write_live(&transaction, live, &mut strides)?;
        let written = write_buckets(&transaction, live, &self.written, &mut strides)?;
        // What a later release keeps of history is added here: it belongs to the same records.
        transaction.execute(
            "UPDATE meta SET record = ?1, evicted_buckets = ?2, overflowed_packets = ?3, recent_overflowed_packets = ?4,
             sensor_overflowed_packets = ?5, coarsened_sets = ?6",
            params![
                Bits(checkpoint.record),
                Bits(live.evicted_buckets),
                Bits(live.overflowed_packets),
                Bits(live.recent_overflowed_packets),
                Bits(live.sensor_overflowed_packets),
                Bits(live.coarsened_sets)
            ],
        )?;
        transaction.commit()?;
        for (key, lists) in written {
            match lists {
                Some(lists) => self.written.insert(key, lists),
                None => self.written.remove(&key),
            };
        }
        Ok(())
    }
}

/// What a transaction left in `live_lists` of one bucket; `None` if the bucket is gone.
type Written = ((TrafficClass, Start), Option<[Vec<ListId>; LIST_KINDS]>);

/// Buckets, and of their lists those that are not written yet.
fn write_buckets(
    transaction: &Transaction<'_>,
    live: &LiveImage,
    before: &WrittenLists,
    strides: &mut Strides<'_>,
) -> Result<Vec<Written>, StoreError> {
    let mut written = Vec::new();
    let buckets = live.buckets.iter().map(|(key, bucket)| (*key, bucket.as_deref()));
    write_blobs(transaction, "live_buckets", buckets, strides)?;
    let mut insert = transaction.prepare(
        "INSERT OR REPLACE INTO live_lists (class, start, kind, place, content) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut delete =
        transaction.prepare("DELETE FROM live_lists WHERE class = ?1 AND start = ?2 AND kind = ?3 AND place >= ?4")?;
    for (key @ (class, start), bucket) in &live.buckets {
        let lists = bucket.as_ref().map(|bucket| bucket.lists()).unwrap_or_default();
        for (kind, lists) in lists.iter().enumerate() {
            let before = before.get(key).map_or(&[][..], |kinds| &kinds[kind]);
            for (place, (id, list)) in lists.iter().enumerate() {
                if !before.get(place).is_some_and(|before| before.ptr_eq(id)) {
                    let blob = list.blob()?;
                    insert.execute(params![*class as u8, start, kind, place, blob])?;
                    strides.advance(blob.len())?;
                }
            }
            delete.execute(params![*class as u8, start, kind, lists.len()])?;
        }
        let ids = |kind: Vec<(ListId, _)>| kind.into_iter().map(|(id, _)| id).collect();
        written.push((*key, bucket.is_some().then(|| lists.map(ids))));
    }
    Ok(written)
}

fn write_sensors(transaction: &Transaction<'_>, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let mut insert = transaction.prepare("INSERT INTO sensors (sensor, origin, name) VALUES (?1, ?2, ?3)")?;
    for (number, sensor) in (checkpoint.first_sensor..).zip(&checkpoint.sensors) {
        insert.execute(params![Bits(number as u64), sensor.origin.0, sensor.name.as_str()])?;
    }
    Ok(())
}

fn write_streams(transaction: &Transaction<'_>, streams: &[StreamPosition]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare(
        "INSERT OR REPLACE INTO streams (sensor, epoch, expected, predecessor, windows, packets, watched_ms, class)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for StreamPosition { stream, sensor, position } in streams {
        insert.execute(params![
            sensor.0,
            Bits(stream.epoch),
            Bits(position.expected),
            position.predecessor.map(|digest| digest.0),
            Bits(position.totals.windows),
            Bits(position.totals.packets),
            Bits(position.totals.watched_ms),
            position.class.map(|class| class as u8),
        ])?;
    }
    Ok(())
}

fn write_totals(transaction: &Transaction<'_>, live: &LiveImage) -> Result<(), StoreError> {
    let mut class = transaction.prepare(
        "INSERT OR REPLACE INTO classes (class, batches, packets, bytes, first_window, last_window_end, last_arrival_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (number, image) in (0u8..).zip(&live.classes) {
        let totals = image.totals;
        let (batches, packets, bytes) = (Bits(totals.batches), Bits(totals.packets), Bits(totals.bytes));
        let (first, last, arrival) = (image.first_window, image.last_window_end, image.last_arrival_ms);
        class.execute(params![number, batches, packets, bytes, first, last, arrival])?;
    }
    let mut sensor = transaction.prepare(
        "INSERT OR REPLACE INTO sensor_classes (sensor, class, window, window_seconds, first_window, arrived_ms,
         clock_offset_ms, posture, unavailable, totals) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for ((id, class), report, totals) in &live.sensors {
        sensor.execute(params![
            id.0,
            *class as u8,
            report.window.start,
            report.window.length.seconds(),
            report.first_window,
            report.arrived_ms,
            report.clock_offset_ms,
            report.posture as u8,
            report.unavailable.bits(),
            totals.to_blob()?,
        ])?;
    }
    let mut lost = transaction.prepare(
        "UPDATE sensors SET lost_batches = ?2, lost_windows = ?3, lost_packets = ?4, lost_ms = ?5 WHERE sensor = ?1",
    )?;
    for (id, sum) in &live.lost {
        let (batches, windows) = (Bits(sum.batches), Bits(sum.windows));
        lost.execute(params![id.0, batches, windows, Bits(sum.packets), Bits(sum.watched_ms)])?;
    }
    Ok(())
}

/// Adds to hours. The sums are made here, not in SQL, so that absurd claims saturate.
fn write_hours(transaction: &Transaction<'_>, live: &LiveImage) -> Result<(), StoreError> {
    let select = format!("SELECT {HOUR_COLUMNS} FROM sensor_hours WHERE hour = ?1 AND class = ?2 AND sensor = ?3");
    let mut select = transaction.prepare(&select)?;
    let insert = format!(
        "INSERT OR REPLACE INTO sensor_hours ({HOUR_COLUMNS}) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
    );
    let mut insert = transaction.prepare(&insert)?;
    for (key, added) in &live.hours {
        let HourKey { hour, class, sensor } = *key;
        let mut rows = select.query(params![hour, class as u8, sensor.0])?;
        let mut sum = match rows.next()? {
            Some(row) => read_hour(row)?.1,
            None => SensorHour::default(),
        };
        drop(rows);
        sum.add(added);
        insert.execute(params![
            hour,
            class as u8,
            sensor.0,
            Bits(sum.window_seconds),
            Bits(sum.windows),
            Bits(sum.late_windows),
            Bits(sum.packets),
            Bits(sum.kernel_drops),
            Bits(sum.interface_drops),
            Bits(sum.lost.batches),
            Bits(sum.lost.windows),
            Bits(sum.lost.packets),
            Bits(sum.lost.watched_ms),
            Bits(sum.watched_ms),
            Bits(sum.ipv4_address_ms),
            Bits(sum.ipv6_prefix_ms),
            sum.exposure_unknown,
            sum.clock_offset_ms,
        ])?;
    }
    Ok(())
}

fn write_live(transaction: &Transaction<'_>, live: &LiveImage, strides: &mut Strides<'_>) -> Result<(), StoreError> {
    let steps = live.recent.iter().map(|(key, step)| (*key, step.as_deref()));
    write_blobs(transaction, "live_steps", steps, strides)?;
    if let Some(observed) = &live.observed {
        let sql = "INSERT OR REPLACE INTO live_observed (id, content) VALUES (0, ?1)";
        transaction.execute(sql, params![observed.to_blob()?])?;
    }
    Ok(())
}

fn write_blobs<'a, T: Stored + 'a>(
    transaction: &Transaction<'_>,
    table: &str,
    blobs: impl Iterator<Item = ((TrafficClass, i64), Option<&'a T>)>,
    strides: &mut Strides<'_>,
) -> Result<(), StoreError> {
    let insert = format!("INSERT OR REPLACE INTO {table} (class, start, content) VALUES (?1, ?2, ?3)");
    let mut insert = transaction.prepare(&insert)?;
    let mut delete = transaction.prepare(&format!("DELETE FROM {table} WHERE class = ?1 AND start = ?2"))?;
    for ((class, start), content) in blobs {
        let Some(content) = content else {
            delete.execute(params![class as u8, start])?;
            continue;
        };
        let blob = content.to_blob()?;
        insert.execute(params![class as u8, start, blob])?;
        strides.advance(blob.len())?;
    }
    Ok(())
}

/// Syncs a transaction while it is being written. It is in the write-ahead log by then, except for what fits into SQLite's
/// cache, and counts only once its end is there.
struct Strides<'a> {
    wal: Option<&'a File>,
    /// Bytes since the last sync.
    unsynced: usize,
}

impl Strides<'_> {
    fn advance(&mut self, bytes: usize) -> std::io::Result<()> {
        self.unsynced += bytes;
        if self.unsynced < STRIDE {
            return Ok(());
        }
        self.unsynced = 0;
        // After a failure the transaction is given up, and written again.
        self.wal.map_or(Ok(()), File::sync_data)
    }
}
