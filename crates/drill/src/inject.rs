//! What happens in a drill besides the background: what it is, when, and what a detector should make of it.

use crate::arrivals::OutbreakModel;
use crate::config::{ConfigError, DrillConfig, OutbreakConfig, Transport};
use crate::worm::Neighbourhood;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// Sightings that a rate within 20 % in 95 of 100 outbreaks takes: a rate of n sightings has a relative error near
/// 1/sqrt(n), so two standard deviations at n = 100 are 20 %.
pub const SIGHTINGS_FOR_A_CALL: f64 = 100.0;

/// One thing that happens during a drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Inject {
    /// Name in the ground truth.
    pub name: String,
    /// Begin, after the start of the drill.
    pub begin: Duration,
    /// End, after the start of the drill; what would be later is left out.
    pub end: Duration,
    /// What it is.
    pub kind: InjectKind,
}

/// What an inject is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InjectKind {
    /// A self-spreading outbreak. Its own `start` is not used: the inject has one.
    Worm {
        /// Its model.
        #[serde(skip)]
        outbreak: OutbreakConfig,
        /// How its hosts choose targets, if not uniformly.
        preference: Option<Preference>,
    },
    /// A few sources of one /24 that send to every address once, in an order of their own.
    Sweep {
        /// TCP port.
        port: u16,
        /// Sources, at most 254.
        sources: u32,
    },
    /// Answers (SYN-ACK to RST as 20 : 8) of victims of a flood whose sources were forged.
    Backscatter {
        /// Port of the victims' service.
        port: u16,
        /// Victims.
        victims: u32,
        /// Packets an hour that reach one dark address.
        per_address_hour: f64,
    },
    /// SYNs from addresses drawn from all 2^32, each used once, along the same curve as a worm's packets.
    SpoofedRamp {
        /// TCP port.
        port: u16,
        /// Packets an hour that reach one dark address at the begin.
        first_per_address_hour: f64,
        /// The same in the end.
        last_per_address_hour: f64,
        /// Time in which the rate doubles at first.
        #[serde(serialize_with = "seconds", rename = "doubling_s")]
        doubling: Duration,
    },
    /// One source that sends at a constant rate.
    LoudScanner {
        /// TCP port.
        port: u16,
        /// Packets an hour that reach one dark address.
        per_address_hour: f64,
    },
    /// Bots, always as many, each of which gets another address after each lease.
    Renumbering {
        /// TCP port; the packets carry Mirai's mark.
        port: u16,
        /// Bots.
        bots: u32,
        /// Scans a second of each, over all 2^32 addresses.
        scans_per_host_s: f64,
        /// How long an address is kept. Every bot's begins at another hour.
        #[serde(serialize_with = "seconds", rename = "lease_s")]
        lease: Duration,
    },
}

/// How often the hosts of a worm choose a target near themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// Share of scans to the host's own /16.
    pub same_16: f64,
    /// Share of scans to the host's own /8. What is left goes to all 2^32 addresses.
    pub same_8: f64,
}

/// Hours in which one sensor's part of the prefix sees nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// Which sensor, from 0.
    pub sensor: u32,
    /// Begin, after the start of the drill.
    #[serde(serialize_with = "seconds", rename = "begin_after_s")]
    pub begin: Duration,
    /// End, after the start of the drill.
    #[serde(serialize_with = "seconds", rename = "end_after_s")]
    pub end: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// A kind of event that a detector calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Nobody was seen on the port before.
    FirstSeenPort,
    /// A step.
    Surge,
    /// Growth.
    Outbreak,
}

/// What a detector should make of an inject. What is in neither list is left to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// What it must call.
    pub must: &'static [Call],
    /// What it may call.
    pub may: &'static [Call],
    /// What it must not call.
    pub must_not: &'static [Call],
    /// Why.
    pub why: &'static str,
}

impl Inject {
    /// Transport and port that its packets concern, as counters see it: of answers the port that they come from.
    pub fn service(&self) -> (Transport, u16) {
        match &self.kind {
            InjectKind::Worm { outbreak, .. } => (outbreak.transport, outbreak.port),
            InjectKind::Sweep { port, .. }
            | InjectKind::Backscatter { port, .. }
            | InjectKind::SpoofedRamp { port, .. }
            | InjectKind::LoudScanner { port, .. }
            | InjectKind::Renumbering { port, .. } => (Transport::Tcp, *port),
        }
    }

    /// The model of a worm as this drill's prefix sees it, time counted from the inject's begin; `None` for all else.
    pub fn model(&self, config: &DrillConfig) -> Option<OutbreakModel> {
        let InjectKind::Worm { outbreak, preference } = &self.kind else { return None };
        let seen_as = Neighbourhood::new(config, outbreak, *preference).seen_as_addresses();
        Some(OutbreakModel::weighted(outbreak, seen_as))
    }

    /// The curve of a spoofed ramp: that of a worm of which the prefix sees as many packets at the begin and in the end.
    pub(crate) fn ramp(first: f64, last: f64, doubling: Duration, dark_addresses: u64) -> OutbreakModel {
        // A logistic curve with I0/N = first/last and rate ln 2 / doubling. In the end each address sees
        // eta N / 2^32 = rate packets a second and q, so q makes that `last`.
        let rate = core::f64::consts::LN_2 / doubling.as_secs_f64();
        let hosts = 4_294_967_296_u64;
        let curve = OutbreakConfig {
            scans_per_host_s: rate,
            initial_infected: crate::random::to_u64(hosts as f64 * first / last).clamp(1, hosts),
            vulnerable: hosts,
            infection_chance: 1.0,
            ..OutbreakConfig::default()
        };
        OutbreakModel::weighted(&curve, dark_addresses as f64 * last / 3600.0 / rate)
    }

