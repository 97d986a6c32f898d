//! The ground truth of a drill: what a correct counter must find, and what the outbreak really was.
//!
//! Version 1 is a JSON object: `frames`, `packets`, `bytes` (IP total lengths) and `sources` (distinct) of all packets;
//! `ports` by IP version, protocol and **destination** port; `icmp` by type and code; `kinds` by protocol and kind; `marks` by
//! the bit relations of single packets; and `drill` with the parameters, the components as generated, and the outbreak.
//! Rows are sorted. Times are Unix seconds.
//!
//! Where a drill has them, `drill` also holds `scenario`, `injects` and `outages`: of each inject what it is, when it
//! begins and ends, what the prefix saw of it, the model if it is a worm, and what a detector must, may and must not call.
//!
//! Counts of distinct sources are exact, so memory grows with the distinct pairs of port and source, about 10 bytes each.

use crate::arrivals::OutbreakModel;
use crate::config::{DrillConfig, OutbreakConfig, OutbreakMark};
use crate::inject::{Expectation, Inject, InjectKind, Outage};
use crate::mix::COMPONENTS;
use crate::packet::{Kind, Origin, Packet};
use crate::worm::Neighbourhood;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

type Set = HashSet<u64, foldhash::fast::RandomState>;

/// Watches packets go by and sums up.
pub struct Truth {
    config: DrillConfig,
    packets: u64,
    bytes: u64,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    sources: Set,
    ports: BTreeMap<u8, PortTable>,
    port_sources: Set,
    icmp: BTreeMap<(u8, u8), u64>,
    kinds: BTreeMap<(u8, Kind), Tally>,
    marks: [Tally; 4],
    components: [u64; COMPONENTS.len()],
    outbreak: Seen,
    injects: Vec<Seen>,
}

/// Packets, bytes and sources by destination port.
struct PortTable(Box<[[u64; 3]]>);

/// Packets and distinct sources.
#[derive(Clone, Default)]
struct Tally {
    packets: u64,
    sources: Set,
}

impl Tally {
    fn add(&mut self, source: u64) {
        self.packets += 1;
        self.sources.insert(source);
    }

    fn counts(&self) -> Counts {
        Counts { packets: self.packets, sources: self.sources.len() }
    }
}

/// What the prefix saw of an outbreak or inject.
#[derive(Clone, Default)]
struct Seen {
    tally: Tally,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    hours: Vec<u64>,
}

impl Seen {
    fn add(&mut self, since_start_ns: u64, time_ns: u64, source: u64) {
        self.tally.add(source);
        self.first_ns.get_or_insert(time_ns);
        self.last_ns = Some(time_ns);
        let hour = usize::try_from(since_start_ns / 3_600_000_000_000).unwrap_or(usize::MAX);
        if hour >= self.hours.len() {
            self.hours.resize(hour + 1, 0);
        }
        self.hours[hour] += 1;
    }
}

impl Truth {
    /// An empty account of a drill.
    pub fn new(config: &DrillConfig) -> Self {
        Self {
            config: config.clone(),
            packets: 0,
            bytes: 0,
            first_ns: None,
            last_ns: None,
            sources: Set::default(),
            ports: BTreeMap::new(),
            port_sources: Set::default(),
            icmp: BTreeMap::new(),
            kinds: BTreeMap::new(),
            marks: Default::default(),
            components: [0; COMPONENTS.len()],
            outbreak: Seen::default(),
            injects: vec![Seen::default(); config.injects.len()],
        }
    }

    /// Takes one packet into account.
    pub fn observe(&mut self, packet: &Packet<'_>) {
        let info = &packet.info;
        let source = u64::from(u32::from(info.source));
        let bytes = u64::from(info.total_length);
        self.packets += 1;
        self.bytes += bytes;
        self.first_ns.get_or_insert(packet.time_ns);
        self.last_ns = Some(packet.time_ns);
        self.sources.insert(source);
        if let Some(port) = info.destination_port {
            let table = self.ports.entry(info.protocol).or_insert_with(|| PortTable(vec![[0; 3]; 65_536].into()));
            let row = &mut table.0[usize::from(port)];
            row[0] += 1;
            row[1] += bytes;
            let pair = u64::from(info.protocol) << 48 | u64::from(port) << 32 | source;
            row[2] += u64::from(self.port_sources.insert(pair));
        }
        if let Some(icmp) = info.icmp {
            *self.icmp.entry(icmp).or_default() += 1;
        }
        self.kinds.entry((info.protocol, info.kind)).or_default().add(source);
        let marks = info.marks();
        let shown = [marks.mirai, marks.zmap_ipid, marks.masscan_ipid, marks.slammer];
        for (tally, _) in self.marks.iter_mut().zip(shown).filter(|(_, shown)| *shown) {
            tally.add(source);
        }
        let since_start_ns = packet.time_ns.saturating_sub(self.config.start_s * 1_000_000_000);
        match info.origin {
            Origin::Background(component) => self.components[component] += 1,
            Origin::Outbreak => self.outbreak.add(since_start_ns, packet.time_ns, source),
            Origin::Inject(index) => self.injects[index].add(since_start_ns, packet.time_ns, source),
        }
    }

