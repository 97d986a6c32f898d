//! What callers of scope `public` are told: its configuration.

use serde::{Deserialize, Serialize};

/// `[publication]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicationConfig {
    /// How old what is told must be, in hours.
    pub delay_hours: u32,
    /// Fewest packets of a row.
    pub min_packets: u64,
    /// Fewest distinct sources of a row.
    pub min_sources: u64,
}

impl Default for PublicationConfig {
    fn default() -> PublicationConfig {
        PublicationConfig { delay_hours: 24, min_packets: 10, min_sources: 3 }
    }
}
