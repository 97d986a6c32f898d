//! The ports that each sensor saw most, where that is to be told.

use martlet_report::model::{Rules, SensorPort, SensorPorts};
use martlet_window::{IpVersion, Kind};

use super::count::Counted;
use super::groups::Told;
use super::ranking;
use crate::rollup::RollupError;
use crate::rollup::query::SensorService;

/// The first ports of every sensor, of those that may be told of all sensors together: with a few probes to a port of his own anybody
/// could find a sensor otherwise. Nothing of a report of one group, since a sensor may
/// have belonged to it for a while only.
pub(super) fn ports(now: &Counted<'_>, groups: &Told, rules: &Rules) -> Result<Vec<SensorPorts>, RollupError> {
    if !rules.sensor_ports || !now.is_of_all() {
        return Ok(Vec::new());
    }
    let told = ranking::told_ports(now, rules)?;
    let is_told = |seen: &SensorService| {
        let service = seen.service.service;
        let is_scan = seen.service.kind == Kind::Scan && service.ip() == IpVersion::V4;
        is_scan && seen.packets >= rules.min_packets && told.contains(&service)
    };
    let mut sensors = Vec::new();
    let numbers = now.snapshot.sensor_numbers()?;
    for name in now.sensors() {
        let Some(&number) = numbers.get(name) else { continue };
        let seen = now.snapshot.sensor_services(now.class, name, now.placed.span, usize::MAX)?.services;
        let seen: Vec<SensorService> = seen.into_iter().filter(is_told).collect();
        let rank = |packets: u64| 1 + seen.iter().take_while(|seen| seen.packets > packets).count();
        let ports = seen.iter().take(rules.top as usize).map(|port| SensorPort {
            rank: u32::try_from(rank(port.packets)).unwrap_or(u32::MAX),
            service: ranking::port(port.service.service),
            packets: port.packets,
        });
        let ports: Vec<SensorPort> = ports.collect();
        if !ports.is_empty() {
            sensors.push(SensorPorts { sensor: number.saturating_add(1), group: groups.of(name), ports });
        }
    }
    sensors.sort_by_key(|sensor| sensor.sensor);
    Ok(sensors)
}
