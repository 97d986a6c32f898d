//! Joint exercises on the command line: check the shared file, play a share of it, review what came of it.

use super::{Failure, capture, print, send};
use crate::exercise::review::{self, Collector};
use crate::exercise::{Exercise, Participant};
use crate::generator::Drill;
use crate::send::sensors::{self, Destination};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use martlet_sensor::cli::{TlsArgs, parse_speed};
use martlet_telemetry::log;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum ExerciseCommand {
    /// Check a shared file, and print what everybody will see
    Check {
        /// The shared file
        file: PathBuf,
    },
    /// Play one participant's share to their collector
    Run(RunArgs),
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The shared file
    file: PathBuf,
    /// Whose share
    #[arg(long, value_name = "NAME")]
    participant: String,
    /// Their collector
    #[arg(long, value_name = "HOST:PORT")]
    collector: String,
    /// Times faster than real time [default: the file's]
    #[arg(long, value_name = "N", value_parser = parse_speed)]
    speed: Option<f64>,
    #[command(flatten)]
    tls: TlsArgs,
}

#[derive(Args, Debug)]
pub(super) struct ReviewArgs {
    /// The shared file
    file: PathBuf,
    /// A participant's collector: its name in the file, and the URL of its API; several times
    #[arg(long, value_name = "NAME=URL", required = true, value_parser = pair)]
    collector: Vec<(String, String)>,
    /// A file with the token for a participant's collector
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    token_file: Vec<(String, String)>,
    /// Certificates to trust for https, a PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read(path: &Path) -> Result<Exercise, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    Exercise::parse(&text).map_err(|error| wrong(&error))
}

pub(super) fn main(command: &ExerciseCommand) -> Result<(), Failure> {
    match command {
        ExerciseCommand::Check { file } => print(&summary(&read(file)?)),
        ExerciseCommand::Run(args) => run(args),
    }
}

/// What a file comes to.
fn summary(exercise: &Exercise) -> String {
    let mut text = format!("{}, {} times as fast as real time\n", exercise.title, exercise.speed);
    for Participant { name, drill } in &exercise.participants {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "participant {name}: {} sensors on {}", drill.sensors, drill.dark);
        for inject in &drill.injects {
            let (transport, port) = inject.service();
            let expected = inject.expectation(drill);
            let _ = writeln!(
                text,
                "  {:.2} h: {} on {}/{port}; must be called {:?}, must not {:?}: {}",
                inject.begin.as_secs_f64() / 3600.0,
                inject.name,
                transport.name(),
                expected.must,
                expected.must_not,
                expected.why
            );
        }
        for outage in &drill.outages {
            let _ =
                writeln!(text, "  {:.2} h: sensor {} is out", outage.begin.as_secs_f64() / 3600.0, outage.sensor + 1);
        }
    }
    for message in &exercise.messages {
        let _ = writeln!(text, "{:.2} h: {}", message.at.as_secs_f64() / 3600.0, message.text);
    }
    text
}

fn run(args: &RunArgs) -> Result<(), Failure> {
    log::init("warn", log::Format::Plain).map_err(|error| Failure::Usage(error.to_string()))?;
    let exercise = read(&args.file)?;
    let participant = exercise.participant(&args.participant).map_err(|error| Failure::Usage(error.to_string()))?;
    let tls = args.tls.load(&args.collector).map_err(|error| Failure::Usage(error.to_string()))?;
    let destination = Destination { collector: args.collector.clone(), tls, name: participant.name.clone() };
    let drill = Drill::new(&participant.drill)?;
    let (start_ns, end_ns) = (drill.start_ns(), drill.end_ns());
    let bar: ProgressBar = capture::progress(end_ns - start_ns);
    let mut pace = send::clock(Some(args.speed.unwrap_or(exercise.speed)), start_ns, &bar);
    let mut due = exercise.messages.iter().peekable();
    let mut clock = |time_ns: u64| {
        pace(time_ns);
        while let Some(message) = due.next_if(|message| message.at.as_nanos() <= u128::from(time_ns - start_ns)) {
            // On standard output, a line each, so that others can read them; a closed one holds nothing up.
            let hours = message.at.as_secs_f64() / 3600.0;
            bar.suspend(|| _ = writeln!(std::io::stdout(), "{hours:.2} h: {}", message.text));
        }
    };
    let sent = sensors::send(drill, &destination, None, &mut clock).map_err(Failure::Send)?;
    bar.finish_and_clear();
    print(&format!("{}; {} batches acknowledged by the collector\n", sent.outcomes, sent.batches))
}

/// Asks all collectors and prints what came of it.
pub(super) fn review(args: &ReviewArgs) -> Result<(), Failure> {
    let exercise = read(&args.file)?;
    let mut answers = Vec::new();
    for (name, url) in &args.collector {
        let token = match args.token_file.iter().find(|(of, _)| of == name) {
            None => None,
            Some((_, path)) => {
                let token =
                    std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
                Some(token.trim().to_owned())
            }
        };
        let collector = Collector { name: name.clone(), url: url.clone(), token };
        answers.push((name.clone(), review::ask(&collector, args.ca.as_deref())));
    }
    let review = review::review(&exercise, answers).map_err(Failure::Send)?;
    if args.json {
        let json = serde_json::to_string_pretty(&review).map_err(|error| Failure::Send(error.into()))?;
        print(&format!("{json}\n"))
    } else {
        print(&review.text())
    }?;
    if review.is_clean() { Ok(()) } else { Err(Failure::NotClean) }
}
