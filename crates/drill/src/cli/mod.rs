//! The program `martlet-drill`: command line, files, progress and the summary.

mod capture;
mod exercise;
mod send;

use crate::config::{ConfigError, DrillConfig, OutbreakConfig, OutbreakMark, Transport};
use crate::generator::Drill;
use crate::scenarios::{self, Scenario};
use crate::send::interface::InterfaceError;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use send::SendArgs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Sensors of a scenario, unless told otherwise.
const SENSORS: u32 = 4;

/// Make a drill: seeded synthetic background radiation on a dark prefix, with one outbreak or a scenario whose parameters
/// are known; write it to a capture, send it to a collector as sensors would, or onto a line.
///
/// Nothing in it is real. Source addresses are random numbers and stand for nobody; payloads are harmless; every
/// frame's Ethernet source is 02:64:72:69:6c:6c ("drill"). The same options give the same bytes on every machine.
#[derive(Parser, Debug)]
#[command(name = "martlet-drill", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Capture file to write; "-" is standard output [default with --scenario: drill-NAME-SEED.pcap]
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["scenario", "interface", "collector"])]
    out: Option<PathBuf>,
    /// Play this scenario instead of the outbreak; `martlet-drill scenarios` lists them
    #[arg(long, value_name = "NAME", value_parser = parse_scenario,
          conflicts_with_all = ["service", "mark", "begin", "scan_rate", "infected", "vulnerable", "packets"])]
    scenario: Option<&'static Scenario>,
    /// Also write the ground truth as JSON (memory then grows with distinct ports and sources)
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    /// Format of the capture
    #[arg(long, value_enum, default_value_t = Format::Pcap)]
    format: Format,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin, RFC 3339
    #[arg(long, default_value = "2026-01-01T00:00:00Z", value_name = "TIME")]
    start: jiff::Timestamp,
    /// Time covered: a number with ms, s, m, h or d [default: 24h, or the scenario's]
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Dark IPv4 prefix, /8 to /32
    #[arg(long, visible_alias = "dark", default_value = "198.18.0.0/24", value_name = "CIDR")]
    prefix: Ipv4Net,
    /// Mean background packets per address and day
    #[arg(long, default_value_t = crate::config::PACKETS_PER_ADDRESS_DAY.round(), value_name = "PACKETS_PER_ADDRESS_DAY")]
    rate: f64,
    /// Exact number of packets in total, outbreak included (--rate is then ignored)
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    packets: Option<u64>,
    /// Sensors among which the prefix is split [default: 4 with --scenario or --collector]
    #[arg(long, value_name = "N")]
    sensors: Option<u32>,
    #[command(flatten)]
    outbreak: OutbreakArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Neither progress nor summary
    #[arg(long, short)]
    quiet: bool,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Outbreak")]
struct OutbreakArgs {
    /// Service that the outbreak scans: tcp/PORT, udp/PORT or none
    #[arg(long = "outbreak", default_value = "tcp/2323", value_name = "SERVICE", value_parser = parse_service)]
    service: Service,
    /// Shape of its packets [default: mirai on TCP, slammer on udp/1434, else none]
    #[arg(long = "outbreak-mark", value_enum, value_name = "MARK")]
    mark: Option<MarkArg>,
    /// Begin after the start: a number with ms, s, m, h or d [default: half of the duration]
    #[arg(long = "outbreak-start", value_name = "DURATION", value_parser = parse_duration)]
    begin: Option<Duration>,
    /// Scans a second that each infected host sends over the whole IPv4 space
    #[arg(long, default_value_t = 160.0, value_name = "SCANS_PER_SECOND")]
    scan_rate: f64,
    /// Hosts infected at the begin
    #[arg(long, default_value_t = 10, value_name = "HOSTS")]
    infected: u64,
    /// Vulnerable hosts, infected ones included
    #[arg(long, default_value_t = 10_000, value_name = "HOSTS")]
    vulnerable: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios with their parameters and where those are from
    Scenarios,
    /// Joint exercises from one shared file
    #[command(subcommand)]
    Exercise(exercise::ExerciseCommand),
    /// Ask every participant's collector what it called, and print it beside what happened
    #[command(after_help = "Exit code 1 if something was missed, wrongly called, or a collector could not be asked.")]
    Review(exercise::ReviewArgs),
}

