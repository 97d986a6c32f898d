//! Events for whoever asks, and what analysts say of them: by connections of their own to the store.

use std::sync::{Mutex, PoisonError};

use martlet_detect::FindingType;
use martlet_window::{IpVersion, TrafficClass};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use super::error::EventError;
use super::event::{COLUMNS, DeliveryRecord, Event, HistoryEntry, Whole, add_history, history, json, parse, read};
use super::kinds::{Action, EventId, Request, Severity, State, name, named, type_name};
use crate::store::{BUSY_TIMEOUT, Bits, Location};

/// Longest note, in characters.
pub const LONGEST_NOTE: usize = 4000;
/// Longest name of an owner or a recipient, in characters.
pub const LONGEST_NAME: usize = 100;
/// Most recipients of an event.
pub const MOST_RECIPIENTS: usize = 20;
/// Most entries of an event's history: nothing is noted or assigned beyond, but its life goes on, and what the detector says is
/// kept.
pub const MOST_HISTORY: usize = 1000;
/// Most deliveries of an event that are told.
const MOST_DELIVERIES: usize = 200;
/// Most connections that are kept while nobody asks.
const MOST_IDLE: usize = 4;

/// Which events are wanted, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which class.
    pub class: TrafficClass,
    /// Of which type.
    pub finding_type: Option<FindingType>,
    /// In which state.
    pub state: Option<State>,
    /// Detected at or after, in seconds since the Unix epoch.
    pub since: Option<i64>,
    /// Detected before.
    pub until: Option<i64>,
    /// Of which IP version.
    pub ip: Option<IpVersion>,
    /// Of which protocol.
    pub protocol: Option<u8>,
    /// Of which port.
    pub port: Option<u16>,
    /// Only what may be published: surges and outbreaks that an analyst has assessed.
    pub is_public: bool,
    /// Behind which event the list goes on: when it was detected, and its number.
    pub after: Option<(i64, u64)>,
    /// Longest list.
    pub limit: usize,
}

/// What an analyst asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub request: Request,
    /// The version that the analyst has seen; what has changed since is not overwritten.
    pub version: Option<i64>,
    /// What is said.
    pub note: Option<String>,
    /// Who looks after it from now on; an empty name is nobody.
    pub owner: Option<String>,
    /// Who is to be told, in place of whoever was.
    pub recipients: Option<Vec<String>>,
    /// How much it matters.
    pub severity: Option<Severity>,
}

/// The events of a store.
#[derive(Debug)]
pub struct Book {
    location: Location,
    idle: Mutex<Vec<Connection>>,
}

impl Book {
    /// Of a store whose schema is brought up to date before anybody asks.
    #[must_use]
    pub const fn new(location: Location) -> Book {
        Book { location, idle: Mutex::new(Vec::new()) }
    }

    /// Works on a connection that is kept afterwards.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, EventError>) -> Result<T, EventError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open()?,
        };
        let done = work(&mut connection)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        Ok(done)
    }

    fn open(&self) -> Result<Connection, EventError> {
        let connection = self.location.connect()?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(connection)
    }

    /// Events with their histories, the newest first, one more than the limit if there are more.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self, wanted: &Wanted) -> Result<Vec<(Event, Vec<HistoryEntry>)>, EventError> {
        let (conditions, values) = wanted.conditions();
        // One more than is shown says whether there are more.
        let select = format!(
            "SELECT {COLUMNS} FROM events WHERE {conditions} ORDER BY detected DESC, finding DESC LIMIT {}",
            wanted.limit.saturating_add(1)
        );
        self.with(|connection| {
            let snapshot = connection.transaction()?;
            let mut select = snapshot.prepare(&select)?;
            let mut rows = select.query(params_from_iter(values))?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                let event = read(row)?;
                let history = history(&snapshot, event.row)?;
                events.push((event, history));
            }
            Ok(events)
        })
    }

    /// Events that are open, over all classes: of real traffic first, the most severe first, and of these the newest.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open_events(&self, most: usize) -> Result<Vec<Event>, EventError> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM events WHERE ended IS NULL AND state != 'resolved'
                 ORDER BY class != 0, CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2
                     WHEN 'low' THEN 3 ELSE 4 END, detected DESC LIMIT ?1"
            ))?;
            let mut rows = select.query([most])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(read(row)?);
            }
            Ok(events)
        })
    }

    /// How many events there are of each class, type and state.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn counts(&self) -> Result<Vec<(TrafficClass, FindingType, State, u64)>, EventError> {
        self.with(|connection| {
            let mut select = connection
                .prepare_cached("SELECT class, type, state, count(*) FROM events GROUP BY class, type, state")?;
            let mut rows = select.query(())?;
            let mut counts = Vec::new();
            while let Some(row) = rows.next()? {
                let (finding_type, state): (String, String) = (row.get(1)?, row.get(2)?);
                let class = TrafficClass::from_number(row.get(0)?);
                let known = class.zip(super::kinds::type_named(&finding_type)).zip(named(State::ALL, &state));
                let ((class, finding_type), state) = known.ok_or(EventError::Damaged)?;
                counts.push((class, finding_type, state, row.get::<_, Bits>(3)?.0));
            }
            Ok(counts)
        })
    }

    /// One event with all that is kept of it.
    ///
    /// # Errors
    /// If there is none of this name, or the store cannot be read.
    pub fn event(&self, id: EventId) -> Result<Whole, EventError> {
        self.with(|connection| {
            let snapshot = connection.transaction()?;
            whole(&snapshot, id)
        })
    }

    /// Does what an analyst asks for, and says what the event is then. `by` is the analyst's name.
    ///
    /// # Errors
    /// If there is no such event, its life does not go there, it has changed since the analyst looked, something is too long,
    /// or the store cannot be written.
    pub fn change(&self, id: EventId, change: &Change, by: &str, now_ms: i64) -> Result<Whole, EventError> {
        change.check()?;
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let whole_before = whole(&transaction, id)?;
            apply(&transaction, &whole_before, change, by, now_ms)?;
            let after = whole(&transaction, id)?;
            transaction.commit()?;
            Ok(after)
        })
    }
}

