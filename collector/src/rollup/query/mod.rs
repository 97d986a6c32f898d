//! Answers from rollups.
//!
//! A [`Snapshot`] is one state of the store: everything that is asked of it belongs together, also while days are made again. A
//! [`Span`] is cut into pieces of UTC days. Packets are known of every quarter hour; bytes of whole UTC days; distinct sources of
//! whole segments, that is of days of the zones that are configured. What is not known is `None`, never 0, and [`Unknown`] says
//! why.

mod basis;
mod changes;
mod groups;
mod pool;
mod populations;
mod ranking;
mod sensors;
mod series;
mod services;
mod sources;
mod sums;
mod weeks;

use std::collections::BTreeMap;
use std::ops::Range;

use martlet_window::{IpVersion, Kind, TrafficClass};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

pub use basis::{Basis, Exposure};
pub use changes::{Change, Comparison, Mover};
pub use groups::{GroupTotals, Grouping};
pub use pool::Pool;
pub use populations::{PopulationBy, PopulationTotals};
pub use ranking::Ranked;
pub use sensors::{SensorService, SensorServices};
pub use series::{GroupBy, Series, SeriesKey, SeriesList, Step};
pub use services::{FirstSeen, ServiceList, ServiceTotals, Which};
pub use sources::{NetworkTotals, SourceEntry, TopSourceList};
pub use sums::{Distinct, Sum, Unknown};
pub use weeks::ListedFile;

use super::dirty;
use super::error::RollupError;
use super::quarters::{QUARTER_SECONDS, QUARTERS};
use super::settings::ALL_SENSORS;
use super::zones::{DAY_SECONDS, Segments};
use crate::labels::{self, FilteredPorts, Group};
use crate::live::ServiceKey;
use crate::store::Location;

/// Longest time that is asked about at once, in days: ten years and their leap days.
pub const MOST_DAYS: i64 = 3653;

/// A connection that only reads.
#[derive(Debug)]
pub struct History {
    connection: Connection,
}

impl History {
    /// For a store that was opened, and so has its tables.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(location: &Location) -> Result<History, RollupError> {
        let connection = location.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        // Databases in memory have locks by table, which files in WAL mode have not.
        connection.pragma_update(None, "read_uncommitted", matches!(location, Location::Memory(_)))?;
        // Each question has a few statements of its own.
        connection.set_prepared_statement_cache_capacity(64);
        Ok(History { connection })
    }

    /// The store as it is now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, RollupError> {
        let transaction = self.connection.unchecked_transaction()?;
        let generation = transaction.query_row("SELECT generation FROM rollup_state", (), |row| row.get(0))?;
        Ok(Snapshot { transaction, generation })
    }
}

/// One state of the store.
#[derive(Debug)]
pub struct Snapshot<'c> {
    transaction: Transaction<'c>,
    generation: i64,
}

/// A time to ask about, half-open, at quarter hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// In seconds since the Unix epoch.
    from: i64,
    to: i64,
}

impl Span {
    /// A time from `from` up to `to`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If it is not at quarter hours, ends before it begins, or is too long.
    pub fn new(from: i64, to: i64) -> Result<Span, RollupError> {
        for (what, time) in [("from", from), ("to", to)] {
            if time.rem_euclid(QUARTER_SECONDS) != 0 {
                return Err(RollupError::Unaligned { what, time });
            }
        }
        match to.checked_sub(from) {
            Some(1..) if to - from <= MOST_DAYS * DAY_SECONDS => Ok(Span { from, to }),
            _ => Err(RollupError::Span { from, to, most_days: MOST_DAYS }),
        }
    }

    /// Its begin, in seconds since the Unix epoch.
    #[must_use]
    pub const fn from(&self) -> i64 {
        self.from
    }

    /// Its end, which does not belong to it.
    #[must_use]
    pub const fn to(&self) -> i64 {
        self.to
    }

    /// The time of the same length before it.
    ///
    /// # Errors
    /// If that is before what calendars have.
    pub fn before(&self) -> Result<Span, RollupError> {
        Span::new(self.from.saturating_sub(self.to - self.from), self.from)
    }

    /// Its UTC days, in days since the Unix epoch.
    fn days(&self) -> Range<i64> {
        self.from.div_euclid(DAY_SECONDS)..(self.to - 1).div_euclid(DAY_SECONDS) + 1
    }
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Traffic class: never more than one.
    pub class: TrafficClass,
    /// All sensors, or a group of them.
    pub scope: u32,
    /// IP version; both if `None`.
    pub ip: Option<IpVersion>,
    /// IP protocol; all if `None`.
    pub protocol: Option<u8>,
    /// Kind; all if `None`.
    pub kind: Option<Kind>,
}

