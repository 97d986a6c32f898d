//! `martlet-collector check`: what a configuration comes to, without starting anything.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use martlet_telemetry::preflight::{self, Finding};
use martlet_telemetry::{config as settings, log};

use super::{FAILED, MISCONFIGURED, Settings, complain, tell, token};
use crate::config::Config;
use crate::geo::Geo;

pub(super) const ABOUT: &str = "\
Check the configuration and print what would be in effect, as TOML that can be used again, with the origin of each setting in a \
comment: default, the file and line, the variable of the environment, or the flag.

Everything is looked at and nothing is changed: settings, files and their permissions, dates of certificates (expired is an \
error, less than 14 days a warning), directories, and whether addresses can be listened on. Warnings go to standard error.

Exit status: 0 if the collector can be started with it, 2 if the command line cannot be understood, 78 if the configuration \
cannot be used.";

/// Checks, prints, and says with which status to exit.
pub(super) fn run(settings: &Settings) -> ExitCode {
    match checked(settings) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err(message) => complain(&message, MISCONFIGURED),
    }
}

fn checked(settings: &Settings) -> Result<String, String> {
    let config = settings.effective()?;
    log::check(&config.log.filter).map_err(|error| error.to_string())?;
    let http = config.http.warnings(token::has_tokens(&config) || config.publication.public);
    let reports = config.reports.warnings(&config);
    for warning in config.ingest.warnings().into_iter().chain(http).chain(config.events.warnings()).chain(reports) {
        tell(&format!("warning: {warning}"));
    }
    let mut errors = Vec::new();
    for finding in certificates(&config).into_iter().chain(surroundings(&config)) {
        match finding {
            Finding::Warning(text) => tell(&format!("warning: {text}")),
            Finding::Error(text) => errors.push(text),
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\nmartlet-collector: "));
    }
    let (geo, _) = Geo::open(&config.geo).map_err(|error| error.to_string())?;
    let text = toml::to_string(&config).map_err(|error| error.to_string())?;
    let text = settings.origins()?.annotate(&text);
    // As comments: what is printed is a configuration that can be used again.
    let about = geo.snapshot().describe().iter().map(|line| format!("# {line}\n")).collect::<String>();
    Ok(format!("{text}\n{about}"))
}

/// What is to be said of certificates' dates.
pub(super) fn certificates(config: &Config) -> Vec<Finding> {
    let Some(tls) = &config.ingest.tls else { return Vec::new() };
    let now = SystemTime::now();
    let mut found = preflight::certificate_dates("ingest.tls.certificate", &tls.certificate, now);
    if let Some(path) = &tls.client_ca {
        found.extend(preflight::certificate_dates("ingest.tls.client_ca", path, now));
    }
    found
}

/// What is to be said of directories and addresses.
fn surroundings(config: &Config) -> Vec<Finding> {
    let archive = config.archive.enabled.then(|| config.archive_directory());
    let archive = archive.and_then(|directory| preflight::directory("archive.directory", &directory));
    let found = [
        preflight::directory("store.data_dir", &config.store.data_dir),
        archive,
        preflight::listening("ingest.listen", config.ingest.listen),
        preflight::listening("http.listen", config.http.listen),
    ];
    found.into_iter().flatten().collect()
}

impl Settings {
    /// Where each setting comes from.
    fn origins(&self) -> Result<settings::Origins, String> {
        let mut origins = settings::Origins::read(self.state.config.as_deref(), settings::environment())
            .map_err(|error| error.to_string())?;
        let flags = [
            (self.state.data_dir.is_some(), "store.data_dir", "--data-dir"),
            (self.listen.is_some(), "ingest.listen", "--listen"),
            (self.http.is_some(), "http.listen", "--http"),
        ];
        for (_, key, flag) in flags.into_iter().filter(|(given, ..)| *given) {
            origins.flag(key, flag);
        }
        Ok(origins)
    }
}
