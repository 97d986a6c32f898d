//! SIGHUP: what of the configuration can change without a restart.
//!
//! Tokens, labels and the files of `[geo]` are looked at again and again anyway. Everything else was decided at the start: queues,
//! threads and files are made by it.

use martlet_telemetry::config::{Line, Reloader};

use super::Settings;
use crate::config::Config;
use crate::run::Collector;

/// Reads file, environment and the files of `ingest.tls` again, takes what can be taken, and says of every other change that
/// it waits for a restart. With a configuration that cannot be used all stays as it is.
pub(super) fn reload(reloader: &mut Reloader, settings: &Settings, collector: &Collector) {
    for line in reloader.reload(settings.effective(), |config| &config.log.filter, |config| files(config, collector)) {
        match line {
            Line::Info(text) => tracing::info!("{text}"),
            Line::Warning(text) => tracing::warn!("{text}"),
            Line::Error(text) => tracing::error!("{text}"),
        }
    }
}

/// Reads the files of `ingest.tls`; says which settings are in effect by that.
fn files(config: &Config, collector: &Collector) -> &'static [&'static str] {
    match collector.reload_tls(config) {
        Ok(true) => {
            tracing::info!("SIGHUP: the files of ingest.tls were read again, for connections from now on");
            &["ingest.tls."]
        }
        Ok(false) => &[],
        Err(error) => {
            tracing::error!(
                "SIGHUP: the files of ingest.tls cannot be used, and what was read before goes on: {error}"
            );
            &[]
        }
    }
}
