//! What `martlet-sensor check` looks at besides the settings themselves.

use std::time::{Duration, SystemTime};

use martlet_telemetry::preflight::{self, Finding};

use crate::config::Config;

/// What is to be said of files, directories and the collector. It is tried to be reached for this long, or not at all.
#[must_use]
pub fn findings(config: &Config, reach: Option<Duration>) -> Vec<Finding> {
    let mut found = certificates(config);
    found.extend(preflight::directory("sensor.state_dir", &config.state_dir));
    let collector = &config.collector;
    let unreached = reach.and_then(|patience| preflight::reach(collector, patience).err());
    found.extend(unreached.map(|why| {
        Finding::Warning(format!(
            "uplink.collector: {collector} cannot be reached from here: {why}; the sensor would keep batches in its spool meanwhile"
        ))
    }));
    found
}

/// What is to be said of certificates' dates.
#[must_use]
pub fn certificates(config: &Config) -> Vec<Finding> {
    let now = SystemTime::now();
    let files = config.tls_files.iter();
    files.flat_map(|(key, path)| preflight::certificate_dates(key, path, now)).collect()
}
