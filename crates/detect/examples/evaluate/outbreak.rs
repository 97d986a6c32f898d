//! One outbreak on one port over its background, told to a detector step by step.

use std::collections::BTreeMap;

use martlet_detect::{DetectConfig, Detector, Finding, FindingType, Key, Population, Report, STEP};
use martlet_window::IpVersion;

use crate::random::Random;

/// The port that everything comes to.
pub(crate) const PORT: u16 = 8080;
/// Addresses of IPv4.
const SPACE: f64 = 4_294_967_296.0;
/// 2026-01-05T00:00:00Z, a Monday.
pub(crate) const START: i64 = 1_767_571_200;
/// How long the background is watched before the outbreak begins, in seconds: beyond a day its hours are known.
pub(crate) const BEFORE: i64 = 30 * 3600;

/// A worm that scans at random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worm {
    pub(crate) name: &'static str,
    /// Scans a second that each host sends (eta).
    pub(crate) scans: f64,
    /// Hosts that can be infected (N).
    pub(crate) hosts: f64,
}

impl Worm {
    /// Growth rate a, per second.
    pub(crate) fn rate(&self) -> f64 {
        self.scans * self.hosts / SPACE
    }
}

/// A telescope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telescope {
    pub(crate) name: &'static str,
    pub(crate) addresses: u32,
    pub(crate) sensors: u16,
}

/// How the port is scanned before, in sightings per address and day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Background {
    pub(crate) name: &'static str,
    pub(crate) per_address_day: f64,
}

/// What came of one seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Share infected when the outbreak was called.
    pub(crate) share: Option<f64>,
    /// Share infected when a surge was called, or the outbreak.
    pub(crate) surge_share: Option<f64>,
    /// Doubling times from the first infected host to the call.
    pub(crate) doublings: f64,
    /// Estimated rate divided by the true one, at the call.
    pub(crate) rate: Option<f64>,
    /// Whether intervals held the true rate, infected hosts and susceptible hosts.
    pub(crate) rate_held: bool,
    pub(crate) infected_held: Option<bool>,
    pub(crate) susceptible_held: Option<bool>,
    /// Estimated infected and susceptible hosts divided by the true ones.
    pub(crate) infected: Option<f64>,
    pub(crate) susceptible: Option<f64>,
    /// Outbreaks called before there was one.
    pub(crate) false_alarms: u32,
}

/// Background of one port: sources come, send some probes for a while, and go; their number has a daily rhythm and wanders.
pub(crate) struct Scanners {
    per_second: f64,
    wander: f64,
    /// Sightings that are still to come, by step.
    planned: BTreeMap<i64, Vec<u128>>,
}

/// Of a source of the background: sightings, and how long it stays, in seconds.
const SIGHTINGS_A_SOURCE: f64 = 4.0;
const STAY: f64 = 600.0;

impl Scanners {
    pub(crate) fn new(sightings_per_second: f64) -> Scanners {
        Scanners { per_second: sightings_per_second, wander: 0.0, planned: BTreeMap::new() }
    }

