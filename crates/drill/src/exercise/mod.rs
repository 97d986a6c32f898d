//! Joint exercises: one file that all participants share says what happens, when, and who watches which addresses.
//!
//! Everybody plays their own share of the same drill to their own collector: the same hosts, seen from other addresses.
//! Afterwards [`review`] asks every collector what it called, and lays that beside what really happened.

mod http;
pub mod review;

use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Deserialize;

use crate::config::{ConfigError, DrillConfig, MAX_INJECTS, PACKETS_PER_ADDRESS_DAY};
use crate::scenarios::Scenario;

/// Participants of one exercise.
pub const MAX_PARTICIPANTS: usize = 64;

/// The shared file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    scenario: Option<String>,
    seed: u64,
    start: jiff::Timestamp,
    duration: Option<String>,
    #[serde(default = "real_time")]
    speed: f64,
    #[serde(default = "mean_rate")]
    packets_per_address_day: f64,
    #[serde(default)]
    inject: Vec<RawInject>,
    participant: Vec<RawParticipant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInject {
    at: String,
    text: String,
    scenario: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParticipant {
    name: String,
    sensors: u32,
    dark: Ipv4Net,
}

const fn real_time() -> f64 {
    1.0
}

fn mean_rate() -> f64 {
    PACKETS_PER_ADDRESS_DAY.round()
}

/// A checked exercise.
#[derive(Debug)]
pub struct Exercise {
    /// Its title.
    pub title: String,
    /// Times faster than real time at which it is played.
    pub speed: f64,
    /// What participants are told, in order of time.
    pub messages: Vec<Message>,
    /// Who takes part.
    pub participants: Vec<Participant>,
}

/// A message to all participants.
#[derive(Clone, Debug)]
pub struct Message {
    /// When, after the start.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// One participant and what they see.
#[derive(Debug)]
pub struct Participant {
    /// Their name, and the beginning of their sensors' names.
    pub name: String,
    /// Their view of the drill.
    pub drill: DrillConfig,
}

/// Why a file is no exercise.
#[derive(Debug, thiserror::Error)]
pub enum ExerciseError {
    /// It is no TOML, or has a key that is not known or of another type.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value is out of its range.
    #[error("{0}")]
    Value(String),
    /// A participant's drill cannot be.
    #[error("participant {name}: {source}")]
    Drill {
        /// The participant.
        name: String,
        /// Why.
        source: ConfigError,
    },
}

impl Exercise {
    /// Reads and checks the text of a shared file.
    ///
    /// # Errors
    /// The first thing that is wrong, and what is wanted instead.
    pub fn parse(text: &str) -> Result<Exercise, ExerciseError> {
        let raw: Raw = toml::from_str(text)?;
        let value = |text: String| Err(ExerciseError::Value(text));
        let scenario = raw.scenario.as_deref().map(scenario).transpose()?;
        let duration = match &raw.duration {
            Some(text) => duration(text)?,
            None => scenario.map_or(Duration::from_secs(86_400), |scenario| scenario.duration),
        };
        if !(raw.speed > 0.0 && raw.speed.is_finite()) {
            return value(format!("speed must be above 0, not {}", raw.speed));
        }
        let Ok(start_s) = u64::try_from(raw.start.as_second()) else {
            return value(format!("the start {} is before 1970", raw.start));
        };
        if raw.participant.is_empty() || raw.participant.len() > MAX_PARTICIPANTS || raw.inject.len() > MAX_INJECTS {
            return value(format!("1 to {MAX_PARTICIPANTS} participants and at most {MAX_INJECTS} injects are wanted"));
        }
        let mut messages = Vec::new();
        let mut added = Vec::new();
        for inject in raw.inject {
            let at = duration_or_zero(&inject.at)?;
            if at >= duration {
                return value(format!("the inject at {} is not within the exercise's {duration:?}", inject.at));
            }
            added.extend(inject.scenario.as_deref().map(self::scenario).transpose()?.map(|scenario| (at, scenario)));
            messages.push(Message { at, text: inject.text });
        }
        messages.sort_by_key(|message| message.at);
        let all_dark: Vec<Ipv4Net> = raw.participant.iter().map(|participant| participant.dark.trunc()).collect();
        let mut participants: Vec<Participant> = Vec::new();
        for (view, RawParticipant { name, sensors, dark }) in (1..).zip(raw.participant) {
            let dark = dark.trunc();
            let overlaps = |other: &Participant| other.drill.dark.contains(&dark) || dark.contains(&other.drill.dark);
            if participants.iter().any(|other| other.name == name || overlaps(other)) {
                return value(format!("participant {name}: another has the same name, or some of its addresses"));
            }
            if format!("{name}-{sensors}").parse::<martlet_window::SensorName>().is_err() {
                return value(format!(
                    "participant {name:?}: a name of lower-case letters, digits and - is wanted, at most 28 long"
                ));
            }
            let also_dark = all_dark.iter().copied().filter(|other| *other != dark).collect();
            let mut drill = DrillConfig {
                seed: raw.seed,
                start_s,
                duration,
                dark,
                packets_per_address_day: raw.packets_per_address_day,
                outbreak: None,
                scenario: Some(raw.title.clone()),
                sensors,
                also_dark,
                view,
                ..DrillConfig::default()
            };
            // Injects are put at times within what was checked.
            let checked = |drill: &DrillConfig| {
                drill.check().map_err(|source| ExerciseError::Drill { name: name.clone(), source })
            };
            checked(&drill)?;
            if let Some(scenario) = scenario {
                scenario.add_to(&mut drill, scenario.quiet(duration));
            }
            for (at, scenario) in &added {
                scenario.add_to(&mut drill, *at);
            }
            checked(&drill)?;
            participants.push(Participant { name, drill });
        }
        Ok(Exercise { title: raw.title, speed: raw.speed, messages, participants })
    }

    /// The participant of this name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn participant(&self, name: &str) -> Result<&Participant, ExerciseError> {
        self.participants.iter().find(|participant| participant.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.participants.iter().map(|participant| participant.name.as_str()).collect();
            ExerciseError::Value(format!("there is no participant {name}; there are {}", names.join(", ")))
        })
    }
}

