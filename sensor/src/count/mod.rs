//! `martlet-sensor count`: what a sensor would count in capture files, without a collector.

mod report;
mod tally;

use std::io::Write;
use std::path::PathBuf;

use martlet_observe::capture::Frame;
use martlet_observe::capture::file::{CaptureError, CaptureFile, Progress};
use martlet_observe::classify::{Aim, classify};
use martlet_observe::pairs::Pairs;
use martlet_observe::progress::progress_bar;
use martlet_observe::screen::Screen;
use martlet_packet::parse;
use martlet_window::{Class, RejectReason};

pub use report::Format;
pub use tally::Tally;

/// What to count and how.
#[derive(Debug)]
pub struct CountOptions {
    /// Capture files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Which packets count.
    pub screen: Screen,
    /// The address that senders aimed at.
    pub aim: Aim,
    /// Form of the output.
    pub format: Format,
}

/// Counts all files into one tally. Damage does not stop it: what could be read is counted, and every error comes
/// back.
#[must_use]
pub fn count(files: &[PathBuf], mut screen: Screen, aim: Aim) -> (Tally, Vec<CaptureError>) {
    let mut tally = Tally::new(aim);
    let mut errors = Vec::new();
    let progress = Progress::default();
    let bar = progress_bar(files);
    for path in files {
        // A file is a beginning of its own, as it is where it is replayed or imported.
        let mut pairs = Pairs::default();
        let mut file = match CaptureFile::open(path, &progress) {
            Ok(file) => file,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        loop {
            match file.next_frame() {
                Ok(Some(frame)) => {
                    take(&mut tally, &mut screen, &mut pairs, aim, frame);
                    if tally.frames().is_multiple_of(65_536) {
                        bar.set_position(progress.bytes());
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    errors.push(error);
                    break;
                }
            }
        }
        errors.extend(file.complaints());
    }
    bar.finish_and_clear();
    (tally, errors)
}

fn take(tally: &mut Tally, screen: &mut Screen, pairs: &mut Pairs, aim: Aim, frame: Frame<'_>) {
    let Some(link) = frame.link else { return tally.reject(RejectReason::UnsupportedLinkType) };
    match parse(link, frame.bytes) {
        Err(reject) => tally.reject(reject.into()),
        Ok(packet) => match screen.check(&packet, frame.time) {
            Err(reason) => tally.reject(reason),
            Ok(()) => {
                let class = classify(&packet, aim);
                let marks = pairs.complete(&packet, aim, class.marks);
                tally.count(&packet, Class { marks, ..class }, frame.time);
            }
        },
    }
}

/// Runs the command: writes the report to `out` and returns the errors that were met on the way.
///
/// # Errors
/// If the report cannot be written.
pub fn run(options: CountOptions, out: &mut dyn Write) -> std::io::Result<Vec<CaptureError>> {
    let (tally, errors) = count(&options.files, options.screen, options.aim);
    options.format.write(&tally, out)?;
    out.flush()?;
    Ok(errors)
}
