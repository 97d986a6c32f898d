//! The draft in English.

use martlet_detect::FindingType;
use martlet_window::TrafficClass;

use super::super::text::figure;
use super::Tlp;
use super::facts::{Facts, duration, estimate, utc, utc_day};

/// What the marking means, in the words of TLP 2.0.
const fn meaning(tlp: Tlp) -> &'static str {
    match tlp {
        Tlp::Clear => "Recipients can spread this to the world, there is no limit on disclosure.",
        Tlp::Green => "Limited disclosure, recipients can spread this within their community.",
        Tlp::Amber => {
            "Limited disclosure, recipients can only spread this on a need-to-know basis within their organization and its clients."
        }
        Tlp::AmberStrict => {
            "Limited disclosure, recipients can only spread this on a need-to-know basis within their organization only."
        }
        Tlp::Red => "For the eyes and ears of individual recipients only, no further disclosure.",
    }
}

/// What is said at both ends of everything that is no real traffic.
const fn banner(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Real => "",
        TrafficClass::Drill => {
            "# EXERCISE / 訓練 — EXERCISE / 訓練 — EXERCISE / 訓練\n\n**This is an exercise. Nothing below happened; do not act on it, and do not publish it.**\n\n"
        }
        TrafficClass::Import => {
            "# FROM A CAPTURE FILE\n\n**This is about traffic that was read from a capture file, not about what sensors observe now.**\n\n"
        }
    }
}

/// Writes the draft.
pub(super) fn draft(facts: &Facts<'_>) -> String {
    let label = facts.tlp.label();
    let mut text = format!("**{label}**\n\n{}\n\n{}", meaning(facts.tlp), banner(facts.class));
    text.push_str(&format!(
        "# Alert: {}\n\nDate: {} \\\nDraft made from event {}. Every `[ANALYST: ...]` is to be filled in or struck out before anybody is told.\n\n",
        title(facts),
        utc_day(facts.now),
        facts.id
    ));
    text.push_str(&format!("## 1. Overview\n\n{}\n\n", overview(facts)));
    text.push_str(
        "[ANALYST: what this is, in two sentences: the malware or campaign, if it is known, and how sure that is]\n\n",
    );
    text.push_str(&table(facts));
    text.push_str(&format!(
        "## 2. Who is concerned\n\nWhoever runs devices or services that answer on {} and can be reached from the Internet.\n\n\
         [ANALYST: products and versions that are attacked, or \"not known\"]\n\n",
        port(facts)
    ));
    text.push_str(
        "## 3. Impact\n\n[ANALYST: what a successful attack leads to, and whether any has been confirmed]\n\n\
         ## 4. Countermeasures\n\n",
    );
    text.push_str(&format!(
        "- Find out whether {} can be reached from the Internet, and close it where it need not be.\n\
         - Look in logs for outgoing connections to the same port from your own network: a host that scans may be infected.\n\
         - [ANALYST: updates, settings or workarounds of the products concerned]\n\n",
        port(facts)
    ));
    text.push_str(
        "## 5. References\n\n- [ANALYST: advisories, CVE numbers, earlier alerts]\n\n\
         Whoever has further information is asked to send it to [ANALYST: contact].\n\n",
    );
    text.push_str(banner(facts.class));
    text.push_str(&format!("**{label}**\n"));
    text
}

fn title(facts: &Facts<'_>) -> String {
    match facts.finding_type {
        FindingType::FirstSeenPort => format!("first scans of {}", port(facts)),
        FindingType::Surge => format!("more sources scan {}", port(facts)),
        FindingType::Outbreak => format!("rapidly growing number of sources scanning {}", port(facts)),
    }
}

fn port(facts: &Facts<'_>) -> String {
    match facts.service {
        Some(service) => format!("{} port {} ({service})", facts.protocol, facts.port),
        None => format!("{} port {}", facts.protocol, facts.port),
    }
}

fn overview(facts: &Facts<'_>) -> String {
    let (onset, port) = (utc(facts.onset), port(facts));
    let what = match facts.finding_type {
        FindingType::FirstSeenPort => {
            format!(
                "Since {onset} our sensors have observed scans of {port}, which nobody had scanned for as long as we remember."
            )
        }
        FindingType::Surge => {
            format!("Since {onset} our sensors have observed many more sources that scan {port} than are expected.")
        }
        FindingType::Outbreak => format!(
            "Since {onset} the number of sources that scan {port} has been growing exponentially. Growth of this kind is what \
             malware that spreads by itself looks like."
        ),
    };
    match facts.ended {
        Some(ended) => format!("{what} It was over by {}.", utc(ended)),
        None => format!("{what} It was last observed at {}.", utc(facts.last_active)),
    }
}

fn table(facts: &Facts<'_>) -> String {
    let mut text = "| observed | |\n| --- | --- |\n".to_owned();
    let mut row = |name: &str, value: String| text.push_str(&format!("| {name} | {value} |\n"));
    row("Service", format!("{}, IPv{}", port(facts), facts.ip));
    row("Packets look like", facts.mark.map_or("no known tool or bot".to_owned(), |mark| format!("`{mark}`")));
    row("Onset", utc(facts.onset));
    row("Called", utc(facts.detected));
    if let Some(estimates) = &facts.estimates {
        row("Growth rate per hour", interval(&estimates.rate_per_hour, figure));
        let units = [" s", " min", " h", " days"];
        row("Doubling time", interval(&estimates.doubling_seconds, |seconds| duration(seconds, units)));
        if let Some(infected) = &estimates.infected {
            row("Hosts that scan, estimated", interval(infected, figure));
        }
        if let Some(susceptible) = &estimates.susceptible {
            row("Hosts that can be infected, estimated", interval(susceptible, figure));
        }
    }
    let few = || format!("fewer than {}", facts.min_sources);
    row("Sources remembered", facts.sources.map_or_else(few, |sources| sources.to_string()));
    row("Sources by region", regions(facts));
    row("Addresses observed", facts.addresses.to_string());
    let names =
        if facts.sensor_names.is_empty() { String::new() } else { format!(": {}", facts.sensor_names.join(", ")) };
    row("Sensors that saw it", format!("{}{names}", facts.sensors));
    for (network, region, sources) in &facts.networks {
        row("Network of sources", format!("{network} ({region}): {sources}"));
    }
    for label in &facts.labels {
        row("To be noted", caution(label).to_owned());
    }
    text.push_str("\nIntervals are of 95 %. Regions are those of the networks that sources were seen in first, and say nothing of who is behind them.\n\n");
    text
}

fn caution(label: &str) -> &'static str {
    match label {
        "single_sensor" => "nine of ten sightings come from one sensor",
        "spoofed_looking" => "many of the source addresses look forged",
        _ => "half of the sources lie in one network",
    }
}

fn regions(facts: &Facts<'_>) -> String {
    let mut regions: Vec<_> = facts.regions.iter().map(|(region, sources)| format!("{region}: {sources}")).collect();
    if facts.elsewhere > 0 {
        regions.push(format!("others: {}", facts.elsewhere));
    }
    if regions.is_empty() { "too few to be told".to_owned() } else { regions.join(", ") }
}

fn interval(value: &martlet_detect::Estimate, number: impl Fn(f64) -> String) -> String {
    estimate(value, number, |value, low, high| match (value, high) {
        (Some(value), Some(high)) => format!("{value} ({low} to {high})"),
        (Some(value), None) => format!("{value} ({low} or more)"),
        (None, Some(high)) => format!("{low} to {high}"),
        (None, None) => format!("{low} or more"),
    })
}
