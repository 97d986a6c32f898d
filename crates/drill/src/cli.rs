//! The program `martlet-drill`: command line, files, progress and the summary.

use crate::arrivals::OutbreakModel;
use crate::config::{ConfigError, DrillConfig, OutbreakConfig, OutbreakMark, Transport};
use crate::generator::Drill;
use crate::pcap::{PcapWriter, Resolution};
use crate::truth::Truth;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::Ipv4Net;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Packets between two looks at the progress bar; at full speed a few hundred looks a second.
const PACKETS_PER_TICK: u64 = 1 << 14;
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Write a drill: seeded synthetic background radiation on a dark prefix, with one outbreak whose parameters are known.
///
/// Nothing in the file is real. Source addresses are random numbers and stand for nobody; payloads are harmless; every
/// frame's Ethernet source is 02:64:72:69:6c:6c ("drill"). The same options give the same bytes on every machine.
#[derive(Parser, Debug)]
#[command(name = "martlet-drill", version)]
struct Args {
    /// Capture file to write; "-" is standard output
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
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
    /// Time covered: a number with ms, s, m, h or d
    #[arg(long, default_value = "24h", value_parser = parse_duration)]
    duration: Duration,
    /// Dark IPv4 prefix, /8 to /32
    #[arg(long, default_value = "198.18.0.0/24", value_name = "CIDR")]
    prefix: Ipv4Net,
    /// Mean background packets per address and day
    #[arg(long, default_value_t = crate::config::PACKETS_PER_ADDRESS_DAY.round(), value_name = "PACKETS_PER_ADDRESS_DAY")]
    rate: f64,
    /// Exact number of packets in total, outbreak included (--rate is then ignored)
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    packets: Option<u64>,
    #[command(flatten)]
    outbreak: OutbreakArgs,
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

fn parse_duration(text: &str) -> Result<Duration, String> {
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
    #[error("cannot write {}: {source}{}", path.display(), if *.removed { "; the incomplete file was removed" } else { "" })]
    Write { path: PathBuf, source: io::Error, removed: bool },
}

/// Runs the program: 0 when everything was written, 1 after a failure, 2 for a command line that makes no sense.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do when standard error is closed, too.
            let _ = writeln!(io::stderr(), "martlet-drill: {failure}");
            ExitCode::from(if matches!(failure, Failure::Config(_) | Failure::Start(_)) { 2 } else { 1 })
        }
    }
}

