//! The archive's thread: it follows the journal, and keeps the files in order.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use ipnet::IpNet;
use martlet_journal::{Disk, Reader};

use super::REGION_DATA;
use super::append::{Gatherer, Until};
use super::catalog::{ArchiveFile, Catalog, Erasure, Operation, Progress};
use super::directory::Directory;
use super::error::ArchiveError;
use super::replace::{self, Change};
use super::state::ArchiveState;
use crate::clock::SharedClock;
use crate::config::ArchiveConfig;
use crate::geo::{Geo, Snapshot};
use crate::journal::{Stall, State};
use crate::store::Location;

/// How long the thread sleeps when there is nothing to do.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a full hour of the clock the hour's rows are written: the windows of most sensors have come by then.
const HOUR_GRACE_SECONDS: i64 = 120;
/// How long after the end of a day its files are merged: by then late hours have come.
const DAY_GRACE_SECONDS: i64 = 2 * 3600;
/// Files of a day below this share of the largest are left alone until they are many: each merge writes the whole day again.
const WORTH_MERGING: u64 = 8;
/// So many are many.
const MANY_FILES: usize = 16;
/// First wait before a disk that failed is tried again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
const DAY_SECONDS: i64 = 86_400;

/// What the archiver is made of.
pub struct Parts<D: Disk> {
    /// How it works.
    pub config: ArchiveConfig,
    /// Where the files go.
    pub root: PathBuf,
    /// The store that has the catalog.
    pub location: Location,
    /// Reads the journal.
    pub reader: Reader<D>,
    /// Whom sources belong to.
    pub geo: Arc<Geo>,
    /// What others may know.
    pub state: Arc<State>,
    /// The wall clock: it says when something is due, and never where a row belongs.
    pub clock: SharedClock,
    /// Whether it rests while it writes, so that others get the disk.
    pub rests: bool,
}

/// Follows the journal. Run it on a thread of its own, or pump it.
pub struct Archiver<D: Disk> {
    config: ArchiveConfig,
    directory: Directory,
    catalog: Catalog,
    gatherer: Gatherer<D>,
    geo: Arc<Geo>,
    state: Arc<State>,
    clock: SharedClock,
    rests: bool,
    /// The hour of the clock, in hours since the Unix epoch, up to which it has followed.
    hour: Option<i64>,
    /// There was more to read than one run took.
    is_behind: bool,
    retry: Option<(Instant, Duration)>,
}

impl<D: Disk> Archiver<D> {
    /// An archiver that goes on where the catalog says. What a crash interrupted is finished by the first turns.
    ///
    /// # Errors
    /// If directory or catalog cannot be had.
    pub fn new(parts: Parts<D>) -> Result<Archiver<D>, ArchiveError> {
        let Parts { config, root, location, reader, geo, state, clock, rests } = parts;
        let (directory, catalog) = (Directory::open(&root)?, Catalog::open(&location)?);
        // An operation that is to be finished needs nothing of it.
        directory.discard_all()?;
        let gatherer = Gatherer::new(reader).map_err(ArchiveError::io("set up decompression for", &root))?;
        let archiver = Archiver {
            config,
            directory,
            catalog,
            gatherer,
            geo,
            state,
            clock,
            rests,
            hour: None,
            is_behind: false,
            retry: None,
        };
        archiver.state.counters.archived.store(archiver.catalog.record()?, Relaxed);
        archiver.survey()?;
        Ok(archiver)
    }

    /// With a fuse that makes a step of it fail.
    #[cfg(test)]
    pub(super) fn with_fuse(mut self, fuse: super::fuse::Fuse) -> Archiver<D> {
        self.directory = self.directory.with_fuse(fuse);
        self
    }

