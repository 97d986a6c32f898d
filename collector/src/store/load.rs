//! What the collector starts with.

use std::collections::HashMap;
use std::sync::Arc;

use martlet_window::{Marks, Posture, TrafficClass, Window, WindowLength};
use rusqlite::{OptionalExtension, params};

use super::reader::{HOUR_COLUMNS, read_hour};
use super::schema::{Store, StoreError};
use super::sql::{Bits, Bytes};
use crate::aggregate::SensorReport;
use crate::ingest::{Lost, SensorId};
use crate::journal::SensorRecord;
use crate::live::{Bucket, ByStart, LiveImage, Start, Stored, held_hours};

/// What was committed.
#[derive(Debug)]
pub struct Loaded {
    /// Everything below this record of the journal is in here.
    pub record: u64,
    /// The secret of the hash by which sources go into sketches.
    pub source_key: [u8; 16],
    /// Sensors, by their number.
    pub sensors: Vec<SensorRecord>,
    /// Counts.
    pub live: LiveImage,
}

impl Store {
    /// Loads everything but the positions of streams, which are read when they are wanted. A store that was just made gets
    /// `source_key` as its secret.
    ///
    /// # Errors
    /// If it cannot be read, or its buckets have another length than `bucket_seconds`.
    pub fn load(&mut self, bucket_seconds: i64, source_key: [u8; 16]) -> Result<Loaded, StoreError> {
        self.connection.execute(
            "INSERT OR IGNORE INTO meta (id, record, bucket_seconds, source_key) VALUES (0, 0, ?1, ?2)",
            params![bucket_seconds, source_key],
        )?;
        let mut live = LiveImage::default();
        let (record, stored, source_key) = self.connection.query_row(
            "SELECT record, bucket_seconds, source_key, evicted_buckets, overflowed_packets, recent_overflowed_packets,
             sensor_overflowed_packets, coarsened_sets FROM meta",
            (),
            |row| {
                live.evicted_buckets = row.get::<_, Bits>(3)?.0;
                live.overflowed_packets = row.get::<_, Bits>(4)?.0;
                live.recent_overflowed_packets = row.get::<_, Bits>(5)?.0;
                live.sensor_overflowed_packets = row.get::<_, Bits>(6)?.0;
                live.coarsened_sets = row.get::<_, Bits>(7)?.0;
                Ok((row.get::<_, Bits>(0)?.0, row.get::<_, i64>(1)?, row.get::<_, Bytes>(2)?.0))
            },
        )?;
        if stored != bucket_seconds {
            return Err(StoreError::BucketSeconds { configured: bucket_seconds, stored });
        }
        let sensors = self.load_sensors(&mut live)?;
        self.load_classes(&mut live)?;
        self.load_reports(&mut live)?;
        self.load_hours(&mut live)?;
        live.buckets = self.load_blobs("live_buckets")?;
        self.load_lists(&mut live.buckets)?;
        live.recent = self.load_blobs("live_steps")?;
        let observed = self.connection.query_row("SELECT content FROM live_observed", (), |row| row.get(0));
        let observed: Option<Vec<u8>> = observed.optional()?;
        live.observed =
            observed.map(|blob| Stored::from_blob(&blob).ok_or(StoreError::Damaged("live_observed"))).transpose()?;
        Ok(Loaded { record, source_key, sensors, live })
    }

    fn load_lists(&self, buckets: &mut ByStart<Bucket>) -> Result<(), StoreError> {
        let damaged = || StoreError::Damaged("live_pieces");
        let mut buckets: HashMap<(TrafficClass, Start), &mut Bucket> =
            buckets.iter_mut().filter_map(|(key, bucket)| Some((*key, Arc::get_mut(bucket.as_mut()?)?))).collect();
        let mut select = self
            .connection
            .prepare("SELECT class, start, kind, list FROM live_places ORDER BY class, start, kind, place")?;
        let mut pieces = self.connection.prepare("SELECT content FROM live_pieces WHERE list = ?1 ORDER BY piece")?;
        let mut rows = select.query(())?;
        let mut blob = Vec::new();
        while let Some(row) = rows.next()? {
            let class = TrafficClass::from_number(row.get(0)?).ok_or_else(damaged)?;
            let bucket = buckets.get_mut(&(class, row.get(1)?)).ok_or_else(damaged)?;
            blob.clear();
            let mut pieces = pieces.query(params![row.get::<_, Bits>(3)?])?;
            while let Some(piece) = pieces.next()? {
                blob.extend_from_slice(piece.get_ref(0)?.as_blob().map_err(|_| damaged())?);
            }
            bucket.put_list(row.get(2)?, &blob).ok_or_else(damaged)?;
        }
        buckets.into_values().for_each(|bucket| {
            bucket.update_memory();
        });
        Ok(())
    }

