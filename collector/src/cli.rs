//! The command line: flags win over the environment, which wins over the file.

mod check;
mod enroll;
mod place;
mod reload;
mod sensor;
mod status;
mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use jiff::civil::Date;
use martlet_observe::flags::ImportArgs;
use martlet_telemetry::preflight::Finding;
use martlet_telemetry::shutdown::{Hangup, Shutdown};
use martlet_telemetry::{config as settings, log, notify::Notifier};
use martlet_window::TrafficClass;

use crate::archive::command::{self, CommandError};
use crate::archive::export::{Format, Selection};
use crate::config::Config;
use crate::import::{self, ImportOptions, Imported};
use crate::ingest::Tls;
use crate::run::{Collector, metrics_markdown};

/// Exit status when the work failed.
const FAILED: u8 = 1;
/// Exit status for a usage that cannot be understood, as clap's own.
const MISUSED: u8 = 2;
/// Exit status for a configuration that cannot be used.
const MISCONFIGURED: u8 = settings::EXIT_CONFIG;

/// Takes counts from Martlet's sensors, adds them up and publishes them.
#[derive(Debug, Parser)]
#[command(name = "martlet-collector", version, about, long_about = LONG_ABOUT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
Takes counts from Martlet's sensors, adds them up and publishes them over HTTP: a live page, a JSON API and \
Prometheus metrics.

Settings come from a TOML file, then from variables MARTLET_SECTION__KEY of the environment \
(MARTLET_INGEST__LISTEN=0.0.0.0:7460), then from flags; the later wins. Without a file every setting has a default.

What is acknowledged survives crashes, restarts and a full disk: it is in the data directory.

SIGHUP reads the configuration and the files of ingest.tls again: what cannot change without a restart is named in the log.

Exit status: 0 after a clean stop (SIGTERM or SIGINT), 1 if the collector failed, 2 if its usage cannot be understood, \
78 if its configuration cannot be used.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the collector until it is told to stop.
    Serve(Settings),
    /// Check the configuration and print what would be in effect, as TOML, and where each setting comes from.
    #[command(long_about = check::ABOUT)]
    Check(Settings),
    /// Say how the running collector and its sensors are.
    Status(status::StatusArguments),
    /// Load capture files into the history, while the collector is not running.
    #[command(long_about = IMPORT_ABOUT)]
    Import(Import),
    /// Ask the archive, also while the collector runs.
    #[command(subcommand)]
    Archive(ArchiveCommand),
    /// Write rows of the archive in another format, also while the collector runs.
    Export {
        /// From this UTC day or time on, as 2026-11-25 or 2026-11-25T10:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = command::time, allow_hyphen_values = true)]
        from: i64,
        /// Before this day or time.
        #[arg(long, value_name = "TIME", value_parser = command::time, allow_hyphen_values = true)]
        to: i64,
        /// In which format.
        #[arg(long, value_enum)]
        format: Format,
        /// Only rows of this class: real, drill or import [default: all].
        #[arg(long, value_parser = class)]
        class: Option<TrafficClass>,
        /// For openmetrics: so many ports have series beside those of metrics.ports, the ones with most packets
        /// [default: metrics.top_ports].
        #[arg(long, value_name = "PORTS")]
        top: Option<usize>,
        /// Where to write; a file is there only when it is complete [default: standard output].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Mask the addresses of a network in every file of the archive; their packets stay counted.
    Erase {
        /// The network, for example 192.0.2.7/32 or 2001:db8::/48.
        #[arg(long, value_name = "CIDR", required = true)]
        source: ipnet::IpNet,
        #[command(flatten)]
        settings: Settings,
    },
    /// Make, list or revoke tokens of the HTTP API.
    Token(token::TokenArguments),
    /// Let sensors enrol, list their certificates, revoke them, and make a new CA.
    Enroll(enroll::EnrollArguments),
    /// List sensors, and say what group, economy, position, network and addressing they have.
    Sensor(sensor::SensorArguments),
    /// Answer SQL on what is kept of history; docs/history.md lists tables, views and functions.
    Query(crate::query::Arguments),
    /// Have days of history made again from the archive, with or without what a sensor saw in some time.
    Rebuild(crate::rollup::Arguments),
    Backup(crate::backup::Arguments),
    /// Write an observation report: of a week, a month, a quarter or any days.
    #[command(subcommand, long_about = REPORT_ABOUT)]
    Report(crate::report::Arguments),
    /// Print what `/metrics` has, as a table in Markdown.
    Metrics,
}

