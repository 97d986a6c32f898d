//! Observation reports: what a week, a month or a quarter came to, for publication.
//!
//! ```text
//! history (rollups, sensor_hours) and events -> model -> check -> kept by revision -> any language and format
//! ```
//!
//! `crates/report` says what a report holds, checks it and writes it out. Here it is filled in from history, and kept: a time that is
//! closed gets a revision, and another one when its figures change. docs/reports.md describes both.

mod command;
mod config;
mod count;
mod notes;
mod parts;
mod period;
mod ranking;
mod shelf;

use std::collections::BTreeSet;

use martlet_report::{Disagreement, model};
use martlet_window::{Kind, TrafficClass};
use thiserror::Error;

pub use command::Arguments;
pub use config::{ReportsConfig, ReportsConfigError, WeekStart};
pub use notes::{Notes, NotesError};
pub use period::{Kind as PeriodKind, Period, PeriodError, Placed};
pub use shelf::{Shelf, ShelfError, Stored};

use self::count::Counted;
use self::ranking::By;
use crate::events::{Book, EventError};
use crate::rollup::RollupError;
use crate::rollup::query::Snapshot;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The time cannot be used.
    #[error(transparent)]
    Period(#[from] PeriodError),
    /// History cannot be read.
    #[error("history: {0}")]
    History(#[from] RollupError),
    /// Events cannot be read.
    #[error("events: {0}")]
    Events(#[from] EventError),
    /// Nothing is known of the time.
    #[error("nothing is known of {0}: no {1} traffic was watched then, or its days are not made yet")]
    Nothing(String, &'static str),
    /// The report does not agree with itself, or with the one of the time before.
    #[error("the report of {label} was not written, since its figures disagree:{}", lines(disagreements))]
    Disagrees {
        /// Of which time.
        label: String,
        /// What disagrees with what.
        disagreements: Vec<Disagreement>,
    },
    /// A number of it is none.
    #[error("the report: {0}")]
    Number(#[from] serde_json::Error),
    /// What is kept cannot be read, or nothing can be kept.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

fn lines(disagreements: &[Disagreement]) -> String {
    disagreements.iter().map(|disagreement| format!("\n  {disagreement}")).collect()
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of which class.
    pub class: TrafficClass,
    /// Which time.
    pub period: Period,
    /// It is compared with the time of the same kind that lies so many before.
    pub compare: u32,
}

/// Where reports come from.
#[derive(Debug)]
pub struct Desk<'a> {
    /// History.
    pub snapshot: &'a Snapshot<'a>,
    /// Events.
    pub book: &'a Book,
    /// How they are made.
    pub config: &'a ReportsConfig,
    /// What may be told.
    pub rules: &'a model::Rules,
}

impl Desk<'_> {
    /// Fills a report in, without revision and notes. `now` is the wall clock, in seconds since the Unix epoch: of a time that is not
    /// over it says how much could be known.
    ///
    /// # Errors
    /// If history cannot be read, or has nothing of the time.
    pub fn build(&self, wanted: &Wanted, now: i64) -> Result<model::Report, ReportError> {
        let Desk { snapshot, book, config, rules } = *self;
        let nothing = || ReportError::Nothing(wanted.period.to_string(), wanted.class.name());
        let zone = config.zone()?;
        let placed = |period| Placed::new(period, &zone, config.week_start.weekday());
        let earlier = placed(wanted.period.back(wanted.compare).ok_or_else(nothing)?)?;
        let placed = placed(wanted.period)?;
        let before = Counted::new(snapshot, wanted.class, &zone, &earlier, &BTreeSet::new(), now)?;
        let heard = before.basis.sensors.keys().cloned().collect();
        let time = Counted::new(snapshot, wanted.class, &zone, &placed, &heard, now)?;
        if !time.is_known() {
            return Err(nothing());
        }
        let before = Some(&before).filter(|before| before.is_known());
        let overview = parts::overview(&time, before, rules)?;
        let services = |kind, before| ranking::ranking(&time, before, rules, By::Service(kind), ranking::service);
        let mut report = model::Report {
            format: model::FORMAT,
            period: placed.model.clone(),
            previous: model::Previous { period: earlier.model.clone(), revision: None, is_known: before.is_some() },
            revision: None,
            changes: Vec::new(),
            class: class(wanted.class),
            group: None,
            rules: rules.clone(),
            warnings: parts::warnings(&time, &overview),
            overview,
            ports: services(Kind::Scan, before)?,
            regions: ranking::ranking(&time, before, rules, By::Region, ranking::region)?,
            movers: before.map(|before| parts::movers(&time, before, rules)).transpose()?.unwrap_or_default(),
            populations: parts::populations(&time, rules)?,
            backscatter: services(Kind::Backscatter, None)?,
            groups: Vec::new(),
            sensor_ports: Vec::new(),
            events: parts::events(&time, book)?,
            quality: parts::quality(&time)?,
            notes: model::Notes::default(),
        };
        report.quality.largest_error = largest_error(&serde_json::to_value(&report)?);
        Ok(report)
    }

    /// Makes the report of a time and checks it. One that is closed, and compared with the time right before, is kept, and has the
    /// revision under which it is.
    ///
    /// # Errors
    /// As [`Desk::build`], and if it disagrees with itself or cannot be kept.
    pub fn make(&self, shelf: &Shelf, wanted: &Wanted, now: i64) -> Result<model::Report, ReportError> {
        let mut report = self.build(wanted, now)?;
        let previous = shelf.newest(wanted.class, &report.previous.period.label)?;
        // One that was made by other rules has other rows.
        let previous = previous.filter(|previous| previous.rules == *self.rules && report.previous.is_known);
        report.previous.revision = previous.as_ref().and_then(|previous| previous.revision);
        let label = report.period.label.clone();
        martlet_report::check(&report, previous.as_ref())
            .map_err(|disagreements| ReportError::Disagrees { label, disagreements })?;
        let closes = Placed::new(wanted.period, &self.config.zone()?, self.config.week_start.weekday())?.closes();
        let is_settled = !report.warnings.iter().any(|warning| matches!(warning, model::Warning::UnsettledDays { .. }));
        if wanted.compare == 1 && now >= closes && is_settled {
            report = shelf.put(wanted.class, report)?;
        }
        Ok(report)
    }
}

/// The largest relative error of what is said to have one.
fn largest_error(value: &serde_json::Value) -> f64 {
    match value {
        serde_json::Value::Array(values) => values.iter().map(largest_error).fold(0.0, f64::max),
        serde_json::Value::Object(fields) => {
            let own = fields.get("error").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
            fields.values().map(largest_error).fold(own, f64::max)
        }
        _ => 0.0,
    }
}

const fn class(class: TrafficClass) -> model::Class {
    match class {
        TrafficClass::Real => model::Class::Real,
        TrafficClass::Drill => model::Class::Drill,
        TrafficClass::Import => model::Class::Import,
    }
}
