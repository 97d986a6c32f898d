//! Configurations of both daemons: a file, and variables of the environment on top of it.

#[cfg(feature = "collector")]
use martlet_collector::config::Config as Collector;
use martlet_sensor::config::{Config as Sensor, RawConfig};
use martlet_telemetry::config::{ConfigError, load};

use crate::scratch::with_file;

/// Any text as the configuration of a sensor. Lines `MARTLET_SECTION__KEY=value` are variables of the environment.
///
/// Whatever is wrong is said; what is right is printed as a configuration that means the same.
pub fn sensor_configuration(bytes: &[u8]) {
    let Some((file, variables)) = split(bytes) else { return };
    let Some(raw) = said(with_file(file.as_bytes(), |path| load::<RawConfig>(path, variables.into_iter()))) else {
        return;
    };
    let printed = toml::to_string(&raw).expect("it came from TOML");
    // Files of certificates are read when it is checked; those that the bytes name are none of ours to open.
    if printed.contains("[uplink.tls]") {
        return;
    }
    let checked = Sensor::try_from(&raw);
    let again: RawConfig = toml::from_str(&printed).expect("what is printed is a configuration");
    match (checked, Sensor::try_from(&again)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => assert!(one.is_ok() == other.is_ok(), "{printed} is not what it was printed from"),
    }
}

/// As [`sensor_configuration`], of a collector.
#[cfg(feature = "collector")]
pub fn collector_configuration(bytes: &[u8]) {
    let Some((file, variables)) = split(bytes) else { return };
    let read = with_file(file.as_bytes(), |path| Collector::load(Some(path), variables.into_iter()));
    let Some(config) = said(read) else { return };
    let printed = toml::to_string(&config).expect("it came from TOML");
    let again: Collector = toml::from_str(&printed).expect("what is printed is a configuration");
    assert_eq!(toml::to_string(&again).expect("it came from TOML"), printed);
    match config.check() {
        Ok(()) => {
            assert!(again.check().is_ok());
            let _ = config.history.zones();
            let _ = (config.ingest.warnings(), config.http.warnings(true), config.reports.warnings(&config));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn said<T>(read: Result<T, ConfigError>) -> Option<T> {
    read.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// The file's text, and the variables among its lines.
fn split(bytes: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (mut file, mut variables) = (String::new(), Vec::new());
    for line in text.lines() {
        match line.split_once('=').filter(|(name, _)| name.starts_with("MARTLET_")) {
            Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
            None => {
                file.push_str(line);
                file.push('\n');
            }
        }
    }
    Some((file, variables))
}
