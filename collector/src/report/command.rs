//! The command line of `martlet-collector report`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::civil::Date;
use martlet_report::{Wording, model};
use martlet_window::TrafficClass;

use super::notes::Notes;
use super::office::{self, Office};
use super::output::{self, Form};
use super::period::{Kind, Period};
use super::shelf::{Shelf, Stored};
use super::{MOST_TIMES_BEFORE, Wanted};
use crate::cli::{Failure, class, configuration, tell};
use crate::config::Config;
use crate::events::{Book, Language};
use crate::labels::Group;
use crate::rollup::query::History;
use crate::store::{Location, STORE_NAME};

/// Which time.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Of a week.
    Weekly {
        /// Which ISO week, as 2021-W10 [default: the last one that is over].
        #[arg(long, value_name = "WEEK", value_parser = Period::week)]
        week: Option<Period>,
        /// How it is made and written.
        #[command(flatten)]
        how: How,
    },
    /// Of a month.
    Monthly {
        /// Which, as 2021-03 [default: the last one that is over].
        #[arg(long, value_name = "MONTH", value_parser = Period::month)]
        month: Option<Period>,
        /// How it is made and written.
        #[command(flatten)]
        how: How,
    },
    /// Of a quarter of a year.
    Quarterly {
        /// Which, as 2021-Q1 [default: the last one that is over].
        #[arg(long, value_name = "QUARTER", value_parser = Period::quarter)]
        quarter: Option<Period>,
        /// How it is made and written.
        #[command(flatten)]
        how: How,
    },
    /// Of any days.
    Days {
        /// First day, as 2021-03-08.
        #[arg(long, value_name = "DATE")]
        from: Date,
        /// Last day, which belongs to it.
        #[arg(long, value_name = "DATE")]
        to: Date,
        /// How it is made and written.
        #[command(flatten)]
        how: How,
    },
    /// Print which reports are finished: class, time, revision and sensors.
    List(State),
}

/// Where the state is.
#[derive(Debug, Args)]
pub struct State {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

/// How it is made and written.
#[derive(Debug, Args)]
pub struct How {
    #[command(flatten)]
    state: State,
    /// Of which class: real, drill or import.
    #[arg(long, default_value = "real", value_parser = class)]
    class: TrafficClass,
    /// Only sensors of a group: its name, or another label and its value, as position:overseas [default: all sensors].
    #[arg(long, value_name = "GROUP")]
    sensors: Option<Group>,
    /// Language: en, ja, or a file of wording such as fr.toml.
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    lang: String,
    /// In which format.
    #[arg(long, value_enum, default_value_t = Form::Html)]
    format: Form,
    /// Where to: a file; of csv and md a directory, or a file that ends in .zip [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compare with the time that lies so many before. Only what is compared with the last one is kept as a revision.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TIMES_BEFORE)))]
    compare: u32,
    /// A revision that is finished, as it was published [default: made from history as it is now].
    #[arg(long, value_name = "NUMBER", conflicts_with = "compare")]
    revision: Option<u32>,
    /// What analysts write into it (TOML; docs/reports.md). It is kept for this time, in every language and format.
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// Prints HTML as PDF: a program and its arguments, in which {html} and {pdf} are files [default: reports.pdf_command, or an installed
    /// Chromium or WeasyPrint].
    #[arg(long, value_name = "WORD", num_args = 1.., allow_hyphen_values = true)]
    pdf_command: Option<Vec<String>>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (period, kind, how) = match self {
            Arguments::Weekly { week, how } => (week, Kind::Week, how),
            Arguments::Monthly { month, how } => (month, Kind::Month, how),
            Arguments::Quarterly { quarter, how } => (quarter, Kind::Quarter, how),
            Arguments::Days { from, to, how } => {
                let days = Period::days(from, to).map_err(Failure::misuse)?;
                // Days are always given.
                (Some(days), Kind::Week, how)
            }
            Arguments::List(State { config, data_dir }) => return list(&configuration(config.as_deref(), data_dir)?),
        };
        how.run(period, kind)
    }
}

fn list(config: &Config) -> Result<(), Failure> {
    let shelf = Shelf::in_directory(&config.store.data_dir);
    let mut out = io::stdout().lock();
    let groups = shelf.groups().map_err(Failure::failed)?;
    for group in std::iter::once(None).chain(groups.iter().map(Some)) {
        let (of_group, name) = (shelf.of_group(group), group.map_or("all".to_owned(), Group::to_string));
        for class in TrafficClass::ALL {
            for Stored { label, revision } in of_group.list(class).map_err(Failure::failed)? {
                writeln!(out, "{}\t{label}\t{revision}\t{name}", class.name()).map_err(Failure::failed)?;
            }
        }
    }
    Ok(())
}

