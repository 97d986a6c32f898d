//! The stage itself.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use martlet_journal::{Disk, Journal};
use tokio::sync::oneshot;

use super::checkpoint::Checkpoint;
use super::group::Failure;
use super::ledger::Ledger;
use super::queue::{Request, Submission};
use super::replay::{Progress, Replay};
use super::state::State;
use crate::aggregate::{Cut, Job};
use crate::clock::SharedClock;
use crate::ingest::Budget;
use crate::latencies::Latencies;

/// First wait before a disk that failed is tried again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Commits that come early, because much is new, leave this many times the length of the last one between their beginnings.
const REST: u32 = 4;
/// How long the end waits for the last commit; what is not committed is replayed at the next start.
const LAST_COMMIT: Duration = Duration::from_secs(4);
/// How long it waits at most, so that the watchdog hears of it.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long a thread that cannot hand on its work waits before it tries again.
const PAUSE: Duration = Duration::from_millis(1);

/// How the stage works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often what is new is committed.
    pub commit_interval: Duration,
    /// Commits come earlier when so many bytes are new, so that a replay stays short.
    pub commit_bytes: u64,
    /// Number of workers, each of which takes one copy of a cut.
    pub workers: usize,
}

/// What the stage is made of.
pub struct Parts<D: Disk> {
    /// How it works.
    pub settings: Settings,
    /// The opened journal.
    pub journal: Journal<D>,
    /// Names and positions as of record `committed`.
    pub ledger: Ledger,
    /// The record up to which the store has everything.
    pub committed: u64,
    /// What it is asked.
    pub inbox: Receiver<Request>,
    /// The workers' queue.
    pub jobs: Sender<Job>,
    /// Memory for batches in flight, for those that are replayed.
    pub memory: Budget,
    /// What others may know.
    pub state: Arc<State>,
    /// The wall clock.
    pub clock: SharedClock,
    /// How long submissions wait, and syncs take.
    pub latencies: Latencies,
    /// Where deleted segments go to be closed.
    pub sweepings: Sender<D::File>,
    /// Told when everything that is replayed is visible to readers.
    pub visible: oneshot::Sender<()>,
}

/// The single place that decides.
pub struct Stage<D: Disk> {
    pub(super) settings: Settings,
    pub(super) journal: Journal<D>,
    pub(super) ledger: Ledger,
    pub(super) state: Arc<State>,
    pub(super) memory: Budget,
    pub(super) clock: SharedClock,
    pub(super) latencies: Latencies,
    sweepings: Sender<D::File>,
    inbox: Receiver<Request>,
    jobs: Sender<Job>,
    replay: Option<Replay<D>>,
    visible: Option<oneshot::Sender<()>>,
    /// Taken from the inbox and not decided, or not durable yet.
    pub(super) held: VecDeque<Submission>,
    /// What the replay did not count since the newest cut.
    pub(super) skipped: Vec<Range<u64>>,
    /// On their way to the workers; while there are any, nothing new is decided.
    pub(super) outbox: VecDeque<Job>,
    /// When a disk that failed is tried again, and how long the wait was.
    retry: Option<(Instant, Duration)>,
    /// What the newest cut was made at; everything below is in a commit, or on its way into one.
    cut: u64,
    /// Bytes made durable since.
    pub(super) uncommitted_bytes: u64,
    last_cut: Option<Instant>,
    /// How long the last commit took, from its cut on.
    commit_took: Duration,
    is_committing: bool,
    stopping: Option<Instant>,
}

