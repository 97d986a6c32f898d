//! Words of an event: its states, its severity, what is done to it, and its identifier.

use std::fmt;
use std::str::FromStr;

use martlet_detect::{FindingType, Key, Population};
use martlet_telemetry::counters::Labelled;
use martlet_window::{IpVersion, TrafficClass};
use serde::{Deserialize, Serialize};

martlet_telemetry::labelled! {
    /// Where an event is in its life. It goes on, possibly past a state, and never back; but an event that was resolved as
    /// something weaker begins anew when the detector calls it something stronger.
    #[derive(PartialOrd, Ord, Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum State {
        /// The detector called it, and nobody has looked.
        Detected = "detected",
        /// Somebody looks.
        Acknowledged = "acknowledged",
        /// Somebody has said what it is.
        Assessed = "assessed",
        /// Nothing is left to be done.
        Resolved = "resolved",
    }
}

martlet_telemetry::labelled! {
    /// How much it matters, ascending.
    #[derive(PartialOrd, Ord, Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Severity {
        /// Worth knowing.
        Info = "info",
        /// Worth a look.
        Low = "low",
        /// Only an analyst says so.
        Medium = "medium",
        /// A worm may be spreading.
        High = "high",
        /// Only an analyst says so.
        Critical = "critical",
    }
}

martlet_telemetry::labelled! {
    /// What happened to an event.
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Action {
        /// The detector called it.
        Detected = "detected",
        /// The detector called it something stronger.
        Escalated = "escalated",
        /// The detector saw its end.
        Ended = "ended",
        /// An analyst looks at it.
        Acknowledged = "acknowledged",
        /// An analyst said what it is.
        Assessed = "assessed",
        /// An analyst closed it.
        Resolved = "resolved",
        /// An analyst wrote something down.
        Noted = "noted",
        /// An analyst said whose it is, who is to be told, or how severe it is.
        Assigned = "assigned",
    }
}

martlet_telemetry::labelled! {
    /// What an analyst may ask for.
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Request {
        /// To look at it.
        Acknowledge = "acknowledge",
        /// To say what it is.
        Assess = "assess",
        /// To close it.
        Resolve = "resolve",
        /// To write something down.
        Note = "note",
        /// To say whose it is, who is to be told, or how severe it is.
        Assign = "assign",
    }
}

/// The value of a name.
pub(crate) fn named<E: Labelled + Copy>(all: &[E], name: &str) -> Option<E> {
    all.iter().copied().find(|value| E::NAMES.get(value.index()) == Some(&name))
}

/// The name of a value.
pub(crate) fn name<E: Labelled>(value: E) -> &'static str {
    E::NAMES.get(value.index()).copied().unwrap_or_default()
}

impl Request {
    /// What it is called once it is done.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Request::Acknowledge => Action::Acknowledged,
            Request::Assess => Action::Assessed,
            Request::Resolve => Action::Resolved,
            Request::Note => Action::Noted,
            Request::Assign => Action::Assigned,
        }
    }

    /// The state that it leads to, if it leads to one.
    #[must_use]
    pub const fn leads_to(self) -> Option<State> {
        match self {
            Request::Acknowledge => Some(State::Acknowledged),
            Request::Assess => Some(State::Assessed),
            Request::Resolve => Some(State::Resolved),
            Request::Note | Request::Assign => None,
        }
    }
}

impl Severity {
    /// What an event of a type is worth until an analyst says something else.
    #[must_use]
    pub const fn of(finding_type: FindingType) -> Severity {
        match finding_type {
            FindingType::FirstSeenPort => Severity::Info,
            FindingType::Surge => Severity::Low,
            FindingType::Outbreak => Severity::High,
        }
    }
}

/// Every type of finding, ascending, with its name in JSON and in the store.
pub const TYPES: [(FindingType, &str); 3] = [
    (FindingType::FirstSeenPort, "first_seen_port"),
    (FindingType::Surge, "surge"),
    (FindingType::Outbreak, "outbreak"),
];

/// The name of a type.
#[must_use]
pub fn type_name(finding_type: FindingType) -> &'static str {
    TYPES.iter().find(|(one, _)| *one == finding_type).map_or("", |(_, name)| name)
}

/// The type of a name.
#[must_use]
pub fn type_named(name: &str) -> Option<FindingType> {
    TYPES.iter().find(|(_, one)| *one == name).map(|(one, _)| *one)
}

/// The name of a severity.
#[must_use]
pub fn severity_name(severity: Severity) -> &'static str {
    name(severity)
}

/// What an event is called: its class, and the detector's number of it within that. As text 17 hexadecimal digits in lower
/// case: one of the class, 16 of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Its class of traffic.
    pub class: TrafficClass,
    /// [`martlet_detect::Finding::id`].
    pub finding: u64,
}

/// Digits of an identifier.
const ID_DIGITS: usize = 17;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}{:016x}", self.class as u8, self.finding)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<EventId, ()> {
        let is_plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (class, finding) = text.split_at_checked(1).filter(|_| is_plain && text.len() == ID_DIGITS).ok_or(())?;
        let class = class.parse().ok().and_then(TrafficClass::from_number).ok_or(())?;
        Ok(EventId { class, finding: u64::from_str_radix(finding, 16).map_err(|_| ())? })
    }
}

/// The numbers by which a key stands in the store: IP version, protocol, port, population.
pub(crate) const fn key_numbers(key: &Key) -> (u8, u8, u16, u8) {
    let ip = match key.ip {
        IpVersion::V4 => 4,
        IpVersion::V6 => 6,
    };
    (ip, key.protocol, key.port, key.population as u8)
}

/// The key of these numbers, if they are of one.
pub(crate) fn key_of((ip, protocol, port, population): (u8, u8, u16, u8)) -> Option<Key> {
    let ip = match ip {
        4 => IpVersion::V4,
        6 => IpVersion::V6,
        _ => return None,
    };
    Some(Key { ip, protocol, port, population: Population::from_number(population)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back_and_have_one_spelling() {
        let id = EventId { class: TrafficClass::Drill, finding: 0xab };
        assert_eq!(id.to_string(), "100000000000000ab");
        assert_eq!("100000000000000ab".parse(), Ok(id));
        for text in ["", "100000000000000AB", "300000000000000ab", "1000000000000000ab", "10000000000000ab", "1ü"] {
            assert_eq!(text.parse::<EventId>(), Err(()), "{text}");
        }
    }

    #[test]
    fn names_are_those_of_json() {
        for (finding_type, name) in TYPES {
            assert_eq!(serde_json::to_value(finding_type).unwrap(), name);
            assert_eq!(type_named(name), Some(finding_type));
        }
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), name(*state));
            assert_eq!(named(State::ALL, name(*state)), Some(*state));
        }
        assert!(State::ALL.is_sorted() && Severity::ALL.is_sorted());
    }
}
