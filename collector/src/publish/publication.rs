//! What callers of scope `public`, and readers of the public view, are told: its configuration.

use serde::{Deserialize, Serialize};

/// `[publication]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicationConfig {
    /// Whether anybody is told it below `/public/`, without a token.
    pub public: bool,
    /// How old what is told must be, in hours.
    pub delay_hours: u32,
    /// Fewest packets of a row.
    pub min_packets: u64,
    /// Fewest distinct sources of a row.
    pub min_sources: u64,
}

impl Default for PublicationConfig {
    fn default() -> PublicationConfig {
        PublicationConfig { public: false, delay_hours: 24, min_packets: 10, min_sources: 3 }
    }
}