impl<D: Disk> Stage<D> {
    /// A stage that replays what the store does not have, and then decides.
    ///
    /// # Errors
    /// If the journal cannot be read, or the decompression library cannot allocate its state.
    pub fn new(parts: Parts<D>) -> std::io::Result<Stage<D>> {
        let Parts { settings, mut journal, ledger, committed, inbox, jobs, memory, state, clock, .. } = parts;
        let (latencies, sweepings, visible) = (parts.latencies, parts.sweepings, parts.visible);
        // Numbers below were used, whatever has become of the records: a new one must not look committed.
        journal.advance(committed)?;
        let replay = Some(Replay::new(journal.reader(committed)?)?);
        state.counters.committed.store(committed, Relaxed);
        state.sensors.store(Arc::new(ledger.sensors().to_vec()));
        Ok(Stage {
            settings,
            journal,
            ledger,
            state,
            memory,
            clock,
            latencies,
            sweepings,
            inbox,
            jobs,
            replay,
            visible: Some(visible),
            held: VecDeque::new(),
            skipped: Vec::new(),
            outbox: VecDeque::new(),
            retry: None,
            cut: committed,
            uncommitted_bytes: 0,
            last_cut: None,
            commit_took: Duration::ZERO,
            is_committing: false,
            stopping: None,
        })
    }