#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Print the paths of all files, as of one moment, one a line.
    Files {
        /// First UTC day, as 2026-11-25 [default: the oldest].
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The UTC day behind the last [default: none].
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
        /// Print a JSON object a line, with rows, packets, bytes and times.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
}

/// Why a command failed.
pub(crate) enum Failure {
    /// Its usage cannot be understood.
    Misuse(String),
    /// Its configuration cannot be used.
    Misconfigured(String),
    /// The work failed.
    Failed(String),
}

impl Failure {
    pub(crate) fn failed(error: impl ToString) -> Failure {
        Failure::Failed(error.to_string())
    }

    pub(crate) fn misuse(error: impl ToString) -> Failure {
        Failure::Misuse(error.to_string())
    }
}

const REPORT_ABOUT: &str = "\
Write an observation report from what is kept of history, with or without a collector running: in English, Japanese or any \
language that there is a file of wording for, as HTML, Markdown, CSV, JSON or PDF.

A time is closed 72 hours after its end. From then on its report has a revision, which is kept in the collector's state and \
stays as it is; if figures change later, the next report is the next revision and says what changed. Until then it is \
provisional. A report that does not agree with itself, or with the kept report of the time before, is not written.

Run it as the collector's user: finished reports are kept in the directory of its state.

Exit status: 0 if it is written; 1 if not; 2 if its usage cannot be understood; 78 if the configuration cannot be used.";

const IMPORT_ABOUT: &str = "\
Load capture files into the history, while the collector is not running: what a sensor would have counted of them, at the \
time of their packets and in the class `import`, which is never mixed with live traffic.

Each file counts once however often it is imported or replayed with the same flags: it is known by its hash. An import that \
was interrupted or killed goes on where it ended when the same command is given again.

Reads pcap (both byte orders, micro- and nanoseconds) and pcapng, plain or compressed with gzip, Zstandard or xz. Run it as \
the collector's user. To a collector that runs, `martlet-sensor replay` sends files, with the same flags.

Exit status: 0 when all of it is in the history; 1 if not: a file is damaged or cannot be read (what could be read is \
imported, and so are the other files), or it was interrupted; 2 if its usage cannot be understood; 78 if the configuration \
cannot be used.";

