//! The archive's directory: how files appear in it, and how they are replaced.
//!
//! ```text
//! archive/date=2026-11-25/0000000042.parquet    what readers see; the number is that of the operation
//! archive/.staging/0000000043/                  what operation 43 has not finished, or has put out of the way
//! ```
//!
//! A file appears under its name only when it is whole and durable. Files of a day are replaced by exchanging the whole
//! directory of the day for another, in one step: whoever lists it sees all of the old files or all of the new ones. Names are
//! never used again, so a scan that listed the old ones may not find them, but never reads something else.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::ArchiveError;

const STAGING: &str = ".staging";
/// What stands in front of a day in the name of its directory, so that tools read the day as a column.
const DAY_PREFIX: &str = "date=";

/// The directory.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Closed when the archive is to stop.
    stop: Option<Receiver<Infallible>>,
    #[cfg(test)]
    fuse: super::fuse::Fuse,
}

impl Directory {
    /// Opens the directory; makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(root: &Path) -> Result<Directory, ArchiveError> {
        let staging = root.join(STAGING);
        fs::create_dir_all(&staging).map_err(ArchiveError::io("make", &staging))?;
        // What an earlier life exchanged is durable before what it put out of the way is deleted.
        sync_directory(root)?;
        sync_directory(&staging)?;
        Ok(Directory::existing(root))
    }

    /// One to read from: nothing is made.
    #[must_use]
    pub fn existing(root: &Path) -> Directory {
        Directory {
            root: root.to_owned(),
            stop: None,
            #[cfg(test)]
            fuse: super::fuse::Fuse::default(),
        }
    }

    /// With a fuse that makes a step of it fail.
    #[cfg(test)]
    pub(super) fn with_fuse(mut self, fuse: super::fuse::Fuse) -> Directory {
        self.fuse = fuse;
        self
    }

    /// Long work ends when this is closed.
    pub(super) fn stop_with(&mut self, stop: Receiver<Infallible>) {
        self.stop = Some(stop);
    }

    /// Called again and again by work that may take minutes: what is given up then is begun again after the next start, as after a
    /// crash.
    pub(super) fn go_on(&self) -> Result<(), ArchiveError> {
        let is_closed = |stop: &Receiver<Infallible>| matches!(stop.try_recv(), Err(TryRecvError::Disconnected));
        if self.stop.as_ref().is_some_and(is_closed) { Err(ArchiveError::Stopping) } else { Ok(()) }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Called before everything that a crash could fall in front of.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests crash here"))]
    pub(super) fn step(&self) -> Result<(), ArchiveError> {
        #[cfg(test)]
        self.fuse.step()?;
        Ok(())
    }

    /// The directory of a day.
    ///
    /// # Errors
    /// If no calendar has the day.
    pub fn day(&self, day: i64) -> Result<PathBuf, ArchiveError> {
        Ok(self.root.join(format!("{DAY_PREFIX}{}", date(day)?)))
    }

    /// An empty directory for what an operation makes.
    ///
    /// # Errors
    /// If the disk fails; so with all that follow.
    pub fn stage(&self, operation: i64) -> Result<PathBuf, ArchiveError> {
        let path = self.staging(operation);
        self.discard(operation)?;
        self.step()?;
        fs::create_dir(&path).map_err(ArchiveError::io("make", &path))?;
        Ok(path)
    }

    fn staging(&self, operation: i64) -> PathBuf {
        self.root.join(STAGING).join(stem(operation))
    }

    /// Moves a file, which is durable, from the staging directory into its day's. One of the same operation is replaced: it was
    /// made before a crash.
    pub fn place(&self, operation: i64, day: i64) -> Result<String, ArchiveError> {
        let (directory, name) = (self.day(day)?, file_name(operation));
        if !directory.exists() {
            self.step()?;
            fs::create_dir_all(&directory).map_err(ArchiveError::io("make", &directory))?;
            sync_directory(&self.root)?;
        }
        let from = self.staged_file(operation, day)?;
        self.step()?;
        fs::rename(&from, directory.join(&name)).map_err(ArchiveError::io("move", &from))?;
        self.step()?;
        sync_directory(&directory)?;
        Ok(name)
    }

    /// Where an operation writes the file of a day before it is placed.
    pub fn staged_file(&self, operation: i64, day: i64) -> Result<PathBuf, ArchiveError> {
        Ok(self.staging(operation).join(format!("{}.parquet", date(day)?)))
    }

    /// Puts what was staged for a day in the place of its directory, together with everything in that but `inputs`. `has_output`
    /// says whether the operation has made a file for the day.
    pub fn exchange(&self, operation: i64, day: i64, inputs: &[String], has_output: bool) -> Result<(), ArchiveError> {
        let (live, staging) = (self.day(day)?, self.staging(operation));
        let mut kept = usize::from(has_output);
        if has_output {
            let (from, to) = (self.staged_file(operation, day)?, staging.join(file_name(operation)));
            self.step()?;
            fs::rename(&from, to).map_err(ArchiveError::io("move", &from))?;
        }
        for entry in fs::read_dir(&live).map_err(ArchiveError::io("list", &live))? {
            let entry = entry.map_err(ArchiveError::io("list", &live))?;
            if !inputs.iter().any(|input| entry.file_name() == input.as_str()) {
                kept += 1;
                self.step()?;
                fs::hard_link(entry.path(), staging.join(entry.file_name()))
                    .map_err(ArchiveError::io("link", &entry.path()))?;
            }
        }
        self.step()?;
        sync_directory(&staging)?;
        self.step()?;
        if kept > 0 {
            renameat_with(CWD, &staging, CWD, &live, RenameFlags::EXCHANGE)
                .map_err(|error| ArchiveError::io("exchange the files of", &live)(error.into()))?;
        } else {
            // An empty day has no directory; what is left of it goes where the exchange would have put it.
            fs::remove_dir(&staging).map_err(ArchiveError::io("delete", &staging))?;
            fs::rename(&live, &staging).map_err(ArchiveError::io("move", &live))?;
        }
        self.step()?;
        sync_directory(&self.root)?;
        sync_directory(&self.root.join(STAGING))
    }

    /// Whether a day's directory has a file.
    pub fn has(&self, day: i64, name: &str) -> Result<bool, ArchiveError> {
        let path = self.day(day)?.join(name);
        path.try_exists().map_err(ArchiveError::io("look at", &path))
    }

    /// Deletes what an operation has left in the staging directory.
    pub fn discard(&self, operation: i64) -> Result<(), ArchiveError> {
        let path = self.staging(operation);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::io("delete", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Deletes what operations of an earlier life have left.
    pub fn discard_all(&self) -> Result<(), ArchiveError> {
        let staging = self.root.join(STAGING);
        for entry in fs::read_dir(&staging).map_err(ArchiveError::io("list", &staging))? {
            let path = entry.map_err(ArchiveError::io("list", &staging))?.path();
            fs::remove_dir_all(&path).map_err(ArchiveError::io("delete", &path))?;
        }
        Ok(())
    }
}

/// The name of an operation's files and directories.
fn stem(operation: i64) -> String {
    format!("{operation:010}")
}

pub(super) fn file_name(operation: i64) -> String {
    format!("{}.parquet", stem(operation))
}

/// A day as the calendar writes it.
///
/// # Errors
/// If no calendar has it.
pub fn date(day: i64) -> Result<jiff::civil::Date, ArchiveError> {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().try_days(day).map_err(|_| ArchiveError::Day(day))?)
        .map_err(|_| ArchiveError::Day(day))
}

/// The number of a day.
#[must_use]
pub fn day_of(date: jiff::civil::Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    // In days, which every calendar date has.
    epoch.until((jiff::Unit::Day, date)).map_or(0, |span| span.get_days().into())
}

fn sync_directory(path: &Path) -> Result<(), ArchiveError> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(ArchiveError::io("sync", path))
}
