//! The services that each sensor saw most, by the hour.
//!
//! Rows come by service, so all of a service is known before the next begins: the lists are exact.

use std::collections::BTreeMap;
use std::sync::Arc;

use martlet_window::{IpVersion, Kind, TrafficClass};

use super::best::Best;
use super::quarters::{self, Quarters};
use super::records::Record;
use crate::live::{ServiceKey, ServiceKind};

/// Hours of a day.
pub const HOURS: usize = 24;
/// Quarter hours of an hour.
const QUARTERS_OF_AN_HOUR: usize = 4;

/// A list and what is counted of the current service.
#[derive(Debug)]
struct Watch {
    class: TrafficClass,
    sensor: Arc<str>,
    best: Best<ServiceKind, [u64; HOURS]>,
    packets: u64,
    hours: [u64; HOURS],
}

/// The lists of all sensors, by traffic class.
#[derive(Debug)]
pub(super) struct SensorLists {
    watches: Vec<Watch>,
    /// Those that saw the current service.
    touched: Vec<u32>,
    limit: usize,
}

/// Packets of a sensor by quarter hour: class, name, IP version, kind.
pub(super) type SensorTotals = BTreeMap<(TrafficClass, Arc<str>, IpVersion, Kind), Quarters>;

impl SensorLists {
    pub(super) const fn new(limit: usize) -> SensorLists {
        SensorLists { watches: Vec::new(), touched: Vec::new(), limit }
    }

    /// The number of a sensor's list.
    pub(super) fn number(&mut self, class: TrafficClass, sensor: &Arc<str>) -> u32 {
        let known = self.watches.iter().position(|watch| (watch.class, &watch.sensor) == (class, sensor));
        let place = known.unwrap_or_else(|| {
            let best = Best::new(self.limit);
            self.watches.push(Watch { class, sensor: sensor.clone(), best, packets: 0, hours: [0; HOURS] });
            self.watches.len() - 1
        });
        // A list takes far more than a byte: memory ends before the numbers do.
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Counts packets of the current service.
    pub(super) fn add(&mut self, list: u32, quarter: usize, packets: u64) {
        let watch = &mut self.watches[list as usize];
        if watch.packets == 0 {
            self.touched.push(list);
        }
        watch.packets = watch.packets.saturating_add(packets);
        let hour = &mut watch.hours[quarter / QUARTERS_OF_AN_HOUR];
        *hour = hour.saturating_add(packets);
    }

    /// Ends the current service.
    pub(super) fn end(&mut self, service: ServiceKind) {
        for list in self.touched.drain(..) {
            let watch = &mut self.watches[list as usize];
            let hours = watch.hours;
            let Ok(()) = watch.best.offer(watch.packets, service, || Ok::<_, std::convert::Infallible>(hours));
            (watch.packets, watch.hours) = (0, [0; HOURS]);
        }
    }

    /// The lists, and of each sensor what is not on its list.
    pub(super) fn into_records(self, mut totals: SensorTotals) -> Vec<Record> {
        let mut records = Vec::new();
        for Watch { class, sensor, best, .. } in self.watches {
            for (packets, ServiceKind { service, kind }, hours) in best.into_sorted() {
                if let Some(total) = totals.get_mut(&(class, sensor.clone(), service.ip(), kind)) {
                    // What is taken off in any quarter of an hour is the same for the hour.
                    take_off(total, &hours);
                }
                let (sensor, hours) = (sensor.clone(), quarters::encode(&hours));
                records.push(Record::SensorService { class, sensor, service, kind, packets, hours });
            }
        }
        for ((class, sensor, ip, kind), total) in totals {
            let hours: [u64; HOURS] = std::array::from_fn(|hour| {
                let quarters = &total[hour * QUARTERS_OF_AN_HOUR..][..QUARTERS_OF_AN_HOUR];
                quarters.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets))
            });
            let packets = hours.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets));
            if packets > 0 {
                let (service, hours) = (ServiceKey::rest(ip), quarters::encode(&hours));
                records.push(Record::SensorService { class, sensor, service, kind, packets, hours });
            }
        }
        records
    }
}

fn take_off(total: &mut Quarters, hours: &[u64; HOURS]) {
    for (quarters, &packets) in total.chunks_mut(QUARTERS_OF_AN_HOUR).zip(hours) {
        let mut left = packets;
        for quarter in quarters {
            let taken = left.min(*quarter);
            (*quarter, left) = (*quarter - taken, left - taken);
        }
    }
}
