//! A drill straight to a collector, as its sensors would send it.
//!
//! Each sensor has a part of the dark prefix, and the frames to it go through the pipeline, the spool and the uplink of
//! `martlet-sensor`; nothing of that is written a second time. The class of every batch is drill. A sensor's exposure is
//! what it watched by the drill's clock: its addresses, all the time but in its outages, in which it has no windows.
//!
//! Windows close by the drill's clock alone, at the same times each time, so that a drill that is sent twice counts once.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Subnets};
use martlet_observe::aggregate::{GRACE, TableLimits};
use martlet_observe::capture::Frame;
use martlet_observe::classify::Aim;
use martlet_observe::import::ImportSettings;
use martlet_observe::pipeline::{Outcomes, Pipeline};
use martlet_observe::screen::AddressSet;
use martlet_packet::LinkType;
use martlet_sensor::delivery::Delivery;
use martlet_sensor::uplink::ClientTls;
use martlet_sensor::watch::{Watch, WatchedSink};
use martlet_window::{Posture, Timestamp, TrafficClass, WindowLength};

use super::{Clock, description, timestamp};
use crate::config::DrillConfig;
use crate::generator::Drill;
use crate::truth::Truth;

/// A quarter of a sensor's table: there may be many sensors in this process, and a full window goes in parts.
const LIMITS: TableLimits = TableLimits { max_rows: 28_672, max_further_targets: 14_336 };
const NANOSECONDS: u64 = 1_000_000_000;

/// Where a drill is sent to.
pub struct Destination {
    /// Host and port of the collector.
    pub collector: String,
    /// How it is called over TLS; `None` for plain TCP.
    pub tls: Option<ClientTls>,
    /// The sensors are called this, with `-1` and so on behind it.
    pub name: String,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Outcomes of all frames.
    pub outcomes: Outcomes,
    /// Windows, or parts of them.
    pub parts: u64,
    /// Batches that the collector acknowledged.
    pub batches: u64,
}

/// Plays a drill to its end to a collector.
///
/// # Errors
/// If a sensor's name is none, or the collector refuses a stream.
pub fn send(
    mut drill: Drill,
    destination: &Destination,
    mut truth: Option<&mut Truth>,
    clock: &mut dyn Clock,
) -> Result<Sent> {
    let config = drill.config().clone();
    let (start_ns, end_ns) = (drill.start_ns(), drill.end_ns());
    let content = description(&drill);
    let mut sensors = Vec::new();
    for number in 0..config.sensors {
        sensors.push(Sensor::start(&config, number, destination, &content)?);
    }
    let window_s = u64::from(WindowLength::DEFAULT.seconds());
    let grace_s = u64::try_from(GRACE).unwrap_or(0);
    // The first moment after the start at which a window may close.
    let mut tick_s = config.start_s / window_s * window_s + window_s + grace_s;
    let mut tick_until = |sensors: &mut Vec<Sensor>, clock: &mut dyn Clock, time_ns: u64| {
        while tick_s * NANOSECONDS <= time_ns {
            clock.wait_for(tick_s * NANOSECONDS);
            sensors.iter_mut().for_each(|sensor| sensor.tick(tick_s * NANOSECONDS));
            tick_s += window_s;
        }
    };
    // A clock that keeps to real time counts from the first time that it is given.
    clock.wait_for(start_ns);
    sensors.iter_mut().for_each(|sensor| sensor.advance(start_ns));
    let first = u32::from(config.dark.network());
    while let Some(packet) = drill.next_packet() {
        tick_until(&mut sensors, clock, packet.time_ns);
        clock.wait_for(packet.time_ns);
        let sensor = config.sensor_of(u32::from(packet.info.destination) - first);
        if let Some(sensor) = usize::try_from(sensor).ok().and_then(|at| sensors.get_mut(at)) {
            if sensor.delivery.has_failed() {
                break;
            }
            sensor.take(packet.time_ns, packet.frame);
        }
        if let Some(truth) = truth.as_deref_mut() {
            truth.observe(&packet);
        }
    }
    if let Some(failed) = sensors.iter().position(|sensor| sensor.delivery.has_failed()) {
        // The others stop where they are: what they have sent is a beginning, from which the same drill goes on when it is sent again.
        // Closing their windows would send something else.
        let Sensor { name, delivery, .. } = sensors.swap_remove(failed);
        delivery.finish().with_context(|| format!("sensor {name}"))?;
        anyhow::bail!("sensor {name} could not send everything");
    }
    tick_until(&mut sensors, clock, end_ns);
    clock.wait_for(end_ns);
    let mut sent = Sent::default();
    for sensor in sensors {
        sensor.finish(end_ns, &mut sent)?;
    }
    Ok(sent)
}

