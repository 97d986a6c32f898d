//! SIGHUP of a running sensor: what of the configuration can change without a restart.
//!
//! The log's filter, and what is in the files of `uplink.tls`. Everything else was decided at the start: rings, the kernel's filter,
//! threads and the sandbox are made by it, and a restart loses no counts.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use martlet_telemetry::config::{ConfigError, Line, Reloader};
use martlet_telemetry::shutdown::Hangup;
use martlet_telemetry::tls::TlsFileProblem;

use crate::config::{self, Config, InvalidConfig, RawConfig};
use crate::sandbox::Readable;
use crate::uplink::{ClientTls, TlsSettingsError};

/// Knows what is in effect.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    reloader: Reloader,
    tls: Option<ClientTls>,
    confined: bool,
    /// Another file in the place of the one at the start is out of reach.
    only_the_file: bool,
}

impl Reload {
    /// Of a sensor that is started with this configuration; `None` if that is from no file. To be called before the sandbox is
    /// entered.
    ///
    /// # Errors
    /// If the configuration cannot be written as TOML, which is a defect.
    pub fn new(raw: &RawConfig, config: &Config) -> Result<Option<Reload>, toml::ser::Error> {
        let Some(file) = config.file.clone() else { return Ok(None) };
        let only_the_file = config.sandbox && Readable::of(Some(&file)).only_the_file;
        let (tls, confined) = (config.tls.clone(), config.sandbox);
        Ok(Some(Reload { file, reloader: Reloader::new(raw)?, tls, confined, only_the_file }))
    }

    /// Reads again whenever somebody asks for it.
    pub async fn run(&mut self, mut hangup: Hangup) -> Infallible {
        loop {
            hangup.received().await;
            self.reload();
        }
    }

    fn reload(&mut self) {
        let Reload { file, reloader, tls, confined, only_the_file } = self;
        let read = config::load_again(file).map_err(|error| explained(&error, file, *only_the_file));
        let lines = reloader.reload(read, RawConfig::log_filter, |_| {
            if let Some(tls) = tls {
                read_files(tls, *confined);
            }
            // Which files these are was decided at the start.
            &[]
        });
        for line in lines {
            match line {
                Line::Info(text) => tracing::info!("{text}"),
                Line::Warning(text) => tracing::warn!("{text}"),
                Line::Error(text) => tracing::error!("{text}"),
            }
        }
    }
}

fn read_files(tls: &ClientTls, confined: bool) {
    match tls.reload() {
        Ok(()) => tracing::info!("SIGHUP: the files of uplink.tls were read again, for connections from now on"),
        Err(error) if confined && is_out_of_reach(&error) => tracing::warn!(
            "SIGHUP: the files of uplink.tls are out of the sandbox's reach, and wait for a restart: {error}; beside the configuration, or in \
             sensor.state_dir, they can be read again"
        ),
        Err(error) => {
            tracing::error!("SIGHUP: the files of uplink.tls cannot be used, and what was read before goes on: {error}")
        }
    }
}

fn is_out_of_reach(error: &TlsSettingsError) -> bool {
    let TlsSettingsError::File(error) = error else { return false };
    matches!(&error.problem, TlsFileProblem::Unreadable(why) if why.kind() == io::ErrorKind::PermissionDenied)
}

/// An error with what the sandbox has to do with it.
fn explained(error: &InvalidConfig, file: &Path, only_the_file: bool) -> String {
    match error {
        InvalidConfig::Load(ConfigError::Unreadable { source, .. })
            if only_the_file && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            format!(
                "{} was replaced, and the sandbox lets the sensor read only the file that was there at the start, since its directory \
                 is not Martlet's own: restart the sensor, or keep its configuration in a directory such as /etc/martlet",
                file.display()
            )
        }
        error => error.to_string(),
    }
}
