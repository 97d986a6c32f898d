//! Months of everything that is no outbreak, on all ports of one telescope, told to a detector.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use martlet_detect::{DetectConfig, Detector, Finding, FindingType, Key, Population, Report, STEP};
use martlet_window::IpVersion;

use crate::outbreak::{START, f64_of, population_of_forged, population_of_host};
use crate::ramps;
use crate::random::Random;

const DAY: i64 = 86_400;
/// Sensors of 64 addresses each.
const SENSORS: u8 = 4;
const ADDRESSES: u64 = 64;
/// Sightings a day of ordinary scanners, all ports together: 600 for each address.
const SIGHTINGS_A_DAY: f64 = 600.0 * 256.0;
/// How many times more than once a source is seen.
const SIGHTINGS_A_SOURCE: f64 = 4.0;
/// What happens beside them, in times a day.
const SWEEPS: f64 = 20.0;
const STEPS: f64 = 3.0;
const LOUD: f64 = 10.0;
const SPOOFED: f64 = 0.3;
const RENUMBERED: f64 = 0.1;
const OUTAGES: f64 = 0.3;

/// One sighting that is to come.
#[derive(Clone, Copy)]
struct Sighting {
    key: Key,
    source: u32,
    sensor: u8,
}

struct World {
    random: Random,
    planned: BTreeMap<i64, Vec<Sighting>>,
    /// Until when each sensor is out, and whether it keeps what it sees for later.
    out: [(i64, bool); SENSORS as usize],
    kept: [Vec<(i64, Vec<Sighting>)>; SENSORS as usize],
    wander: f64,
}

/// What was called, by type.
#[derive(Default)]
pub(crate) struct Called {
    pub(crate) outbreaks: Vec<Finding>,
    pub(crate) surges: u32,
    pub(crate) first_seen: u32,
    pub(crate) sightings: u64,
    pub(crate) most_keys: usize,
    pub(crate) most_candidates: usize,
    /// Length of what is saved in the end.
    pub(crate) saved_bytes: usize,
}

pub(crate) fn run(config: &DetectConfig, seed: u64, days: i64) -> Called {
    let mut world = World {
        random: Random::new(seed, 1),
        planned: BTreeMap::new(),
        out: [(0, false); SENSORS as usize],
        kept: Default::default(),
        wander: 0.0,
    };
    let mut detector = Detector::new(config.clone());
    let mut called = Called::default();
    let mut ids = BTreeSet::new();
    let end = START + days * DAY;
    for step in (START - DAY..end).step_by(STEP.unsigned_abs().try_into().unwrap_or(1)) {
        world.plan(step);
        let now = world.planned.remove(&step).unwrap_or_default();
        if step < START {
            continue;
        }
        world.observe(&mut detector, step, now, &mut called);
        for finding in detector.advance() {
            if ids.insert((finding.id(), finding.finding_type)) {
                match finding.finding_type {
                    FindingType::Outbreak => called.outbreaks.push(finding),
                    FindingType::Surge => called.surges += 1,
                    FindingType::FirstSeenPort => called.first_seen += 1,
                }
            }
        }
        let (keys, candidates, _) = detector.sizes();
        called.most_keys = called.most_keys.max(keys);
        called.most_candidates = called.most_candidates.max(candidates);
    }
    called.saved_bytes = detector.save().unwrap().len();
    called
}

impl World {
    /// Plans what begins in a step.
    fn plan(&mut self, step: i64) {
        let day_share = f64_of(STEP) / f64_of(DAY);
        let memory = (-f64_of(STEP) / 3600.0).exp();
        self.wander = memory * self.wander + 0.15 * (1.0 - memory * memory).sqrt() * self.random.normal();
        let hour = f64_of(step.rem_euclid(DAY)) / f64_of(DAY);
        let rhythm = (1.0 + 0.3 * (std::f64::consts::TAU * hour).sin()) * self.wander.exp();
        for _ in 0..self.random.poisson(SIGHTINGS_A_DAY * day_share * rhythm / SIGHTINGS_A_SOURCE) {
            let (key, source) = (self.usual_key(), self.source());
            let sightings = 1 + self.random.poisson(SIGHTINGS_A_SOURCE - 1.0);
            self.probe(key, source, step, sightings, 300.0);
        }
        for _ in 0..self.random.poisson(SWEEPS * day_share) {
            // One source of a research network, some thousands of ports, an hour.
            let source = self.source();
            for _ in 0..3000 {
                let key = tcp(self.port(), Population::Zmap4);
                self.probe(key, source, step, 1, 1800.0);
            }
        }
        for _ in 0..self.random.poisson(STEPS * day_share) {
            let key = tcp(self.some_port(), Population::None);
            self.population(key, step, DAY);
        }
        for _ in 0..self.random.poisson(RENUMBERED * day_share) {
            // A population that keeps its size and has other addresses every day.
            let key = tcp(self.some_port(), Population::Mirai);
            for day in 0..10 {
                self.population(key, step + day * DAY, 10 * DAY);
            }
        }
        for _ in 0..self.random.poisson(LOUD * day_share) {
            let (key, source) = (tcp(self.port(), Population::Masscan), self.source());
            let sightings = 100 + self.random.below(3000);
            self.probe(key, source, step, sightings, 7200.0);
        }
        for _ in 0..self.random.poisson(SPOOFED * day_share) {
            self.spoofed_ramp(step);
        }
        for _ in 0..self.random.poisson(OUTAGES * day_share) {
            let sensor = usize::try_from(self.random.below(SENSORS.into())).unwrap_or_default();
            let hours = 1 + i64::try_from(self.random.below(20)).unwrap_or_default();
            self.out[sensor] = (step + hours * 3600, self.random.below(2) == 0);
        }
    }

