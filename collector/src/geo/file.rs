//! Files: read with a limit, and watched by what their directory entry says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Problem;

/// Reads a whole file.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(limit)).unwrap_or(0));
    // It may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// What changes when a file does. The inode tells a file that was moved into the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

/// The state of files at a time: `None` for one that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

impl Stamps {
    /// Of files, and of the lists within directories.
    pub(super) fn take(paths: &[PathBuf]) -> Stamps {
        let mut stamps = Vec::new();
        for path in paths {
            match lists_within(path) {
                Ok(files) => stamps.extend(files.into_iter().map(|file| {
                    let stamp = Stamp::of(&file);
                    (file, stamp)
                })),
                Err(_) => stamps.push((path.clone(), None)),
            }
        }
        Stamps(stamps)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(path).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Stamp { modified, bytes: metadata.size(), inode: metadata.ino() })
    }
}

/// Extensions of lists in a directory; everything else there (a licence, a backup) is no list.
const LIST_EXTENSIONS: [&str; 4] = ["txt", "cidr", "netset", "json"];

/// The file itself, or the lists of a directory in the order of their names.
pub(super) fn lists_within(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let is_list = file.extension().is_some_and(|extension| LIST_EXTENSIONS.iter().any(|known| extension == *known));
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_list && !is_hidden && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
