//! What commands about the store of a collector, running or not, have in common.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, configuration};
use crate::config::Config;
use crate::store::{DirectoryLock, Location, LockError, Store};

/// Where the state is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl Place {
    /// A store that is there and up to date, to be opened beside a collector that may run.
    pub(super) fn store(&self) -> Result<Location, Failure> {
        self.configured_store().map(|(_, location)| location)
    }

    /// The same, with the configuration.
    pub(super) fn configured_store(&self) -> Result<(Config, Location), Failure> {
        let config = configuration(self.config.as_deref(), self.data_dir.clone())?;
        let directory = &config.store.data_dir;
        check_owner(directory)?;
        let location = Location::in_directory(directory);
        // If no collector runs, the store may be of an older program, or not be there yet.
        match DirectoryLock::take(directory) {
            Ok(_lock) => {
                let unusable = |error| Failure::failed(format!("{}: {error}", directory.display()));
                Store::open(location.clone()).map_err(unusable)?;
            }
            Err(LockError::InUse(_)) => {}
            Err(error @ LockError::Unusable { .. }) => return Err(Failure::failed(error)),
        }
        Ok((config, location))
    }
}

/// Files that another user makes in the directory would keep the collector from starting, and so would a directory of another.
fn check_owner(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(directory).map_err(|error| {
        let directory = directory.display();
        Failure::failed(format!(
            "{directory}: {error}; start the collector once, or name its directory with --data-dir"
        ))
    })?;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    let directory = directory.display();
    Err(Failure::failed(format!(
        "{directory} belongs to another user (number {owner}): run this as that user, for example with `sudo -u '#{owner}'`"
    )))
}

/// A table for people: columns as wide as their widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Prints to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::failed)
}
