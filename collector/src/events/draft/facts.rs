//! What a draft may say of an event, before it is said in a language.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use martlet_detect::{Estimate, FindingType, Label, Population};
use martlet_window::TrafficClass;

use super::super::event::Whole;
use super::super::kinds::key_numbers;
use super::super::text::{figure, label_name};
use super::Tlp;
use crate::publish::services::{protocol_name, service};

/// Hours that Japan is ahead of UTC.
const JAPAN: i8 = 9;
/// Most regions and networks that a draft names.
const MOST_ROWS: usize = 10;

/// What may be said.
pub(super) struct Facts<'a> {
    pub(super) tlp: Tlp,
    pub(super) class: TrafficClass,
    pub(super) id: String,
    pub(super) finding_type: FindingType,
    /// `TCP`, `UDP`.
    pub(super) protocol: String,
    pub(super) port: u16,
    pub(super) service: Option<&'static str>,
    /// 4 or 6.
    pub(super) ip: u8,
    /// The name of the mark, if there is one.
    pub(super) mark: Option<&'static str>,
    pub(super) onset: i64,
    pub(super) detected: i64,
    pub(super) last_active: i64,
    pub(super) ended: Option<i64>,
    pub(super) now: i64,
    pub(super) labels: Vec<&'static str>,
    pub(super) estimates: Option<martlet_detect::Estimates>,
    pub(super) addresses: u64,
    /// `None` if there are too few to be told.
    pub(super) sources: Option<u32>,
    pub(super) min_sources: u64,
    /// Regions with their sources, and how many sources are in others.
    pub(super) regions: Vec<(&'a str, u32)>,
    pub(super) elsewhere: u32,
    /// Networks with their region and sources; none where many may read.
    pub(super) networks: Vec<(&'a str, &'a str, u32)>,
    pub(super) sensors: usize,
    /// Their pseudonyms; none where many may read.
    pub(super) sensor_names: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(whole: &'a Whole, tlp: Tlp, min_sources: u64, now: i64) -> Facts<'a> {
        let (event, evidence) = (&whole.event, &whole.evidence);
        let (ip, protocol, port, _) = key_numbers(&event.key);
        let may_tell = |sources: u32| u64::from(sources) >= min_sources;
        let told = evidence.regions.iter().filter(|region| may_tell(region.sources)).take(MOST_ROWS);
        let regions: Vec<_> = told.map(|region| (region.region.as_str(), region.sources)).collect();
        let all: u32 = evidence.regions.iter().fold(0, |sum, region| sum.saturating_add(region.sources));
        let named: u32 = regions.iter().fold(0, |sum, (_, sources)| sum.saturating_add(*sources));
        let rest = all - named;
        let networks = evidence.networks.iter().filter(|network| may_tell(network.sources) && !tlp.is_wide());
        let mut labels: Vec<_> = event.labels.iter().map(|label| label_name(*label)).collect();
        let forged = label_name(Label::SpoofedLooking);
        if event.key.population == Population::Spoofed && !labels.contains(&forged) {
            labels.push(forged);
        }
        let names = evidence.sensors.iter().filter(|_| !tlp.is_wide());
        Facts {
            tlp,
            class: event.id.class,
            id: event.id.to_string(),
            finding_type: event.finding_type,
            protocol: protocol_name(protocol).to_uppercase(),
            port,
            service: service(protocol, port),
            ip,
            // That sources look forged is no mark of a tool: it is said as a caution.
            mark: match event.key.population {
                Population::None | Population::Spoofed => None,
                population => Some(population.name()),
            },
            onset: event.onset,
            detected: event.detected,
            last_active: event.last_active,
            ended: event.ended,
            now,
            labels,
            estimates: event.estimates,
            addresses: evidence.addresses,
            sources: Some(evidence.sources).filter(|sources| may_tell(*sources)),
            min_sources,
            regions,
            // What is left of a sum could be told by subtraction if it is about few.
            elsewhere: if may_tell(rest) { rest } else { 0 },
            networks: networks
                .take(MOST_ROWS)
                .map(|network| (network.network.as_str(), network.region.as_str(), network.sources))
                .collect(),
            sensors: evidence.sensors.len(),
            sensor_names: names.map(|sensor| sensor.sensor.as_str()).collect(),
        }
    }
}

/// `2026-11-21 10:20 UTC`.
pub(super) fn utc(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
    time.unwrap_or_else(|_| seconds.to_string())
}

/// `2026年11月21日 19:20（日本時間）`.
pub(super) fn japanese(seconds: i64) -> String {
    let zone = TimeZone::fixed(Offset::constant(JAPAN));
    let time = Timestamp::from_second(seconds).map(|time| time.to_zoned(zone));
    time.map_or_else(|_| seconds.to_string(), |time| format!("{}（日本時間）", time.strftime("%Y年%-m月%-d日 %H:%M")))
}

/// The day in UTC, `2026-11-21`.
pub(super) fn utc_day(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string());
    time.unwrap_or_else(|_| seconds.to_string())
}

/// The day in Japan, `2026年11月21日`.
pub(super) fn japanese_day(seconds: i64) -> String {
    let zone = TimeZone::fixed(Offset::constant(JAPAN));
    let time = Timestamp::from_second(seconds).map(|time| time.to_zoned(zone));
    time.map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y年%-m月%-d日").to_string())
}

/// An estimate whose numbers are written by `number`, and joined by `join`, which is given value, lower end and upper end.
pub(super) fn estimate(
    estimate: &Estimate,
    number: impl Fn(f64) -> String,
    join: impl Fn(Option<String>, String, Option<String>) -> String,
) -> String {
    join(estimate.value.map(&number), number(estimate.low), estimate.high.map(&number))
}

/// A length of time in the unit in which it is read most easily; `units` are seconds, minutes, hours, days.
pub(super) fn duration(seconds: f64, units: [&str; 4]) -> String {
    let (length, unit) = match seconds {
        s if s < 120.0 => (1.0, units[0]),
        s if s < 7200.0 => (60.0, units[1]),
        s if s < 172_800.0 => (3600.0, units[2]),
        _ => (86_400.0, units[3]),
    };
    format!("{}{unit}", figure(seconds / length))
}
