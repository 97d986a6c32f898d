//! Follows the journal.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use martlet_detect::{Finding, Key, Population, Report};
use martlet_journal::{Disk, Item, Reader};
use martlet_window::{BatchHeader, Kind, Origin, Service, TrafficClass};
use martlet_wire::v1::{BatchView, Columns, Limits, Run};
use rusqlite::{Connection, TransactionBehavior};

use super::config::DetectSettings;
use super::error::DetectError;
use super::saved::{self, Known};
use crate::archive::Catalog;
use crate::clock::SharedClock;
use crate::events::Recorder;
use crate::geo::Geo;
use crate::journal::{Record, State};
use crate::store::Location;

/// How long the thread sleeps when there is nothing to read.
const PAUSE: Duration = Duration::from_millis(500);
/// Records that a turn reads at most, so that a stop is soon noticed.
const RECORDS_A_TURN: u64 = 2048;
/// How far the end of a window of real traffic may lie after its arrival: a sensor whose clock is ahead says nothing of now.
const CLOCK_TOLERANCE_SECONDS: i64 = 120;
/// First wait before a disk that failed is tried again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What the follower is made of.
pub struct Parts<D: Disk> {
    /// How it works.
    pub settings: DetectSettings,
    /// The store.
    pub location: Location,
    /// Reads the journal.
    pub reader: Reader<D>,
    /// Whom sources belong to.
    pub geo: Arc<Geo>,
    /// What others may know.
    pub state: Arc<State>,
    /// The wall clock: it says when events were written down, and never what is found.
    pub clock: SharedClock,
}

/// Reads what is committed, and writes events of what the detectors find. Run it on a thread of its own, or pump it.
pub struct Follower<D: Disk> {
    settings: DetectSettings,
    connection: Connection,
    catalog: Catalog,
    reader: Reader<D>,
    recorder: Recorder,
    state: Arc<State>,
    clock: SharedClock,
    known: Known,
    sensors: HashMap<Origin, (u16, String)>,
    /// Findings that are not written down.
    found: Vec<(TrafficClass, Finding)>,
    buffers: Buffers,
    saved: Instant,
    /// Whether anything was read since that.
    is_unsaved: bool,
    retry: Option<(Instant, Duration)>,
}

/// What a batch is read into.
struct Buffers {
    record: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    columns: Columns,
}