impl Wanted {
    fn conditions(&self) -> (String, Vec<Value>) {
        let mut conditions = vec!["class = ?1".to_owned()];
        let mut values = vec![Value::from(self.class as u8)];
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            conditions.push(format!("{condition} ?{}", values.len()));
        };
        if let Some(finding_type) = self.finding_type {
            add("type =", type_name(finding_type).to_owned().into());
        }
        if let Some(state) = self.state {
            add("state =", name(state).to_owned().into());
        }
        if let Some(since) = self.since {
            add("detected >=", since.into());
        }
        if let Some(until) = self.until {
            add("detected <", until.into());
        }
        if let Some(ip) = self.ip {
            add("ip =", (if ip == IpVersion::V4 { 4 } else { 6 }).into());
        }
        if let Some(protocol) = self.protocol {
            add("protocol =", i64::from(protocol).into());
        }
        if let Some(port) = self.port {
            add("port =", i64::from(port).into());
        }
        if self.is_public {
            conditions.push(PUBLIC.to_owned());
        }
        if let Some((detected, finding)) = self.after {
            values.push(detected.into());
            values.push(finding.cast_signed().into());
            conditions.push(format!("(detected, finding) < (?{}, ?{})", values.len() - 1, values.len()));
        }
        (conditions.join(" AND "), values)
    }
}

/// Which events may be published: [`Whole::is_public`].
const PUBLIC: &str = "class = 0 AND type IN ('surge', 'outbreak') AND EXISTS (SELECT 1 FROM event_history AS h
    WHERE h.event = events.id AND h.action = 'assessed' AND h.change > coalesce(
        (SELECT max(e.change) FROM event_history AS e WHERE e.event = events.id AND e.action = 'escalated'), 0))";

impl Whole {
    /// Whether it may be published: of real traffic, more than a port seen first, and an analyst has assessed it as what it is
    /// called now. One that was only resolved, as a false alarm is, may not.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let last = |action| self.history.iter().rposition(|entry| entry.action == action);
        self.event.id.class == TrafficClass::Real
            && self.event.finding_type >= FindingType::Surge
            && last(Action::Assessed).is_some_and(|assessed| last(Action::Escalated).is_none_or(|at| at < assessed))
    }
}

