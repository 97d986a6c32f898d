//! Scenarios: injects that belong together, each number with its source.
//!
//! *Our choice* means that no published figure fits: nothing may be concluded from it. docs/drills.md has the same tables
//! with what each scenario is good for; a test holds that every parameter is in it.

use crate::config::{DrillConfig, OutbreakConfig, OutbreakMark, Transport};
use crate::inject::{Inject, InjectKind, Outage, Preference};
use std::fmt::Write as _;
use std::time::Duration;

const OURS: &str = "our choice";
const SLAMMER: &str = "Moore, Paxson, Savage, Shannon, Staniford, Weaver, \"Inside the Slammer Worm\", IEEE Security & Privacy 1(4), 2003";
const CODE_RED: &str =
    "Moore, Shannon, Brown, \"Code-Red: a case study on the spread and victims of an Internet worm\", IMW 2002";
const ZOU: &str = "Zou, Gao, Gong, Towsley, \"Monitoring and Early Warning for Internet Worms\", CCS 2003";
const STANIFORD: &str =
    "Staniford, Paxson, Weaver, \"How to 0wn the Internet in Your Spare Time\", USENIX Security 2002";
const MIRAI: &str = "Antonakakis et al., \"Understanding the Mirai Botnet\", USENIX Security 2017";
const MIRAI_SOURCE: &str = "the published source code of Mirai: 160 SYNs a second of one bot";
const ZMAP: &str = "Durumeric, Wustrow, Halderman, \"ZMap: Fast Internet-wide Scanning\", USENIX Security 2013";
const LEASES: &str =
    "Padmanabhan et al., \"Reasons Dynamic Addresses Change\", IMC 2016: some networks renumber every 24 hours";

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// An IPv4-wide scan with ZMap at gigabit speed.
const SWEEP: Duration = Duration::from_secs(45 * 60);

/// A number of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Its value, as people write it.
    pub value: &'static str,
    /// Where it is from.
    pub source: &'static str,
}

const fn parameter(name: &'static str, value: &'static str, source: &'static str) -> Parameter {
    Parameter { name, value, source }
}

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Name on the command line and in exercises.
    pub name: &'static str,
    /// What happens, in one line.
    pub summary: &'static str,
    /// Time covered unless another is asked for.
    pub duration: Duration,
    /// Its numbers.
    pub parameters: &'static [Parameter],
    /// One part in so many of the time covered passes before it begins; 0 for none.
    quiet_part: u32,
    build: fn(&Setting) -> Plan,
}

/// When and where a scenario is to be played.
struct Setting {
    begin: Duration,
    end: Duration,
    sensors: u32,
}

#[derive(Default)]
struct Plan {
    injects: Vec<Inject>,
    outages: Vec<Outage>,
}

impl Scenario {
    /// The scenario of this name.
    pub fn named(name: &str) -> Option<&'static Scenario> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// When it begins in a drill of this duration, unless told otherwise.
    pub fn quiet(&self, duration: Duration) -> Duration {
        duration.checked_div(self.quiet_part).unwrap_or(Duration::ZERO)
    }

    /// Adds it to a drill, from `begin` after the drill's start. What would begin after the drill's end is left out, and
    /// what would last longer ends with it.
    pub fn add_to(&self, config: &mut DrillConfig, begin: Duration) {
        let plan = (self.build)(&Setting { begin, end: config.duration, sensors: config.sensors });
        let end = config.duration;
        let injects = plan.injects.into_iter().filter(|inject| inject.begin < end);
        config.injects.extend(injects.map(|inject| Inject { end: inject.end.min(end), ..inject }));
        let outages = plan.outages.into_iter().filter(|outage| outage.begin < end);
        config.outages.extend(outages.map(|outage| Outage { end: outage.end.min(end), ..outage }));
    }

    /// It alone over the background: the drill that `--scenario` makes of the base configuration.
    pub fn drill(&self, base: DrillConfig) -> DrillConfig {
        let mut config = DrillConfig { outbreak: None, scenario: Some(self.name.to_owned()), ..base };
        let begin = self.quiet(config.duration);
        self.add_to(&mut config, begin);
        config
    }
}

