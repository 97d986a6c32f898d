//! An event in words and JSON, as all that leaves the collector have it.

use jiff::Timestamp;
use martlet_detect::{Estimate, FindingType, Label};
use martlet_window::TrafficClass;
use serde_json::{Value, json};

use super::event::Event;
use super::kinds::{key_numbers, name, type_name};
use crate::publish::services::{protocol_name, service};

/// Seconds since the Unix epoch, as RFC 3339 in UTC.
pub(crate) fn time(seconds: i64) -> String {
    // What cannot be a time was none when it was observed.
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The name of a label.
pub(crate) const fn label_name(label: Label) -> &'static str {
    match label {
        Label::SingleSensor => "single_sensor",
        Label::SpoofedLooking => "spoofed_looking",
        Label::OneNetwork => "one_network",
    }
}

/// What an event is about: `tcp/23 (telnet), mark mirai`.
pub(super) fn subject(event: &Event) -> String {
    let (ip, protocol, port, _) = key_numbers(&event.key);
    let mut text = format!("{}/{port}", protocol_name(protocol));
    if let Some(service) = service(protocol, port) {
        text.push_str(&format!(" ({service})"));
    }
    if ip == 6 {
        text.push_str(" over IPv6");
    }
    match event.key.population {
        martlet_detect::Population::None => {}
        population => text.push_str(&format!(", mark {}", population.name())),
    }
    text
}

/// What stands in front of every text about an event that is not of real traffic.
pub(super) const fn prefix(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Real => "",
        TrafficClass::Drill => "[DRILL] ",
        TrafficClass::Import => "[IMPORT] ",
    }
}

/// An event in one line.
pub(super) fn headline(event: &Event) -> String {
    let what = match event.finding_type {
        FindingType::FirstSeenPort => "First scans seen of",
        FindingType::Surge => "Surge of sources scanning",
        FindingType::Outbreak => "Outbreak: sources grow exponentially on",
    };
    format!("{}{what} {}", prefix(event.id.class), subject(event))
}

/// An event with its figures, in a few sentences.
pub(super) fn description(event: &Event) -> String {
    let mut text = format!(
        "{}. Onset {}, called {}, last active {}.",
        headline(event),
        time(event.onset),
        time(event.detected),
        time(event.last_active)
    );
    if let Some(estimates) = &event.estimates {
        text.push_str(&format!(
            " Growth rate per hour {}, doubling time {} s.",
            interval(&estimates.rate_per_hour),
            interval(&estimates.doubling_seconds)
        ));
    }
    if !event.labels.is_empty() {
        let labels: Vec<_> = event.labels.iter().map(|label| label_name(*label)).collect();
        text.push_str(&format!(" Labels: {}.", labels.join(", ")));
    }
    text
}

/// A value with its interval: `0.42 (95 %: 0.31 to 0.55)`.
pub(super) fn interval(estimate: &Estimate) -> String {
    let value = estimate.value.map_or_else(|| "?".to_owned(), figure);
    match estimate.high {
        Some(high) => format!("{value} (95 %: {} to {})", figure(estimate.low), figure(high)),
        None => format!("{value} (95 %: {} or more)", figure(estimate.low)),
    }
}

/// A number with three significant digits: an estimate has no more.
pub(super) fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if magnitude >= 2.0 {
        let unit = 10f64.powf(magnitude - 2.0);
        return format!("{:.0}", (value / unit).round() * unit);
    }
    // Between 1e-9 and 100 there are eleven digits at most; what is less is 0 for any reader.
    let digits = [(1.0, 1), (0.0, 2), (-1.0, 3), (-2.0, 4), (-3.0, 5)];
    let digits = digits.iter().find(|(least, _)| magnitude >= *least).map_or(6, |(_, digits)| *digits);
    format!("{value:.digits$}")
}

/// An event as webhooks have it: the fields of the API that need no second look.
pub(super) fn as_json(event: &Event) -> Value {
    let (ip, protocol, port, _) = key_numbers(&event.key);
    let labels: Vec<_> = event.labels.iter().map(|label| label_name(*label)).collect();
    json!({
        "id": event.id.to_string(),
        "class": event.id.class.name(),
        "type": type_name(event.finding_type),
        "ip": ip,
        "protocol": protocol_name(protocol),
        "port": port,
        "service": service(protocol, port),
        "mark": event.key.population.name(),
        "state": name(event.state),
        "severity": name(event.severity),
        "owner": event.owner,
        "recipients": event.recipients,
        "onset": time(event.onset),
        "detected": time(event.detected),
        "recorded": time(event.recorded_ms.div_euclid(1000)),
        "last_active": time(event.last_active),
        "ended": event.ended.map(time),
        "labels": labels,
        "estimates": event.estimates,
        "version": event.version,
    })
}

/// Where an event is on the page.
pub(super) fn link(external_url: Option<&str>, event: &Event) -> Option<String> {
    let base = external_url?.trim_end_matches('/');
    let class = match event.id.class {
        TrafficClass::Real => String::new(),
        class => format!("class={}&", class.name()),
    };
    Some(format!("{base}/#{class}event={}", event.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_have_three_digits() {
        for (value, text) in
            [(0.0, "0"), (0.04567, "0.0457"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (98_765.0, "98800")]
        {
            assert_eq!(figure(value), text);
        }
        let open = Estimate { value: None, low: 5.0, high: None };
        assert_eq!(interval(&open), "? (95 %: 5.00 or more)");
    }
}
