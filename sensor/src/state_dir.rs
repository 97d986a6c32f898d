//! The state directory belongs to one sensor at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// The file that is locked.
pub const FILE: &str = "lock";

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateDirError {
    /// Another sensor has it.
    #[error("{} is in use by another martlet-sensor; give each sensor a state_dir of its own", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// It cannot be made or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Holds a state directory until it is dropped, or the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes a state directory; makes it if there is none.
    ///
    /// # Errors
    /// If another process has it, or it cannot be written.
    pub fn take(directory: &Path) -> Result<StateLock, StateDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let path = directory.join(FILE);
        let file = File::create(&path).map_err(failed(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateDirError::InUse { directory: directory.to_owned() }),
            Err(error) => Err(failed(&path)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_sensor_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("made/here");
        let lock = StateLock::take(&state).unwrap();
        let error = StateLock::take(&state).unwrap_err();
        assert!(matches!(error, StateDirError::InUse { .. }));
        assert!(error.to_string().contains("made/here is in use"), "{error}");
        drop(lock);
        StateLock::take(&state).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(StateLock::take(&file), Err(StateDirError::Io { .. })));
    }
}
