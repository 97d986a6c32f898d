//! The sections behind the rankings.

use super::{Checker, change, float, per, ranks, share};
use crate::model::{Estimate, Mover, Population, Report, Service};

impl Checker {
    pub(super) fn movers(&mut self, report: &Report) {
        let movers = &report.movers;
        type Values = fn(&Mover) -> Option<(u64, u64)>;
        let packets: Values = |mover| Some((mover.packets, mover.previous_packets));
        let sources: Values = |mover| mover.daily_sources.zip(mover.previous_daily_sources);
        for (name, list, of, is_up) in [
            ("packets_up", &movers.packets_up, packets, true),
            ("packets_down", &movers.packets_down, packets, false),
            ("sources_up", &movers.sources_up, sources, true),
            ("sources_down", &movers.sources_down, sources, false),
        ] {
            let place = format!("/movers/{name}");
            let most = if report.previous.is_known { report.rules.top } else { 0 };
            self.at_most(place.clone(), list.len(), usize::try_from(most).unwrap_or(usize::MAX));
            let mut larger = u64::MAX;
            for (at, mover) in list.iter().enumerate() {
                let place = format!("{place}/{at}");
                let Some((now, before)) = of(mover) else {
                    self.found(place, "not known", "known, since it is listed for it");
                    continue;
                };
                if (now > before) != is_up || now == before {
                    self.found(place.clone(), now, format!("{} than {before}", if is_up { "more" } else { "less" }));
                }
                // The largest difference first.
                self.at_most(place.clone(), now.abs_diff(before), larger);
                larger = now.abs_diff(before);
                self.close(format!("{place}/change_percent"), mover.change_percent, change(float(now), float(before)));
                self.mover(report, &place, mover);
            }
        }
    }

    fn mover(&mut self, report: &Report, place: &str, mover: &Mover) {
        self.told(format!("{place}/packets"), mover.packets, report.rules.min_packets);
        self.port(report, &format!("{place}/packets"), &mover.service, mover.packets);
        let row = report.ports.rows.iter().find(|row| row.key == mover.service);
        if let Some(previous) = row.and_then(|row| row.previous_packets) {
            self.equal(format!("{place}/previous_packets"), mover.previous_packets, previous);
        }
    }

    /// A count of so few is not told; 0 says nothing of anybody.
    fn told(&mut self, place: String, count: u64, least: u64) {
        if count > 0 {
            self.at_least(place, count, least);
        }
    }

    /// That packets to a port are those of the table of ports, if it is in there.
    fn port(&mut self, report: &Report, place: &str, service: &Service, packets: u64) {
        if let Some(row) = report.ports.rows.iter().find(|row| row.key == *service) {
            self.equal(place, packets, row.cell.packets);
        }
    }

    pub(super) fn populations(&mut self, report: &Report) {
        let populations = &report.populations;
        self.equal("/populations/all/packets", populations.all.packets, report.overview.packets.scan);
        self.population(report, "/populations/all", &populations.all);
        let lists = [
            ("marks", populations.marks.as_slice()),
            ("confirmed", populations.confirmed.as_deref().unwrap_or_default()),
            ("known_scanners", populations.known_scanners.as_slice()),
            ("multi_port", populations.multi_port.as_slice()),
        ];
        for (name, list) in lists {
            for (at, population) in list.iter().enumerate() {
                let place = if name == "multi_port" { String::new() } else { format!("/{at}") };
                let place = format!("/populations/{name}{place}");
                self.population(report, &place, population);
                self.told(format!("{place}/packets"), population.packets, report.rules.min_packets);
                if let Some(sources) = population.sources {
                    self.told(format!("{place}/sources/count"), sources.count, report.rules.min_sources);
                }
            }
        }
        let ports = &populations.mirai_ports;
        for (at, port) in ports.iter().enumerate() {
            let place = format!("/populations/mirai_ports/{at}");
            self.at_most(format!("{place}/marked_packets"), port.marked_packets, port.packets);
            self.told(format!("{place}/marked_packets"), port.marked_packets, report.rules.min_packets);
            self.close(format!("{place}/percent"), port.percent, share(port.marked_packets, port.packets));
            self.port(report, &format!("{place}/packets"), &port.service, port.packets);
            self.sources(&format!("{place}/sources"), port.sources);
            if let Some(sources) = port.sources {
                self.told(format!("{place}/sources/count"), sources.count, report.rules.min_sources);
            }
        }
        for (at, pair) in ports.windows(2).enumerate() {
            let place = format!("/populations/mirai_ports/{}/marked_packets", at + 1);
            self.at_most(place, pair[1].marked_packets, pair[0].marked_packets);
        }
    }

