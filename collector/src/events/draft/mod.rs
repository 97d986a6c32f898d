//! A draft of the public alert (注意喚起) about an event, in Markdown: facts and figures filled in, judgement left to the analyst.
//!
//! It carries a marking of the Traffic Light Protocol (FIRST, "TLP 2.0", <https://www.first.org/tlp/>), and says no more than
//! that marking, and the rules of what is published, allow: no source's address ever; networks, and sensors by name, only where
//! recipients are few; and no row that is about fewer sources than `publication.min_sources`.

mod english;
mod facts;
mod japanese;

use serde::{Deserialize, Serialize};

use self::facts::Facts;
use super::event::Whole;

/// In which language a draft or a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Language {
    /// English.
    #[serde(rename = "en")]
    English,
    /// Japanese; drafts in the form of JPCERT/CC's alerts.
    #[serde(rename = "ja")]
    Japanese,
}

impl Language {
    /// Every language with its name in parameters (ISO 639-1).
    pub const ALL: [(Language, &'static str); 2] =
        [(Language::English, Language::English.name()), (Language::Japanese, Language::Japanese.name())];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Japanese => "ja",
        }
    }

    /// The language of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|(_, one)| *one == name).map(|(language, _)| language)
    }
}

/// How far a draft may be passed on: the markings of TLP 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlp {
    /// To the world.
    Clear,
    /// Within the community.
    Green,
    /// Within the organisation and to its clients, who need to know.
    Amber,
    /// Within the organisation.
    AmberStrict,
    /// To nobody.
    Red,
}

impl Tlp {
    /// Every marking with its name in parameters.
    pub const ALL: [(Tlp, &'static str); 5] = [
        (Tlp::Clear, "clear"),
        (Tlp::Green, "green"),
        (Tlp::Amber, "amber"),
        (Tlp::AmberStrict, "amber+strict"),
        (Tlp::Red, "red"),
    ];

    /// The marking of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Tlp> {
        Tlp::ALL.into_iter().find(|(_, one)| *one == name).map(|(tlp, _)| tlp)
    }

    /// The label, as TLP 2.0 wants it: in capitals, without spaces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Tlp::Clear => "TLP:CLEAR",
            Tlp::Green => "TLP:GREEN",
            Tlp::Amber => "TLP:AMBER",
            Tlp::AmberStrict => "TLP:AMBER+STRICT",
            Tlp::Red => "TLP:RED",
        }
    }

    /// Whether so many may read it that it tells of sensors no more than their number, and of networks nothing.
    const fn is_wide(self) -> bool {
        matches!(self, Tlp::Clear | Tlp::Green)
    }
}

/// Writes a draft. `min_sources` is the fewest sources of a row that is told; `now` is in seconds since the Unix epoch.
#[must_use]
pub fn draft(whole: &Whole, language: Language, tlp: Tlp, min_sources: u64, now: i64) -> String {
    let facts = Facts::of(whole, tlp, min_sources, now);
    match language {
        Language::English => english::draft(&facts),
        Language::Japanese => japanese::draft(&facts),
    }
}

#[cfg(test)]
mod tests {
    use martlet_detect::{Estimate, Estimates, FindingType, Key, Label, Population};
    use martlet_window::{IpVersion, TrafficClass};

    use super::*;
    use crate::events::kinds::{EventId, Severity, State};
    use crate::events::{Event, Evidence, Network, RegionCount, SensorCount, SeriesBin};

