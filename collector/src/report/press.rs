//! The thread that makes reports by itself: of each time of `reports.schedule` once it is closed, and of the last few again each day,
//! since late data, an exclusion or an assessed event makes the next revision. Finished ones are written into `reports.directory`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use martlet_report::{Report, pdf::PdfError};
use martlet_telemetry::counters::EnumCounters;
use martlet_window::TrafficClass;

use super::office::{Office, wording};
use super::output::{self, Form, OutputError};
use super::period::{Kind, Period, Placed};
use super::{ReportError, Wanted};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::events::{Book, Language};
use crate::journal::State;
use crate::rollup::RollupError;
use crate::rollup::query::Pool;
use crate::store::Location;

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_secs(60);
/// After a report it rests so many times as long as that took: it is in nobody's way.
const REST: u32 = 10;
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// After how many seconds a report is looked at again.
const AGAIN_SECONDS: i64 = 86_400;
/// After how many seconds what was not finished is tried again.
const RETRY_SECONDS: i64 = 3600;

/// How many of the newest times of a kind that are closed it cares for: a start catches up with as many, and late data, which sensors
/// keep for days, makes revisions of as many. Older ones are made again by the command.
const fn most_cared_for(kind: Kind) -> usize {
    match kind {
        Kind::Week => 4,
        Kind::Month => 2,
        Kind::Quarter => 1,
    }
}

martlet_telemetry::labelled! {
    /// Why a report that was due is not there.
    pub enum Failed {
        /// It could not be made.
        Make = "make",
        /// A file of it could not be written.
        Write = "write",
        /// No PDF of it could be printed.
        Print = "print",
    }
}

/// What others may know of it.
#[derive(Debug, Default)]
pub struct ReportsState {
    /// Files that were written since the start.
    pub files: AtomicU64,
    /// What failed since the start.
    pub failures: Arc<EnumCounters<Failed>>,
    /// Times whose report is due and was not finished when it was last tried.
    pub unfinished: AtomicU64,
}

/// How a time fared when it was last looked at.
struct Looked {
    /// When, in seconds since the Unix epoch.
    at: i64,
    /// After how many seconds it is looked at again.
    again: i64,
    /// When analysts had last written something.
    notes: Option<SystemTime>,
    /// What failed, so that it is told once.
    failure: Option<String>,
}

/// What became of a turn.
enum Outcome {
    /// There is a report, and its files are written.
    Finished,
    /// Nothing was ever known of the time.
    Nothing,
    /// It waits for days that are to be made again.
    Waits,
    Failed(Failed, String),
    /// The collector stops.
    Stopped,
}

/// Makes and writes reports.
pub struct Press {
    office: Office,
    history: Pool,
    state: Arc<State>,
    clock: SharedClock,
    looked: BTreeMap<String, Looked>,
}

impl Press {
    /// Of a collector's state; `None` if nothing is to be made by itself, or there is no history.
    #[must_use]
    pub fn configured(config: &Config, state: Arc<State>, clock: SharedClock) -> Option<Press> {
        let location = Location::in_directory(&config.store.data_dir);
        let office = Office::new(config, Arc::new(Book::new(location.clone())));
        let has_work = config.archive.enabled && !config.reports.schedule.is_empty();
        has_work.then(|| Press { office, history: Pool::new(location), state, clock, looked: BTreeMap::new() })
    }

