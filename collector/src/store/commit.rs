//! One commit: everything up to a record of the journal, and the number of the record, or nothing.

use std::fs::File;
use std::time::Instant;

use martlet_window::TrafficClass;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::reader::{HOUR_COLUMNS, read_hour};
use super::schema::{NumberedLists, StagedList, Store, StoreError, WrittenLists};
use super::sql::Bits;
use crate::aggregate::{HourKey, SensorHour};
use crate::journal::{Checkpoint, StreamPosition};
use crate::live::{Bucket, ListId, LiveImage, Snapshot, Stored, StoredBlob};

/// About so many bytes of blobs are synced together. Acknowledgements wait for the same disk: what is written all at once,
/// they wait for all at once.
const STRIDE: usize = 1 << 20;

impl Store {
    /// Writes a snapshot; it is on disk when this returns. Of a large one lists of rows, which are most of it, are written
    /// before the one transaction that makes it count, in pieces, and with a rest of the same length behind each.
    ///
    /// # Errors
    /// If SQLite fails: then nothing of it counts, and it can be tried again.
    pub fn commit(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let result = self.try_commit(snapshot);
        if result.as_ref().is_err_and(StoreError::is_full) {
            // What the log holds of earlier commits may be all that takes the room. If not, the next attempt says so.
            let _ = self.checkpoint();
        }
        result
    }

    fn try_commit(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let Snapshot { checkpoint, live } = snapshot;
        let mut staging = Staging::begin(&self.connection, &mut self.staged, self.wal.is_some())?;
        let buckets = live.buckets.iter().filter_map(|(key, bucket)| Some((key, bucket.as_deref()?)));
        let written = buckets
            .map(|(key, bucket)| Ok((*key, staging.stage(self.written.get(key), bucket)?)))
            .collect::<Result<WrittenLists, StoreError>>()?;
        let transaction = staging.finish()?;
        let mut strides = Strides { wal: self.wal.as_ref(), unsynced: 0 };
        write_sensors(&transaction, checkpoint)?;
        write_streams(&transaction, &checkpoint.streams)?;
        write_totals(&transaction, live)?;
        write_hours(&transaction, live)?;
        write_live(&transaction, live, &mut strides)?;
        write_buckets(&transaction, live, &written, &mut strides)?;
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
        self.staged.clear();
        live.buckets.iter().for_each(|(key, _)| drop(self.written.remove(key)));
        self.written.extend(written);
        Ok(())
    }
}

/// Lists on their way into the store, in front of the transaction that makes them count; what is left at their end, which is all
/// of a small commit, goes into that.
struct Staging<'c, 's> {
    connection: &'c Connection,
    staged: &'s mut Vec<StagedList>,
    /// So many of these were left by an attempt before; no list comes twice in one.
    left: usize,
    /// None only after an error.
    transaction: Option<Transaction<'c>>,
    begun: Instant,
    /// Of the transaction.
    bytes: usize,
    /// By place in `staged`: how many pieces are written when the transaction is, and whether that is all.
    progress: Vec<(usize, usize, bool)>,
    /// Whether others wait for the same disk.
    rests: bool,
}

impl<'c, 's> Staging<'c, 's> {
    fn begin(connection: &'c Connection, staged: &'s mut Vec<StagedList>, rests: bool) -> Result<Self, StoreError> {
        let (transaction, progress) = (Some(begin(connection)?), Vec::new());
        let left = staged.len();
        Ok(Staging { connection, staged, left, transaction, begun: Instant::now(), bytes: 0, progress, rests })
    }

    /// Writes what is not written yet of a bucket's lists, and returns the numbers of all.
    fn stage(&mut self, written: Option<&NumberedLists>, bucket: &Bucket) -> Result<NumberedLists, StoreError> {
        let mut numbered = NumberedLists::default();
        for (numbered, lists) in numbered.iter_mut().zip(bucket.lists()) {
            for (id, list) in lists {
                let number = match written.into_iter().flatten().flatten().find(|(before, _)| before.ptr_eq(&id)) {
                    Some((_, number)) => *number,
                    None => self.stage_list(&id, list)?,
                };
                numbered.push((id, number));
            }
        }
        Ok(numbered)
    }