    fn population(&mut self, report: &Report, place: &str, population: &Population) {
        let all = &report.populations.all;
        self.at_most(format!("{place}/packets"), population.packets, all.packets);
        self.close(
            format!("{place}/packets_percent"),
            population.packets_percent,
            share(population.packets, all.packets),
        );
        self.sources(&format!("{place}/sources"), population.sources);
        let sources = population.sources.zip(all.sources);
        let percent = sources.and_then(|(own, all)| share(own.count, all.count));
        self.close(format!("{place}/sources_percent"), population.sources_percent, percent);
    }

    pub(super) fn groups(&mut self, report: &Report) {
        for (at, group) in report.groups.iter().enumerate() {
            let place = format!("/groups/{at}");
            self.exposure(&format!("{place}/exposure"), &group.exposure, report.class);
            self.at_least(format!("{place}/exposure/sensors"), group.exposure.sensors, report.rules.min_sensors);
            self.at_most(format!("{place}/exposure/sensors"), group.exposure.sensors, report.overview.exposure.sensors);
            let all = &report.overview.packets;
            self.at_most(format!("{place}/packets/scan"), group.packets.scan, all.scan);
            self.at_most(format!("{place}/packets/backscatter"), group.packets.backscatter, all.backscatter);
            self.at_most(format!("{place}/packets/other"), group.packets.other, all.other);
            let rate = group.exposure.sensor_days.and_then(|days| per(group.packets.scan, days));
            self.close(format!("{place}/per_sensor_day"), group.per_sensor_day, rate);
            let both = group.per_sensor_day.zip(group.previous_per_sensor_day);
            let changed = both.and_then(|(now, before)| change(now, before));
            self.close(format!("{place}/change_percent"), group.change_percent, changed);
        }
        for (at, pair) in report.groups.windows(2).enumerate() {
            if pair[0].name >= pair[1].name {
                self.found(format!("/groups/{}/name", at + 1), &pair[1].name, format!("after {}", pair[0].name));
            }
        }
    }

    pub(super) fn sensor_ports(&mut self, report: &Report) {
        for (at, sensor) in report.sensor_ports.iter().enumerate() {
            let place = format!("/sensor_ports/{at}");
            let packets: Vec<_> = sensor.ports.iter().map(|port| port.packets).collect();
            for (at, (rank, port)) in ranks(&packets).into_iter().zip(&sensor.ports).enumerate() {
                let place = format!("{place}/ports/{at}");
                self.equal(format!("{place}/rank"), port.rank, rank);
                self.at_least(format!("{place}/packets"), port.packets, report.rules.min_packets);
                if let Some(row) = report.ports.rows.iter().find(|row| row.key == port.service) {
                    self.at_most(format!("{place}/packets"), port.packets, row.cell.packets);
                }
            }
            for (at, pair) in packets.windows(2).enumerate() {
                self.at_most(format!("{place}/ports/{}/packets", at + 1), pair[1], pair[0]);
            }
        }
        for (at, pair) in report.sensor_ports.windows(2).enumerate() {
            self.at_least(format!("/sensor_ports/{}/sensor", at + 1), pair[1].sensor, pair[0].sensor.saturating_add(1));
        }
    }

    pub(super) fn events(&mut self, report: &Report) {
        let events = &report.events.assessed;
        for (at, event) in events.iter().enumerate() {
            let place = format!("/events/assessed/{at}");
            // Times of one form, in UTC, are in the order of their texts.
            self.at_least(format!("{place}/detected"), event.detected.clone(), event.onset.clone());
            if let Some(ended) = &event.ended {
                self.at_least(format!("{place}/ended"), ended.clone(), event.onset.clone());
            }
            self.estimate(&format!("{place}/rate_per_hour"), event.rate_per_hour);
            self.estimate(&format!("{place}/doubling_seconds"), event.doubling_seconds);
        }
        for (at, pair) in events.windows(2).enumerate() {
            self.at_least(format!("/events/assessed/{}/onset", at + 1), pair[1].onset.clone(), pair[0].onset.clone());
        }
    }

    fn estimate(&mut self, place: &str, estimate: Option<Estimate>) {
        let Some(Estimate { value, low, high }) = estimate else { return };
        if let Some(value) = value {
            self.at_least(format!("{place}/value"), value, low);
        }
        if let Some(high) = high {
            self.at_least(format!("{place}/high"), high, value.unwrap_or(low));
        }
    }

    pub(super) fn quality(&mut self, report: &Report) {
        let quality = &report.quality;
        self.percent("/quality/least_coverage_percent", Some(quality.least_coverage_percent));
        for (at, sensor) in quality.sensors.iter().enumerate() {
            self.percent(format!("/quality/sensors/{at}/coverage_percent"), sensor.coverage_percent);
        }
        for (at, pair) in quality.sensors.windows(2).enumerate() {
            self.at_least(
                format!("/quality/sensors/{}/sensor", at + 1),
                pair[1].sensor,
                pair[0].sensor.saturating_add(1),
            );
        }
        self.close("/quality/largest_error", Some(quality.largest_error), Some(self.largest_error));
    }
}
