//! Reading beside the writer.

use std::ops::Range;

use martlet_window::TrafficClass;
use martlet_wire::v1::{Stream, Totals};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::schema::{Location, StoreError};
use super::sql::{Bits, Bytes};
use crate::aggregate::{HourKey, SensorHour};
use crate::ingest::{Lost, SensorId};
use crate::journal::{Archive, Position};

/// The columns of an hour in the order in which they are read and written.
pub(super) const HOUR_COLUMNS: &str = "hour, class, sensor, window_seconds, windows, late_windows, packets, kernel_drops, \
     interface_drops, lost_batches, lost_windows, lost_packets, lost_ms, watched_ms, ipv4_address_ms, ipv6_prefix_ms, \
     exposure_unknown, clock_offset_ms";

/// A connection that only reads what is committed. It never waits for the writer.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// A reader of an opened store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(location: &Location) -> Result<Reader, StoreError> {
        let connection = location.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        // Databases in memory have locks by table, which files in WAL mode have not.
        connection.pragma_update(None, "read_uncommitted", matches!(location, Location::Memory(_)))?;
        Ok(Reader { connection })
    }

    /// The committed position of a stream.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn position(&self, sensor: SensorId, stream: Stream) -> Result<Option<Position>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT expected, predecessor, windows, packets, watched_ms, class FROM streams
             WHERE sensor = ?1 AND epoch = ?2",
        )?;
        let row = select.query_row(params![sensor.0, Bits(stream.epoch)], |row| {
            let predecessor = row.get::<_, Option<Bytes>>(1)?.map(Into::into);
            let (windows, packets) = (row.get::<_, Bits>(2)?.0, row.get::<_, Bits>(3)?.0);
            let totals = Totals { windows, packets, watched_ms: row.get::<_, Bits>(4)?.0 };
            let class = row.get::<_, Option<u8>>(5)?.and_then(TrafficClass::from_number);
            Ok(Position { expected: row.get::<_, Bits>(0)?.0, predecessor, totals, class })
        });
        Ok(row.optional()?)
    }

    /// Loss and exposure of the hours that begin in a range of event time, in seconds since the Unix epoch, ascending;
    /// of one class. As of the last commit: the newest hours are held in memory, complete.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn sensor_hours(
        &self,
        class: TrafficClass,
        range: Range<i64>,
    ) -> Result<Vec<(HourKey, SensorHour)>, StoreError> {
        let select = format!(
            "SELECT {HOUR_COLUMNS} FROM sensor_hours WHERE hour >= ?1 AND hour < ?2 AND class = ?3 ORDER BY hour, sensor"
        );
        let mut select = self.connection.prepare_cached(&select)?;
        let mut rows = select.query(params![range.start, range.end, class as u8])?;
        let mut hours = Vec::new();
        while let Some(row) = rows.next()? {
            hours.push(read_hour(row)?);
        }
        Ok(hours)
    }
}

impl Archive for Reader {
    fn position(&mut self, sensor: SensorId, stream: Stream) -> Result<Option<Position>, String> {
        Reader::position(self, sensor, stream).map_err(|error| error.to_string())
    }
}

/// An hour from its columns.
pub(super) fn read_hour(row: &Row<'_>) -> Result<(HourKey, SensorHour), StoreError> {
    let number = |place: usize| row.get::<_, Bits>(place).map(|bits| bits.0);
    let class = TrafficClass::from_number(row.get(1)?).ok_or(StoreError::Damaged("sensor_hours"))?;
    let key = HourKey { hour: row.get(0)?, class, sensor: SensorId(row.get(2)?) };
    let hour = SensorHour {
        window_seconds: number(3)?,
        windows: number(4)?,
        late_windows: number(5)?,
        packets: number(6)?,
        kernel_drops: number(7)?,
        interface_drops: number(8)?,
        lost: Lost { batches: number(9)?, windows: number(10)?, packets: number(11)?, watched_ms: number(12)? },
        watched_ms: number(13)?,
        ipv4_address_ms: number(14)?,
        ipv6_prefix_ms: number(15)?,
        exposure_unknown: row.get(16)?,
        clock_offset_ms: row.get(17)?,
    };
    Ok((key, hour))
}
