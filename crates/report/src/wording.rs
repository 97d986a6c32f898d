//! The words of a language: one TOML file for each, all with the keys of `wording/en.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::document::{Inline, Line};

const ENGLISH: &str = include_str!("../wording/en.toml");
const JAPANESE: &str = include_str!("../wording/ja.toml");

/// A text with `{placeholders}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pattern(String);

/// How times are written, as of strftime(3).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    pub(crate) date: String,
    /// A day where there is little room.
    pub(crate) day: String,
    pub(crate) minute: String,
}

/// Makes the sections of the file, and [`Wording`] of them: a key that is missing in a file, or not listed here, is an error.
macro_rules! wording {
    ($($section:ident $type:ident { $($key:ident),* $(,)? })*) => {
        $(
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(crate) struct $type { $(pub(crate) $key: Pattern),* }
        )*

        /// The words of a language.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Wording {
            pub(crate) language: String,
            pub(crate) time: Time,
            $(pub(crate) $section: $type,)*
            regions: BTreeMap<String, String>,
        }
    };
}

wording! {
    number Number { group, decimal, percent, error, seconds, minutes, hours, days, interval, interval_open, range, range_open }
    common Common {
        not_known, none, no_comment, comment, other_language, table, figure, section, coverage, total, others, all_kinds, scan,
        backscatter, other,
    }
    head Head {
        title, title_of_group, title_with_status, provisional, first_revision,
        revision, drill, drill_meaning, import, import_meaning, warnings,
        facts, period, span, compared, nothing_known, stored, recounted, status, provisional_meaning, class, class_real,
        class_drill, class_import, sensors, all_sensors, of_group, rules, rules_meaning,
    }
    warnings Warnings { low_coverage, missing_days, unsettled_days, unknown_exposure }
    previous Previous { week, month, quarter, days }
    overview Overview {
        title, exposure, what, now, before, change, sensors, sensor_days, address_days, prefix_days, coverage, packets,
        per_sensor_day, mean_daily_sources, rates, rates_note, of, of_all, of_group, size, size_one, size_open, count, mean,
        lower_quartile, median, upper_quartile, compared, compared_mean, compared_previous, days, day, sources, day_per_sensor,
        sources_note, ipv6, ipv6_sources, per_prefix_day,
    }
    ranking Ranking {
        ports, ports_table, ports_figure, ports_packets, ports_note, filtered_table, filtered_note, watching_sensors, watching_days, regions, regions_table, regions_figure, regions_packets, regions_note, backscatter,
        backscatter_table, backscatter_note, rank, port, victim_port, region, packets, share, per_sensor_day, previous_rank,
        previous_packets, change, sources, sensors, outside, axis, axis_packets, drawing, values, day, coverage,
    }
    movers Movers {
        title, not_compared, packets_up, packets_down, sources_up, sources_down, note, port, packets, previous_packets, sources,
        previous_sources, change,
    }
    populations Populations {
        title, table, note, which, name, packets, packets_share, sources, sources_share, all, mark, confirmed, known_scanner,
        multi_port, no_confirmed, mirai, mirai_note, port, marked, of_all, mirai_sources,
    }
    groups Groups {
        title, table, no_groups, group, sensors, address_days, coverage, packets, per_sensor_day, previous, change, sensor_ports,
        sensor_ports_note, sensor, rank, port,
    }
    events Events {
        title, table, note, none, unassessed, event, what, surge, outbreak, port, mark, no_mark, severity, info, low, medium,
        high, critical, onset, detected, ended, not_ended, rate, doubling, note_on, phenomena,
    }
    quality Quality {
        title, table, sensor, numbered, group, coverage, kernel, interface, lost, what, value, facts, missing_days, excluded,
        coarse, folded, error, regions, definitions, define_scan, define_sensor_day, define_coverage, define_sources,
        define_share,
    }
    changes Changes { title, table, none, place, before, now }
}