impl<D: Disk> Follower<D> {
    /// A follower that goes on where the store says. From now on the journal keeps what it has not saved.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn new(parts: Parts<D>) -> Result<Follower<D>, DetectError> {
        let Parts { settings, location, mut reader, geo, state, clock } = parts;
        let catalog = Catalog::open(&location)?;
        let mut connection = saved::connect(&location)?;
        let known = saved::load(&mut connection, &settings.thresholds, clock.now_ms())?;
        let sensors = saved::sensors(&connection)?;
        reader.seek(known.record);
        state.counters.detected.store(known.record, Relaxed);
        state.detect.read.store(known.record, Relaxed);
        let decompressor = zstd::bulk::Decompressor::new().map_err(DetectError::Decompressor)?;
        let buffers = Buffers { record: Vec::new(), decompressor, raw: Vec::new(), columns: Columns::default() };
        Ok(Follower {
            settings,
            connection,
            catalog,
            reader,
            recorder: Recorder::new(geo),
            state,
            clock,
            known,
            sensors,
            found: Vec::new(),
            buffers,
            saved: Instant::now(),
            is_unsaved: false,
            retry: None,
        })
    }

    /// Works until `stop` is closed, then saves what it knows.
    pub fn run(mut self, stop: &Receiver<std::convert::Infallible>) {
        loop {
            let pause = if self.turn(Instant::now()) { Duration::ZERO } else { PAUSE };
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
        if let Err(error) = self.write(true) {
            tracing::warn!("what the detector knows was not saved, and will be found out again: {error}");
        }
    }

    /// Reads and writes what there is; `false` if that was nothing. `now` only says what is due.
    pub fn turn(&mut self, now: Instant) -> bool {
        if self.retry.is_some_and(|(at, _)| at > now) {
            return false;
        }
        self.end_runs();
        let due = now.saturating_duration_since(self.saved) >= self.settings.save_interval();
        match self.read().and_then(|has_read| self.write(due).map(|()| has_read)) {
            Ok(has_read) => {
                self.retry = None;
                self.state.detect.health.work(self.clock.now_ms());
                has_read
            }
            Err(error) => {
                let wait = self.retry.map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LONGEST_RETRY));
                self.retry = Some((now + wait, wait));
                self.state.detect.health.stall(error.stall(), &error, self.clock.now_ms());
                false
            }
        }
    }

    /// Ends the runs of drills and imports of which nothing has come for long: in their event time nothing would ever end.
    fn end_runs(&mut self) {
        let now = self.clock.now();
        for (class, detector) in TrafficClass::ALL.into_iter().zip(&mut self.known.detectors) {
            let ended = detector.end_silent_run(now);
            self.is_unsaved |= !ended.is_empty();
            self.found.extend(ended.into_iter().map(|finding| (class, finding)));
        }
    }

    /// Reads some of what is committed. `false` if there is none.
    fn read(&mut self) -> Result<bool, DetectError> {
        // What was found before a disk failed is written first: it would be known no more after a crash, and memory is bounded.
        let from = self.known.record;
        let end = self.state.counters.committed.load(Relaxed).min(from + RECORDS_A_TURN);
        if from >= end || !self.found.is_empty() {
            return Ok(false);
        }
        let skips = self.catalog.skips(&(from..end))?;
        while self.known.record < end {
            match self.reader.next(&mut self.buffers.record).map_err(DetectError::Journal)? {
                Item::Record(number) => {
                    let is_skipped = skips.iter().any(|skip| skip.contains(&number));
                    // What failed before anything was taken in is read again.
                    let is_taken = is_skipped || self.take().inspect_err(|_| self.reader.seek(number))?;
                    self.known.record = number + 1;
                    self.state.detect.lost_records.fetch_add(u64::from(!is_taken), Relaxed);
                }
                Item::Damaged(range) => {
                    // The first look at a journal that is older than the detector begins with what is no more.
                    let lost = if from == 0 { 0..0 } else { range.start..range.end.min(end) };
                    self.known.record = range.end.min(end);
                    self.state.detect.lost_records.fetch_add(uncovered(&lost, &skips), Relaxed);
                }
                Item::End => break,
            }
        }
        self.is_unsaved = true;
        Ok(true)
    }

    /// Takes in the record in the buffer; `false` if it cannot be understood, which it once could.
    fn take(&mut self) -> Result<bool, DetectError> {
        let Buffers { record, decompressor, raw, columns } = &mut self.buffers;
        let (arrival, payload) = match Record::read(record) {
            Ok(Record::Batch { arrival, payload }) => (arrival, payload),
            Ok(Record::Sensor { .. } | Record::Loss(_)) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let Ok(view) = BatchView::read(payload, &Limits::default()) else { return Ok(false) };
        let header = &view.header;
        if !self.sensors.contains_key(&header.origin) {
            self.sensors = saved::sensors(&self.connection)?;
        }
        let Some(&(sensor, _)) = self.sensors.get(&header.origin) else { return Ok(false) };
        let report = report(header, sensor, arrival.at_ms);
        if header.class == TrafficClass::Real && report.end() > report.arrived + CLOCK_TOLERANCE_SECONDS {
            self.state.detect.early_reports.fetch_add(1, Relaxed);
            return Ok(true);
        }
        let detector = &mut self.known.detectors[header.class as usize];
        if !detector.report(&report) {
            return Ok(true);
        }
        let mut followed: Vec<(Key, Run)> = Vec::new();
        let read = view.keys(decompressor, raw, columns, |runs| {
            for run in runs {
                let Some(key) = key(run) else { continue };
                if detector.add(&report, key, run.end - run.start) {
                    followed.push((key, *run));
                }
            }
            !followed.is_empty()
        });
        for (key, run) in followed {
            if let Some(sources) = columns.sources.get(run.range()) {
                detector.add_sources(&report, key, sources);
            }
        }
        let class = header.class;
        self.found.extend(detector.advance().into_iter().map(|finding| (class, finding)));
        Ok(read.is_ok())
    }

    /// Writes findings down, and what the detectors know if that is due.
    fn write(&mut self, is_due: bool) -> Result<(), DetectError> {
        let saves = is_due && self.is_unsaved;
        if self.found.is_empty() && !saves {
            self.tell();
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let saved = saves.then(|| saved::written(&self.known)).transpose()?;
        // At once for writing: a reader that becomes a writer is turned away when others have written meanwhile.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let names: HashMap<u16, &str> = self.sensors.values().map(|(number, name)| (*number, name.as_str())).collect();
        let name_of = |number: u16| names.get(&number).map_or_else(String::new, |name| (*name).to_owned());
        for found in self.found.chunk_by(|a, b| a.0 == b.0) {
            let findings: Vec<Finding> = found.iter().map(|(_, finding)| finding.clone()).collect();
            self.recorder.record(&transaction, found[0].0, &findings, name_of, now_ms)?;
        }
        let saved = saved.map(|saved| saved::save(&transaction, &saved)).transpose()?;
        transaction.commit()?;
        // Those that are new or stronger, not each time that they go on.
        let is_new =
            |found: &(TrafficClass, Finding)| found.1.detected == found.1.last_active && found.1.ended.is_none();
        for (class, finding) in self.found.drain(..).filter(is_new) {
            tracing::info!(
                "{} traffic: {:?} on {}/{} ({})",
                class.name(),
                finding.finding_type,
                finding.key.protocol,
                finding.key.port,
                finding.key.population.name()
            );
        }
        if let Some(bytes) = saved {
            self.is_unsaved = false;
            self.saved = Instant::now();
            self.state.detect.saved_bytes.store(bytes, Relaxed);
            self.state.counters.detected.store(self.known.record, Relaxed);
        }
        // Only now: who sees that a record was read finds its events.
        self.tell();
        Ok(())
    }

    /// Tells others how it fares.
    fn tell(&self) {
        let state = &self.state.detect;
        state.read.store(self.known.record, Relaxed);
        for (class, detector) in self.known.detectors.iter().enumerate() {
            let (keys, candidates, open) = detector.sizes();
            state.keys[class].store(keys as u64, Relaxed);
            state.candidates[class].store(candidates as u64, Relaxed);
            state.open[class].store(open as u64, Relaxed);
            let omitted = detector.omitted();
            state.late_reports[class].store(omitted.late_reports, Relaxed);
            state.overflowed[class].store(omitted.overflowed, Relaxed);
            state.refused_candidates[class].store(omitted.candidates, Relaxed);
            state.closed_until[class].store(detector.closed_until().unwrap_or_default(), Relaxed);
        }
    }
}

/// What the detector is told of a batch.
fn report(header: &BatchHeader, sensor: u16, arrived_ms: i64) -> Report {
    let exposure = header.exposure.map_or([0, 0], |exposure| {
        let seconds = |watched: u64| u64::from(exposure.watched_ms).saturating_mul(watched) / 1000;
        [seconds(exposure.ipv4_addresses), seconds(exposure.ipv6_prefixes)]
    });
    Report {
        sensor,
        window_start: header.window.start,
        window_seconds: header.window.length.seconds().into(),
        arrived: arrived_ms.div_euclid(1000),
        exposure,
    }
}

/// The key of a run of scans of a port; others are not looked at.
fn key(run: &Run) -> Option<Key> {
    if run.class.kind() != Kind::Scan {
        return None;
    }
    let class = run.class.unpack();
    match (class.protocol, class.service) {
        (TCP | UDP, Service::Port(port)) => {
            Some(Key { ip: class.ip, protocol: class.protocol, port, population: Population::of(class.marks) })
        }
        _ => None,
    }
}

/// How many numbers of a range none of these ascending ranges hold.
fn uncovered(range: &Range<u64>, holes: &[Range<u64>]) -> u64 {
    let covered = |hole: &Range<u64>| hole.end.min(range.end).saturating_sub(hole.start.max(range.start));
    (range.end - range.start).saturating_sub(holes.iter().map(covered).sum())
}
