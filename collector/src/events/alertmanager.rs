//! An event as an alert of Prometheus' Alertmanager (its API, version 2).

use std::collections::BTreeMap;

use martlet_detect::FindingType;
use serde::Serialize;

use super::config::AlertmanagerConfig;
use super::event::Event;
use super::kinds::{key_numbers, name, type_name};
use super::text;
use crate::publish::services::{protocol_name, service};

/// Where alerts are posted, behind the configured address.
pub(super) const PATH: &str = "/api/v2/alerts";
/// How often open events are told again: Alertmanager forgets what it does not hear of.
pub(super) const REPEAT_SECONDS: i64 = 60;
/// After how many repetitions that it does not hear, it takes an alert for over: as Prometheus has it.
const MISSED: i64 = 4;

/// An alert.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// An event as an alert at a time, in seconds since the Unix epoch.
pub(super) fn alert(event: &Event, config: &AlertmanagerConfig, external_url: Option<&str>, now: i64) -> Alert {
    let (ip, protocol, port, _) = key_numbers(&event.key);
    let alert_name = match event.finding_type {
        FindingType::FirstSeenPort => "MartletEventFirstSeenPort",
        FindingType::Surge => "MartletEventSurge",
        FindingType::Outbreak => "MartletEventOutbreak",
    };
    let own = [
        ("alertname", alert_name.to_owned()),
        ("severity", name(event.severity).to_owned()),
        ("class", event.id.class.name().to_owned()),
        ("type", type_name(event.finding_type).to_owned()),
        ("event", event.id.to_string()),
        ("ip", ip.to_string()),
        ("protocol", protocol_name(protocol)),
        ("port", port.to_string()),
        ("mark", event.key.population.name().to_owned()),
        ("service", service(protocol, port).unwrap_or_default().to_owned()),
    ];
    // To Alertmanager a label without a value is none.
    let own = own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value));
    let mut annotations =
        BTreeMap::from([("summary", text::headline(event)), ("description", text::description(event))]);
    if let Some(owner) = &event.owner {
        annotations.insert("owner", owner.clone());
    }
    // Its times are the collector's: a clock that is ahead must not make an alert that begins after it ends.
    let starts_at = event.detected.min(now);
    let ends_at = if event.is_open() { now + REPEAT_SECONDS * MISSED } else { now };
    Alert {
        labels: config.labels.clone().into_iter().chain(own).collect(),
        annotations,
        starts_at: text::time(starts_at),
        ends_at: text::time(ends_at),
        generator_url: text::link(external_url, event),
    }
}
