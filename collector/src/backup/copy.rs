//! One backup.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::BackupError;
use super::segments::Segments;
use crate::archive::Directory;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::{BUSY_TIMEOUT, Bits, SCHEMA_VERSION, STORE_NAME};

/// How often a backup begins again because files were replaced under it.
pub(super) const ATTEMPTS: u32 = 10;
/// Before it begins again. The collector replaces a file within moments.
const PAUSE: Duration = Duration::from_millis(500);
/// Pages of the store that are copied between two looks at the progress: 16 MiB.
const PAGES: i32 = 1024;
/// Nobody else may read it: the store holds secrets.
const MODE: u32 = 0o700;
const JOURNAL: &str = "journal";
const ARCHIVE: &str = "archive";
/// The collector's own CA, with its key.
const AUTHORITY: &str = "ca/authority.pem";
/// Finished reports, and what analysts wrote.
const REPORTS: &str = "reports";

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// The moment as of which it is, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub store_bytes: u64,
    pub segments: u64,
    pub segment_bytes: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// How many of the files are hard links.
    pub linked: u64,
    /// Files of reports.
    pub reports: u64,
    /// How often it began.
    pub attempts: u32,
    /// Files whose length is not that which the store says.
    pub odd: Vec<PathBuf>,
}

/// A file of the archive that the store lists.
struct Listed {
    day: i64,
    name: String,
    bytes: u64,
}

/// Why an attempt has failed.
enum Failed {
    /// This file was replaced meanwhile.
    Replaced(PathBuf),
    /// There is no use in another.
    Ended(BackupError),
}

impl<E: Into<BackupError>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Ended(error.into())
    }
}

/// Told what is being copied, how much of it is done, and how much there is.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&'static str, u64, u64);

/// Copies the data directory of a configuration, whether or not a collector is running in it, to one that does not exist.
///
/// # Errors
/// If it cannot be copied as a whole: then nothing of it is left.
pub(super) fn back_up(
    config: &Config,
    output: &Path,
    links: bool,
    progress: Progress<'_>,
) -> Result<Copied, BackupError> {
    let store = config.store.data_dir.join(STORE_NAME);
    if !store.is_file() {
        return Err(BackupError::NoStore(config.store.data_dir.clone()));
    }
    let partial = prepare(config, output)?;
    let work = Work { config, store, partial: &partial, links };
    let copied = work.attempts(progress).and_then(|copied| {
        finish(&partial, output)?;
        Ok(copied)
    });
    if copied.is_err() {
        // The disk may be full because of it; and half a backup must not be taken for one.
        let _ = fs::remove_dir_all(&partial);
    }
    copied
}

/// Makes the directory that becomes the backup when it is whole.
fn prepare(config: &Config, output: &Path) -> Result<PathBuf, BackupError> {
    let not_movable = || BackupError::NotMovable(output.to_owned());
    let name = output.file_name().ok_or_else(not_movable)?;
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().map_err(BackupError::io("write to", parent))?;
    for within in [config.store.data_dir.clone(), config.archive_directory()] {
        if within.canonicalize().is_ok_and(|within| parent.starts_with(within)) {
            return Err(BackupError::Within { output: output.to_owned(), within });
        }
    }
    match fs::read_dir(output) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(BackupError::Exists(output.to_owned()));
            }
            let device = |path: &Path| path.metadata().map(|data| data.dev()).map_err(BackupError::io("look at", path));
            if device(output)? != device(&parent)? {
                return Err(not_movable());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(BackupError::Exists(output.to_owned()));
        }
        Err(error) => return Err(BackupError::io("list", output)(error)),
    }
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = parent.join(partial);
    match DirBuilder::new().mode(MODE).create(&partial) {
        Ok(()) => Ok(partial),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Unfinished(partial)),
        Err(error) => Err(BackupError::io("make", &partial)(error)),
    }
}

/// Gives a backup, all of whose files are durable, its name.
fn finish(partial: &Path, output: &Path) -> Result<(), BackupError> {
    sync_directories(partial)?;
    fs::rename(partial, output).map_err(BackupError::io("give the backup its name", output))?;
    partial.parent().map_or(Ok(()), sync_directory)
}

