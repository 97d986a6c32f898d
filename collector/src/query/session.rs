//! A connection that can read history and nothing else.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

use super::output::{Format, Printer};
use crate::rollup::register;
use crate::store::{BUSY_TIMEOUT, SCHEMA_VERSION};

/// So many steps of SQLite's machine are made before the time is looked at.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// What a query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of its answer.
    pub rows: u64,
    /// Time.
    pub time: Duration,
}

/// Why a query has no answer, or none that is whole.
#[derive(Debug, Error)]
pub enum QueryError {
    /// There is no store, or it cannot be read.
    #[error(
        "cannot read the store {path}: {source}; give the collector's --data-dir, or its configuration with --config"
    )]
    Unreadable {
        /// Where.
        path: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was written by another version.
    #[error(
        "the store has schema version {found}, and this program reads version {SCHEMA_VERSION}: a newer store needs a newer \
         martlet-collector, an older one is brought forward when the collector starts"
    )]
    Version {
        /// The version found.
        found: i64,
    },
    /// It is not allowed.
    #[error("{0}: only SELECT, and only on the views and tables of history that docs/history.md lists")]
    Forbidden(String),
    /// SQLite cannot answer it.
    #[error("{0}")]
    Sql(rusqlite::Error),
    /// It took too long.
    #[error("stopped after {} s: ask for less, or give more with --timeout", .0.as_secs())]
    Time(Duration),
    /// There are more rows.
    #[error("stopped after {0} rows: there are more; ask for less, or give more with --limit")]
    Rows(u64),
    /// The answer cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

/// A connection for queries.
pub struct Session {
    connection: Connection,
}

impl Session {
    /// Opens a store, whether or not a collector is running on it.
    ///
    /// # Errors
    /// If there is none, or it is of another version.
    pub fn open(path: &Path) -> Result<Session, QueryError> {
        let unreadable = |source| QueryError::Unreadable { path: path.display().to_string(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(unreadable)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(unreadable)?;
        connection.pragma_update(None, "query_only", true).map_err(unreadable)?;
        let found = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unreadable)?;
        if usize::try_from(found) != Ok(SCHEMA_VERSION) {
            return Err(QueryError::Version { found });
        }
        register(&connection).map_err(unreadable)?;
        let forbidden = forbidden(&connection).map_err(unreadable)?;
        connection.authorizer(Some(move |context: AuthContext<'_>| authorize(&context.action, &forbidden)));
        Ok(Session { connection })
    }

    /// Answers a query. If it is stopped, what was found until then is written.
    ///
    /// # Errors
    /// If it cannot be answered, or not as a whole.
    pub fn answer(&self, sql: &str, format: Format, limits: Limits, out: &mut dyn Write) -> Result<(), QueryError> {
        let begun = Instant::now();
        let is_over = move || begun.elapsed() > limits.time;
        self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over));
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => QueryError::Time(limits.time),
            Some(ErrorCode::AuthorizationForStatementDenied) => QueryError::Forbidden(error.to_string()),
            _ => QueryError::Sql(error),
        };
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut printer = Printer::new(format, names, out)?;
        let mut rows = statement.query(()).map_err(failed)?;
        let mut count = 0;
        let stopped = loop {
            match rows.next() {
                Ok(Some(_)) if count == limits.rows => break Some(QueryError::Rows(limits.rows)),
                Ok(Some(row)) => printer.row(row).map_err(|error| error.unwrap_or_else(failed))?,
                Ok(None) => break None,
                Err(error) => break Some(failed(error)),
            }
            count += 1;
        };
        printer.finish()?;
        stopped.map_or(Ok(()), Err)
    }
}

/// What a query may do.
fn authorize(action: &AuthAction<'_>, forbidden: &HashSet<String>) -> Authorization {
    let is_allowed = match action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => *function_name != "load_extension",
        // A name that no table has is one that the query gave to something of its own.
        AuthAction::Read { table_name, .. } => !forbidden.contains(*table_name),
        _ => false,
    };
    if is_allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Tables that are not history: the store also has secrets, positions of streams, and what is none of an analyst's business.
fn forbidden(connection: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut select = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
    let names = select.query_map((), |row| row.get::<_, String>(0))?;
    names.filter(|name| name.as_ref().map_or(true, |name| !is_history(name))).collect()
}

fn is_history(table: &str) -> bool {
    const OTHERS: [&str; 6] =
        ["archive_files", "exposure_by_hour", "first_seen", "history_days", "sensor_hours", "sensors"];
    table.starts_with("rollup_") || table.ends_with("_by_day") || OTHERS.contains(&table)
}
