//! The CA on disk: one file, replaced as a whole, for the collector's user alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use martlet_enrol::{Authority, AuthorityError, Life};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

const DIRECTORY: &str = "ca";
const FILE: &str = "authority.pem";
const ASIDE: &str = "authority.new";
const LOCK: &str = "lock";

/// Why the CA cannot be read or made.
#[derive(Debug, Error)]
pub enum AuthorityFileError {
    /// A file or directory cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged, or a certificate cannot be made.
    #[error("{}: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AuthorityError,
    },
    /// There is none yet.
    #[error("there is no CA yet: `martlet-collector enroll create` makes it with the first token")]
    None,
}

/// Where the CA is.
#[derive(Clone, Debug)]
pub struct AuthorityFile {
    directory: PathBuf,
}

impl AuthorityFile {
    /// The one in a data directory.
    #[must_use]
    pub fn in_directory(data_dir: &Path) -> AuthorityFile {
        AuthorityFile { directory: data_dir.join(DIRECTORY) }
    }

    /// Its text, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self) -> Result<Option<String>, AuthorityFileError> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AuthorityFileError::Io { path: self.path(), source }),
        }
    }

    /// The CA in a text that was read.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn parse(&self, text: &str) -> Result<Authority, AuthorityFileError> {
        Authority::from_pem(text).map_err(|source| self.wrong(source))
    }

    /// The CA; one is made if there is none. Times are in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If it cannot be read, or not be written.
    pub fn load_or_make(&self, now: i64, life: Life) -> Result<Authority, AuthorityFileError> {
        if let Some(text) = self.text()? {
            return self.parse(&text);
        }
        let _lock = self.lock()?;
        // A command and a collector may both make the first one.
        if let Some(text) = self.text()? {
            return self.parse(&text);
        }
        let authority = Authority::make(now, life).map_err(|source| self.wrong(source))?;
        self.write(&authority)?;
        Ok(authority)
    }

    /// Puts a new CA in the place of the one there is; `alone`: earlier ones are not trusted any more from now on.
    ///
    /// # Errors
    /// If there is none, or it cannot be read or written.
    pub fn rotate(&self, now: i64, life: Life, alone: bool) -> Result<Authority, AuthorityFileError> {
        if self.text()?.is_none() {
            return Err(AuthorityFileError::None);
        }
        let _lock = self.lock()?;
        let before = self.parse(&self.text()?.ok_or(AuthorityFileError::None)?)?;
        let next = before.succeed(now, life).map_err(|source| self.wrong(source))?;
        let next = if alone { next.alone() } else { next };
        self.write(&next)?;
        Ok(next)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn wrong(&self, source: AuthorityError) -> AuthorityFileError {
        AuthorityFileError::Authority { path: self.path(), source }
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, AuthorityFileError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityFileError::Io { path, source }
        };
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.directory);
        made.map_err(failed(&self.directory))?;
        let path = self.directory.join(LOCK);
        let file = File::create(&path).map_err(failed(&path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(&path)(error.into()))?;
        Ok(file)
    }

    /// A crash leaves the file as it was, or as it is to be.
    fn write(&self, authority: &Authority) -> Result<(), AuthorityFileError> {
        let aside = self.directory.join(ASIDE);
        let write = || {
            let _ = fs::remove_file(&aside);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(authority.to_pem().as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, self.path())?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| AuthorityFileError::Io { path: self.path(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const LIFE: Life = Life::of_days(10);

    #[test]
    fn one_is_made_once_kept_for_its_owner_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = AuthorityFile::in_directory(folder.path());
        assert!(matches!(file.rotate(0, LIFE, false), Err(AuthorityFileError::None)));
        let first = file.load_or_make(0, LIFE).unwrap();
        assert_eq!(file.load_or_make(0, LIFE).unwrap().fingerprint(), first.fingerprint());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path()), mode(&file.directory)), (0o600, 0o700));
        let second = file.rotate(0, LIFE, false).unwrap();
        assert_eq!((second.roots().count(), mode(&file.path())), (2, 0o600));
        assert_eq!(file.load_or_make(0, LIFE).unwrap().fingerprint(), second.fingerprint());
        assert_eq!(file.rotate(0, LIFE, true).unwrap().roots().count(), 1);
        fs::write(file.path(), "-----BEGIN").unwrap();
        let told = file.load_or_make(0, LIFE).unwrap_err().to_string();
        assert!(told.contains("authority.pem") && told.contains("damaged"), "{told}");
    }
}