struct Work<'a> {
    config: &'a Config,
    store: PathBuf,
    partial: &'a Path,
    links: bool,
}

impl Work<'_> {
    fn attempts(&self, progress: Progress<'_>) -> Result<Copied, BackupError> {
        let mut attempt = 1;
        loop {
            let mut copied = Copied { attempts: attempt, ..Copied::default() };
            match self.attempt(&mut copied, progress) {
                Ok(()) => return Ok(copied),
                Err(Failed::Ended(error)) => return Err(error),
                Err(Failed::Replaced(path)) if attempt == ATTEMPTS => return Err(BackupError::Restless(path)),
                Err(Failed::Replaced(_)) => std::thread::sleep(PAUSE),
            }
            attempt += 1;
        }
    }

    fn attempt(&self, copied: &mut Copied, progress: Progress<'_>) -> Result<(), Failed> {
        let (store, journal) = (self.partial.join(STORE_NAME), self.partial.join(JOURNAL));
        // What an earlier attempt has left; of the archive, which may be large, what is whole is kept.
        unless_missing(fs::remove_file(&store)).map_err(BackupError::io("delete", &store))?;
        unless_missing(fs::remove_dir_all(&journal)).map_err(BackupError::io("delete", &journal))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(&self.store, flags)?;
        source.busy_timeout(BUSY_TIMEOUT)?;
        let mut segments = Segments::open(&self.config.store.data_dir.join(JOURNAL))?;
        // From here on the connection sees the store as it is now.
        let moment = source.unchecked_transaction()?;
        let found = moment.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if usize::try_from(found) != Ok(SCHEMA_VERSION) {
            Err(BackupError::Version { found })?;
        }
        let listed = listed(&moment)?;
        copied.at_ms = SystemClock.now_ms();
        // What is counted at this moment is in the journal now, or in the segments that were there before.
        if let Some(gone) = segments.follow()? {
            return Err(Failed::Replaced(gone));
        }
        make(&journal)?;
        (copied.segments, copied.segment_bytes) = segments.copy(&journal)?;
        copied.store_bytes = copy_store(&source, &store, progress)?;
        moment.finish()?;
        drop(source);
        self.copy_files(&listed, copied, progress)?;
        let reports = self.config.store.data_dir.join(REPORTS);
        if reports.is_dir() {
            copied.reports = copy_reports(&reports, &self.partial.join(REPORTS))?;
        }
        self.copy_authority()?;
        Ok(())
    }

    /// Copies the collector's own CA, if it has one: one file, which is replaced as a whole.
    fn copy_authority(&self) -> Result<(), Failed> {
        let (from, to) = (self.config.store.data_dir.join(AUTHORITY), self.partial.join(AUTHORITY));
        if !from.exists() {
            return Ok(());
        }
        to.parent().map_or(Ok(()), make)?;
        copy_file(&from, &to)?;
        let owner_only = fs::Permissions::from_mode(0o600);
        Ok(fs::set_permissions(&to, owner_only).map_err(BackupError::io("write", &to))?)
    }

    fn copy_files(&self, listed: &[Listed], copied: &mut Copied, progress: Progress<'_>) -> Result<(), Failed> {
        let (from, to) =
            (Directory::existing(&self.config.archive_directory()), Directory::existing(&self.partial.join(ARCHIVE)));
        let mut wanted = HashSet::new();
        for (done, file) in (0..).zip(listed) {
            progress("files of the archive", done, listed.len() as u64);
            let (from, folder) = (from.day(file.day)?.join(&file.name), to.day(file.day)?);
            let path = folder.join(&file.name);
            make(&folder)?;
            let is_linked = self.links && link(&from, &path)?;
            let bytes = if is_linked || path.exists() { length(&path)? } else { copy_file(&from, &path)? };
            if bytes != file.bytes {
                copied.odd.push(from);
            }
            copied.files += 1;
            copied.file_bytes += bytes;
            copied.linked += u64::from(is_linked);
            wanted.insert(path);
        }
        progress("files of the archive", listed.len() as u64, listed.len() as u64);
        Ok(discard(to.root(), &wanted)?)
    }
}

