//! The detector of one class: reports in, findings out.

use martlet_window::IpVersion;

use crate::candidate::Candidate;
use crate::clock::{Exposure, Report, Watched};
use crate::config::DetectConfig;
use crate::finding::{Finding, FindingType, Key};
use crate::judge::{self, Call, Judged, Level, Seen};
use crate::known::{KeyState, NOWHERE, Omitted, OpenStep, State};
use crate::numbering;
use crate::series::{BINS, LENGTHS, LEVELS};

/// Length of a step, in seconds.
pub const STEP: i64 = LENGTHS[0];
/// Steps that are open at most: a day of a drill whose sensors run apart, or of an import. The oldest is closed early beyond.
const MOST_OPEN: usize = 8640;
/// Keys in all open steps together at most: some 100 MB. The oldest step is closed early beyond.
const MOST_OPEN_COUNTS: usize = 1 << 22;
/// Drills and imports: what is older than this, in seconds, belongs to another run...
const OTHER_RUN: i64 = DAY;
/// ...if nothing of the one before has arrived for so long, in seconds.
const RUN_PAUSE: i64 = 60;
/// How long a candidate is followed after it was last more than expected: so many bins of the length at which it was.
const FOLLOWED_BINS: i64 = 16;
/// And so long at least, in seconds.
const FOLLOWED_SECONDS: i64 = 3600;
/// Keys that nobody probed for so long are forgotten, in seconds: the weeks of a baseline.
const FORGOTTEN: i64 = 5 * 7 * DAY;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// The detector of one class. The same reports in the same order lead to the same findings, whether or not it was written
/// down and read again between them.
pub struct Detector {
    config: DetectConfig,
    state: State,
    /// By number of a key, its place in `state.keys`. Empty until something is seen.
    places: Vec<u32>,
    has_runs: bool,
}

