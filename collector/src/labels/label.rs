//! The labels that there are, and what their values can be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    #[error("{0:?} is no label: take group, economy, position, network or addressing, as in group=tokyo")]
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
pub struct Setting {
    /// Which label.
    pub label: Label,
    /// Its value from now on; none if `None`.
    pub value: Option<String>,
}

impl FromStr for Setting {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Setting, LabelError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let label = Label::named(name).filter(|_| text.contains('='));
        let label = label.ok_or_else(|| LabelError::Unknown(text.chars().take(LONGEST_GROUP).collect()))?;
        let value = if value.is_empty() { None } else { Some(Group::new(label, value)?.value) };
        Ok(Setting { label, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_groups_are_read_as_they_are_written() {
        let economy: Setting = "economy=JP".parse().unwrap();
        assert_eq!(economy, Setting { label: Label::Economy, value: Some("JP".to_owned()) });
        assert_eq!("group=".parse::<Setting>().unwrap(), Setting { label: Label::Group, value: None });
        for text in ["tokyo", "position:overseas", "economy:JP"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        assert_eq!("group:tokyo".parse::<Group>().unwrap().to_string(), "tokyo");
        for wrong in
            ["economy=jp", "economy=JPN", "position=home", "group=Tokyo", "group=-a", "group", "colour=red", "=x", ""]
        {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
        for wrong in ["", "a b", "position:", "colour:red", "economy:jp", "<b>", &"x".repeat(33)] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
        let told = "network=moon".parse::<Setting>().unwrap_err().to_string();
        assert!(told.contains("isp, cloud, academic"), "{told}");
    }
}
