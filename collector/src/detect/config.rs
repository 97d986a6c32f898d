//! `[detect]` of the configuration.

use std::time::Duration;

use martlet_detect::DetectConfig;
use serde::{Deserialize, Serialize};

/// Whether outbreaks are looked for, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectSettings {
    /// Whether outbreaks are looked for.
    pub enabled: bool,
    /// How often what the detectors know is saved, in seconds. A start reads again what came since.
    pub save_seconds: u32,
    /// Thresholds and limits (docs/detection.md).
    pub thresholds: DetectConfig,
}

impl Default for DetectSettings {
    fn default() -> DetectSettings {
        DetectSettings { enabled: true, save_seconds: 300, thresholds: DetectConfig::default() }
    }
}

impl DetectSettings {
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// The first setting whose value makes no sense, and what would.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        if !(1..=3600).contains(&self.save_seconds) {
            return Err(("save_seconds".to_owned(), "take a number from 1 to 3600"));
        }
        self.thresholds.check().map_err(|(name, rule)| (format!("thresholds.{name}"), rule))
    }

    pub(super) fn save_interval(&self) -> Duration {
        Duration::from_secs(self.save_seconds.into())
    }
}