    /// Packets of the outbreak, and distinct hosts among their sources.
    pub fn outbreak_seen(&self) -> (u64, usize) {
        (self.outbreak.tally.packets, self.outbreak.tally.sources.len())
    }

    /// Everything counted so far.
    pub fn report(&self) -> Report {
        let mut ports = Vec::new();
        for (&proto, table) in &self.ports {
            let rows = (0..=u16::MAX).zip(&table.0).filter(|(_, row)| row[0] > 0);
            ports.extend(rows.map(|(port, &[packets, bytes, sources])| PortRow {
                ip: 4,
                proto,
                port,
                packets,
                bytes,
                sources,
            }));
        }
        let kinds = self.kinds.iter().map(|(&(proto, kind), tally)| KindRow {
            ip: 4,
            proto,
            kind: kind.name(),
            counts: tally.counts(),
        });
        let icmp = self.icmp.iter().map(|(&(kind, code), &packets)| IcmpRow { ip: 4, kind, code, packets });
        let names = ["mirai", "zmap_ipid", "masscan_ipid", "slammer"];
        Report {
            version: 1,
            frames: self.packets,
            packets: self.packets,
            bytes: self.bytes,
            sources: self.sources.len(),
            ports,
            icmp: icmp.collect(),
            kinds: kinds.collect(),
            marks: names.into_iter().zip(self.marks.iter().map(Tally::counts)).collect(),
            drill: self.drill(),
        }
    }

    fn drill(&self) -> DrillTruth {
        let config = &self.config;
        DrillTruth {
            seed: config.seed,
            parameters: Parameters {
                start_s: config.start_s,
                duration_s: config.duration.as_secs_f64(),
                dark: config.dark.to_string(),
                dark_addresses: config.dark_addresses(),
                packets_per_address_day: config.exact_packets.is_none().then_some(config.packets_per_address_day),
                exact_packets: config.exact_packets,
            },
            first_packet_s: self.first_ns.map(seconds),
            last_packet_s: self.last_ns.map(seconds),
            components: COMPONENTS.iter().map(|c| c.name).zip(self.components).collect(),
            outbreak: self.outbreak_truth(),
            scenario: config.scenario.clone(),
            injects: config
                .injects
                .iter()
                .zip(&self.injects)
                .map(|(inject, seen)| self.inject_truth(inject, seen))
                .collect(),
            outages: config.outages.clone(),
            sensors: (!config.outages.is_empty()).then_some(config.sensors),
        }
    }

    fn inject_truth(&self, inject: &Inject, seen: &Seen) -> InjectTruth {
        let config = &self.config;
        let begin_s = config.start_s as f64 + inject.begin.as_secs_f64();
        let (transport, port) = inject.service();
        let worm = match (&inject.kind, inject.model(config)) {
            (InjectKind::Worm { outbreak, preference }, Some(model)) => {
                let length_s = (inject.end - inject.begin).as_secs_f64();
                let near = preference.map(|_| Neighbourhood::new(config, outbreak, *preference).near());
                Some(WormTruth::new(outbreak, &model, begin_s, length_s, near))
            }
            _ => None,
        };
        InjectTruth {
            name: inject.name.clone(),
            proto: transport.protocol(),
            port,
            parameters: inject.kind.clone(),
            onset_s: begin_s,
            end_s: config.start_s as f64 + inject.end.as_secs_f64(),
            packets: seen.tally.packets,
            sources: seen.tally.sources.len(),
            first_packet_s: seen.first_ns.map(seconds),
            last_packet_s: seen.last_ns.map(seconds),
            packets_by_hour: seen.hours.clone(),
            worm,
            expected: inject.expectation(config),
        }
    }

    fn outbreak_truth(&self) -> Option<OutbreakTruth> {
        let outbreak = self.config.outbreak?;
        let model = OutbreakModel::new(&outbreak, self.config.dark_addresses());
        let begin_s = self.config.start_s as f64 + outbreak.start.as_secs_f64();
        let length_s = (self.config.duration.saturating_sub(outbreak.start)).as_secs_f64();
        Some(OutbreakTruth {
            proto: outbreak.transport.protocol(),
            port: outbreak.port,
            mark: outbreak.mark,
            start_s: begin_s,
            scans_per_host_s: outbreak.scans_per_host_s,
            initial_infected: outbreak.initial_infected,
            vulnerable: outbreak.vulnerable,
            growth_per_s: model.growth_per_s(),
            doubling_s: model.doubling_s(),
            infected_at_end: model.infected(length_s),
            expected_packets: model.sightings(length_s),
            packets: self.outbreak.tally.packets,
            sources: self.outbreak.tally.sources.len(),
            first_packet_s: self.outbreak.first_ns.map(seconds),
            milestones: milestones(&model, begin_s),
            packets_by_hour: self.outbreak.hours.clone(),
        })
    }
}

