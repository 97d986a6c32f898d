//! Who a sensor is: 128 random bits, kept in its state directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use martlet_window::Origin;
use rand::RngCore;
use thiserror::Error;

const FILE: &str = "origin";

/// Why the identity cannot be read or made.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The state directory or the file cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: not an identity of 32 hexadecimal digits; remove it to become a new sensor", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the identity of this state directory, and makes one the first time.
///
/// # Errors
/// If the directory cannot be written or the file is damaged.
pub fn load_or_create(state_dir: &Path) -> Result<Origin, IdentityError> {
    let path = state_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => parse(text.trim()).ok_or(IdentityError::Damaged { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut origin = Origin([0; 16]);
            rand::rng().fill_bytes(&mut origin.0);
            write(state_dir, &path, origin).map_err(|source| IdentityError::Io { path, source })?;
            Ok(origin)
        }
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

/// A crash leaves either no identity or a whole one: written aside, synced, then renamed.
fn write(state_dir: &Path, path: &Path, origin: Origin) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    writeln!(file, "{origin}")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(state_dir)?.sync_all()
}

fn parse(text: &str) -> Option<Origin> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(Origin(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("new/state");
        let first = load_or_create(&state).unwrap();
        assert_eq!(load_or_create(&state).unwrap(), first);
        assert_ne!(load_or_create(directory.path()).unwrap(), first);
    }

    #[test]
    fn a_damaged_identity_is_not_replaced_silently() {
        let directory = tempfile::tempdir().unwrap();
        for bad in ["", "xyz", "+123456789012345678901234567890ab"] {
            fs::write(directory.path().join(FILE), bad).unwrap();
            assert!(matches!(load_or_create(directory.path()), Err(IdentityError::Damaged { .. })), "{bad}");
        }
    }
}