    fn whole(class: TrafficClass, finding_type: FindingType) -> Whole {
        let estimate = |value, low, high| Estimate { value: Some(value), low, high: Some(high) };
        let event = Event {
            row: 1,
            id: EventId { class, finding: 0x1234 },
            key: Key { ip: IpVersion::V4, protocol: 6, port: 23, population: Population::Mirai },
            finding_type,
            onset: 1_795_255_200,
            detected: 1_795_258_800,
            recorded_ms: 1_795_258_812_000,
            last_active: 1_795_262_400,
            ended: None,
            labels: vec![Label::OneNetwork],
            estimates: (finding_type == FindingType::Outbreak).then(|| Estimates {
                rate_per_hour: estimate(0.693, 0.55, 0.84),
                doubling_seconds: estimate(3600.0, 2970.0, 4540.0),
                infected: Some(estimate(12_345.0, 9000.0, 17_000.0)),
                susceptible: Some(Estimate { value: None, low: 40_000.0, high: None }),
            }),
            state: State::Acknowledged,
            severity: Severity::High,
            owner: Some("hanako".to_owned()),
            recipients: vec![],
            version: 2,
        };
        let network = |network: &str, region: &str, sources| Network {
            network: network.to_owned(),
            region: region.to_owned(),
            asn: None,
            organisation: None,
            known_scanner: None,
            sources,
        };
        let evidence = Evidence {
            bin_seconds: 600,
            series: vec![SeriesBin { start: 1_795_255_200, sightings: 40, expected: 3.5 }],
            growth_over_step: 12.5,
            addresses: 256,
            sources: 87,
            regions: vec![
                RegionCount { region: "JP".to_owned(), sources: 9 },
                RegionCount { region: "US".to_owned(), sources: 4 },
                RegionCount { region: "ZZ".to_owned(), sources: 2 },
            ],
            networks: vec![network("192.0.2.0/24", "JP", 9), network("198.51.100.0/24", "US", 1)],
            sensors: vec![
                SensorCount { sensor: "alpha".to_owned(), sightings: 60 },
                SensorCount { sensor: "beta".to_owned(), sightings: 40 },
            ],
        };
        Whole { event, evidence, history: vec![], deliveries: vec![] }
    }

    /// Compares with the file of this name; with `MARTLET_UPDATE_DOCS` set it writes the file.
    fn holds(name: &str, text: &str) {
        let path = format!("{}/tests/golden/events/{name}.md", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("MARTLET_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{path}");
    }

    const NOW: i64 = 1_795_264_200;

    #[test]
    fn drafts_are_as_in_the_golden_files() {
        let outbreak = whole(TrafficClass::Real, FindingType::Outbreak);
        let drill = whole(TrafficClass::Drill, FindingType::Surge);
        for (language, name) in Language::ALL {
            holds(&format!("outbreak-clear-{name}"), &draft(&outbreak, language, Tlp::Clear, 3, NOW));
            holds(&format!("outbreak-amber-{name}"), &draft(&outbreak, language, Tlp::Amber, 3, NOW));
            holds(&format!("drill-surge-green-{name}"), &draft(&drill, language, Tlp::Green, 3, NOW));
        }
    }

    #[test]
    fn who_may_read_it_decides_what_it_says() {
        let outbreak = whole(TrafficClass::Real, FindingType::Outbreak);
        for (language, _) in Language::ALL {
            for (tlp, _) in Tlp::ALL {
                let text = draft(&outbreak, language, tlp, 3, NOW);
                assert!(text.starts_with(&format!("**{}**", tlp.label())), "{text}");
                assert!(text.trim_end().ends_with(&format!("**{}**", tlp.label())), "{text}");
                assert_eq!(text.contains("alpha"), !tlp.is_wide(), "{text}");
                assert_eq!(text.contains("192.0.2.0/24"), !tlp.is_wide(), "{text}");
                // Of one source only, and who looks after it.
                assert!(!text.contains("198.51.100.0") && !text.contains("hanako"), "{text}");
                assert!(!text.contains("EXERCISE") && !text.contains("訓練"), "{text}");
            }
            let drill = draft(&whole(TrafficClass::Drill, FindingType::Outbreak), language, Tlp::Clear, 3, NOW);
            assert!(drill.matches("EXERCISE").count() >= 2 && drill.matches("訓練").count() >= 2, "{drill}");
            let few = draft(&outbreak, language, Tlp::Clear, 100, NOW);
            assert!(!few.contains("87") && !few.contains("JP:"), "{few}");
        }
    }
}
