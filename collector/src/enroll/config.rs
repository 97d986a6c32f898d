//! `[enroll]`

use martlet_enrol::{Authority, Life};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::IngestConfig;

/// `[enroll]`: on as soon as the collector has names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollConfig {
    /// Host names and addresses under which sensors call; they are in the collector's certificate. Without any nobody can enrol.
    pub names: Vec<String>,
    /// How long a sensor's certificate is valid. It is renewed after two thirds of that.
    pub sensor_life: Life,
    /// How long the collector's certificate is valid; a new one is made at each start and after two thirds.
    pub server_life: Life,
    /// How long a new CA is valid.
    pub ca_life: Life,
}

impl Default for EnrollConfig {
    fn default() -> EnrollConfig {
        EnrollConfig {
            names: Vec::new(),
            sensor_life: Life::of_days(90),
            server_life: Life::of_days(30),
            ca_life: Life::of_days(3650),
        }
    }
}

/// Why `[enroll]` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnrollConfigError {
    /// A name that cannot be in a certificate.
    #[error("enroll.names: {0}")]
    Name(String),
    /// Two sources of certificates.
    #[error(
        "enroll.names and [ingest.tls] are both set: with enroll.names the collector makes its certificates itself; leave out one of the two"
    )]
    Both,
}

impl EnrollConfig {
    /// Whether sensors can enrol.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        !self.names.is_empty()
    }

    /// Checks it beside what else says how sensors call.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, ingest: &IngestConfig) -> Result<(), EnrollConfigError> {
        if self.is_enabled() && ingest.tls.is_some() {
            return Err(EnrollConfigError::Both);
        }
        Authority::check_names(&self.names).map_err(|error| EnrollConfigError::Name(error.to_string()))
    }
}
