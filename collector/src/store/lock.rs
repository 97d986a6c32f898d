//! One collector in one directory.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

const NAME: &str = "lock";

/// Why a directory cannot be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data directory {} is in use by another collector; stop it, or choose another with --data-dir", .0.display())]
    InUse(PathBuf),
    /// It cannot be used.
    #[error("cannot write to the data directory {}: {source}; create it, or choose another with --data-dir", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A directory that nobody else has; given back when dropped, also by the end of the process.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes a directory; makes it if there is none.
    ///
    /// # Errors
    /// If another process has it, or it cannot be written.
    pub fn take(path: &Path) -> Result<DirectoryLock, LockError> {
        let unusable = |source| LockError::Unusable { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let file = File::create(path.join(NAME)).map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryLock { file }),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(LockError::InUse(path.to_owned())),
            Err(error) => Err(unusable(error.into())),
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread begins right now has the file open too, until it runs its
        // program. What cannot be given back here is given back then.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let lock = DirectoryLock::take(&path).unwrap();
        let error = DirectoryLock::take(&path).unwrap_err();
        assert!(matches!(error, LockError::InUse(_)) && error.to_string().contains("a/b"), "{error}");
        drop(lock);
        DirectoryLock::take(&path).unwrap();
    }

    #[test]
    fn one_that_is_dropped_is_free_although_a_child_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        // As a child has it before it runs its program.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        DirectoryLock::take(directory.path()).unwrap();
    }
}
