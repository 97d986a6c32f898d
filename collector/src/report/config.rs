//! `[reports]`

use std::path::{Path, PathBuf};

use jiff::civil::Weekday;
use martlet_report::model::Rules;
use martlet_report::pdf::{self, PdfError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::output::{self, Form};
use super::period::{Kind, PeriodError};
use crate::config::Config;
use crate::events::Language;
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
    /// Whether the ports that each sensor saw most are told.
    pub sensor_ports: bool,
    /// Times whose reports are made when they are closed.
    pub schedule: Vec<Kind>,
    /// Where these are written to; nowhere if it is empty or not given.
    pub directory: Option<PathBuf>,
    /// In which languages.
    pub languages: Vec<Language>,
    /// As what.
    pub formats: Vec<Form>,
    /// What prints a PDF: a program and its arguments, in which {html} and {pdf} are files; an installed one if it is empty.
    pub pdf_command: Vec<String>,
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
    /// As calendars know it.
    #[must_use]
    pub const fn weekday(self) -> Weekday {
        match self {
            WeekStart::Monday => Weekday::Monday,
            WeekStart::Sunday => Weekday::Sunday,
            WeekStart::Saturday => Weekday::Saturday,
        }
    }
}

impl Default for ReportsConfig {
    fn default() -> ReportsConfig {
        ReportsConfig {
            zone: "UTC".to_owned(),
            week_start: WeekStart::Monday,
            top: 5,
            min_sensors: 1,
            sensor_ports: false,
            schedule: vec![Kind::Week],
            directory: None,
            languages: vec![Language::English],
            formats: vec![Form::Html],
            pdf_command: Vec::new(),
        }
    }
}

/// A setting of `[reports]` that cannot be used.
#[derive(Debug, Error)]
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
    /// Anybody could find a sensor.
    #[error(
        "reports.sensor_ports = true: set reports.min_sensors to 2 or more as well; else a few probes to a port that nobody else probes would find a sensor in the report"
    )]
    SensorPorts,
    /// Reports are to be written in no language, or as nothing.
    #[error("reports.{0} = []: reports are to be written into reports.directory; name at least one")]
    Nothing(&'static str),
    /// Nobody knows what to print.
    #[error("reports.pdf_command: {0}")]
    Command(#[from] PdfError),
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
        if self.sensor_ports && self.min_sensors < 2 {
            return Err(ReportsConfigError::SensorPorts);
        }
        if self.directory().is_some() {
            for (name, is_empty) in [("languages", self.languages.is_empty()), ("formats", self.formats.is_empty())] {
                if is_empty {
                    return Err(ReportsConfigError::Nothing(name));
                }
            }
        }
        self.pdf_command().map_or(Ok(()), |command| Ok(pdf::check_command(command)?))
    }

    /// Where finished reports are written to, if anywhere.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// What prints a PDF; `None` for a program that is installed.
    #[must_use]
    pub fn pdf_command(&self) -> Option<&[String]> {
        Some(self.pdf_command.as_slice()).filter(|command| !command.is_empty())
    }

    /// What an operator should know although it is allowed.
    #[must_use]
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_written = self.directory().is_some() && !self.schedule.is_empty();
        // Not an error: a disk that is not there is no reason not to take what sensors bring.
        if let Some(error) =
            self.directory().filter(|_| is_written).and_then(|path| output::check_directory(path).err())
        {
            warnings.push(format!(
                "reports.directory: {error}: no report is written until it is there and the collector's user may write there \
                 (in a unit of systemd, ReadWritePaths= must have it, too)"
            ));
        }
        if is_written && !config.archive.enabled {
            warnings
                .push("reports.directory: no report is ever written there, since archive.enabled is false".to_owned());
        }
        if is_written && self.formats.contains(&Form::Pdf) {
            let missing = pdf::check(self.pdf_command()).err();
            warnings.extend(missing.map(|error| format!("reports.formats: no PDF will be written: {error}")));
        }
        if !self.schedule.is_empty()
            && config.publication.min_sources > 1
            && !config.history.report_zones.contains(&self.zone)
        {
            warnings.push(format!(
                "reports.zone = {:?}: history.report_zones does not have it, so distinct sources of its days are not known, and with \
                 publication.min_sources above 1 there is no report",
                self.zone
            ));
        }
        warnings
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
            sensor_ports: self.sensor_ports,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_sensors_are_told_of_several_only() {
        let config = |min_sensors| ReportsConfig { sensor_ports: true, min_sensors, ..ReportsConfig::default() };
        assert!(matches!(config(1).check(), Err(ReportsConfigError::SensorPorts)));
        assert!(config(2).check().is_ok());
        assert!(config(2).rules(&PublicationConfig::default()).sensor_ports);
    }
}
