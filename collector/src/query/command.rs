//! The command line of `martlet-collector query`.

use std::io::{BufWriter, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use super::output::Format;
use super::session::{Limits, QueryError, Session};
use crate::cli::{Failure, configuration};
use crate::store::STORE_NAME;

/// What is asked, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Configuration file (TOML): where the data directory is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Most rows of an answer.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    limit: u64,
    /// Longest time that an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// A SELECT statement.
    sql: String,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = configuration(self.config.as_deref(), self.data_dir)?;
        let limits = Limits { rows: self.limit, time: Duration::from_secs(self.timeout) };
        let answered = Session::open(&config.store.data_dir.join(STORE_NAME)).and_then(|session| {
            let mut out = BufWriter::new(std::io::stdout().lock());
            session.answer(&self.sql, self.format, limits, &mut out)
        });
        match answered {
            Ok(()) => Ok(()),
            // Whoever reads the answer has seen enough.
            Err(QueryError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error @ (QueryError::Sql(_) | QueryError::Forbidden(_))) => Err(Failure::Misuse(error.to_string())),
            Err(error) => Err(Failure::Failed(error.to_string())),
        }
    }
}
