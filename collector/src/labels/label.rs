//! The labels that there are, and what their values can be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::filtered::{self, FilteredPorts};

/// Longest name of a group, in bytes.
const LONGEST_GROUP: usize = 32;

/// What can be said of a sensor. Few and fixed: each is a label of a metric, and a group of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Any group that the operator likes.
    Group,
    /// ISO 3166-1 code of the economy it is in.
    Economy,
    /// Whether it is at home, as whoever publishes reports sees it.
    Position,
    /// Whose network it is in.
    Network,
    /// Whether its address changes.
    Addressing,
}

impl Label {
    /// All, as they are listed.
    pub const ALL: [Label; 5] = [Label::Group, Label::Economy, Label::Position, Label::Network, Label::Addressing];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Label::Group => "group",
            Label::Economy => "economy",
            Label::Position => "position",
            Label::Network => "network",
            Label::Addressing => "addressing",
        }
    }

    /// The label of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Label> {
        Label::ALL.into_iter().find(|label| label.name() == name)
    }

    /// What a value must be.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Label::Group => "1 to 32 of a-z, 0-9 and '-', not beginning with '-'",
            Label::Economy => "two capital letters (ISO 3166-1), such as JP",
            Label::Position => "domestic or overseas",
            Label::Network => "one of isp, cloud, academic, corporate, government, other",
            Label::Addressing => "static or dynamic",
        }
    }

    fn has(self, value: &str) -> bool {
        match self {
            Label::Group => {
                (1..=LONGEST_GROUP).contains(&value.len())
                    && !value.starts_with('-')
                    && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            }
            Label::Economy => value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase()),
            Label::Position => ["domestic", "overseas"].contains(&value),
            Label::Network => ["isp", "cloud", "academic", "corporate", "government", "other"].contains(&value),
            Label::Addressing => ["static", "dynamic"].contains(&value),
        }
    }
}

/// Why a text is no label, no value of one, or no group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// There is no such label.
    #[error("{0:?} is no label: take group, economy, position, network, addressing or filtered, as in group=tokyo")]
    Unknown(String),
    /// A label cannot have this value.
    #[error("{label} cannot be {value:?}: take {expected}")]
    Value {
        /// Its name.
        label: &'static str,
        /// As given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

/// A label with a value: the sensors that have it are a group. Written `position:overseas`, or `tokyo` for `group:tokyo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Which label.
    pub label: Label,
    /// Its value.
    pub value: String,
}

impl Group {
    /// Of a label and a value.
    ///
    /// # Errors
    /// If the label cannot have it.
    pub fn new(label: Label, value: &str) -> Result<Group, LabelError> {
        if !label.has(value) {
            let value: String = value.chars().take(LONGEST_GROUP).collect();
            return Err(LabelError::Value { label: label.name(), value, expected: label.expected() });
        }
        Ok(Group { label, value: value.to_owned() })
    }
}

impl FromStr for Group {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Group, LabelError> {
        let (label, value) = text.split_once(':').unwrap_or((Label::Group.name(), text));
        let unknown = || LabelError::Unknown(label.chars().take(LONGEST_GROUP).collect());
        Group::new(Label::named(label).ok_or_else(unknown)?, value)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Label::Group => out.write_str(&self.value),
            label => write!(out, "{}:{}", label.name(), self.value),
        }
    }
}

/// What is to be said of a sensor: `position=overseas`, or `position=` for nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A label and its value from now on; none if `None`.
    Label(Label, Option<String>),
    /// The ports that are filtered before it; none if `None`.
    Filtered(Option<FilteredPorts>),
}

impl Setting {
    /// Under which name it is kept.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Setting::Label(label, _) => label.name(),
            Setting::Filtered(_) => filtered::NAME,
        }
    }

    /// What is kept.
    pub(super) fn value(&self) -> Option<String> {
        match self {
            Setting::Label(_, value) => value.clone(),
            Setting::Filtered(ports) => ports.as_ref().map(FilteredPorts::to_string),
        }
    }
}

impl FromStr for Setting {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Setting, LabelError> {
        let unknown = || LabelError::Unknown(text.chars().take(LONGEST_GROUP).collect());
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        let value = Some(value).filter(|value| !value.is_empty());
        if name == filtered::NAME {
            return Ok(Setting::Filtered(value.map(FilteredPorts::from_str).transpose()?));
        }
        let label = Label::named(name).ok_or_else(unknown)?;
        Ok(Setting::Label(label, value.map(|value| Group::new(label, value)).transpose()?.map(|group| group.value)))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.name(), self.value().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_groups_are_read_as_they_are_written() {
        let economy: Setting = "economy=JP".parse().unwrap();
        assert_eq!(economy, Setting::Label(Label::Economy, Some("JP".to_owned())));
        assert_eq!("group=".parse::<Setting>().unwrap(), Setting::Label(Label::Group, None));
        for text in ["economy=JP", "group=", "filtered=25,135-139,tcp/445", "filtered="] {
            assert_eq!(text.parse::<Setting>().unwrap().to_string(), text);
        }
        for text in ["tokyo", "position:overseas", "economy:JP"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        assert_eq!("group:tokyo".parse::<Group>().unwrap().to_string(), "tokyo");
        for wrong in [
            "economy=jp",
            "economy=JPN",
            "position=home",
            "group=Tokyo",
            "group=-a",
            "group",
            "colour=red",
            "=x",
            "",
            "filtered=smb",
        ] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
        for wrong in ["", "a b", "position:", "colour:red", "economy:jp", "<b>", &"x".repeat(33)] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
        let told = "network=moon".parse::<Setting>().unwrap_err().to_string();
        assert!(told.contains("isp, cloud, academic"), "{told}");
    }
}
