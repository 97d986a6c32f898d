//! A drill to a collector or onto a line, with progress.

use super::{Args, Failure, capture};
use crate::generator::Drill;
use crate::send::interface;
use crate::send::sensors::{self, Destination};
use crate::truth::Truth;
use indicatif::ProgressBar;
use martlet_sensor::cli::{TlsArgs, parse_speed};
use martlet_sensor::pace::Pace;
use martlet_telemetry::log;
use std::io::{self, Write};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Sending")]
pub(super) struct SendArgs {
    /// Send to this collector, as sensors would, with the class drill
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["out", "interface"])]
    pub(super) collector: Option<String>,
    /// Name of the sensors; -1 and so on is put behind it
    #[arg(long, value_name = "NAME", default_value = "drill", requires = "collector")]
    name: String,
    /// Times faster than real time [default: as fast as it goes to a collector, 1 onto a line]
    #[arg(long, value_name = "N", value_parser = parse_speed)]
    speed: Option<f64>,
    /// Send frames through this interface (needs root or CAP_NET_RAW); only to private, benchmarking and documentation
    /// networks
    #[arg(long, value_name = "DEV", conflicts_with_all = ["out", "truth"], requires = "bounded_by")]
    pub(super) interface: Option<String>,
    /// Send at most so many packets through the interface
    #[arg(long, value_name = "PACKETS", requires = "interface")]
    bounded_by: Option<u64>,
    /// Live sensors on the line of the interface count the packets as real traffic, and that is wanted
    #[arg(long, requires = "interface")]
    counts_as_real: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

impl SendArgs {
    /// Where to send to; the files of TLS are read.
    fn destination(&self, collector: &str) -> Result<Destination, Failure> {
        let tls = self.tls.load(collector).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Destination { collector: collector.to_owned(), tls, name: self.name.clone() })
    }
}

/// Waits as the speed says, and shows how far it is.
pub(super) fn clock(speed: Option<f64>, start_ns: u64, bar: &ProgressBar) -> impl FnMut(u64) {
    let mut pace = speed.map(Pace::new);
    move |time_ns| {
        if let Some(pace) = &mut pace {
            pace.wait_for(crate::send::timestamp(time_ns));
        }
        bar.set_position(time_ns.saturating_sub(start_ns));
    }
}

fn bar(args: &Args, drill: &Drill) -> ProgressBar {
    if args.quiet { ProgressBar::hidden() } else { capture::progress(drill.end_ns() - drill.start_ns()) }
}

/// Plays a drill to a collector.
pub(super) fn to_collector(args: &Args, drill: Drill, collector: &str) -> Result<(), Failure> {
    log::init("warn", log::Format::Plain).map_err(|error| Failure::Usage(error.to_string()))?;
    let destination = args.send.destination(collector)?;
    let truth_out = args.truth.as_ref().map(|path| capture::open(path, args.force)).transpose()?;
    let mut truth = truth_out.as_ref().map(|_| Truth::new(drill.config()));
    let bar = bar(args, &drill);
    let mut clock = clock(args.send.speed, drill.start_ns(), &bar);
    let sensors = drill.config().sensors;
    // Half a truth is none, and would be in the way when the drill is sent again.
    let remove_truth = || args.truth.as_deref().is_some_and(capture::remove_incomplete);
    let sent = sensors::send(drill, &destination, truth.as_mut(), &mut clock).map_err(|error| {
        remove_truth();
        Failure::Send(error)
    })?;
    bar.finish_and_clear();
    if let (Some(truth), Some(path), Some(out)) = (&truth, &args.truth, truth_out) {
        capture::write_truth(truth, out).map_err(|source| Failure::Write {
            path: path.clone(),
            source,
            removed: remove_truth(),
        })?;
    }
    if !args.quiet {
        // What was sent has arrived; a closed terminal is no failure.
        let _ = writeln!(
            io::stderr(),
            "{} as {sensors} sensors, class drill; {} windows or parts; {} batches acknowledged by the collector",
            sent.outcomes,
            sent.parts,
            sent.batches
        );
    }
    Ok(())
}

/// Sends a drill through an interface.
pub(super) fn to_interface(args: &Args, drill: Drill, device: &str) -> Result<(), Failure> {
    if !args.send.counts_as_real {
        return Err(Failure::Usage(format!(
            "a live sensor on the line of {device} cannot tell a drill from real traffic, and would count it as real; \
             say --counts-as-real if its collector is one for exercises, or send to a collector with --collector"
        )));
    }
    let bound = args.send.bounded_by.unwrap_or(0);
    let bar = bar(args, &drill);
    let mut clock = clock(Some(args.send.speed.unwrap_or(1.0)), drill.start_ns(), &bar);
    let dark = drill.config().dark;
    if !args.quiet {
        let _ =
            writeln!(io::stderr(), "warning: live sensors that watch {dark} on {device} count this as real traffic");
    }
    let packets = interface::send(drill, device, bound, &mut clock)?;
    bar.finish_and_clear();
    if !args.quiet {
        let _ = writeln!(io::stderr(), "{packets} packets to {dark} sent on {device}");
    }
    Ok(())
}