/// Why a wording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WordingError {
    /// It is no TOML, or a key is missing or unknown; the message says which.
    #[error("wording: {0}")]
    Toml(#[from] toml::de::Error),
    /// A region that the English wording has is missing, or one is there that it does not have.
    #[error("wording: regions.{code} is missing here or in the English wording")]
    Region {
        /// The code of the region.
        code: String,
    },
    /// A placeholder of the English text is missing, or one is there that it does not have.
    #[error("wording: {key}: placeholder {{{placeholder}}} is missing here or in the English text")]
    Placeholder {
        /// Section and key, with a dot.
        key: String,
        /// Its name.
        placeholder: String,
    },
    /// A time format that strftime(3) does not know.
    #[error("wording: time.{key}: {format:?} is no format of strftime(3)")]
    Time {
        /// The key in the section `time`.
        key: &'static str,
        /// What stands there.
        format: String,
    },
}

impl Wording {
    /// Reads the wording of a language.
    ///
    /// # Errors
    /// If it does not have just the keys and placeholders of the English one.
    pub fn read(text: &str) -> Result<Wording, WordingError> {
        let wording: Wording = toml::from_str(text)?;
        let (english, table): (toml::Table, toml::Table) = (toml::from_str(ENGLISH)?, toml::from_str(text)?);
        // Keys are those of the struct by now; regions are a map.
        let codes = |table: &toml::Table| -> BTreeSet<String> {
            table
                .get("regions")
                .and_then(toml::Value::as_table)
                .into_iter()
                .flat_map(toml::Table::keys)
                .cloned()
                .collect()
        };
        if let Some(code) = codes(&english).symmetric_difference(&codes(&table)).next() {
            return Err(WordingError::Region { code: code.clone() });
        }
        for (section, keys) in &english {
            for (key, pattern) in keys.as_table().into_iter().flatten() {
                let own = table.get(section).and_then(|keys| keys.get(key)).and_then(toml::Value::as_str).unwrap_or("");
                let (own, other) = (placeholders(own), placeholders(pattern.as_str().unwrap_or("")));
                if let Some(placeholder) = own.symmetric_difference(&other).next() {
                    let (key, placeholder) = (format!("{section}.{key}"), (*placeholder).to_owned());
                    return Err(WordingError::Placeholder { key, placeholder });
                }
            }
        }
        let Time { date, day, minute } = &wording.time;
        for (key, format) in [("date", date), ("day", day), ("minute", minute)] {
            if jiff::fmt::strtime::format(format, jiff::civil::DateTime::ZERO).is_err() {
                return Err(WordingError::Time { key, format: format.clone() });
            }
        }
        Ok(wording)
    }

    /// English.
    ///
    /// # Errors
    /// None, as tests hold; the wording is built in.
    pub fn english() -> Result<Wording, WordingError> {
        Wording::read(ENGLISH)
    }

    /// Japanese.
    ///
    /// # Errors
    /// None, as tests hold; the wording is built in.
    pub fn japanese() -> Result<Wording, WordingError> {
        Wording::read(JAPANESE)
    }

    /// The language, as a tag of BCP 47.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// The name of a region; its code if it is none of ISO 3166-1.
    pub(crate) fn region<'a>(&'a self, code: &'a str) -> &'a str {
        self.regions.get(code).map_or(code, String::as_str)
    }
}

/// Names of the placeholders in a text.
fn placeholders(text: &str) -> BTreeSet<&str> {
    pieces(text).filter_map(|(_, placeholder)| placeholder).collect()
}

/// The text in front of each placeholder, with its name; the last one has none.
fn pieces(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let found = text.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)));
        match found {
            Some((before, (name, after))) => {
                rest = Some(after);
                Some((before, Some(name)))
            }
            None => {
                rest = None;
                Some((text, None))
            }
        }
    })
}

impl Pattern {
    /// The text, which has no placeholders.
    pub(crate) fn line(&self) -> Line {
        self.fill(&[])
    }

    /// The text as it stands.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The text with placeholders filled in.
    pub(crate) fn fill(&self, values: &[(&str, Line)]) -> Line {
        let mut line = Line::default();
        for (before, placeholder) in pieces(&self.0) {
            line.push(Inline::Text(before.to_owned()));
            if let Some(name) = placeholder
                && let Some((_, value)) = values.iter().find(|(known, _)| *known == name)
            {
                line.extend(value.clone());
            }
        }
        line
    }

    /// The text with its only placeholder, `{n}`, filled in as text.
    pub(crate) fn around(&self, text: &str) -> String {
        self.0.replace("{n}", text)
    }
}
