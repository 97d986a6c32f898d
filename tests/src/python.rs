//! Python programs that read what Martlet wrote, with libraries that Martlet does not have.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::{run, workspace_root};
use crate::shared::skipped;

/// The interpreter that `scripts/test.sh` has set up, or `None` with a line that says so where there is none.
///
/// # Panics
/// If there is none in CI.
#[must_use]
pub fn interpreter() -> Option<PathBuf> {
    let found = env::var_os("MARTLET_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    let required = env::var("CI").is_ok_and(|set| set == "true");
    assert!(found.is_some() || !required, "MARTLET_PYTHON names no interpreter: scripts/test.sh sets it");
    if found.is_none() {
        skipped("no Python environment; scripts/test.sh makes one");
    }
    found
}

/// What a program of `tests/python` prints as JSON.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn ask(interpreter: &Path, program: &str, arguments: &[&OsStr]) -> Value {
    let script = workspace_root().join("tests/python").join(program);
    let outcome = run(Command::new(interpreter).arg(script).args(arguments), b"");
    assert_eq!(outcome.code, Some(0), "{program}: {}", outcome.stderr);
    serde_json::from_slice(&outcome.stdout).unwrap()
}