/// Every scenario with its parameters and their sources, for people.
pub fn list() -> String {
    let mut text = String::new();
    for scenario in ALL {
        let hours = scenario.duration.as_secs() / 3600;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {} ({hours} h)", scenario.name, scenario.summary);
        for Parameter { name, value, source } in scenario.parameters {
            let _ = writeln!(text, "    {name}: {value} [{source}]");
        }
        text.push('\n');
    }
    text
}

/// All scenarios, in the order in which they are listed.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "slammer",
        summary: "a worm on udp/1434 that has everybody within minutes",
        duration: Duration::from_secs(6 * 3600),
        parameters: &[
            parameter("vulnerable hosts", "75,000", SLAMMER),
            parameter("scans per second and host", "4,000", SLAMMER),
            parameter("doubling", "9.9 s by these two (8.5 s, give or take 1 s, was measured)", SLAMMER),
            parameter("initially infected hosts", "1", OURS),
            parameter(
                "congestion",
                "none, so saturation is louder than the 55 million scans a second that were seen",
                OURS,
            ),
        ],
        quiet_part: 2,
        build: |at| at.one("slammer", at.end, worm(SLAMMER_WORM)),
    },
    Scenario {
        name: "code-red",
        summary: "a worm on tcp/80 that takes half a day",
        duration: DAY,
        parameters: &[
            parameter("vulnerable hosts", "359,000 infected in less than 14 hours", CODE_RED),
            parameter("scans per minute and host", "358", ZOU),
            parameter(
                "rate",
                "1.8 an hour by these two, as fitted to the data (11 scans a second, also quoted, would give 3.3)",
                STANIFORD,
            ),
            parameter("initially infected hosts", "10", ZOU),
        ],
        quiet_part: 6,
        build: |at| at.one("code-red", at.end, worm(CODE_RED_WORM)),
    },
    Scenario {
        name: "mirai-like",
        summary: "bots on tcp/23 with Mirai's mark that guess passwords, two days",
        duration: Duration::from_secs(48 * 3600),
        parameters: &[
            parameter("vulnerable hosts", "600,000, its peak", MIRAI),
            parameter("scans per second and host", "160", MIRAI_SOURCE),
            parameter("doubling", "76 minutes", MIRAI),
            parameter("chance that a scan of a vulnerable host infects it", "0.0068, from the three above", OURS),
            parameter(
                "initially infected hosts",
                "1: with it about 65,000 are infected after 20 hours, as published",
                MIRAI,
            ),
        ],
        quiet_part: 8,
        build: |at| at.one("mirai-like", at.end, worm(MIRAI_WORM)),
    },
    Scenario {
        name: "slow-worm",
        summary: "a worm on tcp/5555 that doubles once a day, two weeks",
        duration: Duration::from_secs(14 * 86_400),
        parameters: &[
            parameter("vulnerable hosts", "50,000", OURS),
            parameter("scans per second and host", "0.69, so that it doubles in 24 hours", OURS),
            parameter("initially infected hosts", "200", OURS),
        ],
        quiet_part: 7,
        build: |at| at.one("slow-worm", at.end, worm(SLOW_WORM)),
    },
    Scenario {
        name: "localised-worm",
        summary: "a worm on tcp/80 whose hosts prefer their own networks, as Code Red II's did",
        duration: DAY,
        parameters: &[
            parameter("share of scans to the host's own /16", "3/8", STANIFORD),
            parameter("share of scans to the host's own /8", "1/2", STANIFORD),
            parameter("share of scans to all addresses", "1/8", STANIFORD),
            parameter(
                "vulnerable hosts",
                "359,000, spread evenly: those of Code Red, which used the same hole",
                CODE_RED,
            ),
            parameter("scans per minute and host", "358, as Code Red", OURS),
            parameter("initially infected hosts", "10", OURS),
        ],
        quiet_part: 6,
        build: |at| {
            let preference = Some(Preference { same_16: 0.375, same_8: 0.5 });
            at.one("localised-worm", at.end, InjectKind::Worm { outbreak: CODE_RED_WORM, preference })
        },
    },
    Scenario {
        name: "research-sweep",
        summary: "a few hosts of one network scan all addresses of tcp/502 once",
        duration: DAY,
        parameters: &[
            parameter("time for all addresses", "45 minutes, or what is left of the drill", ZMAP),
            parameter("sources", "8 of one /24", OURS),
        ],
        quiet_part: 2,
        build: |at| at.one("research-sweep", at.begin + SWEEP, SWEEP_KIND),
    },
    Scenario {
        name: "backscatter-flood",
        summary: "answers of flooded victims, few and then very many, and a ramp of forged SYNs from everywhere",
        duration: DAY,
        parameters: &[
            parameter("few victims", "3, port 443, 40 packets an hour and address for an hour", OURS),
            parameter("many victims", "2,000,000, port 80, 400 packets an hour and address for six hours", OURS),
            parameter("answers", "SYN-ACK to RST as 20 : 8", OURS),
            parameter(
                "ramp",
                "tcp/7547, from 1 to 400 packets an hour and address, doubling every hour, for twelve hours",
                OURS,
            ),
            parameter("sources of the ramp", "uniform over all 2^32 addresses, each used once", OURS),
        ],
        quiet_part: 12,
        build: |at| {
            let mut plan = at.one("backscatter-few", at.begin + HOUR, FEW_VICTIMS);
            plan.injects.push(inject("backscatter-many", at.begin + 2 * HOUR, 6 * HOUR, MANY_VICTIMS));
            plan.injects.push(inject("spoofed-ramp", at.begin + 9 * HOUR, 12 * HOUR, RAMP));
            plan
        },
    },
    Scenario {
        name: "loud-scanner",
        summary: "one source scans tcp/8080 for six hours",
        duration: DAY,
        parameters: &[parameter("packets an hour and address", "120", OURS)],
        quiet_part: 2,
        build: |at| at.one("loud-scanner", at.begin + 6 * HOUR, LOUD),
    },
    Scenario {
        name: "dhcp-renumbering",
        summary: "a constant crowd of bots on tcp/2323 whose addresses change every day",
        duration: Duration::from_secs(7 * 86_400),
        parameters: &[
            parameter("lease", "24 hours, ending at each bot's own hour", LEASES),
            parameter("scans per second and host", "160", MIRAI_SOURCE),
            parameter("bots", "20,000", OURS),
        ],
        quiet_part: 0,
        build: |at| at.one("dhcp-renumbering", at.end, RENUMBERING),
    },
    Scenario {
        name: "sensor-outage",
        summary: "the last of the sensors sees nothing for six hours",
        duration: DAY,
        parameters: &[parameter("length", "6 hours", OURS)],
        quiet_part: 4,
        build: |at| Plan { outages: vec![at.outage(at.begin, 6 * HOUR)], ..Plan::default() },
    },
    Scenario {
        name: "mixed-week",
        summary: "renumbering bots, two sweeps, a loud scanner, an outage, a flood, a ramp, and then two worms",
        duration: Duration::from_secs(7 * 86_400),
        parameters: &[
            parameter(
                "hours after the begin",
                "0 dhcp-renumbering; 30 research-sweep; 42 loud-scanner; 51 sensor-outage; 60 backscatter-many; 72 spoofed-ramp; 96 code-red; 132 slammer, filtered after six hours; 144 research-sweep",
                OURS,
            ),
            parameter("each of them", "as in its own scenario", "see there"),
        ],
        quiet_part: 0,
        build: mixed_week,
    },
];

