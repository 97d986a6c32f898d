//! What the labels of rows mean for a rollup, looked up once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use martlet_window::TrafficClass;

use super::cells::Names;
use super::exclusions::Exclusion;
use super::records::Slot;
use super::sensors::SensorLists;
use super::settings::{ALL_SENSORS, Settings};
use crate::archive::Labels;

/// What an observer means.
#[derive(Clone, Debug)]
pub(super) struct ObserverFacts {
    pub(super) class: TrafficClass,
    /// The slots that count its rows; that of all sensors first.
    pub(super) slots: Vec<u16>,
    /// Number of its sensor.
    pub(super) sensor: usize,
    /// Number of its list of services.
    pub(super) list: u32,
    /// Its name's number.
    pub(super) name: u32,
    /// Times that do not count.
    excluded: Vec<Range<i64>>,
}

impl ObserverFacts {
    pub(super) fn is_excluded(&self, start: i64) -> bool {
        self.excluded.iter().any(|time| time.contains(&start))
    }
}

/// What a network means.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkFacts {
    /// Its region's number.
    pub(super) region: u32,
    /// The number of the list of known scanners.
    pub(super) scanner: Option<u32>,
    pub(super) is_coarse: bool,
}

/// Everything that was looked up.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) names: Names,
    slots: Vec<Slot>,
    sensors: Vec<Arc<str>>,
    scanners: usize,
    observers: Vec<ObserverFacts>,
    networks: Vec<NetworkFacts>,
}

/// The name of all lists of known scanners that came when there were too many.
pub const OTHER_SCANNERS: &str = "(others)";

impl Facts {
    /// Looks up what is new in labels.
    pub(super) fn learn(
        &mut self,
        labels: &Labels,
        settings: &Settings,
        exclusions: &[Exclusion],
        lists: &mut SensorLists,
    ) {
        for observer in &labels.observers()[self.observers.len()..] {
            let sensor = &observer.sensor;
            let place = self.sensors.iter().position(|known| known == sensor).unwrap_or_else(|| {
                self.sensors.push(sensor.clone());
                self.sensors.len() - 1
            });
            // Each once, and that of all sensors, which has the least number, first.
            let mut scopes: BTreeSet<u32> = settings.groups.get(&**sensor).into_iter().flatten().copied().collect();
            scopes.insert(ALL_SENSORS);
            let slots = scopes.into_iter().map(|scope| self.slot(Slot { class: observer.class, scope })).collect();
            let of = exclusions.iter().filter(|exclusion| *exclusion.sensor == **sensor);
            let facts = ObserverFacts {
                class: observer.class,
                slots,
                sensor: place,
                list: lists.number(observer.class, sensor),
                name: self.names.number(sensor),
                excluded: of.map(|exclusion| exclusion.time.clone()).collect(),
            };
            self.observers.push(facts);
        }
        for network in &labels.networks()[self.networks.len()..] {
            let scanner = network.known_scanner.as_ref().map(|scanner| self.scanner(scanner, settings.limits.scanners));
            let region = self.names.number(network.region.as_str());
            self.networks.push(NetworkFacts { region, scanner, is_coarse: network.is_coarse });
        }
    }

    pub(super) fn observer(&self, number: u32) -> &ObserverFacts {
        &self.observers[number as usize]
    }

    pub(super) fn network(&self, number: u32) -> NetworkFacts {
        self.networks[number as usize]
    }

    /// Whether everything in the labels is known.
    pub(super) fn is_current(&self, labels: &Labels) -> bool {
        (self.observers.len(), self.networks.len()) == (labels.observers().len(), labels.networks().len())
    }

    /// The slot with a number.
    pub(super) fn slot_of(&self, number: u16) -> Slot {
        self.slots[usize::from(number)]
    }

    /// The number of a slot that there is.
    pub(super) fn slot_number(&self, slot: Slot) -> Option<u16> {
        self.slots.iter().position(|known| *known == slot).and_then(|place| u16::try_from(place).ok())
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn slot(&mut self, slot: Slot) -> u16 {
        if let Some(number) = self.slot_number(slot) {
            return number;
        }
        self.slots.push(slot);
        u16::try_from(self.slots.len() - 1).unwrap_or(u16::MAX)
    }

    fn scanner(&mut self, name: &str, limit: usize) -> u32 {
        let before = self.names.count();
        if self.scanners >= limit && !self.names.has(name) {
            return self.names.number(OTHER_SCANNERS);
        }
        let number = self.names.number(name);
        self.scanners += usize::from(self.names.count() > before);
        number
    }
}
