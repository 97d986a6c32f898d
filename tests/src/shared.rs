//! The captures that projects on this machine share. None of them is part of the repository.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::program::workspace_root;

/// The shared data directory, or `None` with a line that says so where there is none.
///
/// It is `data` in the directory that `MARTLET_SHARED` names, or in `../shared` beside the workspace.
///
/// # Panics
/// If it is absent where it is required: with `MARTLET_REQUIRE_SHARED=1`, and in CI.
#[must_use]
pub fn data() -> Option<PathBuf> {
    let shared = env::var_os("MARTLET_SHARED").map_or_else(|| workspace_root().join("../shared"), PathBuf::from);
    let data = shared.join("data");
    if data.is_dir() {
        return Some(data);
    }
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|set| set == value);
    let required = set("MARTLET_REQUIRE_SHARED", "1") || set("CI", "true");
    assert!(!required, "the shared captures are required, but {} is no directory", data.display());
    skipped(&format!("no shared captures at {}; MARTLET_SHARED names another place", data.display()));
    None
}

/// The directory of shared captures, under the same rules as [`data`].
#[must_use]
pub fn captures() -> Option<PathBuf> {
    data().map(|data| data.join("captures"))
}

/// A test that did nothing must say so, even where the harness keeps what passing tests print.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// All files under a directory, in a fixed order.
///
/// # Panics
/// If a directory cannot be read.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            files.extend(files_below(&entry));
        } else {
            files.push(entry);
        }
    }
    files
}
