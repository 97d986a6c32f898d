//! How far an import has come: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use martlet_observe::capture::file::Progress;
use martlet_observe::progress::progress_bar;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Its hash is taken.
    Identify,
    /// Its frames are read.
    Read,
}

/// Counts for the reader, and shows it.
pub(super) struct Meter {
    bar: ProgressBar,
    total_bytes: u64,
    /// Bytes of files whose frames are read.
    pub(super) progress: Progress,
    /// Packets counted.
    pub(super) packets: AtomicU64,
    now: Mutex<Now>,
}

struct Now {
    what: String,
    said: Instant,
}

impl Meter {
    pub(super) fn new(files: &[PathBuf]) -> Meter {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
        Meter {
            bar: progress_bar(files),
            total_bytes: files.iter().map(length).sum(),
            progress: Progress::default(),
            packets: AtomicU64::new(0),
            now: Mutex::new(Now { what: String::new(), said: Instant::now() }),
        }
    }

    /// What is done from now on.
    pub(super) fn begin(&self, work: Work, path: &Path) {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        self.lock().what = match work {
            Work::Identify => format!("identifying {name}"),
            Work::Read => format!("reading {name}"),
        };
    }

    /// Shows it.
    pub(super) fn show(&self) {
        let mut now = self.lock();
        self.bar.set_position(self.progress.bytes());
        self.bar.set_message(now.what.clone());
        if !io::stderr().is_terminal() && now.said.elapsed() >= LINE_INTERVAL {
            now.said = Instant::now();
            let percent = self.progress.bytes().saturating_mul(100) / self.total_bytes.max(1);
            let packets = self.packets.load(Relaxed);
            // Standard error may be gone; there is nobody left to tell.
            let _ = writeln!(io::stderr(), "martlet-collector: {percent} %, {packets} packets counted; {}", now.what);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