    /// Writes a list, or what an attempt before left of it, and returns its number.
    fn stage_list(&mut self, id: &ListId, list: &dyn StoredBlob) -> Result<u64, StoreError> {
        let place = match self.staged[..self.left].iter().position(|staged| staged.id.ptr_eq(id)) {
            Some(place) => place,
            None => {
                let number = match self.staged.last() {
                    Some(last) => last.number + 1,
                    None => {
                        let most = "SELECT coalesce(max(list), 0) FROM live_pieces";
                        self.connection.query_row(most, (), |row| row.get::<_, Bits>(0))?.0 + 1
                    }
                };
                self.staged.push(StagedList { id: id.clone(), number, pieces: 0, is_whole: false });
                self.staged.len() - 1
            }
        };
        let StagedList { number, pieces, is_whole, .. } = self.staged[place];
        if is_whole {
            return Ok(number);
        }
        let blob = list.blob()?;
        let insert = "INSERT INTO live_pieces (list, piece, content) VALUES (?1, ?2, ?3)";
        let mut insert = self.connection.prepare_cached(insert)?;
        let count = blob.len().div_ceil(STRIDE);
        for (piece, content) in blob.chunks(STRIDE).enumerate().skip(pieces) {
            insert.execute(params![Bits(number), piece, content])?;
            self.bytes += content.len();
            self.progress.push((place, piece + 1, piece + 1 == count));
            if self.bytes >= STRIDE {
                self.next()?;
            }
        }
        Ok(number)
    }

    /// Makes what is written durable, and begins another transaction after a rest.
    fn next(&mut self) -> Result<(), StoreError> {
        if let Some(transaction) = self.transaction.take() {
            transaction.commit()?;
        }
        for (place, pieces, is_whole) in self.progress.drain(..) {
            (self.staged[place].pieces, self.staged[place].is_whole) = (pieces, is_whole);
        }
        if self.rests {
            std::thread::sleep(self.begun.elapsed());
        }
        (self.begun, self.bytes) = (Instant::now(), 0);
        self.transaction = Some(begin(self.connection)?);
        Ok(())
    }

    /// The transaction that what is left goes into.
    fn finish(self) -> Result<Transaction<'c>, StoreError> {
        Ok(self.transaction.map_or_else(|| begin(self.connection), Ok)?)
    }
}

/// Begins a transaction as the writer. The archive writes to the same database: one that began as a reader could not wait for it.
fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
}