/// The files of the archive.
fn listed(connection: &Connection) -> Result<Vec<Listed>, BackupError> {
    let mut select = connection.prepare("SELECT day, name, bytes FROM archive_files ORDER BY day, file")?;
    let rows = select
        .query_map((), |row| Ok(Listed { day: row.get(0)?, name: row.get(1)?, bytes: row.get::<_, Bits>(2)?.0 }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Copies the database that a connection sees in its transaction. While that is open nobody makes the copy begin again.
fn copy_store(source: &Connection, to: &Path, progress: Progress<'_>) -> Result<u64, BackupError> {
    let mut target = Connection::open(to)?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        let step = backup.step(PAGES)?;
        let pages = backup.progress();
        let number = |pages: i32| u64::try_from(pages).unwrap_or(0);
        progress("pages of the store", number(pages.pagecount - pages.remaining), number(pages.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            // Somebody else has the source, or the copy, for a moment.
            _ => std::thread::sleep(PAUSE),
        }
    }
    drop(backup);
    target.close().map_err(|(_, error)| error)?;
    let file = File::open(to).map_err(BackupError::io("open", to))?;
    file.sync_all().map_err(BackupError::io("sync", to))?;
    length(to)
}

/// Copies a directory with all that is in it, and says how many files those are. A revision is written once, and notes are replaced as
/// a whole; drafts that go meanwhile are nobody's loss.
fn copy_reports(from: &Path, to: &Path) -> Result<u64, Failed> {
    make(to)?;
    let mut copied = 0;
    for path in entries(from)? {
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copied += copy_reports(&path, &to.join(name))?;
            continue;
        }
        match copy_file(&path, &to.join(name)) {
            Ok(_) => copied += 1,
            Err(Failed::Replaced(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}

/// Copies a file of the archive, unless it is gone.
fn copy_file(from: &Path, to: &Path) -> Result<u64, Failed> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failed::Replaced(from.to_owned())),
        source => source.map_err(BackupError::io("open", from))?,
    };
    // Under another name until it is whole: what an attempt has finished the next one keeps.
    let beside = to.with_extension("copying");
    let failed = || BackupError::io("write", to);
    let mut copy = File::create(&beside).map_err(failed())?;
    let bytes = io::copy(&mut source, &mut copy).map_err(failed())?;
    copy.sync_all().map_err(failed())?;
    fs::rename(&beside, to).map_err(failed())?;
    Ok(bytes)
}

/// Links a file of the archive; `false` if it is on another file system, or one without links.
fn link(from: &Path, to: &Path) -> Result<bool, Failed> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failed::Replaced(from.to_owned())),
        // An earlier attempt may have linked it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let inode = |path: &Path| path.metadata().map(|data| (data.dev(), data.ino())).ok();
            Ok(inode(from).is_some_and(|inode_of| inode(to) == Some(inode_of)))
        }
        Err(_) => Ok(false),
    }
}

/// Deletes what an earlier attempt has copied and the store does not list any more.
fn discard(archive: &Path, wanted: &HashSet<PathBuf>) -> Result<(), BackupError> {
    make(archive)?;
    for folder in entries(archive)? {
        let files = entries(&folder)?;
        for file in files.iter().filter(|file| !wanted.contains(*file)) {
            fs::remove_file(file).map_err(BackupError::io("delete", file))?;
        }
        if files.iter().all(|file| !wanted.contains(file)) {
            fs::remove_dir(&folder).map_err(BackupError::io("delete", &folder))?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let failed = || BackupError::io("list", directory);
    let entries = fs::read_dir(directory).map_err(failed())?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed())).collect()
}

fn make(directory: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(MODE).recursive(true).create(directory).map_err(BackupError::io("make", directory))
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn length(path: &Path) -> Result<u64, BackupError> {
    Ok(path.metadata().map_err(BackupError::io("read the length of", path))?.len())
}

/// Makes the names in a directory and in those below it durable.
fn sync_directories(directory: &Path) -> Result<(), BackupError> {
    for entry in entries(directory)?.iter().filter(|entry| entry.is_dir()) {
        sync_directories(entry)?;
    }
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> Result<(), BackupError> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(BackupError::io("sync", directory))
}
