//! The real Prometheus and Alertmanager.

use std::env;
use std::path::PathBuf;

use crate::shared::skipped;

/// Where `prometheus`, `promtool`, `prometheus-alertmanager` and `amtool` are: `scripts/test.sh` has put them there out of Debian's
/// packages. `None`, with a line that says so, where they are not.
///
/// # Panics
/// If they are not there in CI.
#[must_use]
pub fn tools() -> Option<Tools> {
    let tools = env::var_os("MARTLET_PROMETHEUS").map(|directory| Tools { directory: directory.into() });
    let found = tools.filter(|tools| tools.path("promtool").is_file());
    let required = env::var("CI").is_ok_and(|set| set == "true");
    assert!(
        found.is_some() || !required,
        "MARTLET_PROMETHEUS names no directory with promtool: scripts/test.sh sets it"
    );
    if found.is_none() {
        skipped("no Prometheus; scripts/test.sh fetches one");
    }
    found
}

/// Programs of one directory.
#[derive(Debug)]
pub struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// The path of a program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
