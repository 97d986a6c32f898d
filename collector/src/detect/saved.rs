//! What the detectors know, in the store.

use std::collections::HashMap;

use martlet_detect::{DetectConfig, Detector};
use martlet_window::{Origin, TrafficClass};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::DetectError;
use crate::store::Bits;

/// A detector for each class, and the record that is read next.
pub(super) struct Known {
    pub(super) detectors: [Detector; TrafficClass::ALL.len()],
    pub(super) record: u64,
}

/// Takes up what was saved. What another version saved is begun anew, at the record that it had come to.
pub(super) fn load(connection: &Connection, config: &DetectConfig) -> Result<Known, DetectError> {
    let mut known = Known { detectors: TrafficClass::ALL.map(|_| Detector::new(config.clone())), record: 0 };
    for class in TrafficClass::ALL {
        let sql = "SELECT record, state FROM detector WHERE class = ?1";
        let saved: Option<(Bits, Vec<u8>)> =
            connection.query_row(sql, [class as u8], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((record, state)) = saved else { continue };
        known.record = record.0;
        match Detector::restore(config.clone(), &state) {
            Ok(detector) => known.detectors[class as usize] = detector,
            Err(error) => tracing::warn!("what was known of {} traffic is begun anew: {error}", class.name()),
        }
    }
    Ok(known)
}

/// Saves them within the transaction that the connection is in; returns the length of it all in bytes.
pub(super) fn save(connection: &Connection, known: &Known) -> Result<u64, DetectError> {
    let mut bytes = 0;
    for (class, detector) in TrafficClass::ALL.into_iter().zip(&known.detectors) {
        let state = detector.save()?;
        bytes += state.len() as u64;
        connection
            .prepare_cached("INSERT OR REPLACE INTO detector (class, record, state) VALUES (?1, ?2, ?3)")?
            .execute(params![class as u8, Bits(known.record), state])?;
    }
    Ok(bytes)
}

/// The numbers and names of sensors by their origin, as committed.
pub(super) fn sensors(connection: &Connection) -> Result<HashMap<Origin, (u16, String)>, DetectError> {
    let mut select = connection.prepare_cached("SELECT origin, sensor, name FROM sensors")?;
    let rows = select.query_map((), |row| Ok((Origin(row.get(0)?), (row.get(1)?, row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