impl Detector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(config: DetectConfig) -> Detector {
        Detector { config, state: State::new(), places: Vec::new(), has_runs: false }
    }

    /// Of a class whose event time may go back, run by run: drills and imports. A report that is older by a day than what was
    /// looked at begins anew, with nothing known, if the run before has been silent for a minute.
    #[must_use]
    pub const fn with_runs(mut self) -> Detector {
        self.has_runs = true;
        self
    }

    /// What it knows, compact, to be written down.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn save(&self) -> Result<Vec<u8>, crate::StateError> {
        crate::state::write(&self.state)
    }

    /// A detector that goes on where another was saved.
    ///
    /// # Errors
    /// If the bytes are not what [`Detector::save`] gave.
    pub fn restore(config: DetectConfig, saved: &[u8]) -> Result<Detector, crate::StateError> {
        let mut state: State = crate::state::read(saved)?;
        state.order();
        let mut places = Vec::new();
        if !state.keys.is_empty() {
            places = vec![NOWHERE; numbering::ALL_KEYS];
            for (place, key) in (0u32..).zip(&state.keys) {
                *places.get_mut(key.number as usize).ok_or(crate::StateError::Damaged)? = place;
            }
        }
        Ok(Detector { config, state, places, has_runs: false })
    }

    /// Notes that a sensor reported a window. `false` if its steps have been closed: then its rows are not to be added.
    pub fn report(&mut self, report: &Report) -> bool {
        let step = report.window_start.div_euclid(STEP) * STEP;
        if self.has_runs && self.state.closed.is_some_and(|closed| closed - step > OTHER_RUN) {
            let pause = report.arrived.saturating_sub(self.state.sensors.newest_arrival());
            if pause > RUN_PAUSE {
                self.state.begin_anew();
                self.places = Vec::new();
            }
        }
        let state = &mut self.state;
        if let Some(closed) = state.closed.filter(|&closed| step < closed) {
            state.omitted.late_reports += 1;
            // Who is a little late is waited for from now on; who delivers what is long past holds up nobody.
            if closed - step <= i64::from(self.config.wait_seconds) {
                state.sensors.note(report);
            }
            return false;
        }
        state.sensors.note(report);
        let open = state.open.entry(step).or_default();
        open.reports += 1;
        for (sum, exposure) in open.exposure.iter_mut().zip(report.exposure) {
            *sum = sum.saturating_add(exposure);
        }
        true
    }

    /// Adds so many sources of one key, which a report told. `true` if the sources themselves are of interest:
    /// [`Detector::add_sources`].
    pub fn add(&mut self, report: &Report, key: Key, sources: u32) -> bool {
        let Some(number) = numbering::number(key) else { return false };
        let step = report.window_start.div_euclid(STEP) * STEP;
        if self.places.is_empty() {
            self.places = vec![NOWHERE; numbering::ALL_KEYS];
        }
        let mut place = self.places[number as usize];
        if place == NOWHERE {
            let found = self.state.begin(number, step, self.config.max_keys as usize);
            let Some((new, forgotten)) = found else {
                self.state.omitted.overflowed += u64::from(sources);
                return false;
            };
            if let Some(forgotten) = forgotten {
                self.places[forgotten as usize] = NOWHERE;
            }
            place = new;
            self.places[number as usize] = place;
        }
        let state = &mut self.state;
        let count = state.open.entry(step).or_default().counts.entry(place).or_insert_with(|| {
            state.open_counts += 1;
            0
        });
        *count = count.saturating_add(sources);
        state.keys[place as usize].followed
    }

    /// Adds the sources of a key that is followed.
    pub fn add_sources(&mut self, report: &Report, key: Key, sources: &[u128]) {
        let Some(number) = numbering::number(key) else { return };
        let most = self.config.max_sources as usize;
        self.state.candidates.change(number, |candidate| candidate.add(report.sensor, report.end(), sources, most));
    }

    /// Closes every step that is complete, and says which findings are new or changed.
    pub fn advance(&mut self) -> Vec<Finding> {
        let mut told = std::mem::take(&mut self.state.ended);
        let complete = self.complete_until();
        while let Some((&step, _)) = self.state.open.first_key_value() {
            let is_much = self.state.open.len() > MOST_OPEN || self.state.open_counts > MOST_OPEN_COUNTS;
            if step + STEP > complete && !is_much {
                break;
            }
            if let Some((step, open)) = self.state.open.pop_first() {
                self.state.open_counts -= open.counts.len();
                self.close(step, open, &mut told);
            }
        }
        told
    }

    /// Until when steps are complete: every sensor that reports has passed them. Of real traffic nobody is waited for who is more than
    /// `wait_seconds` behind the first; the sensors of a drill may run further apart.
    fn complete_until(&self) -> i64 {
        let sensors = &self.state.sensors;
        let wait = self.config.wait_seconds;
        let all = sensors.complete_until(wait).unwrap_or(i64::MIN);
        match sensors.newest_end() {
            Some(newest) if !self.has_runs => all.max(newest - i64::from(wait)),
            _ => all,
        }
    }

    /// Of a class whose event time may go back: ends the run of which nothing has arrived for `quiet_hours` until `now`, in seconds
    /// since the Unix epoch by the collector's clock, and says what ends with it.
    pub fn end_silent_run(&mut self, now: i64) -> Vec<Finding> {
        let quiet = i64::from(self.config.quiet_hours) * HOUR;
        let is_silent = now.saturating_sub(self.state.sensors.newest_arrival()) > quiet;
        if self.has_runs && is_silent && !self.state.findings.is_empty() {
            self.state.begin_anew();
            self.places = Vec::new();
        }
        std::mem::take(&mut self.state.ended)
    }

    /// What was left out so far.
    #[must_use]
    pub const fn omitted(&self) -> Omitted {
        self.state.omitted
    }

    /// Keys that are told apart, candidates, and findings that are not over.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.state.keys.len(), self.state.candidates.len(), self.state.findings.len())
    }

    /// End of the newest step that was closed, in seconds since the Unix epoch.
    #[must_use]
    pub const fn closed_until(&self) -> Option<i64> {
        self.state.closed
    }

    fn close(&mut self, step: i64, open: OpenStep, told: &mut Vec<Finding>) {
        let day = self.state.next[LEVELS - 1];
        // Bins that ended while nobody reported.
        for (level, length) in LENGTHS.into_iter().enumerate() {
            let bin = step.div_euclid(length);
            if self.state.next[level] == i64::MIN {
                self.state.next[level] = bin;
            }
            if self.state.next[level] < bin {
                self.evaluate(level, told);
                self.state.next[level] = bin;
            }
        }
        let OpenStep { counts, exposure, reports } = open;
        self.state.watch(step, exposure);
        self.state.closed = Some(step + STEP);
        self.state.exposure.get_or_insert_with(|| Exposure::new(step)).add(step, exposure, reports);
        let mut counts: Vec<(u32, u32)> = counts.into_iter().collect();
        counts.sort_unstable();
        for (place, count) in counts {
            self.state.push(place, step, count);
            self.look_for_new_port(place, step);
        }
        self.call_new_ports(step + STEP, told);
        for (level, length) in LENGTHS.into_iter().enumerate() {
            if (step + STEP).rem_euclid(length) == 0 {
                self.evaluate(level, told);
                self.state.next[level] = (step + STEP).div_euclid(length);
            }
        }
        // Last, since it gives keys other places.
        if day != i64::MIN && self.state.next[LEVELS - 1] > day {
            self.forget(step + STEP);
        }
    }

    /// Looks at the bin of a level that has ended.
    fn evaluate(&mut self, level: usize, told: &mut Vec<Finding>) {
        let bin = self.state.next[level];
        let now = (bin + 1) * LENGTHS[level];
        let mut touched = std::mem::take(&mut self.state.touched[level]);
        touched.sort_unstable_by_key(|&place| self.state.keys[place as usize].number);
        for &place in &touched {
            self.state.keys[place as usize].touched &= !(1 << level);
        }
        // A bin that is shorter than windows would see a sensor only every so often.
        if LENGTHS[level] >= self.state.sensors.longest_window(self.config.wait_seconds)
            && let Some(exposure) = &self.state.exposure
        {
            let watched = [IpVersion::V4, IpVersion::V6].map(|ip| {
                let hours = exposure.watched(ip, 3, now.div_euclid(HOUR));
                let last_hour = exposure.watched(ip, 3, now.div_euclid(HOUR) - 1);
                (exposure.watched(ip, level, bin), hours.is_whole || last_hour.is_whole)
            });
            for &place in &touched {
                self.judge(level, bin, place, &watched, told);
            }
            self.rest(level, bin);
        }
        touched.clear();
        self.state.touched[level] = touched;
        if LENGTHS[level] == HOUR {
            self.tidy(now, told);
        }
    }

    /// Candidates that had nothing in the bin do not grow.
    fn rest(&mut self, level: usize, bin: i64) {
        let state = &mut self.state;
        let (keys, candidates, places) = (&mut state.keys, &state.candidates, &self.places);
        state.growing[level].retain(|&number| {
            let Some(key) = keys.get_mut(places[number as usize] as usize) else { return false };
            let positive = &mut key.positive[level];
            if key.rings[level].get(bin) == 0 && candidates.get(number).is_some() {
                *positive = 0;
            }
            *positive != 0
        });
    }

    fn judge(&mut self, level: usize, bin: i64, place: u32, watched: &[(Watched, bool); 2], told: &mut Vec<Finding>) {
        let number = self.state.keys[place as usize].number;
        let (watched, has_baseline) = &watched[usize::from(numbering::version(number) == IpVersion::V6)];
        let at = Level { level, bin, watched, has_baseline: *has_baseline };
        let state = &mut self.state;
        let Some(surprise) = judge::surprise(&self.config, &mut state.keys[place as usize], &at) else { return };
        let end = at.end();
        let spoofed = match self.places[numbering::spoofed(number) as usize] {
            NOWHERE => [0; BINS],
            place => judge::counts(&state.keys[place as usize], &at),
        };
        if !state.keys[place as usize].followed {
            if !state.make_room(&self.config, &self.places, end) {
                return;
            }
            state.candidates.insert(number, Candidate::new(end, end));
            state.keys[place as usize].followed = true;
        }
        let until = end + (FOLLOWED_BINS * LENGTHS[level]).max(FOLLOWED_SECONDS);
        let follow = |candidate: &mut Candidate| candidate.until = candidate.until.max(until);
        let Some(candidate) = state.candidates.change(number, follow) else { return };
        let sensors = state.sensors.count(self.config.wait_seconds);
        let known = state.findings.get(&number).map(|(finding, _)| finding.finding_type);
        let seen = Seen { candidate, sensors, spoofed, known };
        let judged = judge::judge(&self.config, &mut state.keys[place as usize], seen, &at, &surprise);
        if state.keys[place as usize].positive[level] != 0 {
            state.growing[level].insert(number);
        }
        self.tell(number, end, judged, told);
    }

    /// Makes a finding of what was judged, or renews the one there is.
    fn tell(&mut self, number: u32, now: i64, judged: Judged, told: &mut Vec<Finding>) {
        let Judged { call, estimates } = judged;
        let is_more = call.is_some();
        let Some((finding, told_at)) = self.state.findings.get_mut(&number) else {
            let Some(Call { finding_type, onset, labels, evidence }) = call else { return };
            // In long bins a finding that has ended shows for days.
            let ended = self.state.candidates.get(number).and_then(|candidate| candidate.called_until);
            if ended.is_some_and(|ended| onset <= ended) {
                return;
            }
            let (key, detected, last_active, ended) = (numbering::key(number), now, now, None);
            let finding =
                Finding { key, onset, finding_type, detected, last_active, ended, labels, estimates, evidence };
            told.push(finding.clone());
            self.state.findings.insert(number, (finding, now));
            return;
        };
        finding.last_active = finding.last_active.max(now);
        if let Some(Call { finding_type, labels, evidence, .. }) = call {
            // Its onset stays: it is the same finding.
            finding.finding_type = finding_type;
            finding.detected = now;
            finding.labels = labels;
            finding.evidence = evidence;
        }
        let is_better = finding.finding_type == FindingType::Outbreak
            && estimates.is_some_and(|new| finding.estimates.is_none_or(|known| new.is_better_than(&known)));
        if is_better {
            finding.estimates = estimates;
        }
        if is_more || is_better || now >= *told_at + HOUR {
            *told_at = now;
            told.push(finding.clone());
        }
    }

    /// Notes a key whose port nobody had probed.
    fn look_for_new_port(&mut self, place: u32, step: i64) {
        let number = self.state.keys[place as usize].number;
        if self.state.ports.is_empty() {
            self.state.ports = vec![0; numbering::ALL_PORTS];
        }
        let today = u16::try_from(step.div_euclid(DAY)).unwrap_or_default();
        let seen = std::mem::replace(&mut self.state.ports[numbering::port_place(number)], today);
        let long = i64::from(self.config.first_seen_days);
        let is_long_watched = self.state.watched_for(numbering::version(number), step) >= long * DAY;
        let is_new = seen == 0 || i64::from(today) - i64::from(seen) > long;
        if !is_long_watched || !is_new || self.state.keys[place as usize].followed {
            return;
        }
        if self.state.make_room(&self.config, &self.places, step) {
            self.state.candidates.insert(number, Candidate::new(step, step + DAY));
            self.state.keys[place as usize].followed = true;
            self.state.new_ports.insert(number, step);
        }
    }

    fn call_new_ports(&mut self, now: i64, told: &mut Vec<Finding>) {
        if self.state.new_ports.is_empty() {
            return;
        }
        let mut called = Vec::new();
        self.state.new_ports.retain(|&number, &mut since| {
            let Some(candidate) = self.state.candidates.get(number) else { return false };
            // The source that it was first seen by was not followed yet; it counts if it comes again.
            let is_called = candidate.source_count() >= self.config.first_seen_sources;
            if is_called {
                called.push((number, since));
            }
            !is_called && now - since < DAY
        });
        let sensors = self.state.sensors.count(self.config.wait_seconds);
        for (number, onset) in called {
            let key = &self.state.keys[self.places[number as usize] as usize];
            let Some(candidate) = self.state.candidates.get(number) else { continue };
            let known = self.state.findings.get(&number).map(|(finding, _)| finding.finding_type);
            let seen = Seen { candidate, sensors, spoofed: [0; BINS], known };
            let judged = judge::new_port(key, seen, now, onset);
            self.tell(number, now, judged, told);
        }
    }

    /// Ends findings and candidates that are over.
    fn tidy(&mut self, now: i64, told: &mut Vec<Finding>) {
        let state = &mut self.state;
        let quiet = i64::from(self.config.quiet_hours) * HOUR;
        state.findings.retain(|number, (finding, _)| {
            let patience = quiet.max(8 * i64::from(finding.evidence.bin_seconds));
            let is_over = finding.last_active + patience < now;
            if is_over {
                finding.ended = Some(finding.last_active);
                told.push(finding.clone());
                state.candidates.change(*number, |candidate| candidate.called_until = finding.ended);
            }
            !is_over
        });
        let findings = &state.findings;
        let stays = |number: u32, candidate: &Candidate| candidate.until >= now || findings.contains_key(&number);
        for number in state.candidates.end(stays) {
            let key = &mut state.keys[self.places[number as usize] as usize];
            key.followed = false;
            key.positive = [0; LEVELS];
        }
    }

    /// Forgets keys that nobody probed for weeks.
    fn forget(&mut self, now: i64) {
        let state = &mut self.state;
        let is_kept = |key: &KeyState| key.followed || key.touched != 0 || key.last > now - FORGOTTEN;
        if state.keys.iter().all(is_kept) {
            return;
        }
        let moved: Vec<Option<u32>> = state
            .keys
            .iter()
            .scan(0, |next, key| {
                let place = is_kept(key).then_some(*next);
                *next += u32::from(place.is_some());
                Some(place)
            })
            .collect();
        // Keys of open steps stay, whenever they were last seen: their counts have not been pushed yet.
        let is_open = |place: u32| state.open.values().any(|open| open.counts.contains_key(&place));
        if (0u32..).zip(&moved).any(|(place, to)| to.is_none() && is_open(place)) {
            return;
        }
        self.places.fill(NOWHERE);
        state.keys.retain(is_kept);
        for (place, key) in (0u32..).zip(&state.keys) {
            self.places[key.number as usize] = place;
        }
        let place_of = |place: &u32| moved[*place as usize];
        for open in state.open.values_mut() {
            open.counts = open.counts.iter().filter_map(|(place, count)| Some((place_of(place)?, *count))).collect();
        }
        for touched in &mut state.touched {
            *touched = touched.iter().filter_map(place_of).collect();
        }
    }
}
