//! The command line of martlet-sensor.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::classify::Aim;
use crate::count::{self, CountOptions, Format};
use crate::screen::{AddressSet, Own, Screen, Solicited, SolicitedSettings};

/// Exit code when the work was done, but not all of it: damaged files, lost connection.
const EXIT_INCOMPLETE: u8 = 1;

#[derive(Debug, Parser)]
#[command(name = "martlet-sensor", version, about = "Counts the unsolicited packets that reach observed addresses.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count what a sensor would count in capture files, without a collector
    #[command(
        after_help = "Reads pcap (both byte orders, micro- and nanoseconds) and pcapng, plain or compressed with gzip, \
                      Zstandard or xz. Ports are destination ports. Exit code 1 if a file was damaged or could not \
                      be read; what could be read is counted all the same."
    )]
    Count(CountArgs),
}

#[derive(Debug, Args)]
struct CountArgs {
    /// Count only packets to these networks, such as 192.0.2.0/24; may be given several times
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    observe: Vec<IpNet>,
    /// Leave out answers to what the observed addresses sent themselves
    #[arg(long, requires = "observe")]
    drop_solicited: bool,
    /// The address that senders aimed at, where the capture is from behind NAT; or "unknown"
    #[arg(long, value_name = "ADDRESS")]
    public_address: Option<PublicAddress>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Capture files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A value of `--public-address`.
#[derive(Clone, Copy, Debug)]
enum PublicAddress {
    Known(Ipv4Addr),
    Unknown,
}

impl FromStr for PublicAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicAddress, String> {
        match text {
            "unknown" => Ok(PublicAddress::Unknown),
            _ => text.parse().map(PublicAddress::Known).map_err(|_| "an IPv4 address or \"unknown\" is wanted".into()),
        }
    }
}

/// A network, or a single address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address)).ok();
    text.parse()
        .ok()
        .or_else(single)
        .map(|network: IpNet| network.trunc())
        .ok_or_else(|| "a network such as 192.0.2.0/24 or 2001:db8::/64, or a single address, is wanted".to_owned())
}

/// Runs the program and says how it went: 0 done, 1 not all of it could be done, 2 the command line is wrong.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Count(args) => count(args),
    }
}

fn count(args: CountArgs) -> ExitCode {
    let options = CountOptions {
        screen: offline_screen(&args.observe, args.drop_solicited),
        aim: match args.public_address {
            None => Aim::AsSeen,
            Some(PublicAddress::Known(address)) => Aim::Public(address),
            Some(PublicAddress::Unknown) => Aim::Unknown,
        },
        files: args.files,
        format: args.format,
    };
    match count::run(options, &mut io::BufWriter::new(io::stdout().lock())) {
        Ok(errors) if errors.is_empty() => ExitCode::SUCCESS,
        Ok(errors) => {
            for error in errors {
                complain(&error);
            }
            ExitCode::from(EXIT_INCOMPLETE)
        }
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("the report cannot be written: {error}"));
            ExitCode::from(EXIT_INCOMPLETE)
        }
    }
}

/// The screen for capture files: without observed networks every packet counts.
fn offline_screen(observe: &[IpNet], drop_solicited: bool) -> Screen {
    if observe.is_empty() {
        return Screen::everything();
    }
    let observe: AddressSet = observe.iter().copied().collect();
    let own = Own { hardware: Vec::new(), addresses: observe.clone() };
    let solicited = drop_solicited.then(|| Solicited::new(SolicitedSettings::default()));
    Screen::observing(observe, Vec::new(), own, solicited)
}

/// One line on standard error; nothing is left to do if even that fails.
fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "martlet-sensor: {what}");
}