    /// Works until `stop` is closed. What is not archived then stays in the journal, and what is half done is begun again after the
    /// next start.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        self.directory.stop_with(stop.clone());
        if let Err(error) = be_nice() {
            tracing::debug!("cannot lower the archive's priority: {error}");
        }
        loop {
            let pause = if self.turn(Instant::now()) { Duration::ZERO } else { PAUSE };
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    /// Does the next thing that is due; `false` if there is none. `now` only says what is due.
    pub fn turn(&mut self, now: Instant) -> bool {
        if self.retry.is_some_and(|(at, _)| at > now) {
            return false;
        }
        match self.work() {
            Ok(has_worked) => {
                self.retry = None;
                self.state.archive.health.work(self.clock.now_ms());
                has_worked
            }
            Err(ArchiveError::Stopping) => false,
            Err(error) => {
                let wait = self.retry.map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LONGEST_RETRY));
                self.retry = Some((now + wait, wait));
                let reason = if error.is_full() { Stall::DiskFull } else { Stall::DiskFailing };
                self.state.archive.health.stall(reason, &error, self.clock.now_ms());
                false
            }
        }
    }

    /// Records of the journal below this one are committed.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn committed(&self) -> Result<u64, ArchiveError> {
        self.catalog.committed()
    }

    /// Archives everything that is committed, in as many runs as it takes.
    ///
    /// # Errors
    /// If a file cannot be written, or the journal not be read.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        self.recover()?;
        while self.append(true)? {}
        Ok(())
    }

    pub(super) fn work(&mut self) -> Result<bool, ArchiveError> {
        let has_worked = self.recover()? || self.append(false)? || self.erase()? || self.tidy()?;
        if has_worked {
            self.survey()?;
        }
        Ok(has_worked)
    }

    /// Finishes what was interrupted: by a crash, or by a disk that failed.
    fn recover(&mut self) -> Result<bool, ArchiveError> {
        let operations = self.catalog.operations()?;
        for (operation, what) in &operations {
            match what {
                Operation::Append { records } => {
                    let until = Until::Record(records.end);
                    self.append_records(Some(*operation), records.start, until)?;
                }
                Operation::Replace { day, inputs } => {
                    replace::recover(&self.catalog, &self.directory, *operation, *day, inputs)?;
                }
            }
        }
        if !operations.is_empty() {
            self.directory.discard_all()?;
        }
        Ok(!operations.is_empty())
    }

    /// Archives a run of records, if it is due; `false` if not, or if there are none.
    fn append(&mut self, is_urgent: bool) -> Result<bool, ArchiveError> {
        let hour = (self.clock.now() - HOUR_GRACE_SECONDS).div_euclid(3600);
        // At the first look, what is left of earlier hours may wait for the next full one.
        let is_hour = *self.hour.get_or_insert(hour) != hour;
        let is_much = self.state.counters.bytes.load(Relaxed) >= self.config.pending_bytes;
        if !(is_urgent || is_hour || is_much || self.is_behind) {
            return Ok(false);
        }
        let (from, committed) = (self.catalog.record()?, self.catalog.committed()?);
        let has_appended = from < committed && {
            let most = usize::try_from(self.config.run_rows).unwrap_or(usize::MAX);
            self.append_records(None, from, Until::Rows(committed, most))?
        };
        self.is_behind = has_appended && self.catalog.record()? < committed;
        if !self.is_behind {
            self.hour = Some(hour);
        }
        Ok(has_appended)
    }

    fn append_records(&mut self, begun: Option<i64>, from: u64, until: Until) -> Result<bool, ArchiveError> {
        let geo = self.geo.snapshot();
        let gathered = self.gatherer.gather(from, until, &self.catalog, &geo)?;
        let (records, gaps) = (gathered.records.clone(), gathered.gaps.clone());
        if records.is_empty() && begun.is_none() {
            return Ok(false);
        }
        self.directory.step()?;
        let operation = begun.map_or_else(|| self.catalog.begin_append(&records), Ok)?;
        let files = gathered.write(operation, &self.directory, &facts(&geo), self.rests)?;
        self.directory.step()?;
        self.catalog.end_append(operation, &records, &files, &gaps, self.clock.now_ms())?;
        self.directory.step()?;
        self.state.counters.archived.store(records.end, Relaxed);
        let lost: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        if lost > 0 {
            tracing::error!("{lost} records of the journal could not be read: what they counted is not in the archive");
        }
        let counters = &self.state.archive;
        counters.runs.fetch_add(1, Relaxed);
        counters.rows_written.fetch_add(files.iter().map(|(_, _, written)| written.rows).sum(), Relaxed);
        self.directory.discard(operation)?;
        Ok(true)
    }

    /// Masks addresses that are to be erased, one file at a time.
    fn erase(&mut self) -> Result<bool, ArchiveError> {
        let Some(Erasure { erasure, network, is_begun }) = self.catalog.next_erasure()? else { return Ok(false) };
        if !is_begun {
            // What is still in the journal belongs to it.
            while self.append(true)? {}
            self.catalog.begin_erasure(erasure)?;
            return Ok(true);
        }
        let Some(file) = self.catalog.next_erasure_file(erasure)? else {
            self.catalog.end_erasure(erasure, network)?;
            tracing::info!("an erasure is done in all files of the archive");
            return Ok(true);
        };
        let (day, number) = (file.day, file.file);
        let inputs = [file];
        let masked = replace::masked(&self.directory, day, &inputs, &network)?;
        if masked.rows.is_empty() {
            self.catalog.end_erasure_file(erasure, number)?;
        } else {
            replace::replace(&self.catalog, &self.directory, day, &inputs, Change::Mask(masked), self.rests)?;
        }
        Ok(true)
    }

    /// Does an erasure to its end, for a collector that does not run otherwise. `progress` is told how it fares.
    ///
    /// # Errors
    /// If a file cannot be read or written; it is gone on with when the collector runs.
    pub fn erase_all(&mut self, network: &IpNet, mut progress: impl FnMut(Progress)) -> Result<(), ArchiveError> {
        let erasure = self.catalog.ask_erasure(network, self.clock.now_ms())?;
        loop {
            let fares = self.catalog.erasure_progress(erasure)?;
            progress(fares);
            if fares == Progress::Done {
                return Ok(());
            }
            let _ = self.recover()? || self.erase()?;
        }
    }

    /// Deletes what is too old or too much, leaves only networks of what is old, merges what is small: the first of these that is
    /// to be done.
    fn tidy(&mut self) -> Result<bool, ArchiveError> {
        let today = self.clock.now().div_euclid(DAY_SECONDS);
        let files = self.catalog.files(i64::MIN..i64::MAX)?;
        let days: Vec<&[ArchiveFile]> = files.chunk_by(|a, b| a.day == b.day).collect();
        let Some(oldest) = days.first() else { return Ok(false) };
        let bytes: u64 = files.iter().map(|file| file.written.bytes).sum();
        let is_too_old = self.config.keep_days > 0 && oldest[0].day < today - i64::from(self.config.keep_days);
        // The newest day stays, whatever its size.
        let is_too_much = self.config.max_bytes > 0 && bytes > self.config.max_bytes && days.len() > 1;
        if is_too_old || is_too_much {
            let day = oldest[0].day;
            replace::delete(&self.catalog, &self.directory, day, oldest)?;
            self.state.archive.deleted_files.fetch_add(oldest.len() as u64, Relaxed);
            tracing::info!(
                "deleted {} of the archive: {}",
                super::directory::date(day)?,
                if is_too_old { "archive.keep_days" } else { "archive.max_bytes" }
            );
            return Ok(true);
        }
        for files in days {
            let day = files[0].day;
            let is_private = self.config.source_days > 0 && day < today - i64::from(self.config.source_days);
            let fine: Vec<ArchiveFile> = files.iter().filter(|file| !file.is_coarse).cloned().collect();
            if is_private && !fine.is_empty() {
                replace::replace(&self.catalog, &self.directory, day, &fine, Change::Coarsen, self.rests)?;
                self.state.archive.coarsened_files.fetch_add(fine.len() as u64, Relaxed);
                return Ok(true);
            }
            let has_ended = self.clock.now() >= (day + 1) * DAY_SECONDS + DAY_GRACE_SECONDS;
            let inputs = worth_merging(files, self.config.merged_rows, has_ended);
            if inputs.len() > 1 {
                replace::replace(&self.catalog, &self.directory, day, &inputs, Change::Merge, self.rests)?;
                self.state.archive.merged_files.fetch_add(inputs.len() as u64, Relaxed);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts what there is, for those who watch.
    fn survey(&self) -> Result<(), ArchiveError> {
        let files = self.catalog.files(i64::MIN..i64::MAX)?;
        let sum = |value: fn(&ArchiveFile) -> u64| files.iter().map(value).sum::<u64>();
        let state: &ArchiveState = &self.state.archive;
        state.files.store(files.len() as u64, Relaxed);
        state.rows.store(sum(|file| file.written.rows), Relaxed);
        state.bytes.store(sum(|file| file.written.bytes), Relaxed);
        let gaps = self.catalog.gaps()?;
        state.lost_records.store(gaps.iter().map(|(gap, _)| gap.end - gap.start).sum(), Relaxed);
        Ok(())
    }
}

/// Which files of a day are to become one: at least two, or none. `most_rows` is what a file may have.
fn worth_merging(files: &[ArchiveFile], most_rows: u64, has_ended: bool) -> Vec<ArchiveFile> {
    let mut small: Vec<&ArchiveFile> = files.iter().filter(|file| file.written.rows < most_rows).collect();
    small.sort_by_key(|file| (file.is_coarse, file.written.rows));
    let mut inputs: Vec<ArchiveFile> = Vec::new();
    let mut rows = 0;
    for file in small {
        let is_alike = inputs.first().is_none_or(|first| first.is_coarse == file.is_coarse);
        if is_alike && rows + file.written.rows <= most_rows {
            rows += file.written.rows;
            inputs.push(file.clone());
        }
    }
    let largest = inputs.last().map_or(0, |file| file.written.rows);
    let is_much = (rows - largest) * WORTH_MERGING >= largest;
    // Before its end a day gets files hour by hour; only many of them are a reason not to wait.
    if inputs.len() >= MANY_FILES * 2 || has_ended && (is_much || inputs.len() >= MANY_FILES) {
        inputs
    } else {
        Vec::new()
    }
}

/// What a file's metadata says about where its regions come from.
fn facts(geo: &Snapshot) -> Vec<(String, String)> {
    let dated = |about: &crate::geo::About| match about.built.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
        Some(time) => format!("{}, built {time}", about.name),
        None => about.name.clone(),
    };
    let mut facts = vec![(REGION_DATA.to_owned(), dated(geo.country()))];
    facts.extend(geo.asn().map(|asn| ("martlet.asn_data".to_owned(), dated(asn))));
    let lists = geo.scanner_lists().iter().map(|list| list.name.clone()).collect::<Vec<_>>().join(", ");
    if !lists.is_empty() {
        facts.push(("martlet.scanner_lists".to_owned(), lists));
    }
    facts
}

/// Lets counting go first where there are too few cores for both.
fn be_nice() -> std::io::Result<()> {
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), 10)?;
    Ok(())
}