#[derive(Debug, Args)]
struct Import {
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    import: ImportArgs,
    /// Capture files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Where the configuration and the state are.
#[derive(Clone, Debug, Args)]
struct StateArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl StateArgs {
    fn load(&self) -> Result<Config, String> {
        let mut config =
            Config::load(self.config.as_deref(), settings::environment()).map_err(|error| error.to_string())?;
        if let Some(directory) = &self.data_dir {
            config.store.data_dir.clone_from(directory);
        }
        Ok(config)
    }
}

#[derive(Clone, Debug, Args)]
struct Settings {
    #[command(flatten)]
    state: StateArgs,
    /// Address on which sensors call [default: 127.0.0.1:7460].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address of API, page and metrics [default: 127.0.0.1:7461].
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
}

impl Settings {
    fn effective(&self) -> Result<Config, String> {
        let mut config = self.state.load()?;
        if let Some(listen) = self.listen {
            config.ingest.listen = listen;
        }
        if let Some(listen) = self.http {
            config.http.listen = listen;
        }
        config.check().map_err(|error| error.to_string())?;
        // Files that cannot be used are a mistake in the configuration, found before anything is started.
        Tls::configured(&config.ingest).map_err(|error| error.to_string())?;
        config.history.zones().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

/// What the command line takes, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program and says with which status to exit.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(settings) => serve(&settings),
        Command::Check(settings) => check::run(&settings),
        Command::Status(arguments) => done(status::run(&arguments)),
        Command::Import(command) => import(command),
        Command::Archive(ArchiveCommand::Files { from, to, json, settings }) => {
            ask(&settings, |config| command::files(config, from, to, json))
        }
        Command::Export { from, to, format, class, top, output, settings } => ask(&settings, |config| {
            let (ports, top) = (config.metrics.ports.clone(), top.unwrap_or(config.metrics.top_ports));
            let selection = Selection { from, to, class, ports, top };
            command::export(config, selection, format, output.as_deref(), &mut |line| tell(line))
        }),
        Command::Token(arguments) => done(token::run(arguments)),
        Command::Enroll(arguments) => done(enroll::run(arguments)),
        Command::Sensor(arguments) => done(sensor::run(arguments)),
        Command::Query(arguments) => done(arguments.run()),
        Command::Rebuild(arguments) => done(arguments.run()),
        Command::Backup(arguments) => done(arguments.run()),
        Command::Report(arguments) => done(arguments.run()),
        Command::Metrics => done(metrics()),
        Command::Erase { source, settings } => ask(&settings, |config| {
            command::erase(config, &source, &mut |progress| tell(&format!("erase: {progress}")))
        }),
    }
}

pub(crate) fn class(text: &str) -> Result<TrafficClass, String> {
    let found = TrafficClass::ALL.into_iter().find(|class| class.name() == text);
    found.ok_or_else(|| "take real, drill or import".to_owned())
}

/// Does what is asked of the archive.
fn ask(settings: &Settings, work: impl FnOnce(&Config) -> Result<(), CommandError>) -> ExitCode {
    let config = match settings.effective() {
        Ok(config) => config,
        Err(message) => return complain(&message, MISCONFIGURED),
    };
    match work(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string(), FAILED),
    }
}

fn metrics() -> Result<(), Failure> {
    let text = metrics_markdown().map_err(|error| Failure::Failed(error.to_string()))?;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Failed(error.to_string()))
}

fn done(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Misuse(message)) => complain(&message, MISUSED),
        Err(Failure::Misconfigured(message)) => complain(&message, MISCONFIGURED),
        Err(Failure::Failed(message)) => complain(&message, FAILED),
    }
}

/// The configuration as far as files and the environment say, for commands that need little of it.
pub(crate) fn configuration(file: Option<&Path>, data_dir: Option<PathBuf>) -> Result<Config, Failure> {
    let unusable = |message: String| Failure::Misconfigured(message);
    let mut config = Config::load(file, settings::environment()).map_err(|error| unusable(error.to_string()))?;
    if let Some(directory) = data_dir {
        config.store.data_dir = directory;
    }
    config.check().map_err(|error| unusable(error.to_string()))?;
    Ok(config)
}

fn serve(settings: &Settings) -> ExitCode {
    let config = match settings.effective() {
        Ok(config) => config,
        Err(message) => return complain(&message, MISCONFIGURED),
    };
    if let Err(error) = log::init(&config.log.filter, config.log.format) {
        return complain(&error.to_string(), MISCONFIGURED);
    }
    let reports = config.reports.warnings(&config);
    for warning in config.ingest.warnings().into_iter().chain(config.events.warnings()).chain(reports) {
        tracing::warn!("{warning}");
    }
    // A clock that is wrong must not keep a collector down: sensors find out themselves.
    for finding in check::certificates(&config) {
        match finding {
            Finding::Warning(text) => tracing::warn!("{text}"),
            Finding::Error(text) => tracing::error!("{text}"),
        }
    }
    match run(config, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => complain(&message, FAILED),
    }
}