    fn load_sensors(&self, live: &mut LiveImage) -> Result<Vec<SensorRecord>, StoreError> {
        let damaged = || StoreError::Damaged("sensors");
        let mut sensors = Vec::new();
        let mut select = self.connection.prepare(
            "SELECT sensor, origin, name, lost_batches, lost_windows, lost_packets, lost_ms FROM sensors ORDER BY sensor",
        )?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let id = SensorId(row.get(0)?);
            if id.index() != sensors.len() {
                return Err(damaged());
            }
            let name = row.get::<_, String>(2)?.parse().map_err(|_| damaged())?;
            sensors.push(SensorRecord { origin: row.get::<_, Bytes>(1)?.into(), name });
            let number = |place: usize| row.get::<_, Bits>(place).map(|bits| bits.0);
            let lost = Lost { batches: number(3)?, windows: number(4)?, packets: number(5)?, watched_ms: number(6)? };
            if lost != Lost::default() {
                live.lost.push((id, lost));
            }
        }
        Ok(sensors)
    }

    fn load_classes(&self, live: &mut LiveImage) -> Result<(), StoreError> {
        let mut select = self.connection.prepare(
            "SELECT class, batches, packets, bytes, first_window, last_window_end, last_arrival_ms FROM classes",
        )?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let image = live.classes.get_mut(row.get::<_, usize>(0)?).ok_or(StoreError::Damaged("classes"))?;
            image.totals.batches = row.get::<_, Bits>(1)?.0;
            image.totals.packets = row.get::<_, Bits>(2)?.0;
            image.totals.bytes = row.get::<_, Bits>(3)?.0;
            image.first_window = row.get(4)?;
            image.last_window_end = row.get(5)?;
            image.last_arrival_ms = row.get(6)?;
        }
        Ok(())
    }

    fn load_reports(&self, live: &mut LiveImage) -> Result<(), StoreError> {
        let damaged = || StoreError::Damaged("sensor_classes");
        let mut select = self.connection.prepare(
            "SELECT sensor, class, window, window_seconds, first_window, arrived_ms, clock_offset_ms, posture,
             unavailable, totals FROM sensor_classes",
        )?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let class = TrafficClass::from_number(row.get(1)?).ok_or_else(damaged)?;
            let length = WindowLength::from_seconds(row.get::<_, Bits>(3)?.0).map_err(|_| damaged())?;
            let report = SensorReport {
                window: Window { start: row.get(2)?, length },
                first_window: row.get(4)?,
                arrived_ms: row.get(5)?,
                clock_offset_ms: row.get(6)?,
                posture: Posture::from_number(row.get(7)?).ok_or_else(damaged)?,
                unavailable: Marks::from_bits(row.get(8)?).ok_or_else(damaged)?,
            };
            let totals = Stored::from_blob(&row.get::<_, Vec<u8>>(9)?).ok_or_else(damaged)?;
            live.sensors.push(((SensorId(row.get(0)?), class), report, totals));
        }
        Ok(())
    }

    fn load_hours(&self, live: &mut LiveImage) -> Result<(), StoreError> {
        let select = format!("SELECT {HOUR_COLUMNS} FROM sensor_hours WHERE class = ?1 AND hour >= ?2 AND hour < ?3");
        let mut select = self.connection.prepare(&select)?;
        for class in TrafficClass::ALL {
            let held = held_hours(live.classes[class as usize].last_window_end);
            let mut rows = select.query(params![class as u8, held.start, held.end])?;
            while let Some(row) = rows.next()? {
                live.hours.extend([read_hour(row)?]);
            }
        }
        Ok(())
    }

    fn load_blobs<T: Stored>(&self, table: &'static str) -> Result<ByStart<T>, StoreError> {
        let mut select = self.connection.prepare(&format!("SELECT class, start, content FROM {table}"))?;
        let mut rows = select.query(())?;
        let mut blobs = Vec::new();
        while let Some(row) = rows.next()? {
            let class = TrafficClass::from_number(row.get(0)?).ok_or(StoreError::Damaged(table))?;
            let content = T::from_blob(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?);
            let content = content.ok_or(StoreError::Damaged(table))?;
            blobs.push(((class, row.get(1)?), Some(Arc::new(content))));
        }
        Ok(blobs)
    }
}
