//! The command line of martlet-sensor.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use martlet_observe::flags::{CaptureArgs, ImportArgs};
use martlet_observe::screen::{AddressSet, Screen};
use martlet_telemetry::config::{EXIT_CONFIG, Origins, environment};
use martlet_telemetry::log;
use martlet_telemetry::preflight::Finding;
use martlet_window::TrafficClass;
use serde::Serialize;

use crate::capture::filter::filter;
use crate::capture::live::own_addresses;
use crate::check;
use crate::config::{self, Config, Observe};
use crate::count::{self, CountOptions, Format};
use crate::doctor;
use crate::enroll::{self, EnrollArgs};
use crate::metrics;
use crate::replay::{self, ReplayOptions, Replayed};
use crate::run;
use crate::sandbox::Sandbox;
use crate::status;
use crate::uplink::{ClientTls, TlsSettings, TlsSettingsError};

/// Exit code when the work was done, but not all of it: a damaged file, a lost connection, a failed interface.
const EXIT_INCOMPLETE: u8 = 1;
/// Exit code when the command line is wrong, as clap's own.
const EXIT_USAGE: u8 = 2;
/// How long `check` waits for the collector.
const REACH: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
#[command(
    name = "martlet-sensor",
    version,
    about = "Counts the unsolicited packets that reach observed addresses, and sends the counts to a collector.",
    after_help = "Exit codes: 0 done; 1 not all of it could be done; 2 the command line is wrong; 78 the configuration is wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture live and send counts to the collector
    #[command(
        after_help = "Needs root or CAP_NET_RAW, and gives up all else once the interfaces are open (docs/security.md). Stops on SIGTERM or SIGINT after writing the open windows to its spool; what \
                            the collector does not take at once is sent after the next start. SIGHUP reads the configuration again, and the log says what waits for a restart. Any \
                            key can be overridden by the environment as MARTLET_SECTION__KEY, for example \
                            MARTLET_UPLINK__COLLECTOR=collector:7460."
    )]
    Run(ConfigArgs),
    /// Check a configuration and print what it comes to, and where each setting comes from
    #[command(
        after_help = "Starts nothing and changes nothing. An expired certificate is an error; one that expires within 14 days, a \
                            state directory that cannot be written, and a collector that does not answer within 3 s are warnings. \
                            Exit code 78 if the configuration cannot be used."
    )]
    Check(CheckArgs),
    /// Say how the running sensor is
    #[command(after_help = "Asks the address of http.listen. Exit code 1 if nobody answers there.")]
    Status(StatusArgs),
    /// Look for what is wrong with a sensor and its machine, and say what to do about it
    #[command(
        after_help = "Changes nothing. Looks at interfaces, offloads, the capture's filter, ARP, the firewall, services on observed \
                            addresses, NAT, the way to the collector, the clock, and what the running sensor says. Run it as root: \
                            others cannot see the firewall. Exit code 1 if something fails."
    )]
    Doctor(DoctorArgs),
    /// Count what a sensor would count in capture files, without a collector
    #[command(
        after_help = "Reads pcap (both byte orders, micro- and nanoseconds) and pcapng, plain or compressed with gzip, \
                      Zstandard or xz. Ports are destination ports. Exit code 1 if a file was damaged or could not \
                      be read; what could be read is counted all the same."
    )]
    Count(CountArgs),
    /// Send capture files to the collector as a sensor would, keeping capture time
    #[command(after_help = "Each file counts once however often it is replayed with the same settings: the collector \
                            knows it by its hash. Reads what `count` reads.")]
    Replay(ReplayArgs),
    /// Get a certificate from a collector, with a token, and write the configuration
    #[command(after_help = enroll::HELP)]
    Enroll(EnrollArgs),
    /// Print what `/metrics` has, as a table in Markdown
    Metrics,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/martlet/sensor.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not try to reach the collector
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Seconds without a counted packet after which something is wrong
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    quiet_after: u64,
}

#[derive(Debug, Args)]
struct CountArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    capture: CaptureArgs,
    /// Capture files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// Host and port of the collector
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7460")]
    collector: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Count windows, but send nothing
    #[arg(long, conflicts_with_all = ["collector", "ca"])]
    dry_run: bool,
    /// What the files hold; the two are never mixed with each other or with live traffic
    #[arg(long, value_enum, default_value_t = FileClass::Import)]
    class: FileClass,
    /// Times faster than real time; without it as fast as it goes
    #[arg(long, value_name = "N", value_parser = parse_speed)]
    speed: Option<f64>,
    #[command(flatten)]
    import: ImportArgs,
    /// Capture files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The keys of `[uplink.tls]` as flags; `martlet-drill` has them, too.
