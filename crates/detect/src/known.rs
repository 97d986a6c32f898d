//! Everything that a detector knows, as it is written down between restarts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;
use martlet_window::IpVersion;
use serde::{Deserialize, Serialize};

use crate::baseline::Baseline;
use crate::candidate::Candidate;
use crate::clock::{Exposure, Sensors};
use crate::config::DetectConfig;
use crate::finding::Finding;
use crate::followed::Followed;
use crate::numbering;
use crate::series::{LENGTHS, LEVELS, Ring};

const HOUR: i64 = 3600;
/// What nobody watched for longer than this, in seconds, is watched anew.
const LONGEST_GAP: i64 = 86_400;
/// A candidate is given so long to show its sources before another may take its place, in seconds.
const SPARED: i64 = 600;
/// Keys of which one is forgotten when there is no place for another.
const LOOKED_AT: usize = 64;
/// In the table of places: none.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// What is known of one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyState {
    pub(crate) number: u32,
    pub(crate) rings: [Ring; LEVELS],
    pub(crate) baseline: Baseline,
    /// How many times more than Poisson's its variance is, by level.
    pub(crate) dispersion: [f32; LEVELS],
    /// From how many bins that is known.
    pub(crate) learnt: [u8; LEVELS],
    /// Bins in a row in which it grew, by level.
    pub(crate) positive: [u8; LEVELS],
    /// A bit for each level at which it has counts in the bin that is open.
    pub(crate) touched: u8,
    pub(crate) followed: bool,
    pub(crate) last: i64,
}

/// A step that is not complete.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OpenStep {
    /// Sightings by place of the key.
    pub(crate) counts: HashMap<u32, u32, FixedState>,
    pub(crate) exposure: [u64; 2],
    pub(crate) reports: u64,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// Reports of steps that had been closed.
    pub late_reports: u64,
    /// Sightings of keys for which there was no place.
    pub overflowed: u64,
    /// Times that there was no place for a candidate.
    pub candidates: u64,
}

