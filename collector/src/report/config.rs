//! `[reports]`

use jiff::civil::Weekday;
use martlet_report::model::Rules;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::period::PeriodError;
use crate::publish::PublicationConfig;
use crate::rollup::Zone;

/// Most rows of a table.
const MOST_ROWS: u32 = 100;
/// Places of the previous time that a previous rank is looked for in: "outside top 10".
const PREVIOUS_PLACES: u32 = 10;

/// `[reports]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportsConfig {
    /// In which days and weeks begin.
    pub zone: String,
    /// On which day weeks begin.
    pub week_start: WeekStart,
    /// Rows of tables.
    pub top: u32,
    /// Fewest sensors that a row of ports is told of; fewest packets and sources are those of `[publication]`.
    pub min_sensors: u32,
}

/// A day on which weeks begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeekStart {
    /// As ISO 8601 has it.
    #[default]
    Monday,
    /// The day before that.
    Sunday,
    /// The day before that.
    Saturday,
}

impl WeekStart {
    pub(super) const fn weekday(self) -> Weekday {
        match self {
            WeekStart::Monday => Weekday::Monday,
            WeekStart::Sunday => Weekday::Sunday,
            WeekStart::Saturday => Weekday::Saturday,
        }
    }
}

impl Default for ReportsConfig {
    fn default() -> ReportsConfig {
        ReportsConfig { zone: "UTC".to_owned(), week_start: WeekStart::Monday, top: 5, min_sensors: 1 }
    }
}

/// A setting of `[reports]` that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReportsConfigError {
    /// No such zone.
    #[error(
        "reports.zone: {0:?} is no time zone that this program knows; take a name such as \"UTC\" or \"Asia/Tokyo\""
    )]
    Zone(String),
    /// Too many or too few rows.
    #[error("reports.top = {0}: 1 to {MOST_ROWS}")]
    Top(u32),
    /// No sensor at all.
    #[error("reports.min_sensors = 0: 1 or more")]
    MinSensors,
}

impl ReportsConfig {
    /// The zone.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn zone(&self) -> Result<Zone, PeriodError> {
        let unknown = || ReportsConfigError::Zone(self.zone.chars().take(40).collect());
        Zone::named(&self.zone).map_err(|_| PeriodError(unknown().to_string()))
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// What cannot.
    pub fn check(&self) -> Result<(), ReportsConfigError> {
        if Zone::named(&self.zone).is_err() {
            return Err(ReportsConfigError::Zone(self.zone.chars().take(40).collect()));
        }
        if !(1..=MOST_ROWS).contains(&self.top) {
            return Err(ReportsConfigError::Top(self.top));
        }
        if self.min_sensors == 0 {
            return Err(ReportsConfigError::MinSensors);
        }
        Ok(())
    }

    /// What may be told, beside what is public in general.
    #[must_use]
    pub const fn rules(&self, publication: &PublicationConfig) -> Rules {
        Rules {
            top: self.top,
            min_sensors: self.min_sensors,
            min_sources: publication.min_sources,
            min_packets: publication.min_packets,
            previous_places: PREVIOUS_PLACES,
        }
    }
}