    /// Checks it, and gives the packets that it is expected to send into the prefix.
    pub(crate) fn check(&self, config: &DrillConfig) -> Result<f64, ConfigError> {
        let wrong = |what| Err(ConfigError::Inject { name: self.name.clone(), what });
        if self.begin >= self.end || self.end > config.duration {
            let (name, begin, duration) = (self.name.clone(), self.begin, config.duration);
            return Err(ConfigError::InjectTime { name, begin, duration });
        }
        let (length_s, addresses) = ((self.end - self.begin).as_secs_f64(), config.dark_addresses() as f64);
        let rate_ok = |rate: f64| rate > 0.0 && rate <= 1e9;
        let steady = |per_hour: f64| per_hour / 3600.0 * addresses * length_s;
        match &self.kind {
            InjectKind::Worm { outbreak, preference } => {
                config.check_outbreak(&OutbreakConfig { start: self.begin, ..*outbreak })?;
                if let Some(Preference { same_16, same_8 }) = *preference
                    && !(same_16 >= 0.0 && same_8 >= 0.0 && same_16 + same_8 < 1.0)
                {
                    return wrong("shares of scans to the own /16 and /8 must not be negative, and below 1 together");
                }
                Ok(self.model(config).map_or(0.0, |model| model.sightings(length_s)))
            }
            InjectKind::Sweep { sources, .. } if !(1..=254).contains(sources) => wrong("1 to 254 sources fit a /24"),
            InjectKind::Sweep { .. } => Ok(addresses),
            InjectKind::Backscatter { victims: 0, .. } | InjectKind::Renumbering { bots: 0, .. } => {
                wrong("at least one host must send")
            }
            InjectKind::Backscatter { per_address_hour, .. } | InjectKind::LoudScanner { per_address_hour, .. } => {
                if rate_ok(*per_address_hour) {
                    Ok(steady(*per_address_hour))
                } else {
                    wrong("packets per address and hour must be above 0 and at most 1e9")
                }
            }
            InjectKind::SpoofedRamp {
                first_per_address_hour: first, last_per_address_hour: last, doubling, ..
            } => {
                if !rate_ok(*first) || !rate_ok(*last) || last <= first || doubling.is_zero() {
                    return wrong("a ramp goes from a rate above 0 up to a higher one of at most 1e9, and takes time");
                }
                Ok(Self::ramp(*first, *last, *doubling, config.dark_addresses()).sightings(length_s))
            }
            InjectKind::Renumbering { lease, scans_per_host_s, bots, .. } => {
                if lease.as_secs() == 0 || !rate_ok(*scans_per_host_s) {
                    return wrong("a lease is at least a second, and scans a second are above 0 and at most 1e9");
                }
                Ok(f64::from(*bots) * scans_per_host_s * addresses / 4_294_967_296.0 * length_s)
            }
        }
    }

    /// What a detector should make of it, given what this drill's prefix sees of it.
    pub fn expectation(&self, config: &DrillConfig) -> Expectation {
        use Call::{FirstSeenPort, Outbreak, Surge};
        const OTHER: &[Call] = &[FirstSeenPort, Surge];
        let no_outbreak = |why| Expectation { must: &[], may: OTHER, must_not: &[Outbreak], why };
        match &self.kind {
            InjectKind::Worm { .. } => {
                let length_s = (self.end - self.begin).as_secs_f64();
                let seen = self.model(config).map_or(0.0, |model| model.sightings(length_s));
                if seen >= SIGHTINGS_FOR_A_CALL {
                    let why = "it grows, and the prefix sees enough of it";
                    return Expectation { must: &[Outbreak], may: OTHER, must_not: &[], why };
                }
                let why = "it grows, but the prefix sees fewer than 100 of its packets";
                Expectation { must: &[], may: &[FirstSeenPort, Surge, Outbreak], must_not: &[], why }
            }
            InjectKind::Sweep { .. } => no_outbreak("a few sources of one network sent to every address once"),
            InjectKind::Backscatter { .. } => Expectation {
                must: &[],
                may: &[],
                must_not: &[FirstSeenPort, Surge, Outbreak],
                why: "answers to forged packets are no scans, however many send them",
            },
            InjectKind::SpoofedRamp { .. } => no_outbreak("no source sent twice, and many lie where nobody can be"),
            InjectKind::LoudScanner { .. } => no_outbreak("one source"),
            InjectKind::Renumbering { .. } => no_outbreak("as many bots as ever; only their addresses change"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_the_rates_that_were_asked_for() {
        let ramp = Inject::ramp(2.0, 4_000.0, Duration::from_secs(3_600), 256);
        let rate = |hour: f64| (ramp.sightings(hour * 3600.0 + 36.0) - ramp.sightings(hour * 3600.0)) * 100.0 / 256.0;
        assert!((rate(0.0) / 2.0 - 1.0).abs() < 0.01, "{}", rate(0.0));
        assert!((rate(1.0) / rate(0.0) - 2.0).abs() < 0.01, "{}", rate(1.0));
        assert!((rate(40.0) / 4_000.0 - 1.0).abs() < 0.01, "{}", rate(40.0));
    }
}
