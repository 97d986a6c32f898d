//! How long how much was watched, and rates: packets by address and time that were really watched.

use martlet_telemetry::counters::to_f64;
use serde::Serialize;
use utoipa::ToSchema;

use crate::aggregate::SensorCounts;

const DAY_SECONDS: f64 = 86_400.0;

/// What was watched.
#[derive(Serialize, ToSchema)]
pub(super) struct Exposure {
    /// Seconds watched, summed over sensors.
    watched_seconds: f64,
    /// IPv4 addresses times seconds watched.
    ipv4_address_seconds: f64,
    /// IPv6 /64 prefixes times seconds watched.
    ipv6_prefix_seconds: f64,
}

impl Exposure {
    /// `None` if any batch did not know it.
    pub(super) fn of(counts: &SensorCounts) -> Option<Exposure> {
        counts.watched_seconds().map(|watched_seconds| Exposure {
            watched_seconds,
            ipv4_address_seconds: to_f64(counts.ipv4_address_ms) / 1000.0,
            ipv6_prefix_seconds: to_f64(counts.ipv6_prefix_ms) / 1000.0,
        })
    }
}

/// Packets for each address, or /64 prefix, and day of exposure; `None` where it is unknown or nothing was watched.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(super) struct Rate {
    /// Of IPv4, for each address and day.
    pub(super) ipv4_packets_per_address_day: Option<f64>,
    /// Of IPv6, for each /64 prefix and day.
    pub(super) ipv6_packets_per_prefix_day: Option<f64>,
}

impl Rate {
    pub(super) fn of(counts: &SensorCounts) -> Rate {
        let rate = |packets: u64, watched_ms: u64| {
            let is_known = !counts.exposure_unknown && watched_ms > 0;
            is_known.then(|| to_f64(packets) / (to_f64(watched_ms) / 1000.0 / DAY_SECONDS))
        };
        Rate {
            ipv4_packets_per_address_day: rate(counts.ipv4_packets, counts.ipv4_address_ms),
            ipv6_packets_per_prefix_day: rate(counts.ipv6_packets, counts.ipv6_prefix_ms),
        }
    }
}