fn run(config: Config, settings: &Settings) -> Result<(), String> {
    allow_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::install().map_err(|error| format!("cannot catch signals: {error}"))?;
        let mut hangup = Hangup::install().map_err(|error| format!("cannot catch signals: {error}"))?;
        let mut reloader = settings::Reloader::new(&config).map_err(|error| error.to_string())?;
        let notifier = Notifier::from_environment();
        let mut requested = std::pin::pin!(shutdown.requested());
        let mut collector = tokio::select! {
            biased;
            signal = &mut requested => {
                // What is being replayed stays in the journal.
                tracing::info!("{signal}: stopping before the start is finished");
                report(notifier.stopping());
                return Ok(());
            }
            started = Collector::start(config) => started.map_err(|error| error.to_string())?,
        };
        report(notifier.ready());
        let mut alive = std::pin::pin!(collector.watchdog(notifier.clone()).run());
        let outcome = loop {
            tokio::select! {
                biased;
                signal = &mut requested => {
                    tracing::info!("{signal}: stopping");
                    break Ok(());
                }
                failure = collector.failed() => break Err(failure),
                () = hangup.received() => reload::reload(&mut reloader, settings, &collector),
                never = &mut alive => match never {},
            }
        };
        report(notifier.stopping());
        collector.stop().await;
        outcome
    });
    // A start that was interrupted may still be reading.
    runtime.shutdown_background();
    outcome
}

fn import(command: Import) -> ExitCode {
    let Import { state, import, files } = command;
    let checked = state.load().and_then(|config| config.check().map(|()| config).map_err(|error| error.to_string()));
    let config = match checked {
        Ok(config) => config,
        Err(message) => return complain(&message, MISCONFIGURED),
    };
    if files.iter().any(|file| file == Path::new("-")) {
        let why = "standard input cannot be imported: a file is read twice, the first time to know it again, so that it \
                   counts once; `martlet-sensor replay -` takes a stream";
        return complain(why, MISUSED);
    }
    if let Err(error) = log::init("warn", log::Format::Plain) {
        return complain(&error.to_string(), MISUSED);
    }
    // The main thread waits; what works has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start the runtime: {error}"), FAILED),
    };
    let settings = import.settings(TrafficClass::Import);
    let imported = runtime.block_on(import::run(config, ImportOptions { files, settings }));
    // A start or a disk that was not waited for may still be at work.
    runtime.shutdown_background();
    match imported {
        Ok(imported) => tell_imported(&imported),
        Err(error) => complain(&error.to_string(), FAILED),
    }
}

fn tell_imported(imported: &Imported) -> ExitCode {
    imported.errors.iter().for_each(|error| tell(&error.to_string()));
    if imported.evicted_buckets > 0 {
        tell(&format!(
            "warning: live.memory_limit_bytes is reached: the {} oldest buckets of the history were dropped",
            imported.evicted_buckets
        ));
    }
    if imported.is_cut_off {
        let signal = imported.signal.unwrap_or("stopped");
        tell(&format!(
            "{signal}: ended before all files were read. What is told below is in the history; run the same command again to \
             go on, nothing counts twice"
        ));
    }
    if imported.uncommitted_records > 0 {
        tell(&format!(
            "the last commit was not waited for: {} records are in the journal, and counted at the next start",
            imported.uncommitted_records
        ));
    }
    match writeln!(std::io::stdout(), "{imported}") {
        Ok(()) if imported.is_complete() => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    }
}

/// Takes as many file descriptors as the system allows: the usual soft limit of 1024 is below `ingest.max_connections`
/// and `http.max_connections` together, and running out would stop accepting before either is reached.
pub(crate) fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it is refused the limits still hold; accepting then pauses until descriptors are free.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn report(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

fn complain(message: &str, status: u8) -> ExitCode {
    tell(message);
    ExitCode::from(status)
}

pub(crate) fn tell(message: &str) {
    // Standard error may be gone; there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "martlet-collector: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win() {
        let cli = Cli::parse_from(["martlet-collector", "check", "--listen", "127.0.0.1:1", "--data-dir", "x"]);
        let Command::Check(settings) = cli.command else { panic!("not check") };
        let config = settings.effective().unwrap();
        assert_eq!(config.ingest.listen.port(), 1);
        assert_eq!(config.store.data_dir, PathBuf::from("x"));
        assert_eq!(config.http.listen.port(), 7461);
    }
}
