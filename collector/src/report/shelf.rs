//! Finished reports, in files: a revision of a time's figures is written once and stays as it is.
//!
//! ```text
//! reports/real/2021-W10.r1.json   figures, as crates/report writes its model
//! reports/real/2021-W10.toml      what analysts wrote: it may change, and is in no revision
//! reports/groups/position/overseas/real/...    the same of a group of sensors
//! ```

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use martlet_report::model::{FORMAT, Notes as Written, Report};
use martlet_window::TrafficClass;
use thiserror::Error;

use super::notes::{Notes, NotesError};
use super::output;
use crate::labels::{Group, Label};

/// Longest report that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// Where finished reports stand.
#[derive(Clone, Debug)]
pub struct Shelf {
    directory: PathBuf,
}

/// A report that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of which time.
    pub label: String,
    /// Which revision.
    pub revision: u32,
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum ShelfError {
    /// A file or directory cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is no report of this version.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Notes that are kept cannot be used.
    #[error("{}: {error}", path.display())]
    Notes {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: NotesError,
    },
}

/// What a directory has; nothing if there is none.
fn names(directory: &Path) -> Result<Vec<OsString>, ShelfError> {
    let failed = |error| ShelfError::File { path: directory.to_owned(), error };
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(failed)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

impl Shelf {
    /// The one in the directory of the collector's state. It need not exist before something is put there.
    #[must_use]
    pub fn in_directory(state: &Path) -> Shelf {
        Shelf { directory: state.join("reports") }
    }

    /// The shelf of a group of sensors; of all, this one.
    #[must_use]
    pub fn of_group(&self, group: Option<&Group>) -> Shelf {
        let directory = match group {
            None => self.directory.clone(),
            // Labels and their values have no character that a path has.
            Some(group) => self.directory.join("groups").join(group.label.name()).join(&group.value),
        };
        Shelf { directory }
    }

    /// The groups that have a shelf.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn groups(&self) -> Result<Vec<Group>, ShelfError> {
        let mut groups = Vec::new();
        for label in Label::ALL {
            let names = names(&self.directory.join("groups").join(label.name()))?;
            groups.extend(names.iter().filter_map(|name| Group::new(label, name.to_str()?).ok()));
        }
        groups.sort();
        Ok(groups)
    }

    /// All that stand there, of a class: by label, and of each the newest revision last.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self, class: TrafficClass) -> Result<Vec<Stored>, ShelfError> {
        let mut stored: Vec<Stored> =
            names(&self.class_directory(class))?.iter().filter_map(|name| parse(name)).collect();
        stored.sort_by(|a: &Stored, b| (&a.label, a.revision).cmp(&(&b.label, b.revision)));
        Ok(stored)
    }

    /// The newest revision of a time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn newest(&self, class: TrafficClass, label: &str) -> Result<Option<Report>, ShelfError> {
        let newest = self.list(class)?.into_iter().rfind(|stored| stored.label == label);
        newest.map(|stored| self.get(class, &stored)).transpose()
    }

    /// One that stands there, without notes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn get(&self, class: TrafficClass, stored: &Stored) -> Result<Report, ShelfError> {
        let path = self.class_directory(class).join(file_name(stored));
        let file = |error| ShelfError::File { path: path.clone(), error };
        let damaged = |what: &str| ShelfError::Damaged { path: path.clone(), what: what.to_owned() };
        if fs::metadata(&path).map_err(file)?.len() > LONGEST {
            return Err(damaged("it is too long for a report"));
        }
        let bytes = fs::read(&path).map_err(file)?;
        let report: Report = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
        if report.format != FORMAT || report.revision != Some(stored.revision) || report.period.label != stored.label {
            return Err(damaged("it is of another version, or not what its name says"));
        }
        Ok(report)
    }

    /// Keeps a report as the next revision of its time, if it says anything else than the newest one. Returns the one that stands
    /// there then.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn put(&self, class: TrafficClass, mut report: Report) -> Result<Report, ShelfError> {
        report.notes = Written::default();
        let label = report.period.label.clone();
        let directory = self.class_directory(class);
        let unwritable =
            |error: serde_json::Error| ShelfError::Damaged { path: directory.join(&label), what: error.to_string() };
        loop {
            let newest = self.newest(class, &label)?;
            let revision = newest.as_ref().and_then(|newest| newest.revision).map_or(1, |revision| revision + 1);
            report.revision = Some(revision);
            if let Some(newest) = newest {
                // That the time before has another revision is no change of this one; what that changed here is.
                let mut alike = report.clone();
                alike.previous.revision = newest.previous.revision;
                report.changes = martlet_report::changes(&newest, &alike).map_err(unwritable)?;
                if report.changes.is_empty() {
                    return Ok(newest);
                }
            }
            let text = serde_json::to_vec_pretty(&report).map_err(unwritable)?;
            let path = directory.join(file_name(&Stored { label: label.clone(), revision }));
            match write(&path, &text, |draft| fs::hard_link(draft, &path)) {
                // Somebody else was faster, most likely with the same.
                Err(ShelfError::File { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => return outcome.map(|()| report),
            }
        }
    }

    /// What analysts wrote of a time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn notes(&self, class: TrafficClass, label: &str) -> Result<Notes, ShelfError> {
        let path = self.notes_path(class, label);
        match fs::read_to_string(&path) {
            Ok(text) => Notes::read(&text).map_err(|error| ShelfError::Notes { path, error }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes::default()),
            Err(error) => Err(ShelfError::File { path, error }),
        }
    }

    /// When analysts last wrote something of a time, as far as that is known.
    #[must_use]
    pub fn notes_changed(&self, class: TrafficClass, label: &str) -> Option<SystemTime> {
        fs::metadata(self.notes_path(class, label)).and_then(|file| file.modified()).ok()
    }

    /// Keeps what analysts wrote of a time, in place of what there was.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn put_notes(&self, class: TrafficClass, label: &str, notes: &Notes) -> Result<(), ShelfError> {
        let path = self.notes_path(class, label);
        let text = toml::to_string(notes)
            .map_err(|error| ShelfError::Damaged { path: path.clone(), what: error.to_string() })?;
        write(&path, text.as_bytes(), |draft| fs::rename(draft, &path))
    }

    fn notes_path(&self, class: TrafficClass, label: &str) -> PathBuf {
        self.class_directory(class).join(format!("{label}.toml"))
    }

    fn class_directory(&self, class: TrafficClass) -> PathBuf {
        self.directory.join(class.name())
    }
}

/// Writes a file as a whole or not at all, see [`output::place`].
fn write(path: &Path, bytes: &[u8], place: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), ShelfError> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| output::place(path, bytes, place))
        .map_err(|error| ShelfError::File { path: path.to_owned(), error })
}

fn file_name(stored: &Stored) -> String {
    format!("{}.r{}.json", stored.label, stored.revision)
}

fn parse(name: &OsStr) -> Option<Stored> {
    let (label, revision) = name.to_str()?.strip_suffix(".json")?.rsplit_once(".r")?;
    let stored = Stored { label: label.to_owned(), revision: revision.parse().ok()? };
    (stored.revision > 0 && file_name(&stored) == name.to_str()?).then_some(stored)
}