    /// The sources that are seen in a step.
    pub(crate) fn step(&mut self, step: i64, random: &mut Random) -> Vec<u128> {
        // A logarithm that wanders by 15 % with a memory of an hour, and a day that is 30 % busier than the night.
        let memory = (-STEP_SECONDS / 3600.0).exp();
        self.wander = memory * self.wander + 0.15 * (1.0 - memory * memory).sqrt() * random.normal();
        let hour = f64_of(step.rem_euclid(86_400)) / 86_400.0;
        let rhythm = 1.0 + 0.3 * (std::f64::consts::TAU * hour).sin();
        let mean = self.per_second * rhythm * self.wander.exp() * STEP_SECONDS;
        for _ in 0..random.poisson(mean / SIGHTINGS_A_SOURCE) {
            let source = u128::from(random.bits32());
            for _ in 0..1 + random.poisson(SIGHTINGS_A_SOURCE - 1.0) {
                #[expect(clippy::cast_possible_truncation, reason = "some minutes")]
                let later = random.exponential(STAY / 2.0) as i64 / STEP * STEP;
                self.planned.entry(step + later).or_default().push(source);
            }
        }
        self.planned.remove(&step).unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ten")]
const STEP_SECONDS: f64 = STEP as f64;

#[expect(clippy::cast_precision_loss, reason = "small")]
pub(crate) fn f64_of(value: i64) -> f64 {
    value as f64
}

/// Runs one seed until the outbreak is called, or half of the hosts are infected.
pub(crate) fn run(
    config: &DetectConfig,
    worm: &Worm,
    telescope: &Telescope,
    background: &Background,
    seed: u64,
) -> Outcome {
    let mut random = Random::new(seed, 0);
    let mut detector = Detector::new(config.clone());
    let addresses = f64::from(telescope.addresses);
    let mut scanners = Scanners::new(addresses * background.per_address_day / 86_400.0);
    // Seconds and steps of each seed are at another phase.
    let begin = START + BEFORE + i64::try_from(random.below(7200)).unwrap_or_default();
    let mut infected = 1.0;
    let mut outcome = Outcome::default();
    // Sources that came before are still there when watching begins.
    (1..360).rev().for_each(|back| drop(scanners.step(START - back * STEP, &mut random)));
    let mut step = START;
    while infected < worm.hosts / 2.0 {
        let mut sources = scanners.step(step, &mut random);
        let hits = spread(worm, addresses, (step.max(begin), step + STEP), &mut infected, &mut random);
        sources.extend(hits.iter().map(|&host| source_of(host, seed)));
        sources.sort_unstable();
        sources.dedup();
        let sources: Vec<Source> = sources.into_iter().map(|source| (population_of_host(source), source)).collect();
        for finding in observe(&mut detector, telescope, PORT, step, &sources, &mut random) {
            note(&finding, &mut outcome, worm, step + STEP - begin, infected);
        }
        if outcome.share.is_some() {
            break;
        }
        step += STEP;
    }
    outcome
}

/// Lets the worm spread through part of a step, and says which hosts hit the telescope.
fn spread(worm: &Worm, addresses: f64, span: (i64, i64), infected: &mut f64, random: &mut Random) -> Vec<u64> {
    let mut hits = Vec::new();
    let mut left = f64_of(span.1 - span.0);
    // Slices so short that a slice's growth is small.
    let slice = (0.05 / worm.rate()).min(STEP_SECONDS);
    while left > 1e-9 {
        let time = slice.min(left);
        left -= time;
        for _ in 0..random.poisson(*infected * worm.scans * time * addresses / SPACE) {
            hits.push(random.below(count_of(*infected)));
        }
        let new = worm.rate() * *infected * (1.0 - *infected / worm.hosts) * time;
        // Few hosts spread by chance, many as the mean.
        *infected += if *infected < 1e4 { f64_of(random.poisson(new).cast_signed()) } else { new };
        *infected = infected.min(worm.hosts);
    }
    hits
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hosts are below 2^32")]
fn count_of(hosts: f64) -> u64 {
    (hosts as u64).max(1)
}

/// The address of a host: anywhere, other for each seed.
fn source_of(host: u64, seed: u64) -> u128 {
    let mixed = (host ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from((mixed ^ (mixed >> 29)) & 0xffff_ffff)
}

/// A source, and what its packets are taken for.
pub(crate) type Source = (Population, u128);

/// What a sensor takes the packets of a host for that carry no mark of a tool: where its address ends in .0 or .255 it looks spoofed.
pub(crate) const fn population_of_host(source: u128) -> Population {
    if matches!(source & 0xff, 0 | 0xff) { Population::Spoofed } else { Population::None }
}

/// And those of an address that was drawn from all of IPv4: 0/8, 10/8, 127/8 and what is no unicast cannot be a source.
pub(crate) const fn population_of_forged(source: u128) -> Population {
    if matches!(source >> 24, 0 | 10 | 127 | 224..) { Population::Spoofed } else { population_of_host(source) }
}

/// Tells a step to the detector, its sources spread over the sensors.
pub(crate) fn observe(
    detector: &mut Detector,
    telescope: &Telescope,
    port: u16,
    step: i64,
    sources: &[Source],
    random: &mut Random,
) -> Vec<Finding> {
    let mut of_sensors = vec![BTreeMap::<Population, Vec<u128>>::new(); telescope.sensors.into()];
    for &(population, source) in sources {
        let sensor = random.below(telescope.sensors.into());
        of_sensors[usize::try_from(sensor).unwrap_or_default()].entry(population).or_default().push(source);
    }
    for (sensor, rows) in (0u16..).zip(of_sensors) {
        let exposure = u64::from(telescope.addresses / u32::from(telescope.sensors)) * STEP.unsigned_abs();
        let window_seconds = u32::try_from(STEP).unwrap_or_default();
        let report =
            Report { sensor, window_start: step, window_seconds, arrived: step + STEP + 1, exposure: [exposure, 0] };
        if !detector.report(&report) {
            continue;
        }
        for (population, sources) in rows {
            let key = Key { ip: IpVersion::V4, protocol: 6, port, population };
            if detector.add(&report, key, u32::try_from(sources.len()).unwrap_or_default()) {
                detector.add_sources(&report, key, &sources);
            }
        }
    }
    detector.advance()
}

fn note(finding: &Finding, outcome: &mut Outcome, worm: &Worm, seconds: i64, infected: f64) {
    let share = infected / worm.hosts;
    if finding.finding_type != FindingType::Outbreak {
        if seconds > 0 {
            outcome.surge_share.get_or_insert(share);
        }
        return;
    }
    if seconds <= 0 {
        outcome.false_alarms += 1;
        return;
    }
    outcome.surge_share.get_or_insert(share);
    outcome.share = Some(share);
    outcome.doublings = f64_of(seconds) * worm.rate() / std::f64::consts::LN_2;
    let Some(estimates) = finding.estimates else { return };
    let holds = |estimate: &martlet_detect::Estimate, truth: f64| {
        estimate.low <= truth && estimate.high.is_none_or(|high| truth <= high)
    };
    let rate = worm.rate() * 3600.0;
    outcome.rate = estimates.rate_per_hour.value.map(|value| value / rate);
    outcome.rate_held = holds(&estimates.rate_per_hour, rate);
    outcome.infected_held = estimates.infected.map(|estimate| holds(&estimate, infected));
    outcome.susceptible_held = estimates.susceptible.map(|estimate| holds(&estimate, worm.hosts));
    outcome.infected = estimates.infected.and_then(|estimate| estimate.value).map(|value| value / infected);
    outcome.susceptible = estimates.susceptible.and_then(|estimate| estimate.value).map(|value| value / worm.hosts);
}