impl Setting {
    /// One inject from the begin until `end`.
    fn one(&self, name: &str, end: Duration, kind: InjectKind) -> Plan {
        let inject = Inject { name: name.to_owned(), begin: self.begin, end, kind };
        Plan { injects: vec![inject], ..Plan::default() }
    }

    /// An outage of the last sensor.
    fn outage(&self, begin: Duration, length: Duration) -> Outage {
        Outage { sensor: self.sensors.saturating_sub(1), begin, end: begin + length }
    }
}

fn inject(name: &str, begin: Duration, length: Duration, kind: InjectKind) -> Inject {
    Inject { name: name.to_owned(), begin, end: begin + length, kind }
}

fn mixed_week(at: &Setting) -> Plan {
    let hour = |hours: u32| at.begin + hours * HOUR;
    let until_end = |hours: u32| at.end.saturating_sub(hour(hours));
    Plan {
        injects: vec![
            inject("dhcp-renumbering", hour(0), until_end(0), RENUMBERING),
            inject("research-sweep-1", hour(30), SWEEP, SWEEP_KIND),
            inject("loud-scanner", hour(42), 6 * HOUR, LOUD),
            inject("backscatter-many", hour(60), 6 * HOUR, MANY_VICTIMS),
            inject("spoofed-ramp", hour(72), 12 * HOUR, RAMP),
            inject("code-red", hour(96), until_end(96), worm(CODE_RED_WORM)),
            inject("slammer", hour(132), 6 * HOUR, worm(SLAMMER_WORM)),
            inject("research-sweep-2", hour(144), SWEEP, SWEEP_KIND),
        ],
        outages: vec![at.outage(hour(51), 6 * HOUR)],
    }
}

