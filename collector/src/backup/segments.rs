//! The files of a journal that its owner appends to, and deletes, meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BackupError;

/// Files of a journal, held open: what is deleted from now on can still be read.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    /// By name, which is in the order in which they were made.
    files: BTreeMap<OsString, File>,
}

impl Segments {
    /// Opens what there is; nothing, if there is no journal.
    pub(super) fn open(directory: &Path) -> Result<Segments, BackupError> {
        let mut segments = Segments { directory: directory.to_owned(), files: BTreeMap::new() };
        for name in segments.names()? {
            segments.add(name)?;
        }
        Ok(segments)
    }

    /// Opens what has come since. The first that is gone meanwhile, if all from then on may be gone: the owner deletes the oldest
    /// first, so as long as the newest that was here before is still there, nothing between it and what is new was missed.
    pub(super) fn follow(&mut self) -> Result<Option<PathBuf>, BackupError> {
        let newest = self.files.keys().next_back().cloned();
        let names = self.names()?;
        if let Some(newest) = newest.filter(|newest| !names.contains(newest)) {
            return Ok(Some(self.directory.join(newest)));
        }
        for name in names.into_iter().filter(|name| !self.files.contains_key(name)).collect::<Vec<_>>() {
            self.add(name)?;
        }
        Ok(None)
    }

    fn add(&mut self, name: OsString) -> Result<(), BackupError> {
        let path = self.directory.join(&name);
        match File::open(&path) {
            Ok(file) => drop(self.files.insert(name, file)),
            // Deleted since it was listed: its records are counted and archived.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::io("open", &path)(error)),
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<OsString>, BackupError> {
        let failed = || BackupError::io("list", &self.directory);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed())?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed())?;
            // Those that were moved aside say by their names which records are superseded.
            let name = entry.file_name();
            if name.to_string_lossy().contains(".segment") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Copies all of them. What is being appended to the last is copied as a crash would leave it. Returns files and bytes.
    pub(super) fn copy(self, to: &Path) -> Result<(u64, u64), BackupError> {
        let (mut files, mut bytes) = (0, 0);
        for (name, mut file) in self.files {
            let path = to.join(&name);
            let failed = || BackupError::io("write", &path);
            let mut copy = File::create_new(&path).map_err(failed())?;
            bytes += io::copy(&mut file, &mut copy).map_err(failed())?;
            copy.sync_all().map_err(failed())?;
            files += 1;
        }
        Ok((files, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, names: &[&str]) {
        names.iter().for_each(|name| fs::write(directory.join(name), name).unwrap());
    }

    fn copied(segments: Segments) -> Vec<String> {
        let copy = tempfile::tempdir().unwrap();
        let counted = segments.copy(copy.path()).unwrap();
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(copy.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert_eq!(fs::read_to_string(copy.path().join(&name)).unwrap(), name);
            names.push(name);
        }
        names.sort();
        assert_eq!(counted, (names.len() as u64, names.iter().map(|name| name.len() as u64).sum()));
        names
    }

    #[test]
    fn what_is_deleted_meanwhile_is_still_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write(path, &["1.segment", "2.segment.damaged", "3.segment", "notes"]);
        let mut segments = Segments::open(path).unwrap();
        fs::remove_file(path.join("1.segment")).unwrap();
        write(path, &["4.segment"]);
        assert_eq!(segments.follow().unwrap(), None);
        fs::remove_file(path.join("3.segment")).unwrap();
        assert_eq!(copied(segments), ["1.segment", "2.segment.damaged", "3.segment", "4.segment"]);
    }

    #[test]
    fn if_all_was_deleted_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(copied(Segments::open(&path.join("none")).unwrap()), [""; 0]);
        write(path, &["1.segment"]);
        let mut segments = Segments::open(path).unwrap();
        // One between the two may have been made and deleted.
        fs::rename(path.join("1.segment"), path.join("3.segment")).unwrap();
        assert_eq!(segments.follow().unwrap(), Some(path.join("1.segment")));
    }
}
