//! Observation reports: what a week, a month or a quarter came to, for publication.
//!
//! ```text
//! history (rollups, sensor_hours) and events -> model -> check -> kept by revision -> any language and format
//! ```
//!
//! `crates/report` says what a report holds, checks it and writes it out. Here it is filled in from history ([`Desk`]), and kept
//! ([`Shelf`]): a time that is closed gets a revision, and another one when its figures change. The command, the API and the schedule
//! ([`Press`]) all have it from the [`Office`], with what analysts wrote. docs/reports.md describes it.

mod command;
mod config;
mod count;
mod groups;
mod notes;
mod office;
mod output;
mod parts;
mod period;
mod press;
mod ranking;
mod sensors;
mod shelf;

use std::collections::BTreeSet;

use martlet_report::{Disagreement, Format, Wording, WordingError, model};
use martlet_window::{Kind, TrafficClass};
use thiserror::Error;

pub use command::Arguments;
pub use config::{ReportsConfig, ReportsConfigError, WeekStart};
pub use notes::{LONGEST as LONGEST_NOTE, Notes, NotesError};
pub use office::{Office, wording};
pub use output::{Form, OutputError};
pub use period::{Kind as PeriodKind, Period, PeriodError, Placed};
pub use press::{Failed, GoesOn, Press, ReportsState};
pub use shelf::{Shelf, ShelfError, Stored};

use self::count::Counted;
use self::ranking::By;
use crate::events::{Book, EventError};
use crate::labels::Group;
use crate::rollup::query::{Filter, Snapshot};
use crate::rollup::{ALL_SENSORS, RollupError};

/// Farthest time before that one is compared with, in times of its kind: ten years of weeks.
pub const MOST_TIMES_BEFORE: u32 = 520;

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
    /// No sensor ever had the label.
    #[error(
        "there is no group {0:?}: `martlet-collector sensor list` shows labels of sensors, and `sensor set` gives them"
    )]
    NoGroup(String),
    /// What few sensors saw is not told.
    #[error("group {group} had {sensors} sensors then, and reports.min_sensors = {least}: nothing is told of it")]
    FewSensors {
        /// Which.
        group: String,
        /// How many it had.
        sensors: usize,
        /// How many it would take.
        least: u32,
    },
    /// Nobody knows whether enough sources are behind what would be told.
    #[error(
        "distinct sources of days in {0} are not known, and publication.min_sources is more than 1: put the zone into \
         history.report_zones, and have days that were made before made again (martlet-collector rebuild)"
    )]
    Zone(String),
    /// A page in one language says another number than in another.
    #[error("the report of {0} was not written: {1}")]
    Languages(String, String),
    /// The report does not agree with itself, or with the one of the time before.
    #[error(
        "the report of {label} was not written, since its figures disagree (if with the kept report of the time before, make that one again first):{}",
        lines(disagreements)
    )]
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
    /// Of which sensors; all if `None`.
    pub group: Option<&'a Group>,
}

/// A report that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What it says.
    pub report: model::Report,
    /// Why it is not what history and settings would give now.
    pub remark: Option<&'static str>,
}

/// A report that is filled in.
struct Built {
    report: model::Report,
    /// Whether no day of it, and of what it is compared with, waits to be made again.
    is_settled: bool,
}

