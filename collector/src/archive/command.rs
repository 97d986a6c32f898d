//! `martlet-collector archive`, `export` and `erase`.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use jiff::civil::Date;
use thiserror::Error;

use super::catalog::{ArchiveFile, Catalog, Progress};
use super::directory::{Directory, date, day_of};
use super::error::ArchiveError;
use super::export::{Export, ExportError, Exported, Format, Selection};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::run::{self, StartError};
use crate::store::{DirectoryLock, Location, LockError};

/// How often a running collector is asked how an erasure fares.
const POLL: Duration = Duration::from_millis(200);
/// How long a running collector may take to notice one before its operator is told that it does not seem to.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// There is no store.
    #[error("there is no store in {0}: give the collector's --config or --data-dir")]
    NoStore(String),
    /// The archive fails.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A collector that is not running cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The data directory cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no archive.
    #[error("archive.enabled = false: there is no archive to erase from")]
    Disabled,
    /// The journal has records that are not in the store.
    #[error(
        "{0} records of the journal are not counted yet, because the collector did not end cleanly: start it, and ask again while it runs"
    )]
    Uncommitted(u64),
    /// An export fails.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Nobody takes notice.
    #[error("the collector has taken no notice within {} s: its log says why; it will erase when it can", PATIENCE.as_secs())]
    Ignored,
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

fn catalog(config: &Config) -> Result<Catalog, CommandError> {
    let location = Location::in_directory(&config.store.data_dir);
    match &location {
        Location::File(path) if !path.exists() => {
            Err(CommandError::NoStore(config.store.data_dir.display().to_string()))
        }
        _ => Ok(Catalog::open(&location)?),
    }
}

/// Prints the files of some days, as of one moment.
pub(crate) fn files(config: &Config, from: Option<Date>, to: Option<Date>, as_json: bool) -> Result<(), CommandError> {
    let days = from.map_or(i64::MIN, day_of)..to.map_or(i64::MAX, day_of);
    let files = catalog(config)?.files(days)?;
    let root = config.archive_directory();
    let mut out = io::stdout().lock();
    for file in files {
        let folder = format!("date={}", date(file.day)?);
        let path = root.join(folder).join(&file.name);
        let printed = if as_json { describe(&file, &path.display().to_string())? } else { path.display().to_string() };
        match writeln!(out, "{printed}") {
            // Whoever reads has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

fn describe(file: &ArchiveFile, path: &str) -> Result<String, CommandError> {
    let time = |seconds| jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).ok();
    let described = serde_json::json!({
        "path": path,
        "date": date(file.day)?.to_string(),
        "rows": file.written.rows,
        "packets": file.written.packets,
        "bytes": file.written.bytes,
        "first_window": time(file.written.first),
        "last_window": time(file.written.last),
        "coarse": file.is_coarse,
    });
    Ok(described.to_string())
}

/// Writes rows in another format.
pub(crate) fn export(
    config: &Config,
    selection: Selection,
    format: Format,
    output: Option<&Path>,
    tell: &mut dyn FnMut(&str),
) -> Result<(), CommandError> {
    let catalog = catalog(config)?;
    let directory = Directory::existing(&config.archive_directory());
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:30} {pos} of {len} days, {eta} left")
            .unwrap_or(ProgressStyle::default_bar()),
    );
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let mut export = Export { catalog: &catalog, directory: &directory, selection, progress: &mut progress };
    let exported = export.write(format, output);
    bar.finish_and_clear();
    let Exported { days, rows } = match exported {
        // Whoever reads has enough.
        Err(ExportError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        exported => exported?,
    };
    let what = if format == Format::Openmetrics { "samples" } else { "rows" };
    tell(&format!("exported {rows} {what} of {days} days"));
    Ok(())
}

/// A time as RFC 3339 writes it, or a UTC day, in seconds since the Unix epoch.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    let day = || text.parse::<Date>().ok().map(|date| day_of(date) * 86_400);
    let time = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    day().or_else(time).ok_or_else(|| "write a day as 2026-11-25 or a time as 2026-11-25T10:00:00Z".to_owned())
}

/// Masks the addresses of a network in every file: by the collector that runs, or here if none does.
pub(crate) fn erase(config: &Config, network: &IpNet, tell: &mut dyn FnMut(&str)) -> Result<(), CommandError> {
    if !config.archive.enabled {
        return Err(CommandError::Disabled);
    }
    let asked = catalog(config)?;
    match DirectoryLock::take(&config.store.data_dir) {
        Ok(_lock) => {
            let left = |progress| tell(&words(progress));
            let (mut archiver, uncommitted) = run::open_archive_alone(config)?;
            if uncommitted > 0 {
                return Err(CommandError::Uncommitted(uncommitted));
            }
            archiver.erase_all(network, left)?;
        }
        Err(LockError::InUse(_)) => ask(&asked, network, tell)?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Asks the collector that runs, and waits until it has done it.
fn ask(catalog: &Catalog, network: &IpNet, tell: &mut dyn FnMut(&str)) -> Result<(), CommandError> {
    let erasure = catalog.ask_erasure(network, SystemClock.now_ms())?;
    let (mut told, mut waited) = (None, Duration::ZERO);
    loop {
        let progress = catalog.erasure_progress(erasure)?;
        if told != Some(progress) {
            tell(&words(progress));
            told = Some(progress);
        }
        match progress {
            Progress::Done => return Ok(()),
            Progress::Waiting if waited > PATIENCE => return Err(CommandError::Ignored),
            _ => {}
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
}

fn words(progress: Progress) -> String {
    match progress {
        Progress::Waiting => "waiting for the archive".to_owned(),
        Progress::Left(files) => format!("{files} files to look through"),
        Progress::Done => "done".to_owned(),
    }
}