    /// Works until it is told to stop and everything is committed, or cannot be in time.
    pub fn run(mut self) {
        loop {
            self.state.pulses.journal.beat();
            let now = Instant::now();
            if !self.turn(now) {
                return;
            }
            let is_behind = !self.outbox.is_empty() || self.replay.as_ref().is_some_and(Replay::is_waiting);
            if is_behind || self.replay.is_some() && self.retry.is_some() {
                // Workers are behind, and wait for nobody but each other; or the disk is to be tried again later.
                std::thread::sleep(PAUSE);
            } else if self.replay.is_none() && (self.held.is_empty() || self.retry.is_some()) {
                match self.inbox.recv_timeout(self.patience(now).min(LONGEST_REST)) {
                    // Not `now`, which is as old as the wait was long: patience with the last commit begins with the request.
                    Ok(request) => self.receive(request, Instant::now()),
                    Err(RecvTimeoutError::Timeout) => {}
                    // Those who could ask are gone without a word: the process is failing.
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// How long there is nothing to do unless somebody asks.
    fn patience(&self, now: Instant) -> Duration {
        let commit = self.last_cut.map_or(now, |at| at + self.settings.commit_interval);
        let commit = if self.is_committing || !self.is_new() { now + self.settings.commit_interval } else { commit };
        let due = self.retry.map_or(commit, |(at, _)| at.min(commit));
        let due = self.stopping.map_or(due, |stopping| due.min(stopping + LAST_COMMIT));
        due.saturating_duration_since(now).max(PAUSE)
    }

    /// Does what can be done without waiting; `false` when the stage has ended. `now` only says what is due.
    pub fn turn(&mut self, now: Instant) -> bool {
        while let Ok(request) = self.inbox.try_recv() {
            self.receive(request, now);
        }
        if !self.pass_on() {
            return true;
        }
        if self.replay.is_some() {
            if self.may_try(now) {
                self.replay_some(now);
            }
            return true;
        }
        while !self.held.is_empty() && self.may_try(now) {
            self.take_group(now);
            if !self.pass_on() {
                return true;
            }
        }
        self.commit_if_due(now);
        self.pass_on();
        !self.has_ended(now)
    }

    fn may_try(&self, now: Instant) -> bool {
        self.retry.is_none_or(|(at, _)| at <= now)
    }

    fn receive(&mut self, request: Request, now: Instant) {
        match request {
            Request::Submit(submission) => self.held.push_back(submission),
            Request::Committed(checkpoint) => self.committed(&checkpoint, now),
            Request::Stop => self.stopping = Some(now),
        }
    }

    /// Hands jobs to the workers; `false` if they cannot take them now.
    pub(super) fn pass_on(&mut self) -> bool {
        while let Some(job) = self.outbox.pop_front() {
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
                self.outbox.push_front(job);
                return false;
            }
        }
        true
    }

    /// Something failed: it is tried again after a while, and nobody gets an answer meanwhile.
    pub(super) fn wait_for_disk(&mut self, now: Instant, failure: &Failure) {
        let wait = self.retry.map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LONGEST_RETRY));
        self.retry = Some((now + wait, wait));
        self.state.ingest.stall(failure.reason, &failure.message, self.clock.now_ms());
    }

    pub(super) fn go_on(&mut self) {
        self.retry = None;
        self.state.ingest.work(self.clock.now_ms());
    }

    /// What the ledger and the journal have is durable.
    pub(super) fn settle(&mut self) {
        if self.ledger.settle() {
            self.state.sensors.store(Arc::new(self.ledger.sensors().to_vec()));
        }
        let counters = &self.state.counters;
        let durable = self.journal.durable();
        let before = counters.durable.swap(durable, Relaxed);
        if self.replay.is_none() {
            counters.records.fetch_add(durable.saturating_sub(before), Relaxed);
        }
        counters.bytes.store(self.journal.bytes(), Relaxed);
        counters.streams.store(self.ledger.streams() as u64, Relaxed);
    }

    fn is_new(&self) -> bool {
        self.journal.durable() > self.cut
    }

    fn commit_if_due(&mut self, now: Instant) {
        let is_due = self.last_cut.is_none_or(|at| at + self.settings.commit_interval <= now);
        // A commit frees space in the journal, and an end waits for it.
        // Under a flood, commits that follow each other would take what counting needs.
        let rested = self.last_cut.is_none_or(|at| at + self.commit_took * REST <= now);
        let is_urgent = self.uncommitted_bytes >= self.settings.commit_bytes && rested
            || self.retry.is_some()
            || self.stopping.is_some() && self.held.is_empty();
        if !self.is_committing && self.is_new() && (is_due || is_urgent) {
            self.make_cut(now);
        }
    }

    fn make_cut(&mut self, now: Instant) {
        let record = self.journal.durable();
        let mut checkpoint = Box::new(self.ledger.checkpoint(record));
        checkpoint.visible = self.visible.take();
        checkpoint.skipped = std::mem::take(&mut self.skipped);
        let cut = Arc::new(Cut::new(self.settings.workers, checkpoint));
        self.outbox.extend((0..self.settings.workers).map(|_| Job::Cut(cut.clone())));
        self.cut = record;
        self.uncommitted_bytes = 0;
        self.last_cut = Some(now);
        self.is_committing = true;
    }

    fn committed(&mut self, checkpoint: &Checkpoint, now: Instant) {
        self.is_committing = false;
        self.commit_took = self.last_cut.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.ledger.committed(checkpoint);
        let sweepings = &self.sweepings;
        // If nobody can take one now it is closed here.
        let counters = &self.state.counters;
        let done = checkpoint.record.min(counters.archived.load(Relaxed)).min(counters.detected.load(Relaxed));
        let released = self.journal.release_to(done, |segment| drop(sweepings.try_send(segment)));
        if let Err(error) = released {
            // The next release tries again; until then the journal is longer than it must be.
            tracing::warn!("cannot delete what is committed from the journal: {error}");
        }
        let counters = &self.state.counters;
        counters.bytes.store(self.journal.bytes(), Relaxed);
        counters.committed.store(checkpoint.record, Relaxed);
        counters.commits.fetch_add(1, Relaxed);
        counters.last_commit_ms.store(self.clock.now_ms(), Relaxed);
        self.state.commits.happen();
        // There may be room now.
        if let Some((at, _)) = &mut self.retry {
            *at = (*at).min(self.last_cut.unwrap_or(*at));
        }
    }

    fn replay_some(&mut self, now: Instant) {
        let Some(mut replay) = self.replay.take() else {
            return;
        };
        let mut counted = Vec::new();
        let progress = replay.step(self, &mut counted);
        self.settle();
        if !counted.is_empty() {
            self.outbox.push_back(Job::Count(counted));
        }
        self.pass_on();
        match progress {
            Progress::Done => self.end_replay(now),
            Progress::More => {
                self.replay = Some(replay);
                self.go_on();
            }
            Progress::Failed { reason, message } => {
                self.replay = Some(replay);
                self.wait_for_disk(now, &Failure { reason, message });
            }
        }
    }

    fn end_replay(&mut self, now: Instant) {
        self.go_on();
        self.state.replayed.store(true, Relaxed);
        // Also without anything new: readers wait for it.
        self.make_cut(now);
    }

    fn has_ended(&self, now: Instant) -> bool {
        let is_done = self.held.is_empty() && self.outbox.is_empty() && !self.is_committing && !self.is_new();
        self.stopping.is_some_and(|since| is_done || now >= since + LAST_COMMIT)
    }
}