#[derive(Clone, Debug, Args)]
pub struct TlsArgs {
    /// Call the collector over TLS, and trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name that the collector's certificate is for, if it is not the host that is called
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
    /// Certificate to show to the collector, a PEM file
    #[arg(long, value_name = "FILE", requires_all = ["ca", "key"])]
    certificate: Option<PathBuf>,
    /// Key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files, if TLS is wanted. `collector` is the host and port that is called.
    ///
    /// # Errors
    /// The first flag or file that cannot be used.
    pub fn load(&self, collector: &str) -> Result<Option<ClientTls>, TlsSettingsError> {
        let TlsArgs { ca, server_name, certificate, key } = self.clone();
        let Some(ca) = ca else { return Ok(None) };
        ClientTls::load(&TlsSettings { ca, server_name, certificate, key, renew: false }, collector).map(Some)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FileClass {
    /// Real traffic, captured by something else
    Import,
    /// Synthetic traffic of an exercise
    Drill,
}

/// A speed from the command line: times faster than real time.
///
/// # Errors
/// If it is no number above 0.
pub fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "a number above 0 is wanted".to_owned())
}

/// What the command line takes, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => live(&args),
        Command::Check(args) => check(&args),
        Command::Status(args) => status(&args),
        Command::Doctor(args) => doctor(&args),
        Command::Count(args) => count(args),
        Command::Replay(args) => replay(args),
        Command::Enroll(args) => enrol(&args),
        Command::Metrics => print_metrics(),
    }
}

fn enrol(args: &EnrollArgs) -> ExitCode {
    match enroll::run(args) {
        Ok(report) => print(&report.trim_end()),
        Err(error) if error.is_misuse() => usage(&error),
        Err(error) => incomplete(&error),
    }
}

fn print_metrics() -> ExitCode {
    match metrics::catalogue(&Arc::default(), &Arc::default(), &Arc::default()) {
        Ok(catalogue) => print(&catalogue.markdown().trim_end()),
        Err(error) => incomplete(&error),
    }
}

fn live(args: &ConfigArgs) -> ExitCode {
    let (raw, config) = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(error) => return misconfigured(&error),
    };
    if let Err(error) = log::init(&config.log_filter, config.log_format) {
        return misconfigured(&error);
    }
    // A clock that is wrong must not keep a sensor down: it counts, and its spool keeps.
    for finding in check::certificates(&config) {
        match finding {
            Finding::Warning(text) => tracing::warn!("{text}"),
            Finding::Error(text) => tracing::error!("{text}"),
        }
    }
    match run::run(&raw, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => incomplete(&format_args!("{error:#}")),
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let path = &args.config.config;
    let (raw, config) = match config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return misconfigured(&error),
    };
    if let Err(error) = log::check(&config.log_filter) {
        return misconfigured(&error);
    }
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    for finding in check::findings(&config, (!args.offline).then_some(REACH)) {
        match finding {
            Finding::Warning(text) => warnings.push(format!("# warning: {text}\n")),
            Finding::Error(text) => errors.push(text),
        }
    }
    if let Some(first) = errors.first() {
        errors.iter().skip(1).for_each(|error| complain(error));
        return misconfigured(first);
    }
    let origins = match Origins::read(Some(path), environment()) {
        Ok(origins) => origins,
        Err(error) => return misconfigured(&error),
    };
    match toml::to_string(&raw) {
        Ok(effective) => {
            let effective = origins.annotate(&effective);
            print(&format_args!("{effective}\n{}{}", warnings.concat(), effects(&config)))
        }
        Err(error) => incomplete(&error),
    }
}

fn status(args: &StatusArgs) -> ExitCode {
    let config = match config::load(&args.config.config) {
        Ok((_, config)) => config,
        Err(error) => return misconfigured(&error),
    };
    match status::ask(&config) {
        Ok(status) if args.json => print_json(&status),
        Ok(status) => print(&status::described(&status).trim_end()),
        Err(error) => incomplete(&error),
    }
}

fn doctor(args: &DoctorArgs) -> ExitCode {
    let config = match config::load(&args.config.config) {
        Ok((_, config)) => config,
        Err(error) => return misconfigured(&error),
    };
    let report = doctor::examine(&config, Duration::from_secs(args.quiet_after));
    let printed = if args.json { print_json(&report) } else { print(&doctor::described(&report).trim_end()) };
    if report.level == doctor::Level::Fail { ExitCode::from(EXIT_INCOMPLETE) } else { printed }
}

