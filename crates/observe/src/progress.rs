//! How far the reading of capture files has come, for people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error while it is a terminal; nothing otherwise. It shows its message, if it is given one.
#[must_use]
pub fn progress_bar(files: &[PathBuf]) -> ProgressBar {
    let total = files.iter().map(|path| std::fs::metadata(path).map(|data| data.len())).sum::<Result<u64, _>>();
    let known = files.iter().all(|path| path != Path::new("-"));
    let (bar, template) = match total {
        Ok(total) if known => {
            (ProgressBar::new(total), "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {wide_msg}")
        }
        _ => (ProgressBar::new_spinner(), "{spinner} {bytes}, {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