fn parse_scenario(text: &str) -> Result<&'static Scenario, String> {
    Scenario::named(text).ok_or_else(|| {
        let names: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        format!("there is none of this name; there are {}", names.join(", "))
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// pcap with nanoseconds
    Pcap,
    /// pcap with microseconds
    PcapMicro,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MarkArg {
    None,
    Mirai,
    Slammer,
}

/// An outbreak's service, or no outbreak.
#[derive(Clone, Copy, Debug)]
struct Service(Option<(Transport, u16)>);

fn parse_service(text: &str) -> Result<Service, String> {
    if text == "none" {
        return Ok(Service(None));
    }
    let (transport, port) = text.split_once('/').ok_or("write tcp/PORT, udp/PORT or none")?;
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        other => return Err(format!("\"{other}\" is neither tcp nor udp")),
    };
    let port = port.parse().map_err(|_| format!("\"{port}\" is not a port from 0 to 65535"))?;
    Ok(Service(Some((transport, port))))
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("write a number with a unit: 500ms, 90s, 30m, 24h or 7d".into()),
    };
    let number: f64 = number.parse().map_err(|_| format!("\"{number}\" is not a number"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

/// Why the program stopped.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the start {0} is before 1970")]
    Start(jiff::Timestamp),
    #[error("{} exists; --force overwrites it", .0.display())]
    Exists(PathBuf),
    #[error("--out and --truth are the same file")]
    SameFile,
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    #[error("{0}")]
    Usage(String),
    #[error("{0:#}")]
    Send(anyhow::Error),
    #[error("something was missed, wrongly called or not answered: see above")]
    NotClean,
    #[error("cannot write {}: {source}{}", path.display(), if *.removed { "; the incomplete file was removed" } else { "" })]
    Write { path: PathBuf, source: io::Error, removed: bool },
}

impl Failure {
    /// Whether the command line is at fault.
    const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::Start(_) | Self::Usage(_) | Self::Interface(InterfaceError::Destination(_))
        )
    }
}

/// What the command line takes, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the program: 0 when everything was written, 1 after a failure, 2 for a command line that makes no sense.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do when standard error is closed, too.
            let _ = writeln!(io::stderr(), "martlet-drill: {failure}");
            ExitCode::from(if failure.is_usage() { 2 } else { 1 })
        }
    }
}

impl Args {
    fn config(&self) -> Result<DrillConfig, Failure> {
        let duration = self.duration.unwrap_or_else(|| self.scenario.map_or(DAY, |scenario| scenario.duration));
        let dark = self.prefix.trunc();
        let addresses = 1_u64 << (32 - u32::from(dark.prefix_len()));
        let sensors = self.sensors.unwrap_or_else(|| match (self.scenario, &self.send.collector) {
            (None, None) => 1,
            // Of a prefix of one or two addresses there are no four parts.
            _ => u32::try_from(addresses).map_or(SENSORS, |addresses| SENSORS.min(addresses)),
        });
        let outbreak = self.outbreak.service.0.map(|(transport, port)| OutbreakConfig {
            transport,
            port,
            mark: match (self.outbreak.mark, transport, port) {
                (Some(MarkArg::None), ..) => OutbreakMark::None,
                (Some(MarkArg::Mirai), ..) | (None, Transport::Tcp, _) => OutbreakMark::Mirai,
                (Some(MarkArg::Slammer), ..) | (None, Transport::Udp, 1434) => OutbreakMark::Slammer,
                (None, Transport::Udp, _) => OutbreakMark::None,
            },
            start: self.outbreak.begin.unwrap_or(duration / 2),
            scans_per_host_s: self.outbreak.scan_rate,
            initial_infected: self.outbreak.infected,
            vulnerable: self.outbreak.vulnerable,
            infection_chance: 1.0,
        });
        let config = DrillConfig {
            seed: self.seed,
            start_s: u64::try_from(self.start.as_second()).map_err(|_| Failure::Start(self.start))?,
            duration,
            dark,
            packets_per_address_day: self.rate,
            outbreak,
            exact_packets: self.packets,
            sensors,
            ..DrillConfig::default()
        };
        // A part of a drill that cannot be is no base for a scenario, whose times depend on it.
        Ok(match self.scenario {
            Some(scenario) => scenario.drill(config),
            None => config,
        })
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if let Some(command) = &args.command {
        return match command {
            Command::Scenarios => print(&scenarios::list()),
            Command::Exercise(command) => exercise::main(command),
            Command::Review(args) => exercise::review(args),
        };
    }
    let config = args.config()?;
    let drill = Drill::new(&config)?;
    match (&args.send.interface, &args.send.collector) {
        (Some(device), _) => send::to_interface(args, drill, device),
        (None, Some(collector)) => send::to_collector(args, drill, collector),
        (None, None) => capture::write(args, drill),
    }
}

/// Writes to standard output; whoever reads it may have seen enough.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Write { path: "standard output".into(), source: error, removed: false })
        }
        _ => Ok(()),
    }
}

/// A length of time for people.
fn human(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.1} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let args = Args::parse_from(["martlet-drill", "--out", "x"]);
        let config = args.config().unwrap();
        assert_eq!(config, DrillConfig { packets_per_address_day: 6646.0, ..DrillConfig::default() });
    }

    #[test]
    fn durations_and_services_parse_or_say_why() {
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "h", "1..2h", "-3s", "1e9d", "99999999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(parse_service("udp/1434"), Ok(Service(Some((Transport::Udp, 1434))))));
        assert!(matches!(parse_service("none"), Ok(Service(None))));
        for wrong in ["tcp", "tcp/", "tcp/65536", "icmp/8", "23"] {
            assert!(parse_service(wrong).is_err(), "{wrong}");
        }
    }
}
