//! Which build is running.

use prometheus::{Gauge, Opts};

use crate::catalogue::Catalogue;

/// Registers `martlet_build_info{daemon, version}`, a gauge that is always 1.
///
/// # Errors
/// If the catalogue already has one.
pub fn register(catalogue: &Catalogue, daemon: &str, version: &str) -> Result<(), prometheus::Error> {
    let options = Opts::new("martlet_build_info", "Which build is running; always 1.")
        .const_label("daemon", daemon)
        .const_label("version", version);
    let gauge = Gauge::with_opts(options)?;
    gauge.set(1.0);
    catalogue.register(gauge)
}