/// Buckets, and which lists they have.
fn write_buckets(
    transaction: &Transaction<'_>,
    live: &LiveImage,
    written: &WrittenLists,
    strides: &mut Strides<'_>,
) -> Result<(), StoreError> {
    let buckets = live.buckets.iter().map(|(key, bucket)| (*key, bucket.as_deref()));
    write_blobs(transaction, "live_buckets", buckets, strides)?;
    let mut delete = transaction.prepare("DELETE FROM live_places WHERE class = ?1 AND start = ?2")?;
    let mut insert =
        transaction.prepare("INSERT INTO live_places (class, start, kind, place, list) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (key @ (class, start), _) in &live.buckets {
        delete.execute(params![*class as u8, start])?;
        for (kind, lists) in written.get(key).into_iter().flatten().enumerate() {
            for (place, (_, number)) in lists.iter().enumerate() {
                insert.execute(params![*class as u8, start, kind, place, Bits(*number)])?;
            }
        }
    }
    transaction.execute("DELETE FROM live_pieces WHERE list NOT IN (SELECT list FROM live_places)", ())?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    use martlet_window::{
        BatchHeader, CaptureStatistics, Class, Digest, IpVersion, Kind, Marks, Origin, Posture, Service, Window,
        WindowLength,
    };
    use martlet_wire::v1::{Columns, Run};

    use super::*;
    use crate::aggregate::{Arrival, Delta, Rules, SourceHash};
    use crate::config::{LiveConfig, MetricsConfig};
    use crate::ingest::SensorId;
    use crate::live::LiveStore;
    use crate::store::Location;

    const TEN: i64 = 1_700_000_400;

    /// One packet from each of these sources, a thousand to a port.
    fn add(live: &mut LiveStore, sources: std::ops::Range<u32>) {
        let mut columns = Columns::default();
        for port in 0..sources.len().div_ceil(1000) {
            let from = sources.start + u32::try_from(port * 1000).unwrap();
            let (start, service) = (u32::try_from(columns.len()).unwrap(), Service::Port(u16::try_from(port).unwrap()));
            let count = sources.end.min(from + 1000) - from;
            for source in from..from + count {
                columns.sources.push(source.into());
                columns.packets.push(1);
                columns.bytes.push(40);
                columns.targets.push(1);
            }
            let class = Class { ip: IpVersion::V4, protocol: 6, service, kind: Kind::Scan, marks: Marks::NONE };
            columns.runs.push(Run { class: class.into(), start, end: start + count });
        }
        let header = BatchHeader {
            origin: Origin([1; 16]),
            epoch: 0,
            sequence: 0,
            predecessor: Digest::default(),
            class: TrafficClass::Real,
            posture: Posture::Silent,
            window: Window { start: TEN, length: WindowLength::DEFAULT },
            part: 0,
            exposure: None,
            unavailable: Marks::NONE,
            capture: CaptureStatistics { packets: sources.len() as u64, ..CaptureStatistics::default() },
        };
        let rules = Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 };
        let (mut delta, arrival) = (Delta::default(), Arrival { at_ms: TEN * 1000, is_live: false });
        delta.add(&rules, SensorId(0), &header, &columns, i64::MIN, arrival);
        delta.sort(&mut || ());
        live.add(&mut delta, TEN);
    }

    /// Keys and packets of the only bucket that was committed, ascending.
    fn committed(store: &mut Store) -> Option<Vec<(String, u64)>> {
        let buckets = store.load(600, [7; 16]).unwrap().live.buckets;
        let bucket = buckets.into_iter().next()?.1.unwrap();
        Some(bucket.merged_rows().iter().map(|(key, row)| (format!("{key:?}"), row.packets)).collect())
    }

    fn number(store: &Store, sql: &str) -> usize {
        store.connection.query_row(sql, (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_list_that_did_not_fit_is_gone_on_with_and_what_no_bucket_has_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(Location::in_directory(directory.path())).unwrap();
        assert_eq!(committed(&mut store), None);
        let sensor = "INSERT INTO sensors (sensor, origin, name) VALUES (0, zeroblob(16), 'alpha')";
        store.connection.execute(sensor, ()).unwrap();
        let newest = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
        let mut live = LiveStore::new(LiveConfig::default(), &MetricsConfig::default(), newest);
        let snapshot = |live: &mut LiveStore| Snapshot { checkpoint: Box::default(), live: live.changes() };
        // 400,000 hashes of eight bytes are more than three pieces; there is room for one.
        add(&mut live, 0..400_000);
        let first = snapshot(&mut live);
        store.limit_growth(u32::try_from(STRIDE / 16_384).unwrap() + 20).unwrap();
        for _ in 0..3 {
            assert!(store.commit(&first).unwrap_err().is_full());
            assert_eq!((store.staged.len(), store.staged[0].pieces, store.staged[0].is_whole), (1, 1, false));
        }
        // None of it counts.
        assert_eq!(committed(&mut store), None);
        store.limit_growth(100_000).unwrap();
        store.commit(&first).unwrap();
        assert!(store.staged.is_empty());
        let expected = committed(&mut store).unwrap();
        assert_eq!((expected.len(), expected.iter().map(|row| row.1).sum::<u64>()), (400, 400_000));
        assert_eq!(number(&store, "SELECT max(list) FROM live_pieces"), 1);
        let pieces = number(&store, "SELECT count(*) FROM live_pieces");
        assert!(pieces > 3, "{pieces}");
        // A short list more: the long one is not written again.
        add(&mut live, 400_000..400_010);
        store.commit(&snapshot(&mut live)).unwrap();
        assert_eq!(number(&store, "SELECT count(*) FROM live_pieces"), pieces + 1);
        assert_eq!(number(&store, "SELECT count(*) FROM live_pieces WHERE list = 1"), pieces);
        // One that is merged with both takes their place.
        add(&mut live, 500_000..900_000);
        store.commit(&snapshot(&mut live)).unwrap();
        assert_eq!(number(&store, "SELECT count(*) FROM live_pieces WHERE list < 3"), 0);
        assert_eq!(committed(&mut store).unwrap().iter().map(|row| row.1).sum::<u64>(), 800_010);
    }

    #[test]
    fn lists_of_version_2_are_the_first_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::in_directory(directory.path());
        let raw = location.connect().unwrap();
        raw.execute_batch(include_str!("schema/1.sql")).unwrap();
        raw.execute_batch(include_str!("schema/2.sql")).unwrap();
        raw.execute_batch(
            "PRAGMA application_id = 0x4d52544c; PRAGMA user_version = 2;
             INSERT INTO live_lists VALUES (0, 600, 0, 0, x'01'), (0, 600, 0, 1, x'0203'), (2, 600, 1, 0, x'04')",
        )
        .unwrap();
        drop(raw);
        let store = Store::open(location).unwrap();
        let sql =
            "SELECT group_concat(class || ' ' || start || ' ' || kind || ' ' || place || ' ' || hex(content), '; ')
                   FROM live_places JOIN live_pieces USING (list) WHERE piece = 0";
        let lists: String = store.connection.query_row(sql, (), |row| row.get(0)).unwrap();
        assert_eq!(lists, "0 600 0 0 01; 0 600 0 1 0203; 2 600 1 0 04");
    }
}
