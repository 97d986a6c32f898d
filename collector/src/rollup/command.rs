//! The command line of `martlet-collector rebuild`.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::date_text;
use super::dirty::mark_days;
use super::error::RollupError;
use super::exclusions::{exclude, exclusions, include};
use super::roller::{Archive, Roller, Turn};
use super::settings::Settings;
use super::stage::begin;
use super::zones::DAY_SECONDS;
use crate::cli::{Failure, configuration, tell};
use crate::config::Config;
use crate::store::{DirectoryLock, Location, LockError, STORE_NAME, Store, StoreError};

/// Which days, and what is to be left out.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// First UTC day to be made again.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "to")]
    from: Option<Date>,
    /// The UTC day behind the last one.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from")]
    to: Option<Date>,
    /// From now on, count nothing that a sensor saw in a time: SENSOR:FROM..TO, for example
    /// tokyo-1:2026-11-01T00:00:00Z..2026-11-02T06:00:00Z. Whole hours of UTC. The days that it touches are made again.
    #[arg(long, value_name = "SENSOR:FROM..TO")]
    exclude: Vec<Excluded>,
    /// Take an exclusion back, by its number. The days that it touches are made again.
    #[arg(long, value_name = "NUMBER")]
    include: Vec<i64>,
    /// Print the exclusions that are in force.
    #[arg(long)]
    list: bool,
}

/// What `--exclude` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excluded {
    sensor: String,
    time: Range<i64>,
}

impl FromStr for Excluded {
    type Err = String;

    fn from_str(text: &str) -> Result<Excluded, String> {
        let wrong = || "write SENSOR:FROM..TO with times such as 2026-11-01T00:00:00Z".to_owned();
        let (sensor, time) = text.split_once(':').ok_or_else(wrong)?;
        let (from, to) = time.split_once("..").ok_or_else(wrong)?;
        let time = |text: &str| text.parse::<jiff::Timestamp>().map(|time| time.as_second()).map_err(|_| wrong());
        Ok(Excluded { sensor: sensor.to_owned(), time: time(from)?..time(to)? })
    }
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = configuration(self.config.as_deref(), self.data_dir.clone())?;
        let days = self.days()?;
        if days.is_none() && self.exclude.is_empty() && self.include.is_empty() && !self.list {
            return Err(Failure::Misuse("give --from and --to, --exclude, --include or --list".to_owned()));
        }
        let directory = &config.store.data_dir;
        let location = Location::in_directory(directory);
        let failed = |error: String| Failure::Failed(error);
        if !directory.join(STORE_NAME).is_file() {
            let name = directory.display();
            return Err(failed(format!(
                "{name} has no store; give the collector's --data-dir, or its configuration with --config"
            )));
        }
        // Whoever has the directory makes the days: a running collector, or this command.
        let lock = match DirectoryLock::take(directory) {
            Ok(lock) => Some(lock),
            Err(LockError::InUse(_)) => None,
            Err(error) => return Err(failed(error.to_string())),
        };
        if lock.is_some() {
            Store::open(location.clone()).map_err(|error| failed(error.to_string()))?;
        }
        let mut roller = open(&config, &location)?;
        self.mark(&roller, days).map_err(|error| match error {
            RollupError::Exclusion(what) => Failure::Misuse(what),
            error => failed(error.to_string()),
        })?;
        if self.list {
            print(&roller).map_err(|error| failed(error.to_string()))?;
        }
        match lock {
            Some(_lock) => make_all(&mut roller).map_err(|error| failed(error.to_string())),
            None => {
                tell("the running collector makes the days that are marked");
                Ok(())
            }
        }
    }

    fn days(&self) -> Result<Option<Range<i64>>, Failure> {
        let (Some(from), Some(to)) = (self.from, self.to) else { return Ok(None) };
        let day = |date: Date| {
            let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| Failure::Misuse(error.to_string()))?;
            Ok(midnight.timestamp().as_second().div_euclid(DAY_SECONDS))
        };
        let days = day(from)?..day(to)?;
        if days.is_empty() {
            return Err(Failure::Misuse(format!("--from {from} --to {to}: --to is the day behind the last one")));
        }
        Ok(Some(days))
    }

    fn mark(&self, roller: &Roller, days: Option<Range<i64>>) -> Result<(), RollupError> {
        let (connection, now_ms) = (roller.connection(), jiff::Timestamp::now().as_millisecond());
        for Excluded { sensor, time } in &self.exclude {
            exclude(connection, sensor, time.clone(), now_ms)?;
        }
        self.include.iter().try_for_each(|&exclusion| include(connection, exclusion))?;
        if let Some(days) = days {
            let transaction = begin(connection)?;
            let marked = mark_days(&transaction, days)?;
            transaction.commit()?;
            tell(&format!("days marked to be made again: {marked}"));
        }
        Ok(())
    }
}

fn open(config: &Config, location: &Location) -> Result<Roller, Failure> {
    let failed = |error: RollupError| Failure::Failed(error.to_string());
    let key = super::roller::source_key(location).map_err(failed)?;
    let mut settings = Settings::configured(config, key).map_err(|error| Failure::Misuse(error.to_string()))?;
    // Nobody is waiting for the disk.
    settings.rests = false;
    Roller::open(location, Archive(config.archive_directory()), settings).map_err(failed)
}

fn print(roller: &Roller) -> Result<(), RollupError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let time =
        |time: i64| jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string());
    for exclusion in exclusions(roller.connection())? {
        let (from, to) = (time(exclusion.time.start), time(exclusion.time.end));
        let line = format!("{} {}:{from}..{to}", exclusion.exclusion, exclusion.sensor);
        writeln!(out, "{line}").map_err(StoreError::from)?;
    }
    Ok(())
}

fn make_all(roller: &mut Roller) -> Result<(), RollupError> {
    loop {
        match roller.turn(jiff::Timestamp::now().as_millisecond())? {
            Turn::Idle => return Ok(()),
            Turn::Made(made) => tell(&format!("{}: made, rows in the store {}", date_text(made.day), made.rows)),
            Turn::Gone(day) => {
                tell(&format!("{}: the archive has no files of it any more; left as it is", date_text(day)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_are_read() {
        let excluded: Excluded = "tokyo-1:1970-01-01T01:00:00Z..1970-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(excluded, Excluded { sensor: "tokyo-1".to_owned(), time: 3600..86_400 });
        for wrong in ["", "tokyo-1", "tokyo-1:1970-01-01T01:00:00Z", "a:1970-01-01..1970-01-02"] {
            assert!(wrong.parse::<Excluded>().is_err(), "{wrong}");
        }
    }
}
