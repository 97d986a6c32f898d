//! What a rollup depends on beside the rows.

use std::collections::BTreeMap;

use super::zones::{ZoneError, Zones};
use crate::config::{Config, Port};
use crate::labels::Label;

/// All sensors together, as a scope; every other scope is a group of sensors.
pub const ALL_SENSORS: u32 = 0;

/// What rollups are made with. Whoever changes any of it has the days made again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The secret of the hash by which sources go into sketches.
    pub source_key: [u8; 16],
    /// Zones whose days have distinct sources.
    pub zones: Zones,
    /// Ports that are also told apart by region.
    pub watched: Vec<Port>,
    /// Labels whose values are groups of sensors with services, regions and so on of their own: which sensors those are stands in
    /// the store, and is read for each day that is made.
    pub group_labels: Vec<Label>,
    /// Groups of sensors besides: their numbers, from 1 on, by a sensor's name. Read anew if there are `group_labels`.
    pub groups: BTreeMap<String, Vec<u32>>,
    /// What is kept at most.
    pub limits: RollupLimits,
    /// Whether to rest between the pieces that are written, since acknowledgements wait for the same disk.
    pub rests: bool,
}

impl Settings {
    /// UTC days, no groups, the usual limits, and this secret, which is the store's.
    #[must_use]
    pub fn new(source_key: [u8; 16]) -> Settings {
        Settings {
            source_key,
            zones: Zones::default(),
            watched: Vec::new(),
            group_labels: Vec::new(),
            groups: BTreeMap::new(),
            limits: RollupLimits::default(),
            rests: false,
        }
    }

    /// As configured.
    ///
    /// # Errors
    /// If a zone is not known.
    pub fn configured(config: &Config, source_key: [u8; 16]) -> Result<Settings, ZoneError> {
        let limits = RollupLimits { tracked_sources: config.history.tracked_sources, ..RollupLimits::default() };
        let (zones, watched) = (config.history.zones()?, config.metrics.ports.clone());
        let group_labels = config.history.group_labels.clone();
        Ok(Settings { zones, watched, group_labels, limits, rests: true, ..Settings::new(source_key) })
    }
}

/// What is kept of a day at most: memory while it is made, and rows in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupLimits {
    /// Services by kind, of a traffic class and scope; those with the fewest packets are added up beyond it. Every port of TCP and
    /// UDP over IPv4, scanned and as a victim's, fits.
    pub services: usize,
    /// Sources by kind that are told apart while a day is made, of a traffic class: 64 MiB. Beyond it those with the fewest packets are
    /// forgotten, and the list says how many packets a source can have had that is not on it.
    pub tracked_sources: usize,
    /// Sources by kind that are listed.
    pub listed_sources: usize,
    /// Services by kind that are listed of a sensor.
    pub sensor_services: usize,
    /// Services by kind that are listed of a mark.
    pub mark_services: usize,
    /// Autonomous systems by kind and IP version, of a traffic class; what comes later is added up beyond it.
    pub networks: usize,
    /// Lists of known scanners; what comes later is added up beyond it.
    pub scanners: usize,
}

impl Default for RollupLimits {
    fn default() -> RollupLimits {
        RollupLimits {
            services: 350_000,
            tracked_sources: (1 << 20) / 8 * 7,
            listed_sources: 1000,
            sensor_services: 50,
            mark_services: 50,
            networks: 65_536,
            scanners: 1024,
        }
    }
}
