//! A drill to a capture file, with progress and a summary.

use super::{Args, Failure, Format, human};
use crate::arrivals::OutbreakModel;
use crate::config::DrillConfig;
use crate::generator::Drill;
use crate::pcap::{PcapWriter, Resolution};
use crate::truth::Truth;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Packets between two looks at the progress bar; at full speed a few hundred looks a second.
const PACKETS_PER_TICK: u64 = 1 << 14;
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Writes a drill to a capture, and its truth if that is wanted.
pub(super) fn write(args: &Args, mut drill: Drill) -> Result<(), Failure> {
    let begun = Instant::now();
    let config = drill.config().clone();
    let path = args.out.clone().unwrap_or_else(|| {
        // Its name says what it is wherever it ends up.
        let scenario = config.scenario.as_deref().unwrap_or("outbreak");
        format!("drill-{scenario}-{}.pcap", config.seed).into()
    });
    if args.truth.as_ref() == Some(&path) {
        return Err(Failure::SameFile);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Write { removed: remove_incomplete(&path), path, source }
    };
    // Both files are opened before the work begins: a mistake in the second name should not cost the whole run.
    let out = open(&path, args.force)?;
    let truth_out = match args.truth.as_ref().map(|path| open(path, args.force)).transpose() {
        Ok(truth_out) => truth_out,
        Err(failure) => {
            remove_incomplete(&path);
            return Err(failure);
        }
    };
    let mut truth = args.truth.as_ref().map(|_| Truth::new(&config));
    let bar = if args.quiet { ProgressBar::hidden() } else { progress(drill.end_ns() - drill.start_ns()) };
    let written = generate(&mut drill, out, args.format, truth.as_mut(), &bar).map_err(failed(&path))?;
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

pub(super) fn write_truth(truth: &Truth, out: Box<dyn Write>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, out);
    serde_json::to_writer(&mut out, &truth.report())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Opens a file for writing, or standard output for "-".
pub(super) fn open(path: &Path, force: bool) -> Result<Box<dyn Write>, Failure> {
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
pub(super) fn remove_incomplete(path: &Path) -> bool {
    path != Path::new("-")
        && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
        && std::fs::remove_file(path).is_ok()
}

pub(super) fn progress(length_ns: u64) -> ProgressBar {
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
    if let Some(scenario) = &config.scenario {
        return writeln!(
            err,
            "scenario {scenario}: {} injects, {} outages",
            config.injects.len(),
            config.outages.len()
        );
    }
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