impl Desk<'_> {
    /// Fills a report in, without revision and notes. `now` is the wall clock, in seconds since the Unix epoch: of a time that is not
    /// over it says how much could be known.
    fn build(&self, wanted: &Wanted, now: i64) -> Result<Built, ReportError> {
        let Desk { snapshot, book, config, rules, group } = *self;
        let nothing = || ReportError::Nothing(wanted.period.to_string(), wanted.class.name());
        let zone = config.zone()?;
        let placed = |period| Placed::new(period, &zone, config.week_start.weekday());
        let scope = match group {
            None => ALL_SENSORS,
            Some(group) => snapshot.scope_of(group)?.ok_or_else(|| ReportError::NoGroup(group.to_string()))?,
        };
        let of = Filter { scope, ..Filter::class(wanted.class) };
        // Who was heard right before a time should have watched from its begin on, whatever it is compared with.
        let heard_before = |period: Period| -> Result<BTreeSet<String>, ReportError> {
            let before = placed(period.before().ok_or_else(nothing)?)?;
            let sensors = snapshot.basis(&of, before.span)?.sensors;
            Ok(sensors.into_keys().collect())
        };
        let earlier = wanted.period.back(wanted.compare).ok_or_else(nothing)?;
        let (placed_earlier, placed_now) = (placed(earlier)?, placed(wanted.period)?);
        let counted = |placed, period| -> Result<Counted<'_>, ReportError> {
            Ok(Counted::new(snapshot, &of, &zone, placed, &heard_before(period)?, now)?)
        };
        let (before, time) = (counted(&placed_earlier, earlier)?, counted(&placed_now, wanted.period)?);
        if !time.is_known() {
            return Err(nothing());
        }
        if let Some(group) = group {
            let (sensors, least) = (time.watched.sensors.len(), rules.min_sensors);
            if sensors < least as usize {
                return Err(ReportError::FewSensors { group: group.to_string(), sensors, least });
            }
        }
        if rules.min_sources > 1 && !time.has_sources()? {
            return Err(ReportError::Zone(zone.name().to_owned()));
        }
        // What is known in part only would look like less.
        let is_comparable = before.is_whole() && (rules.min_sources <= 1 || before.has_sources()?);
        let is_settled = time.basis.dirty_days.is_empty() && (!is_comparable || before.basis.dirty_days.is_empty());
        let before = Some(&before).filter(|_| is_comparable);
        let groups = groups::Told::new(&time, rules)?;
        let overview = parts::overview(&time, before, &groups, rules)?;
        let services = |kind, before| ranking::ranking(&time, before, rules, By::Service(kind), ranking::service);
        let mut report = model::Report {
            format: model::FORMAT,
            period: placed_now.model.clone(),
            previous: model::Previous {
                period: placed_earlier.model.clone(),
                revision: None,
                is_known: before.is_some(),
            },
            revision: None,
            changes: Vec::new(),
            class: class(wanted.class),
            group: group.map(Group::to_string),
            rules: rules.clone(),
            warnings: parts::warnings(&time, &overview),
            overview,
            ports: services(Kind::Scan, before)?,
            regions: ranking::ranking(&time, before, rules, By::Region, ranking::region)?,
            movers: before.map(|before| parts::movers(&time, before, rules)).transpose()?.unwrap_or_default(),
            populations: parts::populations(&time, rules)?,
            backscatter: services(Kind::Backscatter, None)?,
            groups: groups.rows(&time, before)?,
            sensor_ports: sensors::ports(&time, &groups, rules)?,
            events: parts::events(&time, book)?,
            quality: parts::quality(&time, &groups)?,
            notes: model::Notes::default(),
        };
        report.quality.largest_error = largest_error(&serde_json::to_value(&report)?);
        Ok(Built { report, is_settled })
    }

    /// Makes the report of a time and checks it. One that is closed, and compared with the time right before, is kept, and has the
    /// revision under which it is. What is kept stays the report of its time when settings have changed since, or history has
    /// forgotten days of it.
    ///
    /// # Errors
    /// If history cannot be read, or has nothing of the time; if the report disagrees with itself or cannot be kept.
    pub fn make(&self, shelf: &Shelf, wanted: &Wanted, now: i64) -> Result<Made, ReportError> {
        let is_regular = wanted.compare == 1;
        let label = wanted.period.to_string();
        let kept = if is_regular { shelf.newest(wanted.class, &label)? } else { None };
        let built = match (self.build(wanted, now), kept.clone()) {
            (Err(ReportError::Nothing(..)), Some(report)) => {
                return Ok(Made { report, remark: Some("history has forgotten this time: this is the kept report") });
            }
            (built, _) => built?,
        };
        let Built { mut report, is_settled } = built;
        if let Some(kept) = kept {
            let remark = if kept.period != report.period || kept.rules != report.rules {
                Some("reports or publication were configured otherwise when it was kept: this is the kept report")
            } else {
                knows_less(&report, &kept)
                    .then_some("history has forgotten days of it since it was kept: this is the kept report")
            };
            if remark.is_some() {
                return Ok(Made { report: kept, remark });
            }
        }
        let previous = shelf.newest(wanted.class, &report.previous.period.label)?;
        // One that was made by other rules has other rows.
        let is_alike = |previous: &model::Report| {
            previous.rules == *self.rules && previous.period == report.previous.period && report.previous.is_known
        };
        let previous = previous.filter(is_alike);
        report.previous.revision = previous.as_ref().and_then(|previous| previous.revision);
        martlet_report::check(&report, previous.as_ref())
            .map_err(|disagreements| ReportError::Disagrees { label: label.clone(), disagreements })?;
        same_in_all_languages(&report).map_err(|error| ReportError::Languages(label, error))?;
        let closes = Placed::new(wanted.period, &self.config.zone()?, self.config.week_start.weekday())?.closes();
        if is_regular && is_settled && now >= closes {
            report = shelf.put(wanted.class, report)?;
        }
        Ok(Made { report, remark: None })
    }
}

/// Whether days are not known any more that were.
fn knows_less(now: &model::Report, kept: &model::Report) -> bool {
    let pairs = now.overview.days.iter().zip(&kept.overview.days);
    let has_lost = |(now, kept): (&model::Day, &model::Day)| now.packets.is_none() && kept.packets.is_some();
    pairs.into_iter().any(has_lost) || kept.previous.is_known && !now.previous.is_known
}

/// The languages that are built in must say the same numbers.
fn same_in_all_languages(report: &model::Report) -> Result<(), String> {
    let page = |words: Result<Wording, WordingError>| {
        let words = words.map_err(|error| error.to_string())?;
        martlet_report::render(report, &words, Format::Html).map_err(|error| error.to_string())
    };
    let (english, japanese) = (page(Wording::english())?, page(Wording::japanese())?);
    let same = |(one, other)| martlet_report::same_numbers(one, other).map_err(|error| error.to_string());
    english.iter().zip(&japanese).try_for_each(same)
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