    /// Works until the other end of `stop` is gone. A report that is being made then is made after the next start.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        let waited_for = stop.clone();
        let goes_on: GoesOn = Arc::new(move || waited_for.try_recv() == Err(TryRecvError::Empty));
        loop {
            let begun = Instant::now();
            let has_worked = self.turn(&goes_on);
            let pause = if has_worked { (begun.elapsed() * REST).min(LONGEST_REST) } else { LOOK };
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Makes the report that is due, of several the oldest; `false` if none is.
    pub fn turn(&mut self, goes_on: &GoesOn) -> bool {
        let now = self.clock.now();
        let times = self.closed(now);
        let is_of_these = |label: &String| times.iter().any(|period| period.to_string() == *label);
        self.looked.retain(|label, _| is_of_these(label));
        let Some(due) = times.into_iter().find(|period| self.is_due(*period, now)) else { return false };
        let label = due.to_string();
        // Looked at first: what is written meanwhile is seen the next time.
        let notes = self.office.notes_changed(TrafficClass::Real, &label);
        let outcome = self.issue(due, now, goes_on);
        let (again, failure) = match outcome {
            Outcome::Stopped => return true,
            Outcome::Finished => (AGAIN_SECONDS, None),
            Outcome::Nothing | Outcome::Waits => (RETRY_SECONDS, None),
            Outcome::Failed(what, why) => {
                self.state.reports.failures.increment(what);
                (RETRY_SECONDS, Some(why))
            }
        };
        let before = self.looked.insert(label.clone(), Looked { at: now, again, notes, failure });
        self.tell(&label, before.and_then(|before| before.failure).as_deref());
        let unfinished = self.looked.values().filter(|looked| looked.failure.is_some()).count();
        self.state.reports.unfinished.store(unfinished as u64, Relaxed);
        true
    }

    /// Says what failed, unless it was said already.
    fn tell(&self, label: &str, before: Option<&str>) {
        let failure = self.looked.get(label).and_then(|looked| looked.failure.as_deref());
        match failure {
            Some(why) if before != Some(why) => {
                tracing::error!(event = "report_failed", time = label, "{why}; it is tried again in an hour");
            }
            None if before.is_some() => {
                tracing::info!(event = "report_recovered", time = label, "the report is finished now");
            }
            _ => {}
        }
    }

    /// Times that are closed and cared for, of each kind the oldest first.
    fn closed(&self, now: i64) -> Vec<Period> {
        let config = self.office.config();
        let (Ok(zone), start) = (config.zone(), config.week_start.weekday()) else { return Vec::new() };
        let of_kind = |kind: &Kind| {
            let newest = zone.date(now).and_then(|today| Period::last_before(*kind, today, start));
            let all = std::iter::successors(newest, |period| period.before());
            let is_closed =
                |period: &Period| Placed::new(*period, &zone, start).is_ok_and(|placed| placed.closes() <= now);
            // The newest that is over may not be closed.
            let mut times: Vec<Period> = all.take(most_cared_for(*kind) + 1).filter(is_closed).collect();
            times.truncate(most_cared_for(*kind));
            times.reverse();
            times
        };
        config.schedule.iter().flat_map(of_kind).collect()
    }

    fn is_due(&self, period: Period, now: i64) -> bool {
        let label = period.to_string();
        self.looked.get(&label).is_none_or(|looked| {
            // A clock that was set back would otherwise be waited for.
            !(looked.at..looked.at + looked.again).contains(&now)
                || looked.notes != self.office.notes_changed(TrafficClass::Real, &label)
        })
    }

    /// Makes a report, and writes its files.
    fn issue(&self, period: Period, now: i64, goes_on: &GoesOn) -> Outcome {
        let wanted = Wanted { class: TrafficClass::Real, period, compare: 1 };
        let watched = goes_on.clone();
        let made = self.history.ask_while(move || watched(), |history| self.office.make(history, &wanted, now));
        let report = match made.map_err(ReportError::from).and_then(|made| made) {
            Ok(made) => made.report,
            // What is interrupted says that it takes too long.
            Err(ReportError::History(RollupError::TooLong)) if !goes_on() => return Outcome::Stopped,
            Err(ReportError::Nothing(..)) => return Outcome::Nothing,
            Err(error) => return Outcome::Failed(Failed::Make, error.to_string()),
        };
        let Some(revision) = report.revision else { return Outcome::Waits };
        match self.office.config().directory() {
            Some(directory) => self.write(directory, &report, revision, goes_on),
            None => Outcome::Finished,
        }
    }

    /// Writes the files of a report that are not there as they should be. What fails keeps no other file from being written.
    fn write(&self, directory: &Path, report: &Report, revision: u32, goes_on: &GoesOn) -> Outcome {
        let config = self.office.config();
        let mut written = Vec::new();
        let mut failure = None;
        for form in &config.formats {
            let languages = if form.has_language() { config.languages.as_slice() } else { &[Language::English] };
            for language in languages {
                if !goes_on() {
                    return Outcome::Stopped;
                }
                let name = file_name(&report.period.label, revision, *form, *language);
                match self.write_one(&directory.join(&name), report, *form, *language, goes_on) {
                    Ok(true) => written.push(name),
                    Ok(false) => {}
                    Err(OutputError::Pdf(PdfError::Stopped { is_late: false, .. })) => return Outcome::Stopped,
                    Err(error) => failure = Some(failed(&name, &error)),
                }
            }
        }
        if !written.is_empty() {
            self.state.reports.files.fetch_add(written.len() as u64, Relaxed);
            tracing::info!(
                event = "report_written",
                time = report.period.label,
                revision,
                directory = %directory.display(),
                files = written.join(" "),
                "a report was written"
            );
        }
        failure.unwrap_or(Outcome::Finished)
    }

    /// Writes a file, unless it is there already and says the same; whether it did.
    fn write_one(
        &self,
        path: &Path,
        report: &Report,
        form: Form,
        language: Language,
        goes_on: &GoesOn,
    ) -> Result<bool, OutputError> {
        if form == Form::Pdf {
            // A printer puts dates in, so that the same report is other bytes: only notes change what a revision says.
            let printed = fs::metadata(path).and_then(|file| file.modified()).ok();
            let notes = self.office.notes_changed(TrafficClass::Real, &report.period.label);
            if printed.is_some_and(|printed| notes.is_none_or(|notes| notes <= printed)) {
                return Ok(false);
            }
        }
        let words = wording(language).map_err(OutputError::Wording)?;
        let bytes = form.bytes(report, &words)?;
        if form == Form::Pdf {
            output::print(&bytes, path, self.office.config().pdf_command(), &|| goes_on())?;
            return Ok(true);
        }
        if fs::read(path).is_ok_and(|there| there == bytes) {
            return Ok(false);
        }
        output::write(path, &bytes)?;
        Ok(true)
    }
}

/// Whether the collector goes on.
pub type GoesOn = Arc<dyn Fn() -> bool + Send + Sync>;

/// `2026-W47.r1.en.html`; `2026-W47.r1.json`, which is the same in every language.
fn file_name(label: &str, revision: u32, form: Form, language: Language) -> String {
    let language = if form.has_language() { format!("{}.", language.name()) } else { String::new() };
    format!("{label}.r{revision}.{language}{}", form.extension())
}

fn failed(name: &str, error: &OutputError) -> Outcome {
    let what = if matches!(error, OutputError::Pdf(_)) { Failed::Print } else { Failed::Write };
    let advice: &dyn Display = match error {
        OutputError::File { .. } => {
            &"; see whether reports.directory is there, has room, and the collector's user may write there"
        }
        _ => &"",
    };
    Outcome::Failed(what, format!("the report {name} was not written: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_what_they_are() {
        let name = |form, language| file_name("2026-W47", 2, form, language);
        assert_eq!(name(Form::Html, Language::Japanese), "2026-W47.r2.ja.html");
        assert_eq!(name(Form::Csv, Language::English), "2026-W47.r2.en.csv.zip");
        assert_eq!(name(Form::Json, Language::English), "2026-W47.r2.json");
        assert_eq!(name(Form::Pdf, Language::English), "2026-W47.r2.en.pdf");
    }
}