impl How {
    fn run(self, period: Option<Period>, kind: Kind) -> Result<(), Failure> {
        let State { config, data_dir } = &self.state;
        let config = configuration(config.as_deref(), data_dir.clone())?;
        let wording = wording(&self.lang)?;
        self.check_output()?;
        let notes = self.notes.as_deref().map(read_notes).transpose()?;
        let directory = &config.store.data_dir;
        if !directory.join(STORE_NAME).is_file() {
            return Err(Failure::failed(format!(
                "{} has no store; give the collector's --data-dir, or its configuration with --config",
                directory.display()
            )));
        }
        let now = jiff::Timestamp::now().as_second();
        let today = config.reports.zone().map_err(Failure::misuse)?.date(now);
        let period = period.or_else(|| Period::last_before(kind, today?, config.reports.week_start.weekday()));
        let period = period.ok_or_else(|| Failure::failed("the clock is beyond what calendars have"))?;
        let report = self.report(&config, period, now, notes)?;
        if report.revision.is_none() && self.compare == 1 {
            tell("provisional: data may still come, so no revision of it is kept");
        }
        self.write(&report, &wording, config.reports.pdf_command())
    }

    fn report(
        &self,
        config: &Config,
        period: Period,
        now: i64,
        notes: Option<Notes>,
    ) -> Result<model::Report, Failure> {
        let location = Location::in_directory(&config.store.data_dir);
        let office = Office::new(config, Arc::new(Book::new(location.clone()))).of_group(self.sensors.as_ref());
        let (class, label) = (self.class, period.to_string());
        let mut report = if let Some(revision) = self.revision {
            office.kept(class, &Stored { label: label.clone(), revision }).map_err(Failure::failed)?
        } else {
            let history = History::open(&location).map_err(Failure::failed)?;
            let made = office
                .make(&history, &Wanted { class, period, compare: self.compare }, now)
                .map_err(Failure::failed)?;
            made.remark.into_iter().for_each(tell);
            made.report
        };
        if let Some(notes) = notes {
            notes.check(&report).map_err(Failure::misuse)?;
            notes.put_into(&mut report);
            office.replace_notes(class, &label, &notes, |_| true).map_err(Failure::failed)?;
        }
        Ok(report)
    }

    /// Whether what is asked for can be written where it is asked for, before any work is done.
    fn check_output(&self) -> Result<(), Failure> {
        match (self.format, &self.out) {
            (Form::Csv | Form::Md, None) => {
                Err(Failure::misuse("several files: say where to with --out DIRECTORY or --out FILE.zip"))
            }
            (Form::Pdf, None) => Err(Failure::misuse("say where to with --out FILE")),
            _ => Ok(()),
        }
    }

    fn write(&self, report: &model::Report, wording: &Wording, printer: Option<&[String]>) -> Result<(), Failure> {
        let (form, printer) = (self.format, self.pdf_command.as_deref().or(printer));
        let bytes = || form.bytes(report, wording).map_err(Failure::failed);
        match &self.out {
            Some(out) if form == Form::Pdf => output::print(&bytes()?, out, printer, &|| true).map_err(Failure::failed),
            Some(out) if form.is_several() && out.extension().is_none_or(|extension| extension != "zip") => {
                fs::create_dir_all(out).map_err(|error| Failure::failed(format!("{}: {error}", out.display())))?;
                let files = form.files(report, wording).map_err(Failure::failed)?;
                files
                    .iter()
                    .try_for_each(|file| output::write(&out.join(&file.name), &file.bytes))
                    .map_err(Failure::failed)
            }
            Some(out) => output::write(out, &bytes()?).map_err(Failure::failed),
            None => io::stdout().write_all(&bytes()?).map_err(Failure::failed),
        }
    }
}

fn wording(language: &str) -> Result<Wording, Failure> {
    if let Some(language) = Language::named(language) {
        return office::wording(language).map_err(Failure::failed);
    }
    if Path::new(language).extension().is_none_or(|extension| extension != "toml") {
        return Err(Failure::misuse(format!(
            "--lang {language}: take en, ja, or a file of wording that ends in .toml"
        )));
    }
    let wrong = |error: &dyn ToString| Failure::misuse(format!("--lang {language}: {}", error.to_string()));
    let text = fs::read_to_string(language).map_err(|error| wrong(&error))?;
    Wording::read(&text).map_err(|error| wrong(&error))
}

fn read_notes(path: &Path) -> Result<Notes, Failure> {
    let wrong = |error: &dyn ToString| Failure::misuse(format!("{}: {}", path.display(), error.to_string()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    Notes::read(&text).map_err(|error| wrong(&error))
}
