//! From findings to events: what the detector says is written down once, however often it says it.

use std::sync::Arc;

use martlet_detect::{Finding, FindingType, Label};
use martlet_window::TrafficClass;
use rusqlite::{Connection, OptionalExtension, params};

use super::DETECTOR;
use super::error::EventError;
use super::event::{add_history, json};
use super::evidence::{Evidence, bounded};
use super::kinds::{Action, EventId, Severity, State, key_numbers, name, type_name, type_named};
use crate::geo::Geo;
use crate::store::Bits;

/// What became of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Events that are new.
    pub detected: u64,
    /// Events that are something stronger now.
    pub escalated: u64,
    /// Events that are over.
    pub ended: u64,
    /// Events that only went on.
    pub renewed: u64,
    /// Findings that said nothing new: the same, or older than what is written.
    pub known: u64,
}

/// Writes findings down.
#[derive(Debug)]
pub struct Recorder {
    geo: Arc<Geo>,
}

/// What is written of an event that a finding is about.
struct Written {
    row: i64,
    finding_type: FindingType,
    last_active: i64,
    ended: Option<i64>,
    labels: String,
    estimates: Option<String>,
    state: State,
    severity: Severity,
    is_severity_chosen: bool,
}

impl Recorder {
    /// Which looks networks up in `geo` when it writes an event down: regions are those of that moment.
    #[must_use]
    pub const fn new(geo: Arc<Geo>) -> Recorder {
        Recorder { geo }
    }

    /// Writes findings of a class down, within the transaction that the connection is in. The same finding again changes
    /// nothing, and neither does an older one, so a detector may read again what it has read. What an analyst has said stays:
    /// but an event that was resolved as something weaker is `detected` anew when it is called something stronger, and one
    /// that was assessed is `acknowledged`, since nobody has said what that is.
    ///
    /// # Errors
    /// If the store cannot be written, or has a damaged row. The transaction should not be committed then.
    pub fn record(
        &mut self,
        connection: &Connection,
        class: TrafficClass,
        findings: &[Finding],
        sensor_name: impl Fn(u16) -> String,
        now_ms: i64,
    ) -> Result<Recorded, EventError> {
        let mut recorded = Recorded::default();
        for finding in findings {
            let written = find(connection, EventId { class, finding: finding.id() })?;
            let count = match written {
                None => {
                    self.add(connection, class, finding, &sensor_name, now_ms)?;
                    if finding.ended.is_some() {
                        recorded.ended += 1;
                    }
                    &mut recorded.detected
                }
                Some(written) if finding.finding_type > written.finding_type => {
                    self.escalate(connection, &written, finding, &sensor_name, now_ms)?;
                    &mut recorded.escalated
                }
                Some(written) => match renew(connection, &written, finding, now_ms)? {
                    Renewal::Nothing => &mut recorded.known,
                    Renewal::GoesOn => &mut recorded.renewed,
                    Renewal::Ended => &mut recorded.ended,
                },
            };
            *count += 1;
        }
        Ok(recorded)
    }

