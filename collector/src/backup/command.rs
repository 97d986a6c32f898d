//! The command line of `martlet-collector backup`.

use std::path::PathBuf;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::copy::{Copied, back_up};
use crate::cli::{Failure, configuration, tell};

/// Copy the data directory to one that a collector can be started in, also while the collector runs.
///
/// The copy is as of one moment: everything that was acknowledged before it is in the copy, and counts once there. Restoring is
/// moving the copy into the place of the data directory, and starting the collector; docs/backup.md says what sensors do then.
///
/// Exit status: 0 when the copy is whole and on the disk; 1 if it is not: then there is none; 2 if usage cannot be understood; 78 if the
/// configuration cannot be used.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Configuration file (TOML): where the data directory is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the collector's state [default: /var/lib/martlet/collector].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Where the copy goes: a directory that does not exist yet, or is empty.
    #[arg(long, value_name = "DIRECTORY")]
    output: PathBuf,
    /// Make hard links to the files of the archive, which are never changed, where the output is on the same file system: at once,
    /// and without taking room, but on the same disk. For handing the copy to another program.
    #[arg(long)]
    link: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = configuration(self.config.as_deref(), self.data_dir)?;
        crate::cli::allow_descriptors();
        let bar = ProgressBar::new(0).with_style(
            ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}").unwrap_or(ProgressStyle::default_bar()),
        );
        let mut progress = |what: &'static str, done, all| {
            bar.set_message(what);
            bar.set_length(all);
            bar.set_position(done);
        };
        let copied = back_up(&config, &self.output, self.link, &mut progress);
        bar.finish_and_clear();
        let copied = copied.map_err(|error| Failure::Failed(error.to_string()))?;
        for path in &copied.odd {
            let path = path.display();
            tell(&format!("warning: {path} has not the length that the store says; it is copied as it is"));
        }
        tell(&format!("{}: {}", self.output.display(), describe(&copied)));
        Ok(())
    }
}

fn describe(copied: &Copied) -> String {
    let plural = |number: u64| if number == 1 { "1 file".to_owned() } else { format!("{number} files") };
    let links = match copied.linked {
        0 => String::new(),
        linked => format!(", {linked} of them linked"),
    };
    let again = match copied.attempts {
        0 | 1 => String::new(),
        attempts => format!("; files were replaced meanwhile, so it began {attempts} times"),
    };
    let moment = jiff::Timestamp::from_millisecond(copied.at_ms).map_or_else(|_| "?".to_owned(), |at| at.to_string());
    format!(
        "everything acknowledged before {moment}: store {}, journal {} in {}, archive {} in {}{links}, reports in {}{again}",
        HumanBytes(copied.store_bytes),
        HumanBytes(copied.segment_bytes),
        plural(copied.segments),
        HumanBytes(copied.file_bytes),
        plural(copied.files),
        plural(copied.reports),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_told() {
        let copied = Copied {
            at_ms: 1_795_744_800_000,
            store_bytes: 1 << 20,
            segments: 1,
            segment_bytes: 2048,
            files: 3,
            file_bytes: 5 << 30,
            linked: 2,
            reports: 4,
            attempts: 3,
            ..Copied::default()
        };
        let expected = "everything acknowledged before 2026-11-27T02:00:00Z: store 1.00 MiB, journal 2.00 KiB in 1 file, archive 5.00 GiB \
                        in 3 files, 2 of them linked, reports in 4 files; files were replaced meanwhile, so it began 3 times";
        assert_eq!(describe(&copied), expected);
    }
}