impl Change {
    fn check(&self) -> Result<(), EventError> {
        let bad = |field, rule: String| Err(EventError::Bad { field, rule });
        let is_text = |text: &str, most: usize| {
            text.chars().count() <= most && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
        };
        let is_name = |text: &str| is_text(text, LONGEST_NAME) && !text.contains(['\n', '\t']);
        if self.note.as_ref().is_some_and(|note| !is_text(note, LONGEST_NOTE)) {
            return bad("note", format!("at most {LONGEST_NOTE} printable characters"));
        }
        if self.owner.as_ref().is_some_and(|owner| !is_name(owner)) {
            return bad("owner", format!("at most {LONGEST_NAME} printable characters"));
        }
        let is_recipient = |name: &String| !name.is_empty() && is_name(name);
        let is_list = |names: &Vec<String>| names.len() <= MOST_RECIPIENTS && names.iter().all(is_recipient);
        if !self.recipients.as_ref().is_none_or(is_list) {
            let rule = format!("at most {MOST_RECIPIENTS} names of 1 to {LONGEST_NAME} printable characters");
            return bad("recipients", rule);
        }
        let has_note = self.note.as_ref().is_some_and(|note| !note.trim().is_empty());
        let assigns = self.owner.is_some() || self.recipients.is_some() || self.severity.is_some();
        match self.request {
            // What an event was taken for is the point of the state.
            Request::Note | Request::Assess if !has_note => bad("note", "a text: this action is about it".to_owned()),
            Request::Assign if !assigns => {
                bad("owner", "given with `assign`, or `recipients`, or `severity`".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Writes down what was asked for.
fn apply(transaction: &Connection, before: &Whole, change: &Change, by: &str, now_ms: i64) -> Result<(), EventError> {
    let event = &before.event;
    if let Some(asked) = change.version.filter(|asked| *asked != event.version) {
        return Err(EventError::Changed { current: event.version, asked });
    }
    // Its life goes on whatever was said before.
    if change.request.leads_to().is_none() && before.history.len() >= MOST_HISTORY {
        return Err(EventError::Full(MOST_HISTORY));
    }
    let state = match change.request.leads_to() {
        None => event.state,
        Some(next) if next > event.state => next,
        Some(_) => return Err(EventError::Illegal { from: event.state, request: change.request }),
    };
    let owner = match &change.owner {
        None => event.owner.clone(),
        Some(owner) => Some(owner.trim().to_owned()).filter(|owner| !owner.is_empty()),
    };
    let recipients = change.recipients.as_ref().unwrap_or(&event.recipients);
    let severity = change.severity.unwrap_or(event.severity);
    transaction
        .prepare_cached(
            "UPDATE events SET state = ?2, owner = ?3, recipients = ?4, severity = ?5,
                 is_severity_chosen = is_severity_chosen OR ?6, version = version + 1 WHERE id = ?1",
        )?
        .execute(params![
            event.row,
            name(state),
            owner,
            json(recipients)?,
            name(severity),
            change.severity.is_some()
        ])?;
    let note = change.note.as_deref().map(str::trim).filter(|note| !note.is_empty()).map(str::to_owned);
    let said: Vec<String> = note.into_iter().chain(assigned(event, owner.as_deref(), recipients, severity)).collect();
    let said = (!said.is_empty()).then(|| said.join("\n"));
    add_history(transaction, event.row, now_ms, by, change.request.action(), said.as_deref())?;
    Ok(())
}

/// What was assigned anew, in words, for the history.
fn assigned(event: &Event, owner: Option<&str>, recipients: &[String], severity: Severity) -> Option<String> {
    let changes = [
        (event.severity != severity).then(|| format!("severity: {} -> {}", name(event.severity), name(severity))),
        (event.owner.as_deref() != owner)
            .then(|| format!("owner: {} -> {}", event.owner.as_deref().unwrap_or("nobody"), owner.unwrap_or("nobody"))),
        (event.recipients != recipients).then(|| format!("recipients: {}", recipients.join(", "))),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    (!changes.is_empty()).then(|| format!("({})", changes.join("; ")))
}

pub(super) fn whole(connection: &Connection, id: EventId) -> Result<Whole, EventError> {
    let mut select = connection
        .prepare_cached(&format!("SELECT {COLUMNS}, evidence FROM events WHERE class = ?1 AND finding = ?2"))?;
    let mut rows = select.query(params![id.class as u8, Bits(id.finding)])?;
    let row = rows.next()?.ok_or(EventError::NoSuchEvent)?;
    let event = read(row)?;
    let evidence: String = row.get("evidence")?;
    let evidence = parse(&evidence)?;
    let history = history(connection, event.row)?;
    let deliveries = deliveries(connection, event.row)?;
    Ok(Whole { event, evidence, history, deliveries })
}

/// The event of a number of the store.
pub(super) fn by_row(connection: &Connection, row: i64) -> Result<Option<Event>, EventError> {
    let mut select = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE id = ?1"))?;
    select.query_row([row], |row| Ok(read(row))).optional()?.transpose()
}

fn deliveries(connection: &Connection, row: i64) -> Result<Vec<DeliveryRecord>, EventError> {
    let mut select = connection.prepare_cached(
        "SELECT target, action, attempts, next_try_ms, last_error, delivered_ms, given_up_ms FROM event_deliveries
         WHERE event = ?1 ORDER BY change DESC, target LIMIT ?2",
    )?;
    let mut rows = select.query((row, MOST_DELIVERIES))?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        let action: String = row.get(1)?;
        let (delivered_ms, given_up_ms): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
        let is_open = delivered_ms.is_none() && given_up_ms.is_none();
        deliveries.push(DeliveryRecord {
            target: row.get(0)?,
            action: named(Action::ALL, &action).ok_or(EventError::Damaged)?,
            attempts: row.get(2)?,
            next_try_ms: row.get::<_, Option<i64>>(3)?.filter(|_| is_open),
            last_error: row.get(4)?,
            delivered_ms,
            given_up_ms,
        });
    }
    Ok(deliveries)
}
