//! What the detectors know, in the store.

use std::collections::HashMap;

use martlet_detect::{DetectConfig, Detector};
use martlet_window::{Origin, TrafficClass};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::error::DetectError;
use crate::events::Recorder;
use crate::store::{BUSY_TIMEOUT, Bits, Location};

/// A detector for each class, and the record that is read next.
pub(super) struct Known {
    pub(super) detectors: [Detector; TrafficClass::ALL.len()],
    pub(super) record: u64,
}

/// A connection on which events and states are written.
pub(super) fn connect(location: &Location) -> Result<Connection, DetectError> {
    let connection = location.connect()?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Takes up what was saved. What another version saved is begun anew, at the record that it had come to. What was open then has
/// ended: nobody follows it any more. From now on the archive keeps what the store says is to be skipped.
pub(super) fn load(connection: &mut Connection, config: &DetectConfig, now_ms: i64) -> Result<Known, DetectError> {
    // Files and exercises may be of any time, one after another.
    let of_class = |class: TrafficClass, detector: Detector| match class {
        TrafficClass::Real => detector,
        TrafficClass::Drill | TrafficClass::Import => detector.with_runs(),
    };
    let new = |class| of_class(class, Detector::new(config.clone()));
    let mut known = Known { detectors: TrafficClass::ALL.map(new), record: 0 };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for class in TrafficClass::ALL {
        let sql = "SELECT record, state FROM detector WHERE class = ?1";
        let saved: Option<(Bits, Vec<u8>)> =
            transaction.query_row(sql, [class as u8], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((record, state)) = saved else { continue };
        known.record = record.0;
        match Detector::restore(config.clone(), &state) {
            Ok(detector) => known.detectors[class as usize] = of_class(class, detector),
            Err(error) => {
                tracing::warn!("what was known of {} traffic is begun anew: {error}", class.name());
                Recorder::end_all(&transaction, class, now_ms)?;
            }
        }
    }
    save(&transaction, &written(&known)?)?;
    transaction.commit()?;
    Ok(known)
}

/// The detectors as they are saved, and the record that is read next.
pub(super) struct Written {
    states: [Vec<u8>; TrafficClass::ALL.len()],
    record: u64,
}

/// Writes the detectors, in memory: it takes long, and nobody else can write while a transaction is open.
pub(super) fn written(known: &Known) -> Result<Written, DetectError> {
    let [real, drill, import] = &known.detectors;
    Ok(Written { states: [real.save()?, drill.save()?, import.save()?], record: known.record })
}

/// Saves them within the transaction that the connection is in; returns the length of it all in bytes.
pub(super) fn save(connection: &Connection, written: &Written) -> Result<u64, DetectError> {
    for (class, state) in TrafficClass::ALL.into_iter().zip(&written.states) {
        connection
            .prepare_cached("INSERT OR REPLACE INTO detector (class, record, state) VALUES (?1, ?2, ?3)")?
            .execute(params![class as u8, Bits(written.record), state])?;
    }
    Ok(written.states.iter().map(|state| state.len() as u64).sum())
}

/// The numbers and names of sensors by their origin, as committed.
pub(super) fn sensors(connection: &Connection) -> Result<HashMap<Origin, (u16, String)>, DetectError> {
    let mut select = connection.prepare_cached("SELECT origin, sensor, name FROM sensors")?;
    let rows = select.query_map((), |row| Ok((Origin(row.get(0)?), (row.get(1)?, row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