const fn worm(outbreak: OutbreakConfig) -> InjectKind {
    InjectKind::Worm { outbreak, preference: None }
}

const SLAMMER_WORM: OutbreakConfig = OutbreakConfig {
    transport: Transport::Udp,
    port: 1434,
    mark: OutbreakMark::Slammer,
    start: Duration::ZERO,
    scans_per_host_s: 4_000.0,
    initial_infected: 1,
    vulnerable: 75_000,
    infection_chance: 1.0,
};
const CODE_RED_WORM: OutbreakConfig = OutbreakConfig {
    transport: Transport::Tcp,
    port: 80,
    mark: OutbreakMark::None,
    start: Duration::ZERO,
    scans_per_host_s: 358.0 / 60.0,
    initial_infected: 10,
    vulnerable: 359_000,
    infection_chance: 1.0,
};
const MIRAI_WORM: OutbreakConfig = OutbreakConfig {
    transport: Transport::Tcp,
    port: 23,
    mark: OutbreakMark::Mirai,
    start: Duration::ZERO,
    scans_per_host_s: 160.0,
    initial_infected: 1,
    vulnerable: 600_000,
    infection_chance: 0.0068,
};
const SLOW_WORM: OutbreakConfig = OutbreakConfig {
    port: 5555,
    mark: OutbreakMark::None,
    scans_per_host_s: 0.69,
    initial_infected: 200,
    vulnerable: 50_000,
    infection_chance: 1.0,
    ..MIRAI_WORM
};
const SWEEP_KIND: InjectKind = InjectKind::Sweep { port: 502, sources: 8 };
const FEW_VICTIMS: InjectKind = InjectKind::Backscatter { port: 443, victims: 3, per_address_hour: 40.0 };
const MANY_VICTIMS: InjectKind = InjectKind::Backscatter { port: 80, victims: 2_000_000, per_address_hour: 400.0 };
const RAMP: InjectKind =
    InjectKind::SpoofedRamp { port: 7547, first_per_address_hour: 1.0, last_per_address_hour: 400.0, doubling: HOUR };
const LOUD: InjectKind = InjectKind::LoudScanner { port: 8080, per_address_hour: 120.0 };
const RENUMBERING: InjectKind =
    InjectKind::Renumbering { port: 2323, bots: 20_000, scans_per_host_s: 160.0, lease: DAY };

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling_s(name: &str) -> f64 {
        let config = Scenario::named(name).unwrap().drill(DrillConfig { duration: DAY, ..DrillConfig::default() });
        config.injects[0].model(&config).unwrap().doubling_s()
    }

    #[test]
    fn every_scenario_is_sound_and_has_what_its_sources_say() {
        for scenario in ALL {
            for duration in [scenario.duration, Duration::from_secs(1_800)] {
                for sensors in [1, 4] {
                    let config = scenario.drill(DrillConfig { duration, sensors, ..DrillConfig::default() });
                    assert_eq!(config.check(), Ok(()), "{} {duration:?}", scenario.name);
                    assert!(!(config.injects.is_empty() && config.outages.is_empty()), "{}", scenario.name);
                }
            }
        }
        assert!((doubling_s("slammer") - 9.9).abs() < 0.1);
        assert!((core::f64::consts::LN_2 / doubling_s("code-red") * 3600.0 - 1.8).abs() < 0.01);
        assert!((doubling_s("mirai-like") / 60.0 - 76.0).abs() < 0.1);
        assert!((doubling_s("slow-worm") / 3600.0 - 24.0).abs() < 0.2);
    }

    #[test]
    fn mirai_has_infected_as_many_after_twenty_hours_as_was_published() {
        let config =
            Scenario::named("mirai-like").unwrap().drill(DrillConfig { duration: 2 * DAY, ..DrillConfig::default() });
        let infected = config.injects[0].model(&config).unwrap().infected(20.0 * 3600.0);
        assert!((50_000.0..65_000.0).contains(&infected), "{infected}");
    }
}
