//! History: what each UTC day of the archive comes to, in SQLite. docs/history.md specifies tables, units and errors.

mod best;
mod bits;
mod cells;
mod command;
mod compute;
mod dirty;
mod error;
mod exclusions;
mod facts;
mod first_seen;
mod frames;
mod functions;
mod keeper;
mod networks;
mod populations;
mod quarters;
pub mod query;
mod ranks;
mod records;
mod retention;
mod roller;
mod sensors;
mod settings;
mod sketch;
mod sources;
mod stage;
mod tally;
mod weeks;
mod zones;

pub use cells::Dimension;
pub use command::Arguments;
pub use dirty::mark_day;
pub use error::RollupError;
pub use exclusions::{Exclusion, exclude, exclusions, include};
pub use facts::OTHER_SCANNERS;
pub use functions::register;
pub use keeper::{HistoryState, Keeper};
pub use networks::{OTHER_ASNS, UNKNOWN_ASN};
pub use populations::Population;
pub use quarters::{QUARTER_SECONDS, QUARTERS, Quarters};
pub use ranks::Order;
pub use retention::{erase_sources, forget_days, forget_sources};
pub use roller::{Archive, Files, Roller, Turn, make, source_key};
pub use sensors::HOURS;
pub use settings::{ALL_SENSORS, RollupLimits, Settings};
pub use sketch::SketchHash;
pub use sources::MULTI_PORT;
pub use stage::{DaySummary, Stored};
pub use weeks::{ClosedWeek, GRACE_SECONDS, week_of};
pub use zones::{DAY_SECONDS, MOST_ZONES, Segments, Zone, ZoneError, Zones};

/// A day as text, such as 2026-11-21.
#[must_use]
pub fn date_text(day: i64) -> String {
    let date = jiff::Timestamp::from_second(day.saturating_mul(DAY_SECONDS));
    date.map_or_else(
        |_| format!("day {day} since 1970"),
        |time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
    )
}
