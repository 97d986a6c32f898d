//! Where reports of a collector's state are made and kept: what the command, the API and the schedule have in common.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use martlet_report::{Report, Wording, WordingError, model};
use martlet_window::TrafficClass;

use super::notes::Notes;
use super::shelf::{Shelf, Stored};
use super::{Desk, Made, ReportError, ReportsConfig, Wanted};
use crate::config::Config;
use crate::events::{Book, Language};
use crate::labels::Group;
use crate::rollup::query::History;

/// Makes reports, and gives those that are kept, with what analysts wrote.
#[derive(Debug)]
pub struct Office {
    shelf: Shelf,
    book: Arc<Book>,
    config: ReportsConfig,
    rules: model::Rules,
    /// Whose reports; of all sensors if `None`.
    group: Option<Group>,
    /// Held while notes are compared and replaced.
    writing: Arc<Mutex<()>>,
}

impl Office {
    /// Of the state that a configuration names.
    #[must_use]
    pub fn new(config: &Config, book: Arc<Book>) -> Office {
        let (shelf, rules) = (Shelf::in_directory(&config.store.data_dir), config.reports.rules(&config.publication));
        let config = config.reports.clone();
        Office { shelf, book, config, rules, group: None, writing: Arc::default() }
    }

    /// The same for the reports of a group of sensors; of all sensors, this one.
    #[must_use]
    pub fn of_group(&self, group: Option<&Group>) -> Office {
        Office {
            shelf: self.shelf.of_group(group),
            book: self.book.clone(),
            config: self.config.clone(),
            rules: self.rules.clone(),
            group: group.cloned(),
            writing: self.writing.clone(),
        }
    }

    /// What is finished.
    #[must_use]
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// How reports are made.
    #[must_use]
    pub const fn config(&self) -> &ReportsConfig {
        &self.config
    }

    /// The report of a time as history and events are now, kept if it is closed; see [`Desk::make`].
    ///
    /// # Errors
    /// If there is none.
    pub fn make(&self, history: &History, wanted: &Wanted, now: i64) -> Result<Made, ReportError> {
        let snapshot = history.snapshot()?;
        let (config, rules, group) = (&self.config, &self.rules, self.group.as_ref());
        let desk = Desk { snapshot: &snapshot, book: &self.book, config, rules, group };
        let mut made = desk.make(&self.shelf, wanted, now)?;
        self.add_notes(wanted.class, &mut made.report)?;
        Ok(made)
    }

    /// A revision as it was kept.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn kept(&self, class: TrafficClass, stored: &Stored) -> Result<Report, ReportError> {
        let mut report = self.shelf.get(class, stored)?;
        self.add_notes(class, &mut report)?;
        Ok(report)
    }

    fn add_notes(&self, class: TrafficClass, report: &mut Report) -> Result<(), ReportError> {
        self.shelf.notes(class, &report.period.label)?.put_into(report);
        Ok(())
    }

    /// What analysts wrote of a time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn notes(&self, class: TrafficClass, label: &str) -> Result<Notes, ReportError> {
        Ok(self.shelf.notes(class, label)?)
    }

    /// When they last did, if they ever did.
    #[must_use]
    pub fn notes_changed(&self, class: TrafficClass, label: &str) -> Option<SystemTime> {
        self.shelf.notes_changed(class, label)
    }

    /// Keeps what an analyst writes of a time, if what there was is what the analyst has seen; else `false`.
    ///
    /// # Errors
    /// If it cannot be read or kept.
    pub fn replace_notes(
        &self,
        class: TrafficClass,
        label: &str,
        notes: &Notes,
        was_seen: impl FnOnce(&Notes) -> bool,
    ) -> Result<bool, ReportError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !was_seen(&self.shelf.notes(class, label)?) {
            return Ok(false);
        }
        self.shelf.put_notes(class, label, notes)?;
        Ok(true)
    }
}

/// The words of a language that is built in.
///
/// # Errors
/// If they cannot be read: a defect.
pub fn wording(language: Language) -> Result<Wording, WordingError> {
    match language {
        Language::English => Wording::english(),
        Language::Japanese => Wording::japanese(),
    }
}