fn milestones(model: &OutbreakModel, begin_s: f64) -> Vec<Milestone> {
    let shares = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99].into_iter().map(|share| Milestone {
        infected_share: share,
        time_s: begin_s + model.time_to_share_s(share),
        expected_packets: model.sightings(model.time_to_share_s(share)),
    });
    shares.collect()
}

fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

/// The account as it is written to JSON; field for field the format at the top of the module.
#[derive(Debug, Serialize)]
pub struct Report {
    version: u32,
    frames: u64,
    packets: u64,
    bytes: u64,
    sources: usize,
    ports: Vec<PortRow>,
    icmp: Vec<IcmpRow>,
    kinds: Vec<KindRow>,
    marks: BTreeMap<&'static str, Counts>,
    drill: DrillTruth,
}

#[derive(Debug, Serialize)]
struct Counts {
    packets: u64,
    sources: usize,
}

#[derive(Debug, Serialize)]
struct PortRow {
    ip: u8,
    proto: u8,
    port: u16,
    packets: u64,
    bytes: u64,
    sources: u64,
}

#[derive(Debug, Serialize)]
struct IcmpRow {
    ip: u8,
    #[serde(rename = "type")]
    kind: u8,
    code: u8,
    packets: u64,
}

#[derive(Debug, Serialize)]
struct KindRow {
    ip: u8,
    proto: u8,
    kind: &'static str,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct DrillTruth {
    seed: u64,
    parameters: Parameters,
    first_packet_s: Option<f64>,
    last_packet_s: Option<f64>,
    /// Background packets by the component that made them.
    components: BTreeMap<&'static str, u64>,
    outbreak: Option<OutbreakTruth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    injects: Vec<InjectTruth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outages: Vec<Outage>,
    /// Sensors among which the prefix is split, where outages are told by sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    sensors: Option<u32>,
}

/// One inject: what it is and what the prefix saw of it.
#[derive(Debug, Serialize)]
struct InjectTruth {
    name: String,
    proto: u8,
    /// The service concerned: of answers, the port that they come from.
    port: u16,
    parameters: InjectKind,
    onset_s: f64,
    end_s: f64,
    packets: u64,
    sources: usize,
    first_packet_s: Option<f64>,
    last_packet_s: Option<f64>,
    /// By hour since the start of the drill; hours after the last packet are left out.
    packets_by_hour: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worm: Option<WormTruth>,
    expected: Expectation,
}

/// What a worm really was.
#[derive(Debug, Serialize)]
struct WormTruth {
    mark: OutbreakMark,
    scans_per_host_s: f64,
    infection_chance: f64,
    initial_infected: u64,
    vulnerable: u64,
    growth_per_s: f64,
    doubling_s: f64,
    infected_at_end: f64,
    /// By the model, until the end of the inject. Where hosts prefer their own networks, those of near networks that are
    /// not a whole host yet send nothing, so it is an upper bound then.
    expected_packets: f64,
    /// Vulnerable hosts elsewhere in the prefix's own /8 and in its own /16, where hosts prefer those.
    #[serde(skip_serializing_if = "Option::is_none")]
    vulnerable_near: Option<(u64, u64)>,
    milestones: Vec<Milestone>,
}

impl WormTruth {
    fn new(
        outbreak: &OutbreakConfig,
        model: &OutbreakModel,
        begin_s: f64,
        length_s: f64,
        vulnerable_near: Option<(u64, u64)>,
    ) -> Self {
        Self {
            mark: outbreak.mark,
            scans_per_host_s: outbreak.scans_per_host_s,
            infection_chance: outbreak.infection_chance,
            initial_infected: outbreak.initial_infected,
            vulnerable: outbreak.vulnerable,
            growth_per_s: model.growth_per_s(),
            doubling_s: model.doubling_s(),
            infected_at_end: model.infected(length_s),
            expected_packets: model.sightings(length_s),
            vulnerable_near,
            milestones: milestones(model, begin_s),
        }
    }
}

#[derive(Debug, Serialize)]
struct Parameters {
    start_s: u64,
    duration_s: f64,
    dark: String,
    dark_addresses: u64,
    /// Absent where an exact number of packets replaced it.
    packets_per_address_day: Option<f64>,
    exact_packets: Option<u64>,
}

#[derive(Debug, Serialize)]
struct OutbreakTruth {
    proto: u8,
    port: u16,
    mark: OutbreakMark,
    start_s: f64,
    scans_per_host_s: f64,
    initial_infected: u64,
    vulnerable: u64,
    growth_per_s: f64,
    doubling_s: f64,
    infected_at_end: f64,
    /// By the model, until the end of the drill.
    expected_packets: f64,
    packets: u64,
    sources: usize,
    first_packet_s: Option<f64>,
    milestones: Vec<Milestone>,
    /// By hour since the start of the drill; hours after the last packet are left out.
    packets_by_hour: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Milestone {
    infected_share: f64,
    /// May lie after the end of the drill.
    time_s: f64,
    expected_packets: f64,
}