/// Everything that is known, as it is written down between restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) keys: Vec<KeyState>,
    pub(crate) open: BTreeMap<i64, OpenStep>,
    /// End of the newest closed step.
    pub(crate) closed: Option<i64>,
    /// Since when and until when each IP version has been watched, without a gap of a day.
    pub(crate) watched: [Option<(i64, i64)>; 2],
    /// By level, the bin that is to be looked at next.
    pub(crate) next: [i64; LEVELS],
    /// By level, places of keys that have counts in that bin.
    pub(crate) touched: [Vec<u32>; LEVELS],
    pub(crate) exposure: Option<Exposure>,
    pub(crate) sensors: Sensors,
    pub(crate) candidates: Followed,
    /// By level, keys that grew in the last bin that was looked at.
    #[serde(skip)]
    pub(crate) growing: [BTreeSet<u32>; LEVELS],
    /// Where the next look for a key to forget begins.
    pub(crate) hand: usize,
    /// By number of the key: the finding, and when it was last told.
    pub(crate) findings: BTreeMap<u32, (Finding, i64)>,
    /// The day on which each port was last seen, in days since the Unix epoch; 0 for never. Empty until something is seen.
    pub(crate) ports: Vec<u16>,
    /// Keys of ports that are seen for the first time, and since when.
    pub(crate) new_ports: BTreeMap<u32, i64>,
    /// Entries of all open steps together.
    pub(crate) open_counts: usize,
    /// Findings of the run before, which have ended with it and are to be told.
    pub(crate) ended: Vec<Finding>,
    pub(crate) omitted: Omitted,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            keys: Vec::new(),
            open: BTreeMap::new(),
            closed: None,
            watched: [None; 2],
            next: [i64::MIN; LEVELS],
            touched: Default::default(),
            exposure: None,
            sensors: Sensors::default(),
            candidates: Followed::default(),
            growing: Default::default(),
            hand: 0,
            findings: BTreeMap::new(),
            ports: Vec::new(),
            new_ports: BTreeMap::new(),
            open_counts: 0,
            ended: Vec::new(),
            omitted: Omitted::default(),
        }
    }

    /// Makes of what was read what is not written down.
    pub(crate) fn order(&mut self) {
        self.candidates.order();
        for key in &self.keys {
            for (growing, &positive) in self.growing.iter_mut().zip(&key.positive) {
                if positive != 0 {
                    growing.insert(key.number);
                }
            }
        }
    }

    /// Notes that a step was watched.
    pub(crate) fn watch(&mut self, step: i64, exposure: [u64; 2]) {
        // Where nobody says what was watched, both may have been.
        let is_known = exposure != [0, 0];
        for (watched, exposure) in self.watched.iter_mut().zip(exposure) {
            if is_known && exposure == 0 {
                continue;
            }
            let since = watched.filter(|(_, until)| step - until <= LONGEST_GAP).map_or(step, |(since, _)| since);
            *watched = Some((since, step));
        }
    }

    /// For how long an IP version has been watched, in seconds.
    pub(crate) fn watched_for(&self, ip: IpVersion, step: i64) -> i64 {
        self.watched[usize::from(ip == IpVersion::V6)].map_or(0, |(since, _)| step - since)
    }

    /// Forgets everything but what was left out. What was found has ended.
    pub(crate) fn begin_anew(&mut self) {
        let before = std::mem::replace(self, State::new());
        self.omitted = before.omitted;
        self.ended = before.ended;
        self.ended.extend(before.findings.into_values().map(|(mut finding, _)| {
            finding.ended = Some(finding.last_active);
            finding
        }));
    }

    /// A place for a new key, and the number of the key that it takes it from where all are taken.
    pub(crate) fn begin(&mut self, number: u32, step: i64, most: usize) -> Option<(u32, Option<u32>)> {
        let hours = self.watched_for(numbering::version(number), step) / HOUR;
        let new = KeyState {
            number,
            rings: LENGTHS.map(|length| Ring::new(step.div_euclid(length))),
            baseline: Baseline::new(step.div_euclid(HOUR), hours),
            dispersion: [1.0; LEVELS],
            learnt: [0; LEVELS],
            positive: [0; LEVELS],
            touched: 0,
            followed: false,
            last: step,
        };
        if self.keys.len() < most {
            self.keys.push(new);
            return u32::try_from(self.keys.len() - 1).ok().map(|place| (place, None));
        }
        // Of some keys the one that was seen last the longest ago, if that is an hour: scans of all ports leave keys that nobody
        // needs any more.
        let first = self.hand;
        self.hand = (first + LOOKED_AT) % self.keys.len();
        let looked_at = (first..first + LOOKED_AT.min(self.keys.len())).map(|place| place % self.keys.len());
        let is_free = |&place: &usize| {
            let key = &self.keys[place];
            let is_open = |open: &OpenStep| u32::try_from(place).is_ok_and(|place| open.counts.contains_key(&place));
            !key.followed && key.last <= step - HOUR && !self.open.values().any(is_open)
        };
        let place = looked_at.filter(is_free).min_by_key(|&place| self.keys[place].last)?;
        // The lists of what was touched have the place already.
        let touched = self.keys[place].touched;
        let old = std::mem::replace(&mut self.keys[place], KeyState { touched, ..new });
        u32::try_from(place).ok().map(|place| (place, Some(old.number)))
    }

    pub(crate) fn push(&mut self, place: u32, step: i64, count: u32) {
        let key = &mut self.keys[place as usize];
        key.last = step;
        key.baseline.add(step.div_euclid(HOUR), count.into());
        for (level, ring) in key.rings.iter_mut().enumerate() {
            ring.add(step.div_euclid(LENGTHS[level]), count.into());
            if key.touched & 1 << level == 0 {
                key.touched |= 1 << level;
                self.touched[level].push(place);
            }
        }
    }

    /// Whether there is room for one more candidate. One without a finding makes it that has had time to show its sources: first of
    /// those with one source or none, and of these the one that was no more than expected for longest.
    pub(crate) fn make_room(&mut self, config: &DetectConfig, places: &[u32], now: i64) -> bool {
        if self.candidates.len() < config.max_candidates as usize {
            return true;
        }
        let findings = &self.findings;
        let may_go =
            |number: u32, candidate: &Candidate| now - candidate.since >= SPARED && !findings.contains_key(&number);
        let Some(least) = self.candidates.least(may_go) else {
            self.omitted.candidates += 1;
            return false;
        };
        self.candidates.remove(least);
        self.new_ports.remove(&least);
        self.keys[places[least as usize] as usize].followed = false;
        true
    }
}