impl Filter {
    /// Everything of a class.
    #[must_use]
    pub const fn class(class: TrafficClass) -> Filter {
        Filter { class, scope: ALL_SENSORS, ip: None, protocol: None, kind: None }
    }

    fn kinds(&self) -> Vec<Kind> {
        self.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
    }

    fn has_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|only| only == kind)
    }

    fn has_ip(&self, ip: IpVersion) -> bool {
        self.ip.is_none_or(|only| only == ip)
    }

    fn has(&self, service: ServiceKey) -> bool {
        let protocol = service.class().map(|class| class.protocol);
        self.has_ip(service.ip()) && self.protocol.is_none_or(|only| Some(only) == protocol)
    }
}

/// The part of a UTC day that a span has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    rollup: i64,
    day: i64,
    quarters: Range<usize>,
    /// The segments that it is made of, as bits; `None` if it cuts one.
    segments: Option<u32>,
    /// How its day is cut.
    cuts: Segments,
}

impl Piece {
    const fn is_whole(&self) -> bool {
        self.quarters.start == 0 && self.quarters.end == QUARTERS
    }

    /// Its begin and end, in seconds since the Unix epoch.
    fn time(&self) -> Range<i64> {
        let at = |quarter: usize| self.day * DAY_SECONDS + QUARTER_SECONDS * i64::try_from(quarter).unwrap_or(0);
        at(self.quarters.start)..at(self.quarters.end)
    }

    /// The quarter hours that it has of a time.
    fn quarters_within(&self, time: Range<i64>) -> Range<usize> {
        let quarter = |time: i64| {
            let quarter = (time - self.day * DAY_SECONDS).div_euclid(QUARTER_SECONDS);
            usize::try_from(quarter).unwrap_or(0).clamp(self.quarters.start, self.quarters.end)
        };
        quarter(time.start)..quarter(time.end)
    }

    /// The segments that its part of a time is made of, as bits; `None` if that cuts one.
    fn segments_within(&self, time: Range<i64>) -> Option<u32> {
        self.cuts.exactly(self.quarters_within(time))
    }
}

impl Snapshot<'_> {
    /// Counts the changes of history: two snapshots with the same give the same answers.
    #[must_use]
    pub const fn generation(&self) -> i64 {
        self.generation
    }

    /// The scope of a group of sensors; `None` if there never was one of this name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn scope_of(&self, group: &Group) -> Result<Option<u32>, RollupError> {
        Ok(labels::scope_of(&self.transaction, group)?)
    }

    /// All groups of sensors that there ever were, with their scopes.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn sensor_groups(&self) -> Result<Vec<(Group, u32)>, RollupError> {
        Ok(labels::groups(&self.transaction)?)
    }

    /// The ports that are filtered before sensors, by the sensor's name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn filtered_ports(&self) -> Result<BTreeMap<String, FilteredPorts>, RollupError> {
        Ok(labels::filtered(&self.transaction)?)
    }

    /// The pieces of days that have a rollup.
    fn pieces(&self, span: Span) -> Result<Vec<Piece>, RollupError> {
        let days = span.days();
        let sql = "SELECT rollup, day, segments FROM rollup_days WHERE day >= ?1 AND day < ?2 ORDER BY day";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![days.start, days.end])?;
        let mut pieces = Vec::new();
        while let Some(row) = rows.next()? {
            let (rollup, day): (i64, i64) = (row.get(0)?, row.get(1)?);
            let starts = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let cuts = Segments::from_starts(starts).ok_or_else(RollupError::damaged("rollup_days"))?;
            let quarter = |time: i64| {
                let quarter = (time - day * DAY_SECONDS).div_euclid(QUARTER_SECONDS);
                usize::try_from(quarter).unwrap_or(0).min(QUARTERS)
            };
            let quarters = quarter(span.from)..quarter(span.to);
            let segments = cuts.exactly(quarters.clone());
            pieces.push(Piece { rollup, day, quarters, segments, cuts });
        }
        Ok(pieces)
    }

    /// Marked days of a span: what is answered of them may change.
    fn dirty(&self, span: Span) -> Result<Vec<i64>, RollupError> {
        dirty::marked(&self.transaction, span.days())
    }

    /// The day on which a service was seen first, in days since the Unix epoch, as far as history goes back.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn first_seen(&self, class: TrafficClass, service: ServiceKey, kind: Kind) -> Result<Option<i64>, RollupError> {
        let sql = "SELECT day FROM rollup_first_seen WHERE class = ?1 AND service = ?2 AND kind = ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let key = params![class as u8, super::records::number(service), kind as u8];
        Ok(select.query_row(key, |row| row.get(0)).optional()?)
    }
}
