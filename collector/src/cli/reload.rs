//! SIGHUP: what of the configuration can change without a restart.
//!
//! Tokens, labels and the files of `[geo]` are looked at again and again anyway. Everything else was decided at the start: queues,
//! threads and files are made by it.

use martlet_telemetry::{config as settings, log};

use super::Settings;
use crate::config::Config;
use crate::run::Collector;

/// Knows what is in effect.
pub(super) struct Reloader {
    running: Config,
}

impl Reloader {
    /// Of a collector that is started with this configuration.
    pub(super) fn new(running: Config) -> Reloader {
        Reloader { running }
    }

    /// Reads file, environment and the files of `ingest.tls` again, takes what can be taken, and says of every other change that
    /// it waits for a restart. With a configuration that cannot be used all stays as it is.
    pub(super) fn reload(&mut self, settings: &Settings, collector: &Collector) {
        let read = settings.effective().and_then(|config| {
            log::check(&config.log.filter).map_err(|error| error.to_string())?;
            let changes = settings::changes(&self.running, &config).map_err(|error| error.to_string())?;
            Ok((config, changes))
        });
        let (config, changes) = match read {
            Ok(read) => read,
            Err(message) => {
                tracing::error!("SIGHUP: the configuration cannot be used, and all stays as it is: {message}");
                return;
            }
        };
        let tls = match collector.reload_tls(&config) {
            Ok(true) => {
                tracing::info!("SIGHUP: the files of ingest.tls were read again, for connections from now on");
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::error!(
                    "SIGHUP: the files of ingest.tls cannot be used, and what was read before goes on: {error}"
                );
                false
            }
        };
        let (mut taken, mut waiting) = (0, 0);
        for key in changes {
            let is_taken = match key.as_str() {
                "log.filter" => log::set_filter(&config.log.filter).is_ok(),
                key => tls && key.starts_with("ingest.tls."),
            };
            if is_taken {
                taken += 1;
                tracing::info!("SIGHUP: {key} has changed, and is in effect");
            } else {
                waiting += 1;
                tracing::warn!("SIGHUP: {key} has changed, and waits for a restart");
            }
        }
        self.running.log.filter = config.log.filter;
        if tls {
            self.running.ingest.tls = config.ingest.tls;
        }
        tracing::info!("SIGHUP: read again; {taken} changed settings are in effect, {waiting} wait for a restart");
    }
}
