//! Opening the database and bringing its schema up to date.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use martlet_window::TrafficClass;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use thiserror::Error;

use crate::live::{LIST_KINDS, ListId, Start};

/// Each brings the schema one version further. Entries are never changed once released, only added.
const MIGRATIONS: [&str; 13] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
    include_str!("schema/13.sql"),
];
/// The version that this program writes.
pub const SCHEMA_VERSION: usize = MIGRATIONS.len();
/// Bytes in the write-ahead log from which on they are copied into the database and synced there. Acknowledgements wait for
/// the same disk: much at once, they would wait for at once.
pub(crate) const CHECKPOINT_BYTES: u32 = 4 << 20;
/// How long one of those that write waits for another. Their transactions take milliseconds, and a disk may be slow.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// The name of the database in a data directory.
pub const STORE_NAME: &str = "martlet.db";
/// "MRTL": says whose database it is.
const APPLICATION_ID: i64 = 0x4d52_544c;

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// It was written by a newer program.
    #[error(
        "the store has schema version {found}, and this program knows versions up to {SCHEMA_VERSION}: run a newer martlet-collector"
    )]
    Newer {
        /// The version found.
        found: i64,
    },
    /// The file belongs to another program.
    #[error("the file is a database of another program")]
    Foreign,
    /// Its buckets have another length.
    #[error(
        "live.bucket_seconds = {configured}, but the store's history has buckets of {stored} s: set it back, or begin a new store with --data-dir"
    )]
    BucketSeconds {
        /// As configured.
        configured: i64,
        /// As stored.
        stored: i64,
    },
    /// A row cannot be understood.
    #[error("a row of the store's table {0} is damaged")]
    Damaged(&'static str),
    /// Something cannot be written as a blob, or the write-ahead log cannot be opened or synced.
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            StoreError::Io(error) => error.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this file.
    File(PathBuf),
    /// In memory under this name, as long as any connection to it is open: for simulations.
    Memory(String),
}

impl Location {
    /// The store of a data directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Location {
        Location::File(directory.join(STORE_NAME))
    }

    /// The write-ahead log of a database that is open.
    fn open_wal(&self) -> std::io::Result<Option<File>> {
        match self {
            Location::File(path) => {
                let mut name = path.clone().into_os_string();
                name.push("-wal");
                File::open(name).map(Some)
            }
            Location::Memory(_) => Ok(None),
        }
    }

    /// A connection beside whoever else has the store open, which waits for their commits; or the schema version, if the store has
    /// not been brought up to date.
    pub(crate) fn connect_current(&self) -> rusqlite::Result<Result<Connection, usize>> {
        let connection = self.connect()?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(if version < SCHEMA_VERSION { Err(version) } else { Ok(connection) })
    }

    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        match self {
            Location::File(path) => Connection::open(path),
            Location::Memory(name) => {
                let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(format!("file:{name}?mode=memory&cache=shared"), flags)
            }
        }
    }
}

/// The store, to be written. There is one writer at a time.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    location: Location,
    /// What is known to be written of buckets; of one that is not known here all lists are written.
    pub(super) written: WrittenLists,
    /// Lists that are written, or partly, and that no bucket has in a commit yet.
    pub(super) staged: Vec<StagedList>,
    /// The write-ahead log; `None` in memory. SQLite holds no lock on this file that closing it could let go.
    pub(super) wal: Option<File>,
}

/// The lists of a bucket by kind and place, each with its number.
pub(super) type NumberedLists = [Vec<(ListId, u64)>; LIST_KINDS];

/// The lists of buckets.
pub(super) type WrittenLists = HashMap<(TrafficClass, Start), NumberedLists>;

/// A list on its way into the store.
#[derive(Debug)]
pub(super) struct StagedList {
    pub(super) id: ListId,
    pub(super) number: u64,
    /// So many of its pieces are written.
    pub(super) pieces: usize,
    pub(super) is_whole: bool,
}

impl Store {
    /// Opens the store; makes it if there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// If it cannot be read or written, or is of a newer program.
    pub fn open(location: Location) -> Result<Store, StoreError> {
        let mut connection = location.connect()?;
        // Most of what is written are large blobs, which cost a read and a write for each page. Only a new database takes it.
        connection.pragma_update(None, "page_size", 16_384)?;
        // A commit is on disk when it is made: the journal is deleted up to it.
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BYTES / page_bytes)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        migrate(&mut connection)?;
        let wal = location.open_wal()?;
        Ok(Store { connection, location, written: HashMap::new(), staged: Vec::new(), wal })
    }

    /// Where it is.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Makes room in the write-ahead log, after a commit that found none.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        Ok(())
    }

    /// Lets the database grow to at most so many pages beyond what it has, as a full disk would.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn limit_growth(&self, pages: u32) -> Result<(), StoreError> {
        let now: u32 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let limit = now.saturating_add(pages);
        self.connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))?;
        Ok(())
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (owner, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if owner != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Foreign);
    }
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(StoreError::Newer { found: version });
    };
    if missing.is_empty() {
        return Ok(());
    }
    missing.iter().try_for_each(|migration| transaction.execute_batch(migration))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}