    /// Ends the events of a class that are open, where nobody follows what they were called on any more. Returns how many.
    ///
    /// # Errors
    /// As [`Recorder::record`].
    pub fn end_all(connection: &Connection, class: TrafficClass, now_ms: i64) -> Result<u64, EventError> {
        let mut select = connection.prepare_cached("SELECT id FROM events WHERE class = ?1 AND ended IS NULL")?;
        let rows: Vec<i64> = select.query_map([class as u8], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for row in &rows {
            let sql = "UPDATE events SET ended = last_active, version = version + 1 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([row])?;
            add_history(connection, *row, now_ms, DETECTOR, Action::Ended, None)?;
        }
        Ok(rows.len() as u64)
    }

    fn add(
        &self,
        connection: &Connection,
        class: TrafficClass,
        finding: &Finding,
        sensor_name: &dyn Fn(u16) -> String,
        now_ms: i64,
    ) -> Result<(), EventError> {
        let (ip, protocol, port, population) = key_numbers(&finding.key);
        let evidence = Evidence::looked_up(&finding.evidence, finding.key.ip, &self.geo.snapshot(), sensor_name);
        let version = if finding.ended.is_some() { 2 } else { 1 };
        connection
            .prepare_cached(
                "INSERT INTO events (class, finding, ip, protocol, port, population, type, onset, detected, recorded_ms,
                     last_active, ended, labels, estimates, evidence, state, severity, is_severity_chosen, owner, recipients, version)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 0, NULL, '[]', ?18)",
            )?
            .execute(params![
                class as u8,
                Bits(finding.id()),
                ip,
                protocol,
                port,
                population,
                type_name(finding.finding_type),
                finding.onset,
                finding.detected,
                now_ms,
                finding.last_active,
                finding.ended,
                labels(&finding.labels)?,
                estimates(finding)?,
                json(&evidence)?,
                name(State::Detected),
                name(Severity::of(finding.finding_type)),
                version,
            ])?;
        let row = connection.last_insert_rowid();
        let what = Some(type_name(finding.finding_type));
        add_history(connection, row, now_ms, DETECTOR, Action::Detected, what)?;
        if finding.ended.is_some() {
            add_history(connection, row, now_ms, DETECTOR, Action::Ended, None)?;
        }
        Ok(())
    }

    fn escalate(
        &self,
        connection: &Connection,
        written: &Written,
        finding: &Finding,
        sensor_name: &dyn Fn(u16) -> String,
        now_ms: i64,
    ) -> Result<(), EventError> {
        let evidence = Evidence::looked_up(&finding.evidence, finding.key.ip, &self.geo.snapshot(), sensor_name);
        let severity = match written.is_severity_chosen {
            true => written.severity,
            false => written.severity.max(Severity::of(finding.finding_type)),
        };
        let state = match written.state {
            State::Resolved => State::Detected,
            // What was assessed was less.
            State::Assessed => State::Acknowledged,
            state => state,
        };
        let has_ended = finding.ended.is_some();
        connection
            .prepare_cached(
                "UPDATE events SET type = ?2, detected = ?3, last_active = ?4, ended = ?5, labels = ?6, estimates = ?7,
                     evidence = ?8, severity = ?9, state = ?10, version = version + ?11 WHERE id = ?1",
            )?
            .execute(params![
                written.row,
                type_name(finding.finding_type),
                finding.detected,
                finding.last_active.max(written.last_active),
                finding.ended,
                labels(&finding.labels)?,
                estimates(finding)?,
                json(&evidence)?,
                name(severity),
                name(state),
                1 + i64::from(has_ended),
            ])?;
        let what = Some(type_name(finding.finding_type));
        add_history(connection, written.row, now_ms, DETECTOR, Action::Escalated, what)?;
        if has_ended {
            add_history(connection, written.row, now_ms, DETECTOR, Action::Ended, None)?;
        }
        Ok(())
    }
}

/// What a finding did to an event of its type, or a stronger one.
enum Renewal {
    Nothing,
    GoesOn,
    Ended,
}

/// Takes what is newer of a finding. Its evidence stays that of the call.
fn renew(connection: &Connection, written: &Written, finding: &Finding, now_ms: i64) -> Result<Renewal, EventError> {
    let is_older = finding.finding_type < written.finding_type || finding.last_active < written.last_active;
    // At the same last activity, having ended is what came later.
    let goes_back =
        finding.last_active == written.last_active && written.ended.is_some() && finding.ended != written.ended;
    let (labels, estimates) = (labels(&finding.labels)?, estimates(finding)?);
    let is_same = finding.last_active == written.last_active
        && finding.ended == written.ended
        && labels == written.labels
        && estimates == written.estimates;
    if is_older || goes_back || is_same {
        return Ok(Renewal::Nothing);
    }
    let has_ended = finding.ended.is_some() && written.ended.is_none();
    connection
        .prepare_cached(
            "UPDATE events SET last_active = ?2, ended = ?3, labels = ?4, estimates = ?5, version = version + ?6 WHERE id = ?1",
        )?
        .execute(params![
            written.row,
            finding.last_active,
            finding.ended,
            labels,
            estimates,
            i64::from(has_ended)
        ])?;
    if !has_ended {
        return Ok(Renewal::GoesOn);
    }
    add_history(connection, written.row, now_ms, DETECTOR, Action::Ended, None)?;
    Ok(Renewal::Ended)
}

fn find(connection: &Connection, id: EventId) -> Result<Option<Written>, EventError> {
    let mut select = connection.prepare_cached(
        "SELECT id, type, last_active, ended, labels, estimates, state, severity, is_severity_chosen
         FROM events WHERE class = ?1 AND finding = ?2",
    )?;
    let found = select.query_row(params![id.class as u8, Bits(id.finding)], |row| {
        let (finding_type, state): (String, String) = (row.get(1)?, row.get(6)?);
        let severity: String = row.get(7)?;
        let known = type_named(&finding_type)
            .zip(super::kinds::named(State::ALL, &state))
            .zip(super::kinds::named(Severity::ALL, &severity));
        let Some(((finding_type, state), severity)) = known else { return Ok(None) };
        Ok(Some(Written {
            row: row.get(0)?,
            finding_type,
            last_active: row.get(2)?,
            ended: row.get(3)?,
            labels: row.get(4)?,
            estimates: row.get(5)?,
            state,
            severity,
            is_severity_chosen: row.get(8)?,
        }))
    });
    found.optional()?.map(|written| written.ok_or(EventError::Damaged)).transpose()
}

fn labels(labels: &[Label]) -> Result<String, EventError> {
    json(&labels)
}

fn estimates(finding: &Finding) -> Result<Option<String>, EventError> {
    finding.estimates.as_ref().map(|estimates| json(&bounded(estimates))).transpose()
}