/// The addresses of one sensor's part of the prefix, as networks.
fn networks(config: &DrillConfig, number: u32) -> impl Iterator<Item = IpNet> {
    let first = u64::from(u32::from(config.dark.network()));
    // The last address of the prefix fits 32 bits, and so does every one in it.
    let address = |offset: u64| Ipv4Addr::from(u32::try_from(first + offset).unwrap_or(u32::MAX));
    let (begin, end) = (address(config.part_begin(number)), address(config.part_begin(number + 1) - 1));
    Ipv4Subnets::new(begin, end, 0).map(IpNet::V4)
}

/// One sensor of a drill.
struct Sensor {
    name: String,
    pipeline: Pipeline,
    watch: Watch,
    delivery: Delivery,
    /// When it begins (true) or ceases (false) to watch, in nanoseconds since the Unix epoch; the next one first.
    changes: std::vec::IntoIter<(u64, bool)>,
    next_change: Option<(u64, bool)>,
    watching: bool,
}

impl Sensor {
    fn start(config: &DrillConfig, number: u32, destination: &Destination, content: &str) -> Result<Sensor> {
        let name = format!("{}-{}", destination.name, number + 1);
        let observe: AddressSet = networks(config, number).collect();
        let import = ImportSettings {
            sensor: name.parse().with_context(|| format!("the sensor's name {name:?}"))?,
            observe: observe.clone(),
            drop_solicited: false,
            aim: Aim::AsSeen,
            class: TrafficClass::Drill,
            posture: Posture::Silent,
            window: WindowLength::DEFAULT,
            limits: LIMITS,
        };
        let epoch = import.epoch(content.as_bytes())?;
        let delivery = Delivery::start(&import, epoch, &destination.collector, destination.tls.clone())?;
        let mut watch = Watch::new(import.aim);
        watch.observe(&observe);
        let mut changes = changes(config, number).into_iter();
        let next_change = changes.next();
        Ok(Sensor { name, pipeline: import.pipeline(), watch, delivery, changes, next_change, watching: false })
    }

    /// Takes every change of what is watched up to a time.
    fn advance(&mut self, time_ns: u64) {
        while let Some((at_ns, watching)) = self.next_change.filter(|&(at_ns, _)| at_ns <= time_ns) {
            if watching {
                let at = timestamp(at_ns);
                self.watch.begin(at);
                self.pipeline.watch_from(at);
            } else {
                self.stop(at_ns);
            }
            self.watching = watching;
            self.next_change = self.changes.next();
        }
    }

    /// Ceases to watch at a time: whole windows close as such, and one that has begun closes early.
    fn stop(&mut self, time_ns: u64) {
        let mut sink = WatchedSink { handover: self.delivery.handover(), limits: LIMITS, watch: &mut self.watch };
        let at = timestamp(time_ns);
        self.pipeline.tick(Timestamp(at.0 + GRACE * 1_000_000_000), &mut sink);
        let window = WindowLength::DEFAULT.window_at(at);
        if Timestamp::from_parts(window.start, 0) != at {
            self.pipeline.finish(at, &mut sink);
        }
    }