fn scenario(name: &str) -> Result<&'static Scenario, ExerciseError> {
    Scenario::named(name).ok_or_else(|| ExerciseError::Value(format!("there is no scenario {name}")))
}

fn duration(text: &str) -> Result<Duration, ExerciseError> {
    crate::cli::parse_duration(text).map_err(|error| ExerciseError::Value(format!("{text:?}: {error}")))
}

/// A time after the start; "0" alone needs no unit.
fn duration_or_zero(text: &str) -> Result<Duration, ExerciseError> {
    if text == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
title = "Spring"
scenario = "code-red"
seed = 3
start = "2026-11-30T00:00:00Z"
[[inject]]
at = "10h"
text = "The press asks."
scenario = "research-sweep"
[[inject]]
at = "1h"
text = "Begin."
[[participant]]
name = "kyoto"
sensors = 2
dark = "198.18.0.0/24"
[[participant]]
name = "osaka"
sensors = 1
dark = "198.18.4.0/25"
"#;

    #[test]
    fn all_participants_see_the_same_injects() {
        let exercise = Exercise::parse(FILE).unwrap();
        assert_eq!(
            exercise.messages.iter().map(|it| it.text.as_str()).collect::<Vec<_>>(),
            ["Begin.", "The press asks."]
        );
        let [kyoto, osaka] = &exercise.participants[..] else { panic!("two take part") };
        assert_eq!(kyoto.drill.injects, osaka.drill.injects);
        let names: Vec<_> =
            kyoto.drill.injects.iter().map(|it| (it.name.as_str(), it.begin.as_secs() / 3600)).collect();
        assert_eq!(names, [("code-red", 4), ("research-sweep", 10)]);
        assert_eq!(kyoto.drill.also_dark, [osaka.drill.dark]);
        assert!(exercise.participant("osaka").is_ok() && exercise.participant("nara").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, says) in [
            ("seed = 3", "seed = 3\nsed = 4", "unknown field `sed`"),
            ("code-red", "code-blue", "no scenario code-blue"),
            ("198.18.4.0/25", "198.18.0.128/25", "some of its addresses"),
            ("\"osaka\"", "\"Osaka\"", "lower-case"),
            ("\"10h\"", "\"30h\"", "not within"),
            ("\"10h\"", "\"10\"", "unit"),
            ("sensors = 1", "sensors = 0", "1 to 64 sensors"),
            ("seed = 3", "seed = 3\nspeed = 0.0", "above 0"),
        ] {
            let error = Exercise::parse(&FILE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
    }
}