impl Args {
    fn config(&self) -> Result<DrillConfig, Failure> {
        let outbreak = self.outbreak.service.0.map(|(transport, port)| OutbreakConfig {
            transport,
            port,
            mark: match (self.outbreak.mark, transport, port) {
                (Some(MarkArg::None), ..) => OutbreakMark::None,
                (Some(MarkArg::Mirai), ..) | (None, Transport::Tcp, _) => OutbreakMark::Mirai,
                (Some(MarkArg::Slammer), ..) | (None, Transport::Udp, 1434) => OutbreakMark::Slammer,
                (None, Transport::Udp, _) => OutbreakMark::None,
            },
            start: self.outbreak.begin.unwrap_or(self.duration / 2),
            scans_per_host_s: self.outbreak.scan_rate,
            initial_infected: self.outbreak.infected,
            vulnerable: self.outbreak.vulnerable,
            infection_chance: 1.0,
        });
        Ok(DrillConfig {
            seed: self.seed,
            start_s: u64::try_from(self.start.as_second()).map_err(|_| Failure::Start(self.start))?,
            duration: self.duration,
            dark: self.prefix.trunc(),
            packets_per_address_day: self.rate,
            outbreak,
            exact_packets: self.packets,
            ..DrillConfig::default()
        })
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let begun = Instant::now();
    let config = args.config()?;
    let mut drill = Drill::new(&config)?;
    if args.truth.as_ref() == Some(&args.out) {
        return Err(Failure::SameFile);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Write { removed: remove_incomplete(&path), path, source }
    };
    // Both files are opened before the work begins: a mistake in the second name should not cost the whole run.
    let out = open(&args.out, args.force)?;
    let truth_out = match args.truth.as_ref().map(|path| open(path, args.force)).transpose() {
        Ok(truth_out) => truth_out,
        Err(failure) => {
            remove_incomplete(&args.out);
            return Err(failure);
        }
    };
    let mut truth = args.truth.as_ref().map(|_| Truth::new(&config));
    let bar = if args.quiet { ProgressBar::hidden() } else { progress(drill.end_ns() - drill.start_ns()) };
    let written = generate(&mut drill, out, args.format, truth.as_mut(), &bar).map_err(failed(&args.out))?;
    bar.finish_and_clear();
    if let (Some(truth), Some(path), Some(out)) = (&truth, &args.truth, truth_out) {
        write_truth(truth, out).map_err(failed(path))?;
    }
    if !args.quiet {
        // The files are complete; a closed terminal is no failure.
        let _ = summarize(&config, &written, truth.as_ref(), begun.elapsed());
    }
    Ok(())
}

/// What a run wrote.
struct Written {
    packets: u64,
    file_bytes: u64,
}

fn generate(
    drill: &mut Drill,
    out: Box<dyn Write>,
    format: Format,
    mut truth: Option<&mut Truth>,
    bar: &ProgressBar,
) -> io::Result<Written> {
    let resolution = match format {
        Format::Pcap => Resolution::Nanoseconds,
        Format::PcapMicro => Resolution::Microseconds,
    };
    let start_ns = drill.start_ns();
    let mut writer = PcapWriter::new(BufWriter::with_capacity(WRITE_BUFFER_BYTES, out), resolution)?;
    let mut packets = 0_u64;
    while let Some(packet) = drill.next_packet() {
        writer.write(packet.time_ns, packet.frame)?;
        if let Some(truth) = truth.as_deref_mut() {
            truth.observe(&packet);
        }
        packets += 1;
        if packets.is_multiple_of(PACKETS_PER_TICK) {
            bar.set_position(packet.time_ns - start_ns);
        }
    }
    let file_bytes = writer.bytes_written();
    writer.finish()?;
    Ok(Written { packets, file_bytes })
}

fn write_truth(truth: &Truth, out: Box<dyn Write>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, out);
    serde_json::to_writer(&mut out, &truth.report())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Opens a file for writing, or standard output for "-".
fn open(path: &Path, force: bool) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = if force { File::create(path) } else { File::create_new(path) };
    file.map(|file| Box::new(file) as Box<dyn Write>).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(path.to_owned()),
        _ => Failure::Write { path: path.to_owned(), source, removed: false },
    })
}

/// A capture that ends in the middle looks like a short one: better none. Devices and pipes stay.
fn remove_incomplete(path: &Path) -> bool {
    path != Path::new("-")
        && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
        && std::fs::remove_file(path).is_ok()
}

fn progress(length_ns: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent}% of the time covered, {elapsed}, {eta} left");
    ProgressBar::new(length_ns).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn summarize(config: &DrillConfig, written: &Written, truth: Option<&Truth>, took: Duration) -> io::Result<()> {
    let mut err = io::stderr().lock();
    writeln!(
        err,
        "{} packets, {} bytes, seed {}, {} on {} in {:.1} s",
        written.packets,
        written.file_bytes,
        config.seed,
        human(config.duration.as_secs_f64()),
        config.dark,
        took.as_secs_f64(),
    )?;
    let Some(outbreak) = &config.outbreak else {
        return writeln!(err, "no outbreak");
    };
    let model = OutbreakModel::new(outbreak, config.dark_addresses());
    let after_s = (config.duration - outbreak.start).as_secs_f64();
    let transport = outbreak.transport.name();
    writeln!(
        err,
        "outbreak {transport}/{} after {}: a = {:.3e} per second, doubling in {}, N = {} hosts, {} scans a second each",
        outbreak.port,
        human(outbreak.start.as_secs_f64()),
        model.growth_per_s(),
        human(model.doubling_s()),
        outbreak.vulnerable,
        outbreak.scans_per_host_s,
    )?;
    writeln!(
        err,
        "  10 % infected {} after its begin, 50 % after {}; {:.0} infected at the end; {:.0} packets expected in the prefix",
        human(model.time_to_share_s(0.1)),
        human(model.time_to_share_s(0.5)),
        model.infected(after_s),
        model.sightings(after_s),
    )?;
    if let Some((packets, sources)) = truth.map(Truth::outbreak_seen) {
        writeln!(err, "  {packets} packets from {sources} hosts were made")?;
    }
    Ok(())
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