    fn tick(&mut self, time_ns: u64) {
        self.advance(time_ns);
        if self.watching {
            let mut sink = WatchedSink { handover: self.delivery.handover(), limits: LIMITS, watch: &mut self.watch };
            self.pipeline.tick(timestamp(time_ns), &mut sink);
        }
    }

    fn take(&mut self, time_ns: u64, bytes: &[u8]) {
        self.advance(time_ns);
        let mut sink = WatchedSink { handover: self.delivery.handover(), limits: LIMITS, watch: &mut self.watch };
        let frame = Frame { time: timestamp(time_ns), link: Some(LinkType::Ethernet), bytes };
        self.pipeline.take(frame, &mut sink);
    }

    fn finish(mut self, end_ns: u64, sent: &mut Sent) -> Result<()> {
        self.advance(end_ns);
        if self.watching {
            self.stop(end_ns);
        }
        sent.outcomes.add(self.pipeline.outcomes());
        sent.parts += self.watch.parts;
        sent.batches += self.delivery.finish().with_context(|| format!("sensor {}", self.name))?;
        Ok(())
    }
}

/// When a sensor begins and ceases to watch: from the start on, but not in its outages, which may overlap.
fn changes(config: &DrillConfig, number: u32) -> Vec<(u64, bool)> {
    let at = |offset: std::time::Duration| {
        config.start_s * NANOSECONDS + u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX)
    };
    let mut outages: Vec<_> = config.outages.iter().filter(|outage| outage.sensor == number).collect();
    outages.sort_by_key(|outage| outage.begin);
    let mut changes = vec![(config.start_s * NANOSECONDS, true)];
    for outage in outages {
        match changes.last_mut() {
            // It begins while another lasts.
            Some((until, true)) if changes_overlap(*until, at(outage.begin), config.start_s * NANOSECONDS) => {
                *until = (*until).max(at(outage.end));
            }
            _ => changes.extend([(at(outage.begin), false), (at(outage.end), true)]),
        }
    }
    changes
}

/// Whether an outage that begins at `begin` runs into one that lasts until `until`; the start of the drill is no outage's end.
const fn changes_overlap(until: u64, begin: u64, start: u64) -> bool {
    until != start && begin <= until
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::Outage;
    use std::time::Duration;

    #[test]
    fn a_sensor_watches_but_in_its_outages() {
        let outage =
            |sensor, begin, end| Outage { sensor, begin: Duration::from_secs(begin), end: Duration::from_secs(end) };
        let outages = vec![outage(1, 50, 60), outage(1, 10, 20), outage(0, 0, 5), outage(1, 15, 30)];
        let config = DrillConfig { start_s: 1_000, sensors: 2, outages, ..DrillConfig::default() };
        let seconds =
            |number| changes(&config, number).into_iter().map(|(at, on)| (at / NANOSECONDS, on)).collect::<Vec<_>>();
        assert_eq!(seconds(1), [(1_000, true), (1_010, false), (1_030, true), (1_050, false), (1_060, true)]);
        assert_eq!(seconds(0), [(1_000, true), (1_000, false), (1_005, true)]);
    }

    #[test]
    fn parts_of_a_prefix_are_networks_that_make_it_up() {
        let config = DrillConfig { sensors: 3, ..DrillConfig::default() };
        let sets: Vec<AddressSet> = (0..3).map(|number| networks(&config, number).collect()).collect();
        assert_eq!(sets.iter().map(AddressSet::ipv4_addresses).collect::<Vec<_>>(), [85, 85, 86]);
        for offset in 0..=255 {
            let address = Ipv4Addr::new(198, 18, 0, offset).into();
            let holders: Vec<_> = (0..3).filter(|&at| sets[at].contains(address)).collect();
            assert_eq!(holders, [usize::try_from(config.sensor_of(offset.into())).unwrap()]);
        }
    }
}