    /// Sources that come at once and stay: a step.
    fn population(&mut self, key: Key, step: i64, stay: i64) {
        let sources = 10 + self.random.below(200);
        let every = 600.0 + self.random.exponential(3000.0);
        let stay = f64_of(stay.min(DAY)) * (0.2 + self.random.unit());
        for _ in 0..sources {
            let source = self.source();
            let mut at = self.random.exponential(every);
            while at < stay {
                self.probe(key, source, step + whole(at), 1, 1.0);
                at += self.random.exponential(every);
            }
        }
    }

    /// SYNs with sources drawn from all of IPv4, more and more of them.
    fn spoofed_ramp(&mut self, step: i64) {
        let port = self.some_port();
        for at in ramps::times(&mut self.random) {
            let source = self.random.bits32();
            let population = population_of_forged(source.into());
            self.probe(tcp(port, population), source, step + whole(at), 1, 1.0);
        }
    }

    fn probe(&mut self, mut key: Key, source: u32, step: i64, sightings: u64, stay: f64) {
        // A bot keeps its mark, others look spoofed where their address does.
        if key.population != Population::Mirai && population_of_host(source.into()) == Population::Spoofed {
            key.population = Population::Spoofed;
        }
        for _ in 0..sightings {
            let later = whole(self.random.exponential(stay)) / STEP * STEP;
            let sensor = u8::try_from(self.random.below(SENSORS.into())).unwrap_or_default();
            let step = step / STEP * STEP + later;
            self.planned.entry(step).or_default().push(Sighting { key, source, sensor });
        }
    }

    fn source(&mut self) -> u32 {
        self.random.bits32() & 0x3fff_ffff | 0x4000_0000
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.random.bits() >> 48).unwrap_or_default()
    }

    /// Half of the time one of some hundred ports, the first far more often.
    fn some_port(&mut self) -> u16 {
        if self.random.below(2) == 0 { self.port() } else { self.popular_port() }
    }

    fn popular_port(&mut self) -> u16 {
        // 1/rank over 200 ranks.
        let rank = (200f64.ln() * self.random.unit()).exp();
        u16::try_from(whole(rank) * 97).unwrap_or_default()
    }

    fn usual_key(&mut self) -> Key {
        let protocol = if self.random.below(20) == 0 { 17 } else { 6 };
        let port = if self.random.below(10) < 7 { self.popular_port() } else { self.port() };
        let population = match self.random.below(10) {
            0 => Population::Mirai,
            1 => Population::Masscan,
            2..=4 => Population::Zmap4,
            _ => Population::None,
        };
        Key { protocol, ..tcp(port, population) }
    }

    fn observe(&mut self, detector: &mut Detector, step: i64, now: Vec<Sighting>, called: &mut Called) {
        let mut of_sensors: [Vec<Sighting>; SENSORS as usize] = Default::default();
        for sighting in now {
            of_sensors[usize::from(sighting.sensor)].push(sighting);
        }
        for (sensor, sightings) in (0u16..).zip(of_sensors) {
            let (until, keeps) = self.out[usize::from(sensor)];
            if step < until {
                if keeps {
                    self.kept[usize::from(sensor)].push((step, sightings));
                }
                continue;
            }
            if keeps {
                // What was kept comes now, late.
                for (step, sightings) in std::mem::take(&mut self.kept[usize::from(sensor)]) {
                    tell(detector, sensor, step, &sightings, until, called);
                }
                self.out[usize::from(sensor)].1 = false;
            }
            tell(detector, sensor, step, &sightings, step, called);
        }
    }
}

fn tell(detector: &mut Detector, sensor: u16, step: i64, sightings: &[Sighting], now: i64, called: &mut Called) {
    let exposure = [ADDRESSES * STEP.unsigned_abs(), 0];
    let report = Report { sensor, window_start: step, window_seconds: 10, arrived: now + STEP + 1, exposure };
    if !detector.report(&report) {
        return;
    }
    let mut rows: HashMap<Key, BTreeSet<u128>> = HashMap::new();
    for sighting in sightings {
        rows.entry(sighting.key).or_default().insert(sighting.source.into());
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable_by_key(|row| row.0);
    for (key, sources) in rows {
        called.sightings += sources.len() as u64;
        if detector.add(&report, key, u32::try_from(sources.len()).unwrap_or_default()) {
            detector.add_sources(&report, key, &sources.into_iter().collect::<Vec<_>>());
        }
    }
}

const fn tcp(port: u16, population: Population) -> Key {
    Key { ip: IpVersion::V4, protocol: 6, port, population }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of some weeks")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}