fn print_json(what: &impl Serialize) -> ExitCode {
    match serde_json::to_string_pretty(what) {
        Ok(text) => print(&text),
        Err(error) => incomplete(&error),
    }
}

/// What a configuration comes to on this machine now, as comments behind the effective TOML.
fn effects(config: &Config) -> String {
    let own = own_addresses(&config.interfaces);
    let observed = run::observed(config, &own);
    let filter = filter(&observed, &own.addresses, &config.exclusions);
    let mut lines = vec![format!(
        "# observes {} IPv4 addresses and {} IPv6 /64 prefixes",
        observed.ipv4_addresses(),
        observed.ipv6_prefixes()
    )];
    lines.push(format!(
        "# keeps at most {} MiB of batches that wait for the collector, in {}",
        config.spool_bytes >> 20,
        run::spool_dir(config).display()
    ));
    match Sandbox::of(config) {
        Ok(sandbox) => lines.push(format!("# {}", sandbox.describe())),
        // Whoever checks need not be who runs.
        Err(error) => lines.push(format!("# warning: {error}")),
    }
    if let Some(warning) = config.tls.as_ref().and_then(ClientTls::warning) {
        lines.push(format!("# warning: {warning}"));
    }
    if observed.is_empty() && config.observe == Observe::Interface {
        lines.push("# the interfaces have no addresses now: nothing would be counted until they get some".to_owned());
    }
    if !filter.exact {
        lines.push(
            "# more networks than a kernel filter takes: it covers them with larger ones, and userspace matches \
             exactly; more packets than needed are copied"
                .to_owned(),
        );
    }
    if filter.expression.len() <= 2000 {
        lines.push(format!("# kernel filter: {}", filter.expression));
    }
    lines.join("\n")
}

fn count(args: CountArgs) -> ExitCode {
    let observe: AddressSet = args.capture.observe.into_iter().collect();
    let options = CountOptions {
        screen: Screen::offline(&observe, args.capture.drop_solicited),
        aim: args.capture.public_address,
        files: args.files,
        format: args.format,
    };
    match count::run(options, &mut io::BufWriter::new(io::stdout().lock())) {
        Ok(errors) => finished(&errors),
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => incomplete(&format_args!("the report cannot be written: {error}")),
    }
}

fn replay(args: ReplayArgs) -> ExitCode {
    if let Err(error) = log::init("warn", log::Format::Plain) {
        return usage(&error);
    }
    let tls = match args.tls.load(&args.collector) {
        Ok(tls) => tls,
        Err(error) => return usage(&error),
    };
    if let Some(warning) = tls.as_ref().and_then(ClientTls::warning) {
        tracing::warn!("{warning}");
    }
    let options = ReplayOptions {
        files: args.files,
        import: args.import.settings(match args.class {
            FileClass::Import => TrafficClass::Import,
            FileClass::Drill => TrafficClass::Drill,
        }),
        speed: args.speed,
        collector: (!args.dry_run).then_some(args.collector),
        tls,
    };
    match replay::run(&options) {
        Ok(replayed) => {
            let printed = print(&replay_report(&options, &replayed));
            if printed == ExitCode::SUCCESS { finished(&replayed.errors) } else { printed }
        }
        Err(error) => incomplete(&format_args!("{error:#}")),
    }
}

fn replay_report(options: &ReplayOptions, replayed: &Replayed) -> String {
    let fate = if options.collector.is_some() {
        format!("{} batches acknowledged by the collector", replayed.batches)
    } else {
        format!("{} count rows; nothing was sent", replayed.rows)
    };
    format!("{}; {} windows or parts; {fate}", replayed.outcomes, replayed.parts)
}

fn finished(errors: &[impl Display]) -> ExitCode {
    for error in errors {
        complain(error);
    }
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) }
}

fn incomplete(what: &dyn Display) -> ExitCode {
    complain(what);
    ExitCode::from(EXIT_INCOMPLETE)
}

fn usage(what: &dyn Display) -> ExitCode {
    complain(what);
    ExitCode::from(EXIT_USAGE)
}

fn misconfigured(what: &dyn Display) -> ExitCode {
    complain(what);
    ExitCode::from(EXIT_CONFIG)
}

/// One line on standard output.
fn print(line: &dyn Display) -> ExitCode {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => incomplete(&format_args!("cannot write to standard output: {error}")),
    }
}

/// One line on standard error; nothing is left to do if even that fails.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "martlet-sensor: {what}");
}
